"""Where is a classifier wrong, and how sure is that figure?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def interval(wrong: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval that holds the true error rate, given `wrong` of `rows` independent rows (Wilson, 1927); 95 % by default.

    It speaks of the sampling of the test rows only, not of the luck of training.

    Raises:
        ValueError: If there are no rows, or more wrong ones than rows.

    Example:
        >>> [round(end, 3) for end in interval(5, 100)]
        [0.022, 0.112]
    """
    if not 0 <= wrong <= rows or rows < 1:
        raise ValueError(
            f"{wrong} wrong of {rows} rows is no error rate: there is at least one row, and no more wrong ones."
        )
    rate, spread = wrong / rows, z * z / rows
    middle = rate + spread / 2
    half = z * math.sqrt(rate * (1 - rate) / rows + spread / (4 * rows))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return (0.0 if wrong == 0 else low), (1.0 if wrong == rows else high)


def confusion(true: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """How many rows of each class (down) were called each class (across), shape (classes, classes).

    Arguments:
        true, said: Class indices in [0, classes), shape (n,).

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    return np.bincount(true * classes + said, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Mistaken:
    """Rows of class `true` that were called `said`: how many, and the surest of them (indices, probabilities)."""

    true: int
    said: int
    count: int
    rows: list[int]
    sure: list[float]


def most_confused(true: np.ndarray, said: np.ndarray, sure: np.ndarray, *, pairs: int, rows: int) -> list[Mistaken]:
    """The most frequent mistakes, each with the `rows` rows that the classifier was surest of.

    Arguments:
        true, said: Class indices, shape (n,).
        sure: Probability given to the class said, shape (n,).

    Example:
        >>> most_confused(np.array([0, 0, 1]), np.array([1, 1, 1]), np.array([0.6, 0.9, 0.8]), pairs=3, rows=1)
        [Mistaken(true=0, said=1, count=2, rows=[1], sure=[0.9])]
    """
    wrong = np.flatnonzero(true != said)
    kinds, counts = np.unique(np.stack([true[wrong], said[wrong]], 1), axis=0, return_counts=True)
    found = []
    for index in np.argsort(-counts, kind="stable")[:pairs]:
        t, s = (int(code) for code in kinds[index])
        mine = wrong[(true[wrong] == t) & (said[wrong] == s)]
        mine = mine[np.argsort(-sure[mine], kind="stable")][:rows]
        found.append(Mistaken(t, s, int(counts[index]), mine.tolist(), [float(p) for p in sure[mine]]))
    return found
