"""The one idea: a layer learns from its own input. Everything else is something done with layers."""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layerwise.units import Gaussian, Units


class Standardise(nn.Module):
    """Zero mean and unit variance per feature, and back; a constant feature is only centred.

    Example:
        >>> z = Standardise(1).fit([torch.tensor([[1.0], [3.0]])])
        >>> z(torch.tensor([[5.0]])), z.inverse(torch.tensor([[3.0]]))
        (tensor([[3.]]), tensor([[5.]]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    @torch.no_grad()
    def fit(self, rows: Iterable[Tensor]) -> Standardise:
        """Takes the statistics of `rows`, batches of shape (n, features), in one pass and in float64."""
        count, mean, scatter = 0, torch.zeros_like(self.mean.double()), torch.zeros_like(self.mean.double())
        for batch in rows:  # Chan, Golub & LeVeque (1979): merging means and sums of squares without cancellation
            batch = batch.double()
            size, here = len(batch), batch.mean(0)
            shift = here - mean
            scatter += (batch - here).square().sum(0) + shift.square() * (count * size / (count + size))
            mean += shift * (size / (count + size))
            count += size
        std = (scatter / max(count, 1)).sqrt()
        constant = std <= 1e-6 * mean.abs().clamp_min(1e-30)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, torch.ones_like(std), std))
        return self

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.std + self.mean


class Layer(nn.Module, abc.ABC):
    """A layer that can learn from its own input.

    `encode` goes up, `decode` comes back down, `loss` says how badly the layer models a batch, and `learn` leaves the
    gradient that improves it. Calling a layer encodes, so layers chain like any torch module. `below` and `above` are
    the kinds of units on the two sides; a layer with Gaussian units below standardises its input and keeps the statistics.
    """

    figure: ClassVar[str] = "loss"  # what `learn` returns, for people
    two_way: ClassVar[bool] = False  # whether the way down has weights of its own
    closed_form: ClassVar[bool] = False  # whether `learn` sets every gradient, instead of adding to it as autograd does
    standard: Standardise | None

    def __init__(self, visible: int, hidden: int, below: Units, above: Units) -> None:
        super().__init__()
        for side, width in (("visible", visible), ("hidden", hidden)):
            if not isinstance(width, int) or width < 1:
                raise ValueError(f"A layer needs at least one {side} unit, got {width!r}.")
        self.visible, self.hidden, self.below, self.above = visible, hidden, below, above
        self.standard = Standardise(visible) if isinstance(below, Gaussian) else None

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Mean activation of the units above, shape (n, hidden), given x, shape (n, visible), in the data's own units."""

    @abc.abstractmethod
    def decode(self, h: Tensor) -> Tensor:
        """Mean activation of the units below, shape (n, visible), in the data's own units, given h, shape (n, hidden)."""

    @abc.abstractmethod
    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Scalar whose gradient improves the layer; labels are offered, few layers look."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-able description: the arguments that build the layer again, under its class name as "layer"."""

    @abc.abstractmethod
    def feedforward(self) -> nn.Sequential:
        """A copy of the upward half as plain torch modules, for back-propagation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def learn(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Leaves the gradient of `loss` in `.grad`; returns the figure to watch (here the loss), shape ()."""
        value = self.loss(x, y)
        value.backward()
        return value.detach()

    def prepare(self, rows: Iterable[Tensor]) -> None:
        """Looks once at the data, batches of shape (n, visible), before learning: range and statistics.

        Raises:
            ValueError: If the units below cannot hold the data.
        """
        rows = checked(rows, self.below)
        if self.standard is not None:
            self.standard.fit(rows)
        for _ in rows:  # what the statistics did not look at
            pass

    def standardised(self, x: Tensor) -> Tensor:
        """The input as the units below see it, the shape of x."""
        return x if self.standard is None else self.standard(x)

    def own_units(self, v: Tensor) -> Tensor:
        """States of the units below in the data's own units: the inverse of `standardised`."""
        return v if self.standard is None else self.standard.inverse(v)

    def describe(self) -> dict[str, Any]:
        """What every layer's `to_dict` begins with."""
        return {
            "layer": type(self).__name__,
            "visible": self.visible,
            "hidden": self.hidden,
            "below": self.below.to_dict(),
            "above": self.above.to_dict(),
        }

    def extra_repr(self) -> str:
        return f"{self.visible}, {self.hidden}, below={self.below.name.lower()!r}, above={self.above.name.lower()!r}"


class Dense(Layer):
    """A layer in which every unit below is joined to every unit above, by one weight each way.

    `weight`, shape (visible, hidden), leads up; what leads down is `generative`, the same weights unless a layer has others.
    """

    weight: nn.Parameter
    visible_bias: nn.Parameter
    hidden_bias: nn.Parameter

    @property
    def generative(self) -> Tensor:
        """The weights of the way down, shape (visible, hidden)."""
        return self.weight

    def up(self, v: Tensor) -> Tensor:
        """Activation of the hidden units, shape (n, hidden), given visible states, shape (n, visible)."""
        return affine(self.hidden_bias, v, self.weight)

    def down(self, h: Tensor) -> Tensor:
        """Activation of the visible units, shape (n, visible), given hidden states, shape (n, hidden)."""
        return affine_down(self.visible_bias, h, self.generative)

    def encode(self, x: Tensor) -> Tensor:
        return self.above.mean(self.up(self.standardised(x)))

    def decode(self, h: Tensor) -> Tensor:
        return self.own_units(self.below.mean(self.down(h)))

    def feedforward(self) -> nn.Sequential:
        return feedforward_half(self, self.weight, self.hidden_bias)


def checked(rows: Iterable[Tensor], units: Units) -> Iterator[Tensor]:
    """The same rows, refused with a ValueError on their way if `units` cannot hold them."""
    for batch in rows:
        units.check(batch, "the data")
        yield batch


def affine(bias: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    """v W + bias, shape (n, hidden): in the weight's own type, also where autocast multiplies in a shorter one."""
    return torch.addmm(bias, v, weight).to(weight.dtype)


def affine_down(bias: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """h W^T + bias, shape (n, visible), likewise; as `linear`, because autocast would round a transposed W anew each time."""
    return nn.functional.linear(h, weight, bias).to(weight.dtype)


def leave(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Puts `gradient` into `.grad`, into the memory that lies there already: new memory costs more than its numbers."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    parameter.grad.copy_(gradient)


def leave_product(parameter: nn.Parameter, lower: Tensor, upper: Tensor) -> None:
    """Puts lower^T upper, from states (n, visible) and (n, hidden), into the `.grad` of a weight (visible, hidden)."""
    if parameter.grad is None or torch.is_autocast_enabled(parameter.device.type):
        leave(parameter, lower.T @ upper)
    else:
        torch.mm(lower.T, upper, out=parameter.grad)


def feedforward_half(layer: Layer, weight: Tensor, bias: Tensor) -> nn.Sequential:
    """Standardising, a linear map with `weight` (visible, hidden) and `bias` (hidden,), and the units' activation."""
    linear = nn.Linear(layer.visible, layer.hidden, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight.T)
        linear.bias.copy_(bias)
    half = nn.Sequential()
    if layer.standard is not None:
        half.add_module("standardise", copy.deepcopy(layer.standard))
    half.add_module("linear", linear)
    half.add_module("activation", layer.above.module())
    return half
