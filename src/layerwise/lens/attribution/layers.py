"""A layer with weights, as LRP and DeepLift see it."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from layerwise.lens.attribution.tape import Operation


class Layer(abc.ABC):
    """A linear map with weights: :math:`y = x W + b`."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    y: Tensor

    @abc.abstractmethod
    def up(self, x: Tensor, weight: Tensor) -> Tensor:
        """x W."""

    @abc.abstractmethod
    def down(self, y: Tensor, weight: Tensor) -> Tensor:
        """y W^T."""

    @abc.abstractmethod
    def spread(self, channels: Tensor) -> Tensor:
        """One number per unit, such as a bias, in a shape that is added to y."""

    def scaled(self, factor: Tensor, shift: Tensor, y: Tensor) -> None:
        """Makes the layer that is this one followed by y = factor * y + shift, each of shape (units,)."""
        bias = torch.zeros_like(shift) if self.bias is None else self.bias
        self.weight, self.bias, self.y = self._times(factor), bias * factor + shift, y

    @abc.abstractmethod
    def _times(self, factor: Tensor) -> Tensor:
        """The weight with each unit's multiplied."""


class Convolution(Layer):
    """Of any dimension, transposed too."""

    def __init__(self, operation: Operation) -> None:
        self.x, self.weight, self.bias = operation.at(0), operation.at(1), operation.get(2)
        self.rest, self.y = operation.arguments[3:], operation.result

    def up(self, x: Tensor, weight: Tensor) -> Tensor:
        """x W."""
        return torch.ops.aten.convolution(x, weight, None, *self.rest)

    def down(self, y: Tensor, weight: Tensor) -> Tensor:
        """y W^T."""
        return torch.ops.aten.convolution_backward(y, self.x, weight, None, *self.rest, [True, False, False])[0]

    def spread(self, channels: Tensor) -> Tensor:
        """(1, units, 1, ...)."""
        return channels.view(1, -1, *(1,) * (self.x.ndim - 2))

    def _times(self, factor: Tensor) -> Tensor:
        if not self.rest[3]:
            return self.weight * factor.view(-1, *(1,) * (self.weight.ndim - 1))
        groups = self.rest[5]  # a transposed one has its units on the second axis, group by group
        by_group = self.weight.unflatten(0, (groups, -1)) * factor.view(groups, 1, -1, *(1,) * (self.weight.ndim - 2))
        return by_group.flatten(0, 1)


class Product(Layer):
    """A product of matrices, x (..., n, inputs) with weights (..., inputs, units)."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor) -> None:
        self.x, self.weight, self.bias, self.y = x, weight, bias, y

    def up(self, x: Tensor, weight: Tensor) -> Tensor:
        """x W."""
        return x @ weight

    def down(self, y: Tensor, weight: Tensor) -> Tensor:
        """y W^T."""
        return y @ weight.mT

    def spread(self, channels: Tensor) -> Tensor:
        """As it is: units are the last axis."""
        return channels

    def _times(self, factor: Tensor) -> Tensor:
        return self.weight * factor
