"""Maps made by covering parts of a row and looking at what the answer loses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layerwise.lens.attribution.method import Found, Method
from layerwise.lens.question import Question


class Occlusion(Method):
    """What the score loses if a window is covered with the baseline, averaged over the windows that hold a part (Zeiler &
    Fergus, 2014).

    It needs no gradient. The last window of an axis is cut where it would reach over the end.

    Arguments:
        window: Size of the window on each axis of a row, such as (1, 4, 4); a number means that on each axis but the channels
            of a picture, of which it covers all.
        strides: By how much it moves; None means half of the window.

    Example:
        >>> net = nn.Linear(3, 1, bias=False)
        >>> rows = torch.rand(2, 3)
        >>> torch.allclose(Occlusion(net, window=1).attribute(rows).values, rows * net.weight.detach(), atol=1e-6)
        True
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        layer: str | nn.Module | None = None,
        window: int | Sequence[int] = 4,
        strides: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(module, layer=layer)
        self.window, self.strides = window, strides

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows times windows points, `size` of them at a time."""
        points, shape = question.points, tuple(question.points.shape[1:])
        if size < 1:
            raise ValueError(f"internal_batch_size is {size}, but at least one window must fit into a pass.")
        inside = [each.to(points.device) for each in _windows(shape, *self._sizes(shape))]
        windows = math.prod(len(each) for each in inside)
        scores, lost = question.scores(size=size), torch.zeros_like(points)
        for start in range(0, len(points) * windows, size):
            number = torch.arange(start, min(start + size, len(points) * windows), device=points.device)
            index, mask = number // windows, _mask(inside, number % windows)
            covered = torch.where(mask, base[index], points[index])
            changed = (covered != points[index]).flatten(1).any(1)  # what is at the baseline already loses nothing
            if changed.any():
                covered, index, mask = covered[changed], index[changed], mask[changed]
                losses = scores[index] - question.scores(covered, index, size)
                lost.index_add_(0, index, mask * losses.to(lost).view(-1, *(1,) * len(shape)))
        covers = _outer([each.sum(0) for each in inside], [()] * len(inside))
        return Found(lost / covers.clamp_min(1), scores)

    def _sizes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if isinstance(self.window, int):
            whole = shape[:1] if len(shape) > 1 else ()  # all channels of a picture
            window = whole + (self.window,) * (len(shape) - len(whole))
        else:
            window = tuple(self.window)
        strides = tuple(max(1, each // 2) for each in window) if self.strides is None else self.strides
        strides = (strides,) * len(window) if isinstance(strides, int) else tuple(strides)
        if len(window) != len(shape) or len(strides) != len(shape) or min(window + strides, default=1) < 1:
            raise ValueError(f"A window {window} with strides {strides} does not fit rows of shape {shape}. Give one size of "
                             "at least 1 per axis.")  # fmt: skip
        return tuple(min(w, s) for w, s in zip(window, shape, strict=True)), strides


def _windows(shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]) -> list[Tensor]:
    """For each axis, which places each window along it holds: true or false, shape (windows along it, size)."""
    found = []
    for size, width, stride in zip(shape, window, strides, strict=True):
        starts = torch.arange(0, -(-(size - width) // stride) * stride + 1, stride)[:, None]
        places = torch.arange(size)
        found.append((starts <= places) & (places < starts + width))
    return found


def _mask(inside: list[Tensor], number: Tensor) -> Tensor:
    """Where windows of these numbers lie, shape (len(number), ...); the last axis counts fastest."""
    chosen: list[Tensor] = []
    for each in reversed(inside):
        chosen.insert(0, each[number % len(each)])
        number = number // len(each)
    return _outer(chosen, [(len(number),)] * len(chosen))


def _outer(factors: list[Tensor], rows: list[tuple[int, ...]]) -> Tensor:
    """Product of one factor per axis, each of shape (*rows, size of the axis)."""
    product = torch.ones((), dtype=factors[0].dtype, device=factors[0].device)
    for axis, (factor, first) in enumerate(zip(factors, rows, strict=True)):
        product = product * factor.view(*first, *(1,) * axis, -1, *(1,) * (len(factors) - axis - 1))
    return product
