"""Rules of activations, of what is the largest, and of softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from layerwise.lens.attribution.linear import linear
from layerwise.lens.attribution.rules import TINY, Multipliers, Way, only, rule, slope
from layerwise.lens.attribution.tape import Operation, Path

ELEMENTWISE = (
    "relu", "relu6", "gelu", "silu", "mish", "tanh", "sigmoid", "elu", "leaky_relu", "hardtanh", "hardswish",
    "hardsigmoid", "softplus", "log_sigmoid_forward", "_prelu_kernel", "threshold", "hardshrink", "softshrink", "abs",
    "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "square", "pow", "sin", "cos",
    "tan", "atan", "asinh", "erf", "clamp", "clamp_min", "clamp_max", "sign", "round", "floor", "ceil", "trunc",
    "celu", "selu", "logit", "rrelu_with_noise_functional",
)  # fmt: skip


@rule(*(f"aten.{name}" for name in ELEMENTWISE))
def elementwise(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """The slope of the line from the reference to the value (the rescale rule); for LRP, from zero."""
    if len(operation.inputs) != 1:
        raise way.refuse(operation, "both depending on the rows")
    (path,) = operation.inputs
    if operation.result.shape != operation.at(*path).shape:
        raise way.refuse(operation, "whose result is of another shape")
    m, x, other = only(above), operation.at(*path), way.reference(operation)
    if other is None and operation.name.rstrip("_") == "aten.relu":  # the commonest one, in one step
        return {path: m * (operation.result > 0)}
    if other is None:
        zero = torch.zeros_like(x[:1] if x.ndim else x)
        x0, y0 = zero, operation.run({path: zero})[0]
        if not torch.isfinite(y0).all():
            raise way.refuse(operation, "which is infinite at zero")
        if y0.any():
            way.absorb(m * y0)
    else:
        x0, y0 = other.at(*path), other.result
    return {path: m * _secant(operation, path, x - x0, operation.result - y0)}


def _secant(operation: Operation, path: Path, dx: Tensor, dy: Tensor) -> Tensor:
    close = dx.abs() < TINY
    secant = dy / torch.where(close, 1, dx)
    if not close.any():
        return secant
    with torch.enable_grad():
        x = operation.at(*path).detach().requires_grad_()
        y = operation.run({path: x})[0]
        (derivative,) = torch.autograd.grad(y.sum(), x, allow_unused=True, materialize_grads=True)
    return torch.where(close, derivative.nan_to_num(0, 0, 0), secant)


@rule("aten.glu")
def gated(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """a * sigmoid(b): the gate is held constant by LRP."""
    m, dim, other = only(above), operation.get(1, -1), way.reference(operation)
    a, b = operation.at(0).chunk(2, dim)
    if other is None:
        return {(0,): torch.cat([m * b.sigmoid(), torch.zeros_like(m)], dim)}
    a0, b0 = other.at(0).chunk(2, dim)
    rise = slope(b - b0, b.sigmoid() - b0.sigmoid(), b.sigmoid() * (1 - b.sigmoid()))
    return {(0,): torch.cat([m * (b.sigmoid() + b0.sigmoid()) / 2, m * (a + a0) / 2 * rise], dim)}


# -- the largest -------------------------------------------------------------------------------------------------------


@rule(*(f"aten.{name}" for name in (
    "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin", "max",
    "min", "topk", "sort",
)))  # fmt: skip
def largest(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """The winner takes all. DeepLift: what exceeds the baseline's winner goes to ours, what falls short of it to that one."""
    if len(operation.arguments) > 1 and isinstance(operation.at(1), Tensor):
        return larger(operation, above, way)
    other = way.reference(operation)
    if other is None:
        return linear(operation, above, way)
    m, y, y0, sign = only(above), operation.result, other.result, -1 if "min" in operation.name else 1
    top = sign * torch.maximum(sign * y, sign * y0)
    mine, theirs = (_route(each, part) for each, part in ((operation, m * (top - y0)), (other, m * (y - top))))
    dx = operation.at(0) - other.at(0)
    return {(0,): torch.where(dx.abs() < 1e-10, 0, (mine + theirs) / torch.where(dx == 0, 1, dx))}


