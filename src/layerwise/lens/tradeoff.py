"""How often strangers are taken for somebody, and how often people are not known again, at every threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """Shares in [0, 1] of false accepts and false rejects when scores at or above a threshold are accepted.

    Arguments:
        thresholds: All scores that occurred, rising, and one above them, shape (k,).
        accepts: Share of the strangers that are accepted at each threshold, shape (k,), falling.
        rejects: Share of the people who are not known again at each threshold, shape (k,), rising.
        strangers, known: How many trials of each kind there were.
    """

    thresholds: npt.NDArray[np.float64]
    accepts: npt.NDArray[np.float64]
    rejects: npt.NDArray[np.float64]
    strangers: int
    known: int

    @property
    def equal_error(self) -> float:
        """Where both shares are the same, or nearest to each other: their mean there."""
        at = int(np.abs(self.accepts - self.rejects).argmin())
        return float(self.accepts[at] + self.rejects[at]) / 2

    def threshold(self, accepts: float) -> float:
        """The lowest threshold at which at most that share of the strangers is accepted.

        Raises:
            ValueError: If it is no share.
        """
        if not 0 <= accepts < 1:
            raise ValueError(f"A false-accept rate is a share in [0, 1), not {accepts}.")
        return float(self.thresholds[np.argmax(self.accepts <= accepts)])

    def at(self, threshold: float) -> tuple[float, float]:
        """The shares of false accepts and false rejects at a threshold."""
        which = int(np.searchsorted(self.thresholds, threshold))
        which = min(which, len(self.thresholds) - 1)
        return float(self.accepts[which]), float(self.rejects[which])


def tradeoff(known: npt.ArrayLike, strangers: npt.ArrayLike, right: npt.ArrayLike | None = None) -> Tradeoff:
    """The trade-off between false accepts and false rejects.

    Arguments:
        known: The best score of every row of somebody who is enrolled, shape (n,).
        strangers: That of every row of somebody who is not, shape (m,).
        right: Whether the best score was that of the right person, shape (n,); who is given another's name counts as not
            known again at every threshold (one minus the detection and identification rate; Phillips et al., 2011).

    Raises:
        ValueError: If there are no scores of one kind, or one is NaN.

    Example:
        >>> curve = tradeoff([0.9, 0.8, 0.4], [0.5, 0.1, 0.2])
        >>> round(curve.equal_error, 3), curve.threshold(0.0)
        (0.333, 0.8)
    """
    own, others = np.asarray(known, np.float64), np.asarray(strangers, np.float64)
    if not len(own) or not len(others):
        raise ValueError(f"A trade-off needs scores of both kinds, but {len(own)} of known people and {len(others)} of "
                         "strangers came.")  # fmt: skip
    if np.isnan(own).any() or np.isnan(others).any():
        raise ValueError("Some scores are NaN: the model diverged. Train it again at a smaller learning rate.")
    seen = np.unique(np.concatenate([own, others]))
    thresholds = np.append(seen, np.nextafter(seen[-1], np.inf))
    counted = np.sort(own if right is None else np.where(right, own, -np.inf))
    accepts = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    rejects = np.searchsorted(counted, thresholds) / len(own)
    return Tradeoff(thresholds, accepts, rejects, len(others), len(own))
