"""The rows that the page shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerwise.explanation.look import Look
from layerwise.findings import Gallery


def of(look: Look, shown: Sequence[int], heard: Sequence[int]) -> Gallery:
    """All rows `shown`, and those that can be `heard`."""
    numbers = np.unique(np.asarray(shown, dtype=np.int64))
    rows, pictured = look.came.rows(numbers), look.came.pictured
    return Gallery(
        numbers=numbers.tolist(), true=look.came.y[numbers].tolist(), said=look.said[numbers].tolist(),
        sure=look.sure[numbers].tolist(), pictures=look.came.pictures(rows) if pictured else None,
        unusual=_unusual(look, rows) if look.came.row.kind == "table" else [], texts=look.came.texts(numbers),
        sounds={str(row): sound for row, sound in zip(heard, look.came.sounds(heard), strict=True) if sound},
    )  # fmt: skip


def _unusual(look: Look, rows: np.ndarray, count: int = 5) -> list[list[tuple[str, float, float]]]:
    far, names = look.scaled(rows), look.came.columns
    order = np.argsort(-np.abs(far), axis=1, kind="stable")[:, :count]
    return [[(names[c], float(row[c]), float(z[c])) for c in top] for row, z, top in zip(rows, far, order, strict=True)]
