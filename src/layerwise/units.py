"""Kinds of units: what a unit's state may be, how it is drawn, and what it costs in energy.

A kind is a stateless argument of a layer (``RBM(784, 500, below=Gaussian())``), never a class of layer. Every kind is an
exponential family in the activation a = (states of the other side) W + bias, so three functions say everything:

    energy(s, b)        the part of E that is the unit's own, given its bias
    log_partition(a)    A(a) = log of the sum over s of exp(s a - energy(s, 0))
    mean(a)             A'(a), the expected state
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def coins(p: Tensor) -> Tensor:
    """1 with probability p, else 0: the shape and type of p, whose values in [0, 1] count to the nearest 2^-16.

    Sixteen random bits per coin take a tenth of the time of `torch.bernoulli`, which costs as much as a matrix product.

    Example:
        >>> coins(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    bits = torch.empty(-(-p.numel() // 4), dtype=torch.int64, device=p.device).random_(-(2**63), None)
    whole = bits.view(torch.int16)[: p.numel()].view(p.shape).to(p.dtype)  # in [-2^15, 2^15)
    return whole.mul_(2**-16).add_(0.5 + 2**-17).lt_(p)


class Units(abc.ABC):
    """A kind of unit. Activations and states have shape (..., units); sums run over the last axis."""

    low: ClassVar[float] = -float("inf")
    high: ClassVar[float] = float("inf")

    @abc.abstractmethod
    def mean(self, activation: Tensor) -> Tensor:
        """Expected state, the shape of `activation`."""

    @abc.abstractmethod
    def sample(self, activation: Tensor) -> Tensor:
        """A random state, the shape of `activation`."""

    @abc.abstractmethod
    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        """The units' own part of the energy in nats, shape (...,), given states (..., units) and bias (units,)."""

    @abc.abstractmethod
    def log_partition(self, activation: Tensor) -> Tensor:
        """Log of the sum over all states of exp(state * activation - own energy), in nats, shape (...,)."""

    def log_partitions(self, activation: Tensor, shifts: Tensor) -> Tensor:
        """`log_partition` of activation + shift for each of shifts, (k, units): shape (n, k), up to a constant per row."""
        # one shift at a time: n x units at once, never n x shifts x units
        return torch.stack([self.log_partition(activation + shift) for shift in shifts], 1)

    @abc.abstractmethod
    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        """Negative log-likelihood of `target` up to a constant, in nats, shape (...,)."""

    @abc.abstractmethod
    def slope(self, mean: Tensor) -> Tensor:
        """Derivative of the mean by the activation, as a function of the mean (diagonal part)."""

    @abc.abstractmethod
    def module(self) -> nn.Module:
        """The mean as a plain torch activation module."""

    def check(self, x: Tensor, where: str = "this batch") -> None:
        """Refuses values that these units cannot hold.

        Raises:
            ValueError: If x, of any shape, holds NaN or infinite values, or leaves the range [low, high].
        """
        low, high = x.min().item(), x.max().item()
        if not (math.isfinite(low) and math.isfinite(high)):  # a NaN anywhere makes both NaN
            raise ValueError(
                f"{where} holds NaN or infinite values. Fill them in or drop their rows first (sklearn.impute.SimpleImputer)."
            )
        if low < self.low or high > self.high:
            raise ValueError(
                f"{self.name} units hold values in [{self.low:g}, {self.high:g}], but {where} spans "
                f"[{low:.4g}, {high:.4g}]. Rescale the data (pixels: x / 255), or use Gaussian units: below='gaussian'."
            )

    @property
    def name(self) -> str:
        """The kind's name, as `as_units` reads it, with a capital."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description that `as_units` turns back into this kind."""
        return {"kind": self.name.lower()}


@dataclass(frozen=True)
class Bernoulli(Units):
    """States 0 and 1; real values in [0, 1] are taken as probabilities.

    Example:
        >>> Bernoulli().mean(torch.zeros(2))
        tensor([0.5000, 0.5000])
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def mean(self, activation: Tensor) -> Tensor:
        return torch.sigmoid(activation)

    def sample(self, activation: Tensor) -> Tensor:
        return coins(torch.sigmoid(activation))

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return -(states @ bias)

    def log_partition(self, activation: Tensor) -> Tensor:
        return F.softplus(activation).sum(-1)

    def log_partitions(self, activation: Tensor, shifts: Tensor) -> Tensor:
        # log(1 + e^(a + s)) = max(a, 0) + log(e^-max(a, 0) + e^min(a, 0) e^s). The first term is the row's constant; the
        # second are factors between min(1, e^s) and 1 + e^s, of which eight are multiplied before each logarithm.
        together, units = 8, activation.shape[-1]
        if shifts.abs().max() > 80 / together:  # their product would leave the range of float32
            return super().log_partitions(activation, shifts)
        padded = F.pad(activation, (0, -units % together), value=-math.inf)  # units that are never on: factors of 1
        grow = F.pad(shifts, (0, -units % together)).exp_()
        on, off = padded.clamp(max=0).exp_(), padded.clamp(min=0).neg_().exp_()
        sums = [torch.addcmul(off, on, each).unflatten(-1, (together, -1)).prod(-2).log().sum(-1) for each in grow]
        return torch.stack(sums, 1)

    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(activation, target, reduction="none").sum(-1)

    def slope(self, mean: Tensor) -> Tensor:
        return mean * (1 - mean)

    def module(self) -> nn.Module:
        return nn.Sigmoid()


@dataclass(frozen=True)
class Gaussian(Units):
    """Real states of unit variance around the activation; data is standardised by the layer that holds it.

    The integral over a state is taken in units of sqrt(2 pi), so that an idle unit adds nothing to the log partition.

    Example:
        >>> Gaussian().log_partition(torch.tensor([2.0]))
        tensor(2.)
    """

    def mean(self, activation: Tensor) -> Tensor:
        return activation

    def sample(self, activation: Tensor) -> Tensor:
        return activation + torch.randn_like(activation)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        # (s - b)^2 / 2 without the constant b^2 / 2, so that energy(s, b) = energy(s, 0) - s b as for every kind
        return states.square().sum(-1) / 2 - states @ bias

    def log_partition(self, activation: Tensor) -> Tensor:
        return activation.square().sum(-1) / 2

    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        return (target - activation).square().sum(-1) / 2

    def slope(self, mean: Tensor) -> Tensor:
        return torch.ones_like(mean)

    def module(self) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class Rectified(Units):
    """Noisy rectified linear units, max(0, a + N(0, sigmoid(a))) (Nair & Hinton, 2010, section 2).

    They stand for infinitely many Bernoulli copies with biases 0.5 apart. The mean used is max(0, a), whose integral
    max(0, a)^2 / 2 is the log partition: exact but for O(1) near a = 0.

    Example:
        >>> Rectified().mean(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    low: ClassVar[float] = 0.0

    def mean(self, activation: Tensor) -> Tensor:
        return torch.relu(activation)

    def sample(self, activation: Tensor) -> Tensor:
        return torch.relu(activation + torch.randn_like(activation) * torch.sigmoid(activation).sqrt())

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return states.square().sum(-1) / 2 - states @ bias

    def log_partition(self, activation: Tensor) -> Tensor:
        return torch.relu(activation).square().sum(-1) / 2

    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        # half the squared error, and where a < 0 also target * |a|: without it a silent unit would never learn to speak
        miss = target - torch.relu(activation)
        return (miss.square() / 2 + target * torch.relu(-activation)).sum(-1)

    def slope(self, mean: Tensor) -> Tensor:
        return (mean > 0).to(mean.dtype)

    def module(self) -> nn.Module:
        return nn.ReLU()


@dataclass(frozen=True)
class Softmax(Units):
    """Groups of `group` units of which exactly one is on; None makes the whole layer one group.

    Example:
        >>> Softmax(2).mean(torch.zeros(4))
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    group: int | None = None
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def _grouped(self, activation: Tensor) -> Tensor:
        size = self.group or activation.shape[-1]
        if activation.shape[-1] % size:
            raise ValueError(
                f"{activation.shape[-1]} softmax units do not divide into groups of {size}: choose a width that is a multiple."
            )
        return activation.unflatten(-1, (-1, size))

    def mean(self, activation: Tensor) -> Tensor:
        return self._grouped(activation).softmax(-1).flatten(-2)

    def sample(self, activation: Tensor) -> Tensor:
        grouped = self._grouped(activation)
        # The Gumbel-max trick: argmax of a + Gumbel noise is a draw from softmax(a); -log of Exp(1) is Gumbel.
        noise = torch.empty_like(grouped).exponential_().log_().neg_()
        choice = (grouped + noise).argmax(-1, keepdim=True)
        return torch.zeros_like(grouped).scatter_(-1, choice, 1.0).flatten(-2)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return -(states @ bias)

    def log_partition(self, activation: Tensor) -> Tensor:
        return self._grouped(activation).logsumexp(-1).sum(-1)

    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        return -(self._grouped(target) * self._grouped(activation).log_softmax(-1)).sum((-1, -2))

    def slope(self, mean: Tensor) -> Tensor:
        return mean * (1 - mean)

    def module(self) -> nn.Module:
        if self.group is not None:
            raise ValueError("Grouped softmax units have no plain torch module: use Softmax() for one group per layer.")
        return nn.Softmax(dim=-1)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "softmax", "group": self.group}


@dataclass(frozen=True)
class Joint(Units):
    """Units of several kinds side by side, as (width, kind) pairs: the features and the labels of a top-level RBM.

    Example:
        >>> Joint(((2, Bernoulli()), (2, Softmax()))).mean(torch.zeros(4))
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    parts: tuple[tuple[int, Units], ...]

    def _split(self, *tensors: Tensor) -> list[tuple[Any, ...]]:
        widths = [width for width, _ in self.parts]
        kinds = [kind for _, kind in self.parts]
        return list(zip(kinds, *(t.split(widths, -1) for t in tensors), strict=True))

    def mean(self, activation: Tensor) -> Tensor:
        return torch.cat([kind.mean(a) for kind, a in self._split(activation)], -1)

    def sample(self, activation: Tensor) -> Tensor:
        return torch.cat([kind.sample(a) for kind, a in self._split(activation)], -1)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return torch.stack([kind.energy(s, b) for kind, s, b in self._split(states, bias)]).sum(0)

    def log_partition(self, activation: Tensor) -> Tensor:
        return torch.stack([kind.log_partition(a) for kind, a in self._split(activation)]).sum(0)

    def surprise(self, target: Tensor, activation: Tensor) -> Tensor:
        return torch.stack([kind.surprise(t, a) for kind, t, a in self._split(target, activation)]).sum(0)

    def slope(self, mean: Tensor) -> Tensor:
        return torch.cat([kind.slope(m) for kind, m in self._split(mean)], -1)

    def module(self) -> nn.Module:
        raise ValueError("Joint units stand below a top RBM only; they are no activation function.")

    def check(self, x: Tensor, where: str = "this batch") -> None:
        for kind, part in self._split(x):
            kind.check(part, where)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "joint", "parts": [[width, kind.to_dict()] for width, kind in self.parts]}


KINDS: dict[str, type[Units]] = {kind.__name__.lower(): kind for kind in (Bernoulli, Gaussian, Rectified, Softmax)}


def as_units(kind: Units | str | Mapping[str, Any]) -> Units:
    """A kind of unit from itself, its name, or its `to_dict`.

    Raises:
        ValueError: If there is no kind of that name.

    Example:
        >>> as_units("gaussian")
        Gaussian()
    """
    if isinstance(kind, Units):
        return kind
    fields: dict[str, Any] = {"kind": kind} if isinstance(kind, str) else dict(kind)
    name = fields.pop("kind")
    if name == "joint":
        return Joint(tuple((width, as_units(part)) for width, part in fields["parts"]))
    if name not in KINDS:
        raise ValueError(f"There are no {name!r} units; choose one of {', '.join(KINDS)}.")
    return KINDS[name](**fields)
