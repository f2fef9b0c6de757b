"""Rules of what is linear: in all that depends on the rows, or in each of two factors that do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from layerwise.lens.attribution.layers import Convolution, Product
from layerwise.lens.attribution.rules import Multipliers, Way, by_divisor, kept, only, rule
from layerwise.lens.attribution.tape import Operation, Path

LINEAR = (
    "view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "permute", "transpose", "t", "squeeze",
    "unsqueeze", "select", "slice", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes",
    "unsafe_chunk", "unbind", "clone", "alias", "detach", "lift_fresh", "_to_copy", "contiguous", "diagonal",
    "unfold", "as_strided", "flip", "roll", "index", "index_select", "gather", "repeat", "sum", "mean", "cumsum",
    "neg", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "pixel_shuffle", "pixel_unshuffle", "im2col",
    "col2im", "tril", "triu", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
    "channel_shuffle", "rot90", "trace", "native_dropout", "view_copy",
)  # fmt: skip
AFFINE = (
    "cat", "stack", "where", "masked_fill", "fill", "constant_pad_nd", "select_scatter", "slice_scatter",
    "diagonal_scatter", "index_put", "scatter", "scatter_add", "index_add", "index_copy", "zeros_like",
    "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "rsub", "lerp", "masked_scatter",
)  # fmt: skip


@rule(*(f"aten.{name}" for name in LINEAR))
def linear(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """The transposed map, whichever it is."""
    with torch.enable_grad():
        leaves = {path: operation.at(*path).detach().requires_grad_() for path in operation.inputs}
        made = operation.run(leaves)
        used = [(y, m) for y, m in zip(made, above, strict=True) if m is not None and y.requires_grad]
        if not used:
            return {}
        ys, ms = zip(*used, strict=True)
        slopes = torch.autograd.grad(ys, list(leaves.values()), ms, allow_unused=True)
    return {path: slope for path, slope in zip(leaves, slopes, strict=True) if slope is not None}


@rule(*(f"aten.{name}" for name in AFFINE))
def affine(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """The transposed map; what comes out of zeros is constant."""
    if way.reference(operation) is None:
        constant = operation.run({path: torch.zeros_like(operation.at(*path)) for path in operation.inputs})
        way.absorb(kept(only(above), constant[0]))
    return linear(operation, above, way)


@rule("aten.add", "aten.sub")
def plus(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A sum: each summand gets the multiplier as it is."""
    m, scale = only(above), operation.named.get("alpha", 1)
    if len(operation.arguments) > 2:  # add.Scalar(x, other, alpha)
        scale = operation.arguments[2]
    scale = -scale if operation.name.rstrip("_").endswith("sub") else scale
    found: Multipliers = {}
    for path, factor in (((0,), 1), ((1,), scale)):
        summand = operation.at(*path)
        if path in operation.inputs:
            found[path] = (m * factor if factor != 1 else m).sum_to_size(summand.shape)
        elif way.reference(operation) is None:
            way.absorb(kept(m, summand * factor))
    return found