def _route(operation: Operation, relevance: Tensor) -> Tensor:
    with torch.enable_grad():
        x = operation.at(0).detach().requires_grad_()
        return torch.autograd.grad(operation.run({(0,): x})[0], x, relevance)[0]


@rule("aten.maximum", "aten.minimum")
def larger(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b)."""
    m, other = only(above), way.reference(operation)
    a, b = operation.at(0), operation.at(1)
    d, d0 = a - b, torch.zeros_like(a - b) if other is None else other.at(0) - other.at(1)
    share = slope(d - d0, d.relu() - d0.relu(), (d > 0).to(m))
    share = 1 - share if "min" in operation.name else share
    found: Multipliers = {(0,): (m * share).sum_to_size(a.shape), (1,): (m * (1 - share)).sum_to_size(b.shape)}
    if other is None:
        for path in set(found) - set(operation.inputs):
            way.absorb(found[path] * operation.at(*path))
    return found


# -- softmax -----------------------------------------------------------------------------------------------------------


@rule("aten._softmax", "aten._safe_softmax", "aten.softmax")
def softmax(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """LRP: its linear part where it is (Achtibat et al., 2024); DeepLift: exponential, sum, quotient, one after the other."""
    m, x, y, other, dim = only(above), operation.at(0), operation.result, way.reference(operation), operation.get(1)
    if other is None:
        down = y * (m - (m * y).sum(dim, keepdim=True))
        way.absorb(m * y)
        way.absorb(-torch.where(y == 0, 0, down * x))
        return {(0,): down}
    x0 = other.at(0)
    (e, s), (e0, s0), top = *_powers(x, x0, dim), torch.maximum(x, x0).amax(dim, keepdim=True)
    to_sum = -(m * (e + e0)).sum(dim, keepdim=True) / (2 * s * s0)
    return {(0,): (m * (1 / s + 1 / s0) / 2 + to_sum) * _power_slope(x, x0, e, e0, top)}


@rule("aten._log_softmax", "aten.log_softmax")
def log_softmax(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """x - logsumexp(x)."""
    m, dim = only(above), operation.get(1)
    return {(0,): m + _log_sum(operation, -m.sum(dim, keepdim=True), dim, way)}


@rule("aten.logsumexp")
def log_sum(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """The logarithm of the sum of exponentials, over one axis."""
    m, dims = only(above), operation.get(1)
    dim = dims if isinstance(dims, int) else dims[0]
    return {(0,): _log_sum(operation, m if operation.get(2, False) else m.unsqueeze(dim), dim, way)}


def _log_sum(operation: Operation, m: Tensor, dim: int, way: Way) -> Tensor:
    x, other = operation.at(0), way.reference(operation)
    if other is None:
        weight = x.softmax(dim)
        way.absorb(m * x.logsumexp(dim, keepdim=True))
        way.absorb(-torch.where(weight == 0, 0, m * weight * x))
        return m * weight
    x0 = other.at(0)
    (e, s), (e0, s0), top = *_powers(x, x0, dim), torch.maximum(x, x0).amax(dim, keepdim=True)
    return m * slope(s - s0, s.log() - s0.log(), 1 / s) * _power_slope(x, x0, e, e0, top)


def _powers(x: Tensor, x0: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Exponentials and their sums of both, over the largest of both, which softmax does not notice."""
    top = torch.maximum(x, x0).amax(dim, keepdim=True)
    e, e0 = (x - top).exp(), (x0 - top).exp()
    return (e, e.sum(dim, keepdim=True)), (e0, e0.sum(dim, keepdim=True))


def _power_slope(x: Tensor, x0: Tensor, e: Tensor, e0: Tensor, top: Tensor) -> Tensor:
    masked = ~torch.isfinite(x) | ~torch.isfinite(x0)
    return torch.where(masked, 0, slope(torch.where(masked, 0, x - x0), e - e0, e))
