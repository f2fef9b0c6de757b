"""Maps made by covering parts of a row and looking at what the answer loses."""

from __future__ import annotations

import itertools
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
        windows = _windows(shape, *self._sizes(shape))
        scores = question.scores(size=size)
        lost, covers = torch.zeros_like(points), torch.zeros(shape, dtype=points.dtype, device=points.device)
        for where in windows:
            covers[where] += 1
        work = list(itertools.product(range(len(points)), range(len(windows))))
        for start in range(0, len(work), size):
            pairs = work[start : start + size]
            index = torch.tensor([row for row, _ in pairs], device=points.device)
            covered = points[index]
            for at, (row, number) in enumerate(pairs):
                covered[at][windows[number]] = base[row][windows[number]]
            losses = scores[index] - question.scores(covered, index, size)
            for (row, number), loss in zip(pairs, losses, strict=True):
                lost[row][windows[number]] += loss
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


def _windows(shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[slice, ...]]:
    starts = [
        range(0, -(-(size - width) // stride) * stride + 1, stride)
        for size, width, stride in zip(shape, window, strides, strict=True)
    ]
    return [
        tuple(slice(start, start + width) for start, width in zip(corner, window, strict=True))
        for corner in itertools.product(*starts)
    ]