@rule("aten.copy")
def copy(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """Of the first argument only its shape is taken."""
    m, source = only(above), operation.at(1)
    if (1,) in operation.inputs:
        return {(1,): m.sum_to_size(source.shape)}
    if way.reference(operation) is None:
        way.absorb(kept(m, source))
    return {}


# -- layers with weights -----------------------------------------------------------------------------------------------


@rule("aten.convolution", "aten._convolution", "aten.cudnn_convolution")
def convolution(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A layer with weights."""
    if list(operation.inputs) != [(0,)]:
        raise way.refuse(operation, "its weights depending on the rows")
    return {(0,): way.weighted(operation, Convolution(operation), only(above))}


@rule("aten.mm", "aten.bmm", "aten.mv")
def matrix(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A layer with weights, if one of the two is constant; a product, if both depend on the rows."""
    return _matrices(operation, (0,), (1,), None, only(above), way)


@rule("aten.addmm", "aten.baddbmm")
def add_matrix(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A layer with weights and a bias."""
    if operation.named.get("beta", 1) != 1 or operation.named.get("alpha", 1) != 1:
        raise way.refuse(operation, "with alpha or beta")
    m, bias = only(above), operation.at(0)
    if (0,) not in operation.inputs:
        return _matrices(operation, (1,), (2,), bias, m, way)
    return {(0,): m.sum_to_size(bias.shape)} | _matrices(operation, (1,), (2,), None, m, way)


def _matrices(operation: Operation, left: Path, right: Path, bias: Tensor | None, m: Tensor, way: Way) -> Multipliers:
    a, b, y = operation.at(*left), operation.at(*right), operation.result
    if b.ndim == 1:  # a vector is a matrix of one column
        return _by_vector(operation, left, right, m, way)
    if right not in operation.inputs:
        return {left: way.weighted(operation, Product(a, b, bias, y), m)}
    if left not in operation.inputs:
        turned = None if bias is None else bias.expand(y.shape).mT
        return {right: way.weighted(operation, Product(b.mT, a.mT, turned, y.mT), m.mT).mT}
    if bias is not None and way.reference(operation) is None:
        way.absorb(m * bias)
    to_a, to_b = _both(operation, left, right, way)
    found: Multipliers = {}
    if to_a is not None:
        found[left] = m @ to_a.mT
    if to_b is not None:
        found[right] = to_b.mT @ m
    return found


def _by_vector(operation: Operation, left: Path, right: Path, m: Tensor, way: Way) -> Multipliers:
    a, b, y = operation.at(*left), operation.at(*right), operation.result
    if right not in operation.inputs:
        return {left: way.weighted(operation, Product(a, b[:, None], None, y[:, None]), m[:, None])}
    if left not in operation.inputs:
        return {right: way.weighted(operation, Product(b[None], a.mT, None, y[None]), m[None])[0]}
    to_a, to_b = _both(operation, left, right, way)
    found: Multipliers = {} if to_a is None else {left: m[:, None] * to_a}
    return found if to_b is None else found | {right: to_b.mT @ m}


# -- products of two things that depend on the rows --------------------------------------------------------------------


def _both(operation: Operation, left: Path, right: Path, way: Way) -> tuple[Tensor | None, Tensor | None]:
    """What the multiplier of a product a * b is multiplied with on its way to a, and to b; None if nothing goes there.

    DeepLift: the mean of the other factor over both passes, so that both differences are accounted for exactly. LRP: all goes
    to the signal if the other is a gate (Arras et al., 2017; Ali et al., 2022), and half to each if neither is.
    """
    a, b, other = operation.at(*left), operation.at(*right), way.reference(operation)
    if other is not None:
        return (b + other.at(*right)) / 2, (a + other.at(*left)) / 2
    gates = way.is_gate(operation, left), way.is_gate(operation, right)
    if gates == (True, False):
        return None, a
    if gates == (False, True):
        return b, None
    return b / 2, a / 2


@rule("aten.mul")
def times(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A product, element by element."""
    m, a, b = only(above), operation.at(0), operation.at(1)
    if (1,) not in operation.inputs:
        return {(0,): (m * b).sum_to_size(a.shape)}
    if (0,) not in operation.inputs:
        return {(1,): (m * a).sum_to_size(b.shape)}
    to_a, to_b = _divided(operation, way) or _both(operation, (0,), (1,), way)
    found: Multipliers = {}
    if to_a is not None:
        found[(0,)] = (m * to_a).sum_to_size(a.shape)
    if to_b is not None:
        found[(1,)] = (m * to_b).sum_to_size(b.shape)
    return found


def _divided(operation: Operation, way: Way) -> tuple[Tensor, Tensor] | None:
    """What `_both` gives, for a product with what was made as 1 / s, which is a quotient; None if it is none."""
    other = way.reference(operation)
    for one, inverse in (((0,), (1,)), ((1,), (0,))):
        if other is not None and way.is_inverse(operation, inverse):
            a, r, a0, r0 = operation.at(*one), operation.at(*inverse), other.at(*one), other.at(*inverse)
            if (r * r0 > 0).all():
                to_a, to_s = by_divisor(a, 1 / r, a0, 1 / r0)
                to_r = -to_s / (r * r0)  # a difference of r is -r r0 times that of s
                return (to_a, to_r) if one == (0,) else (to_r, to_a)
    return None


@rule("aten.div")
def over(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    """A quotient. LRP holds the divisor constant, as the norm it mostly is; DeepLift follows both.

    Where the divisor changes its sign, DeepLift takes it for a product with 1 / b.
    """
    if operation.named.get("rounding_mode"):
        raise way.refuse(operation, "rounded")
    m, a, b, other = only(above), operation.at(0), operation.at(1), way.reference(operation)
    if (1,) not in operation.inputs:
        return {(0,): (m / b).sum_to_size(a.shape)}
    if other is None:
        if (0,) not in operation.inputs:
            raise way.refuse(operation, "a constant divided by what depends on the rows")
        return {(0,): (m / b).sum_to_size(a.shape)}
    a0, b0 = other.at(0), other.at(1)
    alike, (to_a, to_b) = b * b0 > 0, by_divisor(a, b, a0, b0)
    found: Multipliers = {(1,): (m * torch.where(alike, to_b, -(a + a0) / (2 * b * b0))).sum_to_size(b.shape)}
    if (0,) in operation.inputs:
        found[(0,)] = (m * torch.where(alike, to_a, (1 / b + 1 / b0) / 2)).sum_to_size(a.shape)
    return found
