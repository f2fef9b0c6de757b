"""How well are people known again by embeddings, who are not those that the embeddings were learned on?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise.lens.tradeoff import tradeoff

DRAWS = 10


@dataclass(frozen=True)
class Recognition:
    """Shares in [0, 1], each a mean over draws of which rows are enrolled.

    Arguments:
        people, rows: How many were there.
        errors: By the number of rows enrolled of everybody: of the other rows, the share that gets a wrong name.
        equal_error: Equal error rate of "unknown" where only half of the people are enrolled (by `enrolled` rows each), so
            that half of the queries are of strangers; who gets a wrong name counts as not known again. None for fewer than
            four people.
    """

    people: int
    rows: int
    errors: dict[int, float]
    equal_error: float | None
    enrolled: int


def recognition(
    embeddings: npt.ArrayLike, y: npt.ArrayLike, enrolled: Sequence[int] = (5, 3, 1), draws: int = DRAWS
) -> Recognition:
    """Enrolls some rows of everybody at random, and looks whose is nearest to each of the others.

    Arguments:
        embeddings: Shape (n, size), near each other for rows of one person.
        y: Who each row is of, shape (n,).
        enrolled: How many rows of everybody; numbers that leave nobody a row to ask for are left out.

    Raises:
        ValueError: If there are fewer than two people, or nobody has two rows.

    Example:
        >>> recognition([[0, 0], [0, 1], [9, 0], [9, 1]], [0, 0, 1, 1]).errors
        {1: 0.0}
    """
    near, who = similarities(np.asarray(embeddings, np.float64)), np.asarray(y)
    people, counts = np.unique(who, return_counts=True)
    possible = [count for count in enrolled if (counts > count).all()] or [
        count for count in enrolled if (counts > count).any()
    ]
    if len(people) < 2 or not possible:
        raise ValueError(f"{len(people)} people with up to {counts.max(initial=0)} rows each: nobody can be taken for another "
                         "unless there are two, with two rows each.")  # fmt: skip
    errors = {count: statistics.fmean(_wrong(near, who, count, draw) for draw in range(draws)) for count in possible}
    found = [_equal_error(near, who, possible[0], draw) for draw in range(draws)] if len(people) >= 4 else []
    return Recognition(len(people), len(who), errors, statistics.fmean(found) if found else None, possible[0])


def similarities(e: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Minus the distances between all embeddings, shape (n, n): of those of length 1 in the order of their cosines."""
    squares = (e**2).sum(1)
    return -np.sqrt((squares[:, None] + squares - 2 * e @ e.T).clip(0))


Which = npt.NDArray[np.int64]


def _wrong(near: npt.NDArray[np.float64], y: npt.NDArray[np.generic], count: int, seed: int) -> float:
    held, asked = _drawn(y, count, seed)
    return float((y[held][near[np.ix_(asked, held)].argmax(1)] != y[asked]).mean())


def _equal_error(near: npt.NDArray[np.float64], y: npt.NDArray[np.generic], count: int, seed: int) -> float:
    held, asked = _drawn(y, count, seed)
    people = np.unique(y)
    members = np.random.RandomState(seed).permutation(people)[: len(people) // 2]
    held = held[np.isin(y[held], members)]
    scores = near[np.ix_(asked, held)]
    right, known = y[held][scores.argmax(1)] == y[asked], np.isin(y[asked], members)
    return tradeoff(scores.max(1)[known], scores.max(1)[~known], right[known]).equal_error


def _drawn(y: npt.NDArray[np.generic], count: int, seed: int) -> tuple[Which, Which]:
    """Which rows are enrolled, so many of everybody, and which are asked for."""
    random = np.random.RandomState(seed)
    orders = [random.permutation(np.flatnonzero(y == person)) for person in np.unique(y)]
    return np.concatenate([order[:count] for order in orders]), np.concatenate([order[count:] for order in orders])
