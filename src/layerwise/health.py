"""How healthy the units of a layer are: dead, saturated, constant; and how much gradient reaches each stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.units import Bernoulli, Rectified, Units


class HealthWarning(UserWarning):
    """Learning goes on, but part of the net does not work; the message tells the fix."""


@dataclass(frozen=True)
class Activity:
    """What the units of one layer do over many rows; every tensor has shape (units,).

    Arguments:
        low, high, mean, std: Of each unit's state over the rows.
        units: Their kind.

    Example:
        >>> seen = Activity.of([torch.tensor([[0.0, 0.2], [0.0, 0.9]])], Bernoulli())
        >>> seen.dead.tolist(), seen.saturated.tolist()
        ([True, False], [False, False])
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor
    units: Units

    @classmethod
    @torch.no_grad()
    def of(cls, codes: Iterable[Tensor], units: Units) -> Activity:
        """Gathers the figures over batches of codes, shape (n, units), without holding them."""
        low, high = torch.tensor(float("inf")), torch.tensor(-float("inf"))
        total, square, count = torch.zeros(()), torch.zeros(()), 0
        for h in codes:
            low, high = torch.minimum(low.to(h), h.amin(0)), torch.maximum(high.to(h), h.amax(0))
            total = total.to(h.device) + h.double().sum(0)
            square = square.to(h.device) + h.double().square().sum(0)
            count += len(h)
        if not count:
            raise ValueError("There are no rows to look at.")
        mean = total / count
        return cls(low, high, mean.float(), (square / count - mean.square()).clamp_min(0).sqrt().float(), units)

    @property
    def dead(self) -> Tensor:
        """Units that no row switches on: bernoulli below 0.05 and rectified at 0 for every row."""
        if isinstance(self.units, Bernoulli):
            return self.high < 0.05
        return self.high <= 0 if isinstance(self.units, Rectified) else torch.zeros_like(self.high, dtype=torch.bool)

    @property
    def saturated(self) -> Tensor:
        """Bernoulli units that every row switches on (above 0.95)."""
        if isinstance(self.units, Bernoulli):
            return self.low > 0.95
        return torch.zeros_like(self.low, dtype=torch.bool)

    @property
    def constant(self) -> Tensor:
        """Units that answer every row alike: their standard deviation is below 1e-3."""
        return self.std < 1e-3

    def advice(self, name: str) -> str:
        """What is wrong with this layer and what to do, or an empty string."""
        n = len(self.mean)
        dead, stuck, same = (int(which.sum()) for which in (self.dead, self.saturated, self.constant))
        if same == n:
            return (
                f"{name}: the output is constant: all {n} units answer every row alike. Look whether the rows differ at all "
                "and are scaled (Gaussian units standardise); then try a smaller learning rate or more epochs."
            )
        if dead > n / 4:
            return (
                f"{name}: {dead} of {n} units are dead (no row switches them on). Lower the learning rate, or set a sparsity "
                "target such as sparsity=0.1, or use fewer units."
            )
        if stuck > n / 4:
            return (
                f"{name}: {stuck} of {n} units are saturated (on for every row). Lower the learning rate or raise the weight "
                "decay; data far from 0 wants Gaussian units, which standardise it."
            )
        return ""

    def warn(self, name: str) -> None:
        """Gives `advice` as a HealthWarning."""
        if text := self.advice(name):
            warnings.warn(text, HealthWarning, stacklevel=2)


def root_mean_square(tensors: Sequence[Tensor]) -> float:
    """Of all numbers in several tensors.

    Example:
        >>> root_mean_square([torch.tensor([1.0, 7.0]), torch.tensor([[5.0]])])
        5.0
    """
    return (sum(float(t.double().square().sum()) for t in tensors) / sum(t.numel() for t in tensors)) ** 0.5


def gradient_norms(
    network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> dict[str, float]:
    """Length of the gradient of loss(network(x), y) in each named stage's weights, per root of their number.

    The root mean square makes stages of unequal size comparable: a falling ladder towards the input is the vanishing
    gradient. Gradients and training mode of `network` are left as they were.
    """
    before = [(p, p.grad) for p in network.parameters()]
    training = network.training
    network.eval()
    try:
        network.zero_grad(set_to_none=True)
        loss(network(x), y).backward()
        norms = {}
        for name, stage in network.named_children():
            grads = [p.grad for p in stage.parameters() if p.grad is not None and p.ndim > 1]
            if grads:
                norms[name] = root_mean_square(grads)
        return norms
    finally:
        network.train(training)
        for p, grad in before:
            p.grad = grad
