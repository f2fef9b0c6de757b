"""Which method is best, and which are too close to say?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranked:
    """A method's place.

    Arguments:
        place: 1 for the lowest mean error.
        behind: Its mean error minus that of the best.
        doubt: Two standard errors of that difference; NaN where there are too few draws to say.
    """

    place: int
    behind: float
    doubt: float

    @property
    def verdict(self) -> str:
        """One of "best", "close" (the difference lies within the doubt), "behind", and "unknown" (too few draws)."""
        if self.place == 1:
            return "best"
        if math.isnan(self.doubt):
            return "unknown"
        return "close" if self.behind <= self.doubt else "behind"


def rank(errors: Sequence[Sequence[float]]) -> list[Ranked]:
    """Ranks methods by the mean of their errors, one list per method, one error per draw of data and seed.

    Where all have equally many draws these are taken as the same draws, and the differences are paired.

    Example:
        >>> [method.verdict for method in rank([[0.1, 0.2, 0.3], [0.2, 0.3, 0.41]])]
        ['best', 'behind']
    """
    means = [math.fsum(draws) / len(draws) for draws in errors]
    order = sorted(range(len(errors)), key=means.__getitem__)
    best = order[0]
    return [
        Ranked(order.index(index) + 1, means[index] - means[best], _doubt(draws, errors[best]))
        for index, draws in enumerate(errors)
    ]


def _doubt(draws: Sequence[float], best: Sequence[float]) -> float:
    if len(draws) == len(best) > 1:
        return 2 * _error_of_mean([a - b for a, b in zip(draws, best, strict=True)])
    return 2 * math.hypot(_error_of_mean(draws), _error_of_mean(best))


def _error_of_mean(values: Sequence[float]) -> float:
    if len(values) < 2:
        return float("nan")
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
