"""Rules of norms: what is centred and divided by its own spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from layerwise.lens.attribution.rules import Multipliers, Way, by_divisor, only, rule
from layerwise.lens.attribution.tape import Operation


def whiten(x: Tensor, x0: Tensor | None, m: Tensor, axes: Sequence[int], eps: float, centre: bool = True) -> Tensor:
    r"""Multipliers back through :math:`c / \sqrt{\overline{c^2} + \epsilon}`, where c is x without its mean over `axes`.

    LRP (x0 None) holds the divisor constant (Ali et al., 2022). DeepLift accounts for it, as for any quotient (`by_divisor`): a
    square has the slope :math:`c + c_0`, and the divisor :math:`s = \sqrt{v}` the slope :math:`1 / (s + s_0)`.
    """
    axes = list(axes)

    def parts(value: Tensor) -> tuple[Tensor, Tensor]:
        c = value - value.mean(axes, keepdim=True) if centre else value
        return c, (c.square().mean(axes, keepdim=True) + eps).sqrt()

    c, s = parts(x)
    if x0 is None:
        down = m / s
    else:
        c0, s0 = parts(x0)
        to_c, to_s = by_divisor(c, s, c0, s0)
        count = x.numel() / s.numel()
        down = m * to_c + (m * to_s).sum(axes, keepdim=True) * (c + c0) / (s + s0) / count
    return down - down.mean(axes, keepdim=True) if centre else down


@rule("aten.native_layer_norm")
def layer_norm(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """x, shape, weight, bias, eps."""
    m, (shape, weight, bias, eps) = only(above), [operation.get(place) for place in range(1, 5)]
    return _normed(operation, m, way, lambda value: value, range(-len(shape), 0), weight, bias, eps)


@rule("aten._fused_rms_norm")
def rms_norm(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """x, shape, weight, eps."""
    m, (x, shape, weight, eps) = only(above), [operation.get(place) for place in range(4)]
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _normed(operation, m, way, lambda value: value, range(-len(shape), 0), weight, None, eps, centre=False)


@rule("aten.native_group_norm")
def group_norm(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """x, weight, bias, rows, channels, places, groups, eps."""
    m, x, weight, bias = only(above), operation.at(0), operation.get(1), operation.get(2)
    groups, eps, tail = operation.get(6), operation.get(7), (1,) * (x.ndim - 2)
    weight, bias = (None if each is None else each.view(-1, *tail) for each in (weight, bias))
    return _normed(operation, m, way, lambda value: value.reshape(len(x), groups, -1), (-1,), weight, bias, eps)


@rule("aten.native_batch_norm", "aten._native_batch_norm_legit_no_training", "aten.cudnn_batch_norm")
def batch_norm(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A factor and a shift per channel; with the statistics of the batch itself (instance norm), a norm."""
    m, x, tail = only(above), operation.at(0), (1,) * (operation.at(0).ndim - 2)
    if _in_evaluation(operation):
        if way.fold(operation):
            return {(0,): m}
        factor, shift = (each.view(-1, *tail) for each in factor_and_shift(operation))
        if way.reference(operation) is None:
            way.absorb(m * shift)
        return {(0,): m * factor}
    weight, bias = (None if each is None else each.view(-1, *tail) for each in (operation.get(1), operation.get(2)))
    return _normed(operation, m, way, lambda value: value, [0, *range(2, x.ndim)], weight, bias, operation.get(7))


def _in_evaluation(operation: Operation) -> bool:
    """Whether a batch norm uses statistics that were learned."""
    return "no_training" in operation.name or not operation.get(5)


def factor_and_shift(operation: Operation) -> tuple[Tensor, Tensor]:
    """What a batch norm in evaluation mode multiplies and adds, each of shape (channels,)."""
    weight, bias, mean, var = (operation.get(place) for place in range(1, 5))
    eps = operation.get(6 if "no_training" in operation.name else 7)
    factor = (var + eps).rsqrt() * (1 if weight is None else weight)
    return factor, (0 if bias is None else bias) - mean * factor


def _normed(
    operation: Operation, m: Tensor, way: Way, view: Callable[[Tensor], Tensor], axes: Sequence[int],
    weight: Tensor | None, bias: Tensor | None, eps: float, centre: bool = True,
) -> Multipliers:  # fmt: skip
    if list(operation.inputs) != [(0,)]:
        raise way.refuse(operation, "its weights depending on the rows")
    x, other = operation.at(0), way.reference(operation)
    if bias is not None and other is None:
        way.absorb(m * bias)
    m = m if weight is None else m * weight
    x0 = None if other is None else view(other.at(0))
    return {(0,): whiten(view(x), x0, view(m), axes, eps, centre).reshape(x.shape)}


@rule("aten.var", "aten.std", "aten.linalg_vector_norm")
def spread(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """Sums of squares and their roots: the slope of a square is x + x0, that of a root 1 / (y + y0)."""
    m, x, y, other = only(above), operation.at(0), operation.result, way.reference(operation)
    norm = "norm" in operation.name
    dims = operation.get(2 if norm else 1)
    axes = [dims] if isinstance(dims, int) else list(dims or range(x.ndim))
    if norm and operation.get(1, 2) != 2:
        raise way.refuse(operation, "other than the square root of a sum of squares")
    if not operation.get(3, False) and "keepdim" not in operation.named:
        for axis in sorted(axis % x.ndim for axis in axes):
            m, y = m.unsqueeze(axis), y.unsqueeze(axis)
    x0 = torch.zeros_like(x) if other is None else other.at(0)
    y0 = torch.zeros_like(y) if other is None else other.result.reshape(y.shape)
    if "var" not in operation.name:
        m = m / (y + y0).clamp_min(torch.finfo(y.dtype).tiny)
    if norm:
        return {(0,): m * (x + x0)}
    c, c0 = (each - each.mean(axes, keepdim=True) for each in (x, x0))
    correction = operation.named.get("correction")
    down = m * (c + c0) / (x.numel() / y.numel() - (1 if correction is None else correction))
    return {(0,): down - down.mean(axes, keepdim=True)}
