"""Learning within a budget of seconds, whatever learns: networks by their epochs, shallow methods by their rows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from layerwise.baselines import learns_from_all_rows

PROBE = 2  # batches by which a network's speed is measured first; then by more, at most four times as many, until two epochs
ENOUGH = 0.01  # of them take this share of the budget
FIRST, OF_EACH = 250, 10  # labelled rows that a shallow method begins with, or if that is more, so many per class
GROWTH = (1.0, 2.0)  # exponent of time over rows: at least, and until two fits tell; a support vector machine's is 2
MOST, UPDATES = 100, 2000  # epochs of tuning at most, or more where these make fewer updates
GROWN, GROWING = 50, 4000  # the same of pre-training
UP_DOWN = 4  # epochs of pre-training for one of up-down


@dataclass(frozen=True)
class Learned:
    """A fitted model, the rows it learned from (with a label; all rows where it looks at all), and its seconds."""

    model: Any
    rows: int
    seconds: float


def learn(model: Any, x: Any, y: np.ndarray, seconds: float, seed: int = 0) -> Learned:
    """Fits `model` to rows x, shape (n, features), and labels y, -1 where there is none, within about `seconds`.

    A network (whatever has `pretrain`) gets as many epochs as fit, by the time that a few batches take. What learns from rows
    without a label is given all rows. Anything else learns from the labelled rows: from a few hundred, drawn evenly over
    the classes, then from as many more as will be learned in what is left of the time.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> x, y = load_digits(return_X_y=True)
        >>> learn(LogisticRegression(max_iter=1000), x / 16, y, seconds=60).rows
        1797
    """
    began = time.perf_counter()
    if hasattr(model, "pretrain"):
        model = paced(model, x, y, seconds).fit(x, y)
        rows = len(x) if model.pretrain is not None else int((y >= 0).sum())
    elif learns_from_all_rows(model):
        model, rows = model.fit(x, y), len(x)
    else:
        model, rows = _growing(model, x, y, seconds, np.random.RandomState(seed))
    return Learned(model, rows, time.perf_counter() - began)


def _growing(model: Any, x: Any, y: np.ndarray, seconds: float, random: np.random.RandomState) -> tuple[Any, int]:
    """The model fitted to as many labelled rows as the seconds allow."""
    order = evenly(y, random)
    count, began = min(max(FIRST, OF_EACH * len(np.unique(y[order]))), len(order)), time.perf_counter()
    before: tuple[int, float] | None = None  # rows and seconds of the last fit
    while True:
        start = time.perf_counter()
        some = np.sort(order[:count])
        model = clone(model).fit(x[some], y[some])
        took, left = time.perf_counter() - start, seconds - (time.perf_counter() - began)
        growth = GROWTH[1] if before is None else max(GROWTH[0], _exponent(before, (count, took)))
        whole = len(order) / count
        if count == len(order) or left < took * min(1.5, whole) ** growth:
            return model, count
        before = count, took
        # The next fit may take what is left, all of it if that is enough for all rows; but small fits say little of large ones.
        share = 1.0 if took * whole**growth <= left else 0.7
        factor = max(1.5, (share * left / max(took, 1e-9)) ** (1 / growth))
        count = min(len(order), int(count * min(8.0, factor)))


def _exponent(one: tuple[int, float], other: tuple[int, float]) -> float:
    """Of time over rows, from the rows and seconds of two fits."""
    return math.log(max(other[1], 1e-9) / max(one[1], 1e-9)) / math.log(other[0] / one[0])


def evenly(y: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Indices of the labelled rows in a random order whose every beginning holds the classes in their proportions.

    Example:
        >>> y = np.repeat([0, 1], [90, 10])
        >>> np.bincount(y[evenly(y, np.random.RandomState(0))[:20]]).tolist()
        [18, 2]
    """
    known = random.permutation(np.flatnonzero(y >= 0))
    place = np.empty(len(known))
    for label in np.unique(y[known]):
        mine = y[known] == label
        place[mine] = (np.arange(mine.sum()) + 0.5) / mine.sum()
    return known[np.argsort(place, kind="stable")]


