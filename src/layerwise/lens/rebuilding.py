"""What does a code keep of the input: how well can the input be rebuilt from it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Rebuilt:
    """How well rows were rebuilt, in the data's own units or in those of `scale`.

    Arguments:
        error: Squared error per row, summed over the features, mean over the rows.
        baseline: The same for rebuilding every row as the mean of these rows: the total variance.
        explained: Share of each feature's variance about its mean that is rebuilt, shape (features,); 1 is perfect, 0 is as
            good as the mean, below 0 is worse. NaN for a constant feature.
    """

    error: float
    baseline: float
    explained: np.ndarray

    @property
    def share(self) -> float:
        """Share of all variance that is rebuilt: 1 - error / baseline; NaN if nothing varies."""
        return 1 - self.error / self.baseline if self.baseline else float("nan")


@torch.no_grad()
def rebuild(
    through: Callable[[Tensor], Tensor],
    rows: Tensor,
    codes: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    size: int = 500,
) -> Rebuilt:
    """Squared errors of what comes back, in float64, `size` rows at a time, beside those of the mean row.

    Arguments:
        through: From rows (n, features) to rows of the same shape: encode and decode; or from `codes`, if they are given.
        rows: Shape (n, features), n >= 1.
        codes: Shape (n, ...): what the rows are rebuilt from.
        scale: Units to measure each feature's error in, shape (features,), > 0: columns of a table are not comparable
            otherwise.

    Raises:
        ValueError: If what comes back has another shape.

    Example:
        >>> rebuild(lambda x: x / 2, torch.tensor([[2.0], [-2.0]])).share
        0.75
    """
    miss = torch.zeros(rows.shape[1], dtype=torch.float64)
    mean = rows.double().mean(0)
    scatter = torch.zeros_like(miss)
    for x, code in zip(rows.split(size), (rows if codes is None else codes).split(size), strict=True):
        back = through(code).to("cpu")
        if back.shape != x.shape:
            raise ValueError(
                f"Rows of shape {tuple(x.shape)} came back as {tuple(back.shape)}: they cannot be compared."
            )
        miss += (back.double() - x.double()).square().sum(0)
        scatter += (x.double() - mean).square().sum(0)
    if scale is not None:
        miss, scatter = miss / scale.double().square(), scatter / scale.double().square()
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(scatter.numpy() > 0, 1 - miss.numpy() / scatter.numpy(), np.nan)
    return Rebuilt(float(miss.sum()) / len(rows), float(scatter.sum()) / len(rows), explained)
