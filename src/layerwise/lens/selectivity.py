"""Which class does a unit tell from the others, and how well?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

LEAST = 10  # rows of each class: half of them to choose a unit's class by, half to measure


@dataclass(frozen=True)
class Selectivity:
    """How well each unit of a layer tells one class from the rest.

    Arguments:
        best: The class that the unit tells best, by half of the rows, shape (units,).
        auc: On the other half, the chance that a row of that class excites the unit more than a row of another one, shape
            (units,): 1 or 0 for a perfect detector, of the class or of its absence, 0.5 for none.
        means: Mean state per class over all rows, shape (classes, units).
        index: (m - r) / (m + r) with the mean states of the best class and of all other classes (Morcos et al., 2018), on the
            other half; NaN for a layer with states below 0.
        null: What absolute value of auc - 0.5 the most selective one unit in twenty reaches on shuffled labels.
        classes: The class indices, in the order of `means`.
        rows: How many rows measured.
    """

    best: np.ndarray
    auc: np.ndarray
    means: np.ndarray
    index: np.ndarray
    null: float
    classes: np.ndarray
    rows: int


def selectivity(codes: Tensor, labels: np.ndarray, *, seed: int = 0) -> Selectivity:
    """Class selectivity of every unit, on rows that did not choose the class, beside shuffled labels.

    Arguments:
        codes: Shape (n, units).
        labels: Class indices, shape (n,); rows below 0 are left out.
        seed: Of the halves and the shuffle.

    Raises:
        ValueError: If there are fewer than two classes, or fewer than 10 rows of one.

    Example:
        >>> import torch
        >>> y = np.repeat([0, 1], 20)
        >>> codes = torch.stack([torch.as_tensor(y).float(), torch.ones(40)], 1)
        >>> found = selectivity(codes, y)
        >>> found.auc.tolist()[1], found.means[1].tolist()
        (0.5, [1.0, 1.0])
    """
    known = np.flatnonzero(np.asarray(labels) >= 0)
    classes, own = np.unique(np.asarray(labels)[known], return_inverse=True)
    rare = np.bincount(own).min() if len(own) else 0
    if len(classes) < 2 or rare < LEAST:
        raise ValueError(
            f"Selectivity needs at least two classes of {LEAST} rows each, got {len(classes)} of at least {rare}."
        )
    x = codes.flatten(1).numpy()[known].astype(np.float32)
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(own))
    order = order[np.argsort(own[order], kind="stable")]
    first, second = order[::2], order[1::2]
    best, auc = _best(x[first], own[first], x[second], own[second])
    _, null = _best(x[first], chance.permutation(own[first]), x[second], chance.permutation(own[second]))
    return Selectivity(
        classes[best], auc, _means(x, own), _index(x[second], own[second], best),
        float(np.quantile(np.abs(null - 0.5), 0.95)), classes, len(second),
    )  # fmt: skip


def _best(x: np.ndarray, y: np.ndarray, held: np.ndarray, held_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best = np.abs(_areas(x, y) - 0.5).argmax(0)
    return best, _areas(held, held_y)[best, np.arange(x.shape[1])]


def _areas(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Area under the curve of each class against the rest, shape (classes, units), by ranks (Mann & Whitney, 1947)."""
    from scipy.stats import rankdata

    onehot = np.eye(int(y.max()) + 1)[y]
    count = onehot.sum(0)[:, None]
    ranks = onehot.T @ rankdata(x, axis=0)
    return (ranks - count * (count + 1) / 2) / (count * (len(y) - count))


def _means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    onehot = np.eye(int(y.max()) + 1)[y]
    return onehot.T @ x / onehot.sum(0)[:, None]


def _index(x: np.ndarray, y: np.ndarray, best: np.ndarray) -> np.ndarray:
    if x.min() < 0:
        return np.full(x.shape[1], np.nan)
    means, units = _means(x, y), np.arange(x.shape[1])
    high = means[best, units]
    rest = (means.sum(0) - high) / (len(means) - 1)
    return np.divide(high - rest, high + rest, out=np.zeros_like(high), where=high + rest > 0)
