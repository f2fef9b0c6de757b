"""Columns of a table: how numbers, categories and dates, some of them missing, become numbers to learn from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from layerwise import rows
from layerwise.data.row import Array, Floats, Row

TYPES = ("number", "category", "date", "leave out")
MISSING = frozenset(("", "?", "na", "n/a", "nan", "nat", "null", "none"))
"""How tables write that a value is missing, in lower case."""

COMMON = 50  # categories of a column that have a feature of their own
NEARLY = 0.9  # share of the values that are numbers (or dates) from which on the others are taken for mistakes
FEW = 20  # so many different texts are categories, however few rows there are
NO_SPREAD = 1e-30  # a standard deviation by which a float32 may not be divided: other rows would overflow
SAMPLE = 1 << 20  # rows that a median is taken of
MANY = 1 << 20  # different texts of a column beyond which they are not kept
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Column:
    """A column of a table, and what was learned of it from training rows.

    Arguments:
        name: In the header; "column 3" where there is none.
        type: One of `TYPES`.
        categories: What the numbers that are stored for a category stand for.
        kept: Which of the categories have a feature of their own.
        rare: Which share the feature "other", because `COMMON` others are more frequent.
        missing: Whether a training row lacks a value: that gets a feature of its own, too.
        fill: What is put in for missing numbers: the median.
        mean, spread: Of the numbers, filled; 0 and 1 come of them.
    """

    name: str
    type: str
    categories: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    rare: tuple[int, ...] = ()
    missing: bool = False
    fill: float = 0.0
    mean: float = 0.0
    spread: float = 1.0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the column becomes."""
        if self.type == "leave out":
            return ()
        own = [f"{self.name}={self.categories[index]}" for index in self.kept] + [f"{self.name} other"] * bool(
            self.rare
        )
        return (*(own if self.type == "category" else [self.name]), *[f"{self.name} missing"] * self.missing)

    def with_categories(self, counts: Array, missing: bool) -> Column:
        """The column that knows how often training rows have each of its categories."""
        kept, rare = self._frequent(counts)
        return replace(self, missing=missing, kept=kept, rare=rare)

    def with_numbers(self, fill: float, mean: float, spread: float, missing: bool) -> Column:
        """The column that knows what the numbers of training rows are like."""
        spread = 1.0 if spread < NO_SPREAD else spread
        return replace(self, missing=missing, fill=fill, mean=mean, spread=spread)

    def _frequent(self, counts: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The most frequent categories and the others that occur; of equally frequent ones the first in order."""
        order = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
        return tuple(sorted(order[:COMMON])), tuple(sorted(order[COMMON:]))

    def scale(self, values: Array, out: Array) -> Array:
        """Writes the features of stored values, shape (k,), into zeros; gives the categories (k,) that have none, or -1."""
        if self.type == "category":
            return self._one_hot(values, out)
        lacking = np.isnan(values)
        out[:, 0] = (np.where(lacking, self.fill, values.astype(np.float64)) - self.mean) / self.spread
        if self.missing:
            out[:, 1] = lacking
        return np.empty(0, np.intp)

    def _one_hot(self, values: Array, out: Array) -> Array:
        known = len(self.categories)
        codes = np.where(np.isnan(values), known, values).astype(np.intp)
        feature = self._features[codes]
        on = np.flatnonzero(feature >= 0)
        out[on, feature[on]] = 1
        return codes[(feature < 0) & (codes >= 0) & (codes < known)]

    @cached_property
    def _features(self) -> Array:
        """The feature of each category, then that of missing, then (at -1) that of what was never seen; -1 = none."""
        feature = np.full(len(self.categories) + 2, -1, np.intp)
        feature[list(self.kept)] = np.arange(len(self.kept))
        feature[list(self.rare)] = len(self.kept)
        if self.missing:
            feature[-2] = len(self.features) - 1
        return feature


@dataclass(frozen=True)
class ColumnsRow(Row):
    """A row of a table with categories, dates or missing values.

    Stored is one number per column: a number as it is, a category as an index into the column's `categories` (-1 = none
    of them), a date as days since 1970-01-01; missing is NaN. Features are made of them by what the training rows
    were: numbers and dates are filled with the median and standardised, a category is 1 in a feature of its own, and
    where training rows lack values, a feature says so. A category that no training row has is 0 in all of them.

    Arguments:
        columns: In the order of the file; those that are left out are not stored.
        header: Whether the file named them; otherwise they are known by their order.

    Example:
        >>> row = ColumnsRow.of([Column("age", "number"), Column("work", "category", ("farm", "office"))])
        >>> stored = np.array([[20, 0], [40, 1], [np.nan, 0]])
        >>> row = row.fitted(stored)
        >>> row.names
        ('age', 'age missing', 'work=farm', 'work=office')
        >>> row.scale(stored).round(2).tolist()
        [[-1.22..., 0.0, 1.0, 0.0], [1.22..., 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]
        >>> Row.from_dict(row.to_dict()) == row
        True
    """

    columns: tuple[Column, ...] = ()
    header: bool = True

    @classmethod
    def of(cls, columns: Sequence[Column], header: bool = True) -> Self:
        """The row of these columns."""
        names = tuple(feature for column in columns for feature in column.features)
        if not names:  # categories that nothing is known of yet
            names = tuple(column.name for column in columns)
        return cls("table", (len(names),), names=names, columns=tuple(columns), header=header)

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that are not left out."""
        return tuple(column for column in self.columns if column.type != "leave out")

    @property
    def stored(self) -> tuple[int, ...]:
        """The number of columns that are used."""
        return (len(self.used),)

    def words(self, count: int) -> str:
        """What `count` rows are, for people."""
        return f"{count} rows of {len(self.used)} columns ({self.size} features)"

    def fitted(self, stored: Array) -> Self:
        """The row that has learned from training rows, shape (n, columns): medians, which categories there are, ...

        They are looked through in blocks, and of more than `SAMPLE` rows, the median is that of evenly spaced ones.
        """
        learned = iter(_learned(self.used, stored))
        columns = [column if column.type == "leave out" else next(learned) for column in self.columns]
        return type(self).of(columns, self.header)

    def scale(self, stored: npt.ArrayLike) -> Floats:
        """Stored values as float32, shape (k, size); warns, once per column, of categories that no training row has."""
        rows = np.asarray(stored, np.float64).reshape(-1, *self.stored)
        out, at = np.zeros((len(rows), self.size), np.float32), 0
        for values, column in zip(rows.T, self.used, strict=True):
            width = len(column.features)
            strange = column.scale(values, out[:, at : at + width])
            if len(strange) and column.name not in self._told:
                self._told.add(column.name)
                names = [column.categories[index] for index in dict.fromkeys(strange.tolist())]
                warnings.warn(unseen(column.name, names, len(strange), len(rows)), stacklevel=3)
            at += width
        return out

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Row:
        """The row that `to_dict` described."""
        lists = ("categories", "kept", "rare")
        columns = [Column(**each | {name: tuple(each[name]) for name in lists}) for each in saved["columns"]]
        return super().from_dict({**saved, "columns": tuple(columns)})

    @cached_property
    def _told(self) -> set[str]:
        """The columns that a warning was about: rows often come in many small batches."""
        return set()


def _learned(columns: Sequence[Column], stored: Array) -> list[Column]:
    """The columns that have learned from training rows, shape (n, columns)."""
    sample = np.asarray(stored[:: -(-len(stored) // SAMPLE) or 1], np.float64)
    fill = np.array([_median(values) for values in sample.T])
    n, lacking, total = len(stored), np.zeros(len(columns), np.int64), np.zeros(len(columns))
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    counts = {
        at: np.zeros(len(each.categories), np.int64) for at, each in enumerate(columns) if each.type == "category"
    }
    for block in _blocks(stored):
        lacking += np.isnan(block).sum(0)
        filled = np.where(np.isnan(block), fill, block)
        total, low, high = total + filled.sum(0), np.minimum(low, filled.min(0)), np.maximum(high, filled.max(0))
        for at, count in counts.items():
            count += np.bincount(block[:, at][block[:, at] >= 0].astype(np.intp), minlength=len(count))
    mean = total / n
    squares = sum(((np.where(np.isnan(block), fill, block) - mean) ** 2).sum(0) for block in _blocks(stored))
    spread = np.where(low == high, 0.0, np.sqrt(squares / n))
    return [
        column.with_categories(counts[at], bool(lacking[at]))
        if at in counts
        else column.with_numbers(float(fill[at]), float(mean[at]), float(spread[at]), bool(lacking[at]))
        for at, column in enumerate(columns)
    ]


def _median(values: Array) -> float:
    """Of the values that are there; 0 if none is."""
    here = values[~np.isnan(values)]
    return float(np.median(here)) if len(here) else 0.0


def _blocks(stored: Array) -> Iterator[Array]:
    """Rows in pieces that fit into memory."""
    step = max(1, rows.BLOCK // (8 * max(1, stored.shape[1])))
    return (np.asarray(stored[start : start + step], np.float64) for start in range(0, len(stored), step))


def unseen(name: str, categories: Sequence[str], count: int, rows: int) -> str:
    """The warning about categories that no training row has."""
    some = " or ".join(map(repr, categories[:3])) + (f" or {len(categories) - 3} more" if len(categories) > 3 else "")
    return (
        f"Column {name!r}: {count} of {rows} rows {'has' if count == 1 else 'have'} {some}, which no training row has. All "
        "its features are 0 there; if that matters, let the model learn from rows like these."
    )


# -- from what is in a file to what is stored ------------------------------------------------------------------------------


class Cells(NamedTuple):
    """The values of a column as they came.

    Arguments:
        name: In the header; "" where there is none.
        number: Of the column in the file, from 1.
        kind: "number", "date", "category", "text" that may be any of them, or "lost": of more than `MANY` texts.
        values: Shape (n,): numbers, or days since 1970-01-01, NaN = missing; else indices into `texts`, -1 = missing.
        missing: How many values are.
        texts: The different texts.
        counts: How often each of them occurs, if that is known.
    """

    name: str
    number: int
    kind: str
    values: Array
    missing: int
    texts: tuple[str, ...] = ()
    counts: Array | None = None

    @property
    def title(self) -> str:
        """The column for messages: column 3 ('hours')."""
        return f"column {self.number}" + (f" ({self.name!r})" if self.name else "")

    @property
    def called(self) -> str:
        """What the column is called."""
        return self.name or f"column {self.number}"


def guess(cells: Cells) -> tuple[str, str]:
    """The type that the values look like, and why, if they are left out."""
    if cells.kind == "lost":
        return "leave out", f"holds more than {MANY} different texts"
    counts = _counts(cells)
    filled, distinct = len(cells.values) - cells.missing, int((counts > 0).sum())
    if not filled:
        return "leave out", "holds nothing"
    if cells.kind != "text":
        return cells.kind, ""
    for kind, readable in (("number", ~np.isnan(_numbers(cells.texts))), ("date", ~np.isnan(days(cells.texts)))):
        if counts[readable].sum() >= NEARLY * filled:
            return kind, ""
    if distinct > max(FEW, filled / 2):
        return "leave out", f"holds {distinct} different texts in {filled} rows (free text is read with text=...)"
    return "category", ""


def categories(cells: Cells) -> tuple[str, ...]:
    """The categories that occur, numbers by value before texts by the alphabet.

    Example:
        >>> categories(Cells("a", 1, "text", np.array([0, 1, 2, 0, -1]), 1, ("10", "few", "9", "unused")))
        ('9', '10', 'few')
    """
    if cells.kind == "lost":
        return ()
    found = _as_text(cells)
    present = [text for text, count in zip(found.texts, _counts(found), strict=True) if count]
    return tuple(sorted(present, key=lambda text: (np.isnan(_number(text)), np.nan_to_num(_number(text)), text)))


@dataclass(frozen=True)
class Stored:
    """How the values of a column, shape (n,), become what is stored: as they are, or by a table that they index."""

    values: Array
    table: Array | None = None

    def some(self, rows: slice) -> Array:
        """What is stored of some rows, shape (k,), float64."""
        values = self.values[rows]
        return values if self.table is None else self.table[values.astype(np.intp)]


def store(cells: Cells, column: Column, complain: Callable[[Cells, Array, str], Exception]) -> Stored:
    """What becomes of the values; warns of categories that `column` does not know.

    Arguments:
        complain: Makes the error about the values where a mask, shape (n,), is true, and what is wrong with them.

    Raises:
        ValueError: If a value is no number or no date where it should be.
    """
    if cells.kind == "lost":
        raise complain(
            cells, np.ones(1, bool), f"one of more than {MANY} different texts, too many for a {column.type}"
        )
    if column.type == "category":
        return _indices(_as_text(cells), column)
    if cells.kind in ("number", "date"):
        if cells.kind != column.type:
            raise complain(cells, ~np.isnan(cells.values), f"a {cells.kind}, not a {column.type}")
        # What is on disk was looked through when it was written there: column by column it is slow to read.
        if not isinstance(cells.values, np.memmap) and (bad := np.isinf(cells.values)).any():
            raise complain(cells, bad, "not a finite number")
        return Stored(cells.values)
    known = _numbers(cells.texts) if column.type == "number" else days(cells.texts)
    strange = ~np.isfinite(known) & (_counts(cells) > 0)
    if strange.any():
        bad = np.append(strange, False)[cells.values.astype(np.intp)]
        raise complain(cells, bad, "not a finite number" if column.type == "number" else "not a date")
    return Stored(cells.values, np.append(known, np.nan))


def days(texts: Sequence[str]) -> Array:
    """Dates and times as days since 1970-01-01, shape (n,), NaN = no date.

    Read are 2024-01-31, 2024/01/31, 31.1.2024 and, where every date can be read so, 1/31/2024, else 31/1/2024; a time may
    follow.

    Example:
        >>> days(["1970-01-02", "3.1.1970 12:00", "soon"]).tolist()
        [1.0, 2.5, nan]
    """
    found = np.full(len(texts), np.nan)
    parsed = [(at, match) for at, text in enumerate(texts) if (match := DATE.fullmatch(text))]
    day_first = any(int(match["first"] or 0) > 12 for _, match in parsed)
    for at, match in parsed:
        try:
            found[at] = (np.datetime64(_iso(match, day_first), "s") - np.datetime64(0, "s")) / DAY
        except ValueError:  # the 31st of February
            continue
        found[at] -= _offset(match["zone"])
    return found


DATE = re.compile(
    r"(?:(?P<y>\d{4})[-/](?P<m>\d\d?)[-/](?P<d>\d\d?)|(?P<dd>\d\d?)\.(?P<dm>\d\d?)\.(?P<dy>\d{4})"
    r"|(?P<first>\d\d?)/(?P<second>\d\d?)/(?P<sy>\d{4}))"
    r"(?:[T ](?P<hour>\d\d?):(?P<min>\d\d)(?::(?P<sec>\d\d)(?:\.\d+)?)?)? ?(?P<zone>Z|UTC|[-+]\d\d:?\d\d)?"
)


def _iso(date: re.Match[str], day_first: bool) -> str:
    """A date as numpy reads it."""
    month, day = (date["second"], date["first"]) if day_first else (date["first"], date["second"])
    year = date["y"] or date["dy"] or date["sy"]
    month, day = date["m"] or date["dm"] or month, date["d"] or date["dd"] or day
    return f"{year}-{month:0>2}-{day:0>2}T{date['hour'] or '0':0>2}:{date['min'] or '00'}:{date['sec'] or '00'}"


def _offset(zone: str | None) -> float:
    """How far a zone's clock is ahead of UTC, in days."""
    if not zone or zone in ("Z", "UTC"):
        return 0.0
    return float(f"{zone[0]}1") * (int(zone[1:3]) * 60 + int(zone[-2:])) / 1440


def _counts(cells: Cells) -> Array:
    """How often each text occurs."""
    if cells.kind in ("number", "date"):
        return np.empty(0, np.int64)
    if cells.counts is not None:
        return cells.counts
    return np.bincount(cells.values[cells.values >= 0].astype(np.intp), minlength=len(cells.texts))


def _numbers(texts: Sequence[str]) -> Array:
    """Texts as numbers, NaN where they are none."""
    return np.array([_number(text) for text in texts], np.float64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def written(values: Array) -> list[str]:
    """Numbers as a person writes them, 3 rather than 3.0; "" for NaN."""
    return [
        "" if value != value else str(int(value)) if value.is_integer() else repr(value) for value in values.tolist()
    ]


def _as_text(cells: Cells) -> Cells:
    """Cells of numbers as text."""
    if cells.kind not in ("number", "date"):
        return cells
    found, codes = np.unique(cells.values, return_inverse=True)
    texts = written(found) if cells.kind == "number" else [str(np.datetime64(round(day * 86400), "s")) for day in found]
    lacking = np.isnan(cells.values)
    return cells._replace(kind="text", values=np.where(lacking, -1, codes), texts=tuple(texts))


def _indices(cells: Cells, column: Column) -> Stored:
    """Texts as indices into the categories of a column."""
    index = {text: float(at) for at, text in enumerate(column.categories)}
    table = np.array([*(index.get(text, -1.0) for text in cells.texts), np.nan])
    present = _counts(cells)
    if count := int(present[table[:-1] < 0].sum()):
        names = [text for text, often in zip(cells.texts, present, strict=True) if often and text not in index]
        warnings.warn(unseen(column.name, names, count, len(cells.values)), stacklevel=5)
    return Stored(cells.values, table)
