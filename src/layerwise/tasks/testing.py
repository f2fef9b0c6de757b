"""How well a saved model answers: errors by class, what is rebuilt, what surprises it."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from layerwise.data import Dataset, Story
from layerwise.estimators import DBNClassifier
from layerwise.lens import interval
from layerwise.tasks.learned import BLOCK, Learned

UNBALANCED = 1.5  # times the rows of the rarest class that the commonest may have


@dataclass(frozen=True)
class ClassScore:
    """Of the rows of a class: how many, how many of them wrong, and how the class fares when the model names it.

    Arguments:
        precision: Share of the rows called so that are so, in [0, 1]; 0 where none is called so.
        f1: Harmonic mean of precision and recall.
    """

    name: str
    rows: int
    wrong: int
    precision: float
    f1: float

    @property
    def recall(self) -> float:
        """Share of its rows that are called so."""
        return 1 - self.wrong / self.rows


@dataclass(frozen=True)
class Score:
    """How often a classifier is wrong.

    Arguments:
        head: Which of its answers were asked for: "network" or "generative".
        rows, wrong: Labelled rows, and those it got wrong.
        per_class: Of every class that has rows.
    """

    head: str
    rows: int
    wrong: int
    per_class: tuple[ClassScore, ...]

    @property
    def error(self) -> float:
        """Share of wrong rows."""
        return self.wrong / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the error rate (Wilson, 1927)."""
        return interval(self.wrong, self.rows)

    @property
    def baseline(self) -> float:
        """The error of always naming the commonest class."""
        return 1 - max(each.rows for each in self.per_class) / self.rows

    @property
    def unbalanced(self) -> bool:
        """Whether the commonest class has more than 1.5 times the rows of the rarest, so that one error rate hides classes."""
        sizes = [each.rows for each in self.per_class]
        return max(sizes) > UNBALANCED * min(sizes)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the share of their rows that is right: chance is one over their number."""
        return sum(each.recall for each in self.per_class) / len(self.per_class)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of F1."""
        return sum(each.f1 for each in self.per_class) / len(self.per_class)


@dataclass(frozen=True)
class Rebuilding:
    """Squared error per row, summed over the features in the data's own units, of an autoencoder; images lie in [0, 1].

    `baseline` is that of the mean row.
    """

    rows: int
    error: float
    baseline: float


def scores(learned: Learned, data: Dataset) -> list[Score]:
    """The error of every head of a classifier on the labelled rows: the network's first, or that which it answers with.

    Raises:
        ValueError: If no row has a label, or one has a class that the model does not know.
    """
    y = learned.codes(data)
    known = np.flatnonzero(y >= 0)
    if not len(known):
        raise ValueError(f"{data.name} has no labels to compare with. Use predict, or name their column.")
    rows = data.matrix(known)
    return [_score(learned, head, rows, y[known]) for head in heads(learned.model)]


def heads(model: Any) -> list[str]:
    """The ways to ask a classifier, its own first."""
    if not isinstance(model, DBNClassifier) or model.pretrain is None:
        return ["network"]
    return sorted(("network", "generative"), key=lambda head: head != model.classify)


def _score(learned: Learned, head: str, rows: np.ndarray, y: np.ndarray) -> Score:
    model = copy.copy(learned.model)
    if isinstance(model, DBNClassifier):
        model.classify = head
    said = model.predict_log_proba(rows).argmax(1)
    codes, sizes = np.unique(y, return_counts=True)
    precision, _, f1, _ = precision_recall_fscore_support(y, said, labels=codes, zero_division=0.0)
    wrong = [int((said[y == code] != code).sum()) for code in codes]
    each = zip(codes, sizes.tolist(), wrong, precision.tolist(), f1.tolist(), strict=True)
    per_class = tuple(ClassScore(learned.classes[code], *figures) for code, *figures in each)
    return Score(head, len(y), sum(wrong), per_class)


def surprises(learned: Learned, story: Story) -> list[tuple[str, float, float]]:
    """(what foretold the text, nats per character, perplexity per symbol) of the writer and of those who see no order.

    The frequencies are the text's own, so no table of frequencies does better.
    """
    found = learned.model.evaluate(story.text)
    counts = np.array(list(Counter(story.text[1:]).values()))
    shares = counts / counts.sum()
    frequencies, kinds = float(-(shares * np.log(shares)).sum()), len(set(story.text))
    return [
        ("the model", found.nats, found.perplexity),
        ("frequencies of its characters", frequencies, float(np.exp(frequencies))),
        ("guessing", float(np.log(kinds)), float(kinds)),
    ]


def rebuilding(learned: Learned, data: Dataset) -> Rebuilding:
    """How well the model rebuilds the rows from its codes."""
    total = 0.0
    mean = sum(data.matrix(slice(at, at + BLOCK)).sum(0, dtype=np.float64) for at in range(0, len(data), BLOCK)) / len(
        data
    )
    scatter = 0.0
    for at in range(0, len(data), BLOCK):
        rows = data.matrix(slice(at, at + BLOCK))
        back = learned.model.inverse_transform(learned.model.transform(rows))
        total += float(np.square(rows - back, dtype=np.float64).sum())
        scatter += float(np.square(rows - mean).sum())
    return Rebuilding(len(data), total / len(data), scatter / len(data))
