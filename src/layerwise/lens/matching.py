"""Which unit of one layer answers like which unit of another, and is that more than chance?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from layerwise.lens.readout import Standard

LEAST = 20  # rows, half of them to match by and half to measure on


@dataclass(frozen=True)
class Matched:
    """Pairs of units, none used twice, whose states go together most in sum.

    Arguments:
        left, right: Indices of the units, shape (pairs,): as many pairs as the narrower layer has units.
        correlation: Of each pair on rows that did not choose it, in [-1, 1].
        chance: Mean correlation that the same search reaches on its own rows when the rows of one side are shuffled.
        rows: How many rows measured (as many others chose).
    """

    left: np.ndarray
    right: np.ndarray
    correlation: np.ndarray
    chance: float
    rows: int

    @property
    def mean(self) -> float:
        """Mean correlation of the pairs on the rows held out."""
        return float(self.correlation.mean())


def correlations(left: Tensor, right: Tensor) -> Tensor:
    """Pearson correlation of every unit on the left with every one on the right, shape (left units, right units).

    Arguments:
        left, right: Codes of the same rows, shape (n, units). A constant unit correlates with none: 0.

    Example:
        >>> correlations(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0, 1.0, 5.0], [1.0, 2.0, 5.0]])).tolist()
        [[-1.0, 1.0, 0.0]]
    """
    x, y = (Standard(codes)(codes) for codes in (left, right))
    return (x.T @ y / len(left)).clamp(-1, 1)


def match_units(left: Tensor, right: Tensor, *, seed: int = 0) -> Matched:
    """Matches the units of two layers one to one by correlation, on half of the rows, and measures on the other half.

    Linear assignment, as in Li et al. (2016, "Convergent learning", section 3). The best of many correlations is high by
    chance too: judge `mean` beside `chance`.

    Arguments:
        left, right: Codes of the same rows, shape (n, units), n >= 20.
        seed: Of the halves and the shuffle.

    Raises:
        ValueError: If the rows are too few or differ in number.

    Example:
        >>> x = torch.randn(200, 6)
        >>> found = match_units(x, x[:, [2, 0, 1, 5, 4, 3]])
        >>> found.right.tolist(), round(found.mean, 3), found.chance < 0.5
        ([1, 2, 0, 5, 4, 3], 1.0, True)
    """
    from scipy.optimize import linear_sum_assignment

    if len(left) != len(right):
        raise ValueError(f"Both layers must answer the same rows, but one has {len(left)} and the other {len(right)}.")
    if len(left) < LEAST:
        raise ValueError(f"Matching units needs at least {LEAST} rows, got {len(left)}.")
    chance = torch.Generator().manual_seed(seed)
    choose, measure = torch.randperm(len(left), generator=chance).tensor_split(2)
    a, b = left.flatten(1)[choose], right.flatten(1)[choose]
    found = correlations(a, b)
    first, second = linear_sum_assignment(found.numpy(), maximize=True)
    luck = correlations(a, b[torch.randperm(len(b), generator=chance)]).numpy()
    held = (each.flatten(1)[measure][:, at] for each, at in ((left, first), (right, second)))
    x, y = (Standard(codes)(codes) for codes in held)
    return Matched(
        first, second, (x * y).mean(0).clamp(-1, 1).numpy().astype(np.float64),
        float(luck[linear_sum_assignment(luck, maximize=True)].mean()), len(measure),
    )  # fmt: skip
