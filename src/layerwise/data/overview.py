"""What is in a data set, for a person to check before anything learns from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from layerwise import rows
from layerwise.data.columns import Column, ColumnsRow
from layerwise.data.dataset import Array, Dataset

SHOWN = 5  # categories that are listed by name


class Line(NamedTuple):
    """A column of a table: its name, what it was taken for, how many values are missing, and what the others are."""

    column: str
    type: str
    missing: int
    values: str


def columns(data: Dataset) -> list[Line]:
    """The columns of a table, in their order; none for data of another kind.

    Example:
        >>> import pandas
        >>> from layerwise.data.frames import frame
        >>> for line in columns(frame(pandas.DataFrame({"age": [20, 40, None], "work": ["farm", "office", "farm"]}))):
        ...     print(*line, sep=" | ")
        age | number | 1 | 20 to 40
        work | category | 0 | farm (2), office (1)
    """
    if data.row.kind != "table":
        return []
    if isinstance(data.row, ColumnsRow):
        found, stored = list(data.row.columns), iter(range(len(data.row.used)))
    else:
        names = data.row.names or [f"column {number}" for number in range(1, data.row.size + 1)]
        found, stored = [Column(name, "number") for name in names], iter(range(data.row.size))
    return [_line(column, None if column.type == "leave out" else data.x[:, next(stored)]) for column in found]


def classes(data: Dataset) -> list[tuple[str, int]]:
    """Each class and how many rows have it, in their order; "no label" last, if there are such rows among others.

    Example:
        >>> from layerwise.data import load
        >>> classes(load("digits", "test"))[:2]
        [('0', 50), ('1', 51)]
    """
    if data.y is None or not data.labelled:
        return []
    counts = np.bincount(data.y[data.y >= 0], minlength=len(data.classes)).tolist()
    without = len(data) - data.labelled
    return [*zip(data.classes, counts, strict=True), *([("no label", without)] if without else [])]


def _line(column: Column, values: Array | None) -> Line:
    if values is None:
        return Line(column.name, column.type, 0, "")
    missing = sum(int(np.isnan(block).sum()) for block in _blocks(values))
    if missing == len(values):
        return Line(column.name, column.type, missing, "")
    what = _categories(column, values) if column.type == "category" else _range(column, values)
    return Line(column.name, column.type, missing, what)


def _categories(column: Column, values: Array) -> str:
    counts = np.zeros(len(column.categories), np.int64)
    for block in _blocks(values):
        counts += np.bincount(block[block >= 0].astype(np.intp), minlength=len(counts))
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    some = [f"{column.categories[index]} ({counts[index]})" for index in order if counts[index]]
    more = int((counts > 0).sum()) - len(some)
    return _joined(some, more)


def _range(column: Column, values: Array) -> str:
    low = min(np.nanmin(block) for block in _blocks(values) if not np.isnan(block).all())
    high = max(np.nanmax(block) for block in _blocks(values) if not np.isnan(block).all())
    if column.type == "date":
        return " to ".join(str(np.datetime64(int(day), "D")) for day in (low, high))
    return f"{low:.6g} to {high:.6g}"


def _joined(some: Sequence[str], more: int) -> str:
    return ", ".join(some) + (f" and {more} more" if more else "")


def _blocks(values: Array) -> Iterator[Array]:
    """A column in pieces that fit into memory."""
    step = rows.BLOCK // 8
    return (values[start : start + step] for start in range(0, len(values), step))