def paced(network: Any, x: Any, y: np.ndarray, seconds: float) -> Any:
    """The unfitted network with as many epochs of pre-training and tuning as take about `seconds`.

    Tuning gets what it can use, but at most half; pre-training the rest; and tuning what that leaves. (A deep belief net that
    classifies by its free energy needs none.)
    """
    began, labelled = time.perf_counter(), int((y >= 0).sum())
    pace = Pace.measure(network, x, y, seconds)
    left = seconds - (time.perf_counter() - began)
    most = max(MOST, -(-UPDATES * 16 // max(labelled, 1)))
    if network.get_params().get("classify") == "generative":
        most = 1
    grown = max(GROWN, -(-GROWING * network.batch_size // len(x)))
    if network.pretrain is not None:
        each = pace.growing * len(x)
        share = max(left / 2, left - most * pace.tuning * labelled)
        epochs = int(np.clip(share / max(each, 1e-9), 1, grown))
        network.set_params(pretrain_epochs=epochs)
        if "up_down_epochs" in network.get_params():
            network.set_params(up_down_epochs=max(1, epochs // UP_DOWN))
        left -= epochs * each
    return network.set_params(epochs=int(np.clip(left / max(pace.tuning * labelled, 1e-9), 1, most)))


@dataclass(frozen=True)
class Pace:
    """Seconds per row and epoch: of tuning, and of pre-training all layers (a quarter epoch of up-down included)."""

    tuning: float
    growing: float

    @classmethod
    def measure(cls, network: Any, x: Any, y: np.ndarray, seconds: float) -> Pace:
        """By learning from some rows, with and without what is to be measured; from more, the faster it is, up to all of them.

        Arguments:
            seconds: The budget, of which measuring takes a small share.
        """
        up_down = "up_down_epochs" in network.get_params()
        still: dict[str, Any] = {"pretrain": None, "epochs": 1} | ({"up_down_epochs": 0} if up_down else {})

        def took(count: int, **settings: Any) -> float:
            rows, labels = _sample(y, count)
            part, start = x[rows], time.perf_counter()
            clone(network).set_params(**still | settings).fit(part, labels)
            return time.perf_counter() - start

        def each(word: str, **settings: Any) -> float:
            """Of one epoch, for a row: what two more take."""
            count = first
            while True:
                more = took(count, **settings | {word: 3}) - took(count, **settings | {word: 1})
                if more >= ENOUGH * seconds or count == len(y):
                    return max(more, 0.0) / 2 / count
                count = min(len(y), int(count * min(4.0, 1.5 * ENOUGH * seconds / max(more, 1e-9))))

        first = min(len(y), max(PROBE * network.batch_size, len(np.unique(y))))
        took(first)  # the first steps of a process are slow
        tuning, growing = each("epochs"), 0.0
        if network.pretrain is not None:
            growing = each("pretrain_epochs", pretrain="greedy")
            if up_down:
                growing += each("up_down_epochs", pretrain="greedy", pretrain_epochs=1) / UP_DOWN
        return cls(tuning, growing)


def _sample(y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many rows to measure by, all of them with some label, as all classes have to be there."""
    rows = np.random.RandomState(0).permutation(len(y))[:count]
    known = np.unique(y[y >= 0])
    labels = np.where(y[rows] < 0, known[0], y[rows])
    labels[: len(known)] = known
    return rows, labels


def size_of(model: Any) -> int:
    """How many numbers a fitted model keeps to answer with: weights, supporting rows, nodes of trees."""
    if hasattr(model, "network_"):
        return sum(parameter.numel() for parameter in model.network_.parameters())
    return sum(_numbers(part) for part in _inside(model))


def _inside(model: Any) -> list[Any]:
    """The fitted parts of a pipeline, of what cross-validation chose, and of what teaches itself."""
    for name in ("best_estimator_", "estimator_"):
        if hasattr(model, name):
            return _inside(getattr(model, name))
    return [part for _, step in getattr(model, "steps", ()) for part in _inside(step)] or [model]


def _numbers(part: Any) -> int:
    if hasattr(part, "_predictors"):  # boosted trees: a feature, a threshold, two children and a value per node
        return sum(5 * tree.get_n_leaf_nodes() * 2 for line in part._predictors for tree in line)
    kept = [value for name, value in vars(part).items() if name.endswith("_") or name == "_fit_X"]
    return sum(int(getattr(value, "size", 0)) for value in kept if hasattr(value, "shape"))
