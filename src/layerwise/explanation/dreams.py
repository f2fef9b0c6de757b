"""What does the model imagine?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from layerwise.explanation.look import COLUMNS, EXAMPLES, Look
from layerwise.findings import Dreams

EACH = 10  # dreams per class
STEPS = 200  # Gibbs steps of a dream


def of(look: Look) -> Dreams | None:
    """Rows generated for each class; None (with the reason) where nothing dreams."""
    dream, classes = look.subject.dream, look.subject.classes
    if dream is None or classes is None:
        return None
    count = min(len(classes), EXAMPLES)
    index = np.repeat(np.arange(count), EACH)
    rows = dream(np.asarray(classes)[index], STEPS, look.seed)
    said = look.subject.log_proba(rows).argmax(1) if look.subject.log_proba else index
    agree = (said == index).reshape(count, EACH).sum(1)
    dreams = Dreams(list(range(count)), EACH, STEPS, agree.tolist(), len(rows), int(agree.sum()))
    if not look.came.pictured:
        return _dreamed_means(look, dreams, rows)
    pictures = look.came.pictures(rows)
    return replace(dreams, pictures=pictures.reshape(count, EACH, *pictures.shape[1:]))


def _dreamed_means(look: Look, dreams: Dreams, rows: np.ndarray) -> Dreams:
    """With the mean row per class of the dreams and of real rows, in standard deviations of each column."""
    count, labels, scaled = len(dreams.classes), look.came.y[look.chosen], look.scaled(look.rows.numpy())
    real = np.full((count, look.came.row.size), np.nan)
    for label in np.unique(labels[(labels >= 0) & (labels < count)]):
        real[label] = scaled[labels == label].mean(0)
    means, seen = look.scaled(rows).reshape(count, dreams.each, -1).mean(1), np.nan_to_num(real)
    top = np.sort(np.argsort(-(seen.std(0) + means.std(0)), kind="stable")[:COLUMNS])
    scale = float(max(np.abs(means).max(), np.abs(seen).max()))
    return replace(dreams, means=means[:, top], real=real[:, top], scale=scale, columns=look.names(top))
