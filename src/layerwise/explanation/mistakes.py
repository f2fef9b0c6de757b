"""Where is the model wrong?"""

from __future__ import annotations

import itertools

import numpy as np

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.findings import Confused, Fit, Mistakes, Score

CLASSES = 20  # classes in the confusion matrix


def score(look: Look) -> Score | None:
    """The error on the labelled rows; None where there is none."""
    known = look.came.known
    if not look.subject.classifies or not len(known):
        return None
    true = look.came.y[known]
    wrong, counts = int((look.said[known] != true).sum()), np.bincount(true)
    low, high = lens.interval(wrong, len(known))
    return Score(
        rows=len(known), wrong=wrong, error=wrong / len(known), low=low, high=high,
        baseline=1 - int(counts.max()) / len(known), commonest=int(counts.argmax()),
    )  # fmt: skip


def fit(look: Look) -> Fit | None:
    """How well values are foretold on the rows with targets; None where there are fewer than two."""
    if look.numbers is None or look.came.targets is None:
        return None
    known = np.isfinite(look.came.targets).all(1)
    true, said = look.came.targets[known], look.numbers.double().numpy()[known]
    if len(true) < 2:
        return None
    error, spread = (np.sqrt(np.square(each).mean(0)) for each in (said - true, true - true.mean(0)))
    explained = np.where(spread > 0, 1 - np.square(error / np.where(spread > 0, spread, 1)), np.nan)
    return Fit(len(true), error.tolist(), spread.tolist(), explained.tolist())


def of(look: Look) -> Mistakes | None:
    """The confusion matrix and the surest mistakes; None (with the reason) for what does not classify."""
    known = look.came.known
    if not look.subject.classifies or not len(known):
        look.left_out.setdefault("Mistakes", "no row has a label, so there is nothing to compare the answers with")
        return None
    true, said = look.came.y[known], look.said[known]
    matrix = lens.confusion(true, said, len(look.came.classes))
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:CLASSES])
    pairs = lens.most_confused(true, said, look.sure[known], pairs=8, rows=6)
    confused = [Confused(p.true, p.said, p.count, known[p.rows].tolist(), p.sure) for p in pairs]
    return Mistakes(kept.tolist(), matrix[np.ix_(kept, kept)].tolist(), confused, len(matrix) - len(kept))


def surest(mistakes: Mistakes | None) -> list[int]:
    """The surest rows of each confusion, and then the next."""
    rows = [each.rows for each in mistakes.confused] if mistakes else []
    return [row for line in itertools.zip_longest(*rows) for row in line if row is not None]
