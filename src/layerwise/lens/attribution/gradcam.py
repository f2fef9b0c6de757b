"""A coarse map made of a layer's channels, weighed by what the answer gains from each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.lens.attribution.method import Found, Method, parts
from layerwise.lens.capture import watch
from layerwise.lens.names import wanted
from layerwise.lens.question import Question
from layerwise.lens.running import check_differentiable

EXTRA = 8  # tokens beside those of the picture, at most: for the class, for distillation, registers


class GradCAM(Method):
    """Gradient-weighted class activation map (Selvaraju et al., 2017), of convolutional layers and of grids of tokens.

    Each channel of `at` is weighed with its mean gradient; the sum over channels is stretched to the size of the row. Of a
    transformer's tokens those beside the picture's are left out.

    Arguments:
        at: The layer whose channels are added, usually the last one that still has places.
        grid: Rows and columns of a layer of tokens; None finds the grid with the picture's proportions. For rows that are
            sequences the tokens stay a sequence.
        positive: Whether only what speaks for the answer is kept.
        stretch: How: "bilinear" or "nearest".

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> GradCAM(net, at="1").attribute(torch.rand(3, 1, 8, 8), target=0).values.shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        module: nn.Module,
        at: str | nn.Module,
        *,
        layer: str | nn.Module | None = None,
        grid: tuple[int, int] | None = None,
        positive: bool = True,
        stretch: str = "bilinear",
    ) -> None:
        super().__init__(module, layer=layer)
        self.at, self.grid, self.positive, self.stretch = wanted(module, at)[0].text, grid, positive, stretch

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows, `size` at a time."""
        values, scores = [], []
        for points, index in parts(question, size):
            with torch.enable_grad(), watch(self.module, self.at) as seen:
                score = question(points.detach().requires_grad_(), index)
            check_differentiable(score)
            layer = seen.taken(len(points), score)
            if len(layer) != 1:
                raise ValueError(f"{self.at!r} gives {len(layer)} tensors in a pass. Name one: {', '.join(layer)}.")
            (one,) = layer.values()
            if not one.positions or one.gradients is None:
                raise ValueError(f"{self.at!r} gives {tuple(one.values.shape[1:])} per row: it has no places to make a map of. "
                                 "Name a layer before the places are put together.")  # fmt: skip
            state, slope = (each.movedim(one.axis, 1) for each in (one.values, one.gradients))
            coarse = (slope.flatten(2).mean(2).view(*slope.shape[:2], *(1,) * (slope.ndim - 2)) * state).sum(
                1, keepdim=True
            )
            coarse = coarse.relu() if self.positive else coarse
            values.append(self._stretched(coarse.to(points.device), tuple(points.shape[1:])))
            scores.append(score.detach())
        return Found(torch.cat(values), torch.cat(scores))

    def _stretched(self, coarse: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(n, 1, places) as (n, 1, H, W), (n, 1, T) or (n, T, 1), whichever goes with rows of this shape."""
        if len(shape) == 3:
            if coarse.ndim == 3:
                height, width = self.grid or _grid(coarse.shape[2], shape[1], shape[2])
                coarse = coarse[..., -height * width :].unflatten(2, (height, width))
            return F.interpolate(coarse, shape[1:], mode=self.stretch, **self._aligned())
        if len(shape) == 2 and coarse.ndim == 3:
            if coarse.shape[2] == shape[0]:  # (n, T, features): a value per step
                return coarse.transpose(1, 2)
            mode = "linear" if self.stretch == "bilinear" else self.stretch
            return F.interpolate(coarse, shape[1:], mode=mode, **self._aligned())
        raise ValueError(f"The places {tuple(coarse.shape[2:])} of {self.at!r} cannot be laid over rows of shape {shape}. Give "
                         "rows as pictures (channels, height, width) or sequences.")  # fmt: skip

    def _aligned(self) -> dict[str, bool]:
        return {} if self.stretch == "nearest" else {"align_corners": False}


def _grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """The grid of at most `tokens` tokens, with few left over, that has the picture's proportions."""
    for extra in range(min(EXTRA, tokens - 1) + 1):
        rows = math.isqrt((tokens - extra) * height // width)
        for guess in (rows, rows + 1):
            if guess and (tokens - extra) % guess == 0 and guess * width == (tokens - extra) // guess * height:
                return guess, (tokens - extra) // guess
    raise ValueError(f"{tokens} tokens are no grid with the proportions of a {height} x {width} picture. Say which: "
                     "grid=(rows, columns); the tokens before it are left out.")  # fmt: skip
