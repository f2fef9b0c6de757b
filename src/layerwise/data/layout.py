"""From the columns of a table as they came to data sets: which column is what, and what is said of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from layerwise.data.arrays import Parts
from layerwise.data.columns import (
    MANY,
    MISSING,
    TYPES,
    Cells,
    Column,
    ColumnsRow,
    Stored,
    categories,
    guess,
    store,
    written,
)  # fmt: skip
from layerwise.data.dataset import Array, Dataset, Row
from layerwise.data.disk import Pile, empty
from layerwise.data.labels import encode

LABELS = ("label", "class", "target", "y")
"""Columns that hold the labels unless another is named."""

LABELLESS = MISSING - {"none"}
"""How tables write that a row has no label; "none" may well be a class."""

BLOCK = 1 << 16  # rows handled at once where a table is larger than memory

Types = Mapping[str, str]
"""What columns are, by name or number from 1: see `columns.TYPES`."""


class Table(NamedTuple):
    """A table as it came.

    Arguments:
        layout: Which column is what.
        columns: All but the labels.
        labels: For each row an index, shape (n,), into texts, -1 = none, and these; None where there is no column of them.
        where: What a row, from 0, is called in messages: line 17.
        note: What was done to it.
    """

    layout: Layout
    columns: list[Cells]
    labels: tuple[Array, list[str]] | None
    where: Callable[[int], str]
    note: str


class Layout:
    """Which column of a table is what.

    Arguments:
        place: Of the table, for messages.
        header: Names of the columns; empty where they have none.
        width: How many there are.
        label: As `read_csv` takes it.
        types: As `read_csv` takes it.
        like: As `read_csv` takes it.
    """

    def __init__(
        self,
        place: str,
        header: Sequence[str],
        width: int,
        label: str | int | None,
        types: Types | None,
        like: Row | None,
    ) -> None:
        self.place, self.header, self.width = place, list(header), width
        self.like = like if like is not None and like.kind == "table" else None
        self.learned = None if self.like is None else columns_of(self.like)
        self.named = bool(header) and (self.like is None or bool(names_of(self.like)))
        self.label = self._find(label) if self.learned is None else self._find_or_not(label, self.learned)
        self.features = [index for index in range(width) if index != self.label]
        if not self.features:
            raise ValueError(f"{place} has no column besides the labels. Add the features, one column each.")
        self.types = self._types(types or {}) if self.learned is None else self._learned_types(self.learned)

    def title(self, index: int) -> str:
        """The column for messages: column 3 ('hours')."""
        return f"column {index + 1}" + (f" ({self.header[index]!r})" if self.header and self.header[index] else "")

    def matched(self, columns: list[Cells]) -> list[tuple[Cells, Column]]:
        """The columns that a model learned from, as they came and as they were, by name if both have names."""
        learned, came = self.learned or [], [cells.name for cells in columns]
        if self.named and came != [column.name for column in learned]:
            used = [column for column in learned if column.type != "leave out"]
            if absent := [column.name for column in used if column.name not in came]:
                more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
                raise ValueError(
                    f"{self.place} lacks the column {absent[0]!r}{more}, which the model learned from. It has "
                    f"{', '.join(came[:10])}{', ...' * (len(came) > 10)}."
                )
            return [(columns[came.index(column.name)], column) for column in used]
        if len(columns) != len(learned):
            raise ValueError(
                f"{self.place} has rows of {len(columns)} columns, but the model learned rows of {len(learned)} columns. "
                "Give it a table with the same columns."
            )
        return [(cells, column) for cells, column in zip(columns, learned, strict=True) if column.type != "leave out"]

    def _types(self, types: Types) -> dict[int, str]:
        """The types asked for, by the index of the column."""
        found: dict[int, str] = {}
        for name, kind in types.items():
            if kind not in TYPES:
                raise ValueError(
                    f"{self.place}: a column is of type {', '.join(map(repr, TYPES))}, but for {name!r} came {kind!r}."
                )
            named = [index for index in self.features if self.header and self.header[index] == str(name)]
            number = int(name) - 1 if re.fullmatch(r"\d+", str(name)) else -1
            if not named and number not in self.features:
                names = [self.header[index] if self.header else str(index + 1) for index in self.features]
                raise ValueError(
                    f"{self.place}: there is no column {name!r} to be of type {kind!r}. Columns besides the labels are "
                    f"{', '.join(names[:20])}{', ...' * (len(names) > 20)}."
                )
            found |= dict.fromkeys(named or [number], kind)
        return found

    def _learned_types(self, learned: list[Column]) -> dict[int, str]:
        """The types that a model knows, by the index of the column."""
        if not self.named:
            return {index: column.type for index, column in zip(self.features, learned)}
        known = {column.name: column.type for column in learned}
        return {index: known[self.header[index]] for index in self.features if self.header[index] in known}

    def _find_or_not(self, label: str | int | None, learned: list[Column]) -> int | None:
        """Index of the column of labels; None where the table has only the columns that the model learned from."""
        if not self.named and self.width == len(learned):
            return None
        try:
            index = self._find(label)
        except ValueError:
            return None
        names = {column.name for column in learned}
        return None if index is None or (self.named and self.header[index] in names) else index

    def _find(self, label: str | int | None) -> int | None:
        """Index of the column of labels; None if there is none."""
        lower = [name.lower() for name in self.header]
        if label is None:
            return next((lower.index(name) for name in LABELS if name in lower), None)
        if label == "":
            return None
        if isinstance(label, str) and self.header.count(label) == 1:
            return self.header.index(label)
        position = int(label) if re.fullmatch(r"-?\d+", str(label)) else 0
        if not 1 <= abs(position) <= self.width:
            names = f"the columns {', '.join(self.header[:20])}" if self.header else "no header"
            raise ValueError(
                f"{self.place} has {self.width} columns and {names}, but no single column {label!r}. "
                f"Give a name, or a number from 1 to {self.width} (-1 is the last)."
            )
        return position - 1 if position > 0 else self.width + position


def columns_of(row: Row) -> list[Column]:
    """The columns that a model learned from."""
    if isinstance(row, ColumnsRow):
        return list(row.columns)
    return [Column(name, "number") for name in row.names or [f"column {number}" for number in range(1, row.size + 1)]]


def names_of(row: Row) -> list[str]:
    """Names of the columns that a model learned from; empty where the table had none."""
    named = row.header if isinstance(row, ColumnsRow) else bool(row.names)
    return [column.name for column in columns_of(row) if column.type != "leave out"] if named else []


# -- from a table to data sets -----------------------------------------------------------------------------------------


def data_sets(table: Table, name: str, *parts: slice | Array) -> Parts:
    """Data sets of a table: one of all rows, or the training and test part at the indices given."""
    row = table.layout.like
    pairs = _typed(table) if row is None else table.layout.matched(table.columns)
    complaint, used = _Complaint(table), [pair for pair in pairs if pair[1].type != "leave out"]
    if type(row) is Row:
        _refuse_missing(used, complaint)
    x = _matrix([store(cells, column, complaint) for cells, column in used])
    plain = type(row) is Row if row is not None else _is_plain(table, pairs)
    if row is None and plain:
        names = tuple(column.name for _, column in used)
        row = Row("table", x.shape[1:], names=names if table.layout.header else ())
    elif row is None:
        unlearned = ColumnsRow.of([column for _, column in pairs], bool(table.layout.header))
        row = unlearned.fitted(x[parts[0]] if parts else x)
    note = "; ".join(filter(None, (table.note, *_notes(pairs, plain))))
    return _split(Dataset(x, *_encoded(table, name), row, name, note), parts)


def _typed(table: Table) -> list[tuple[Cells, Column]]:
    """The columns and what they are, guessed or as it was said."""
    found = []
    for cells in table.columns:
        kind = table.layout.types.get(cells.number - 1) or guess(cells)[0]
        found.append((cells, Column(cells.called, kind, categories(cells) if kind == "category" else ())))
    if all(column.type == "leave out" for _, column in found):
        raise ValueError(
            f"{table.layout.place}: no column is left to learn from: {'; '.join(filter(None, _notes(found, True)))}. "
            "Say what they are, as in types={'name': 'category'} or --types name=category."
        )
    return found


def _is_plain(table: Table, pairs: list[tuple[Cells, Column]]) -> bool:
    """Whether a row is nothing but numbers. Without a header, columns that are left out have to be remembered."""
    used = [(cells, column) for cells, column in pairs if column.type != "leave out"]
    numbers = all(column.type == "number" and not cells.missing for cells, column in used)
    return numbers and (bool(table.layout.header) or len(used) == len(pairs))


def _refuse_missing(pairs: list[tuple[Cells, Column]], complaint: _Complaint) -> None:
    """Raises an error if a model that learned from numbers alone would be shown that one is missing."""
    for cells, _ in pairs:
        if cells.missing:
            lacking = np.isnan(cells.values) if cells.kind in ("number", "date") else cells.values < 0
            raise complaint(cells, lacking, "missing")


def _matrix(columns: list[Stored]) -> Array:
    """Columns side by side, shape (n, columns), float64, in a temporary file where they are large."""
    if (
        all(each.table is None for each in columns)
        and (whole := _side_by_side([each.values for each in columns])) is not None
    ):
        return whole
    x = empty((len(columns[0].values), len(columns)), np.float64)
    for start in range(0, len(x), BLOCK):
        some = slice(start, start + BLOCK)
        for at, column in enumerate(columns):
            x[some, at] = column.some(some)
    return x


def _side_by_side(columns: list[Array]) -> Array | None:
    """The matrix on disk whose columns these are already, in this order."""
    whole = columns[0].base
    if not isinstance(whole, np.memmap) or whole.shape != (len(columns[0]), len(columns)):
        return None
    inside = [whole[:, at].ctypes.data for at in range(len(columns))]
    return whole if [each.ctypes.data for each in columns] == inside else None


def _encoded(table: Table, name: str) -> tuple[Array | None, tuple[str, ...]]:
    """The labels as indices into the classes, and those."""
    if table.labels is None:
        return None, ()
    codes, texts = table.labels
    try:
        (y,), classes = encode([np.array([*texts, ""], np.str_)])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    assert y is not None
    return y[codes], classes


def _split(whole: Dataset, parts: Sequence[slice | Array]) -> Parts:
    """The whole, or its training and test part."""
    if not parts:
        return (whole,)
    return tuple(
        Dataset(
            whole.x[part], whole.y[part] if whole.y is not None else None, whole.classes, whole.row, whole.name,
            "; ".join(filter(None, (f"{which} part of its own split", whole.note))),
        )
        for which, part in zip(("training", "test"), parts, strict=True)
    )  # fmt: skip


def _notes(pairs: list[tuple[Cells, Column]], plain: bool) -> list[str]:
    """What the columns were taken for, which are left out, and where values are missing."""
    used = [(cells, column) for cells, column in pairs if column.type != "leave out"]
    kinds = Counter(column.type for _, column in used)
    types = "" if plain else ", ".join(_plural(kinds[kind], kind) for kind in TYPES if kinds[kind])
    left_out = [
        _quoted(cells) + (f", which {why}" if (why := guess(cells)[1]) else "")
        for cells, column in pairs
        if column.type == "leave out"
    ]
    lacking = [f"{_quoted(cells)} ({cells.missing})" for cells, _ in used if cells.missing]
    said = {"left out: ": _listed(left_out, "; "), "missing in ": _listed(lacking, ", ")}
    return [types, *(what + which for what, which in said.items() if which)]


def _quoted(cells: Cells) -> str:
    return repr(cells.name) if cells.name else cells.called


def _listed(what: list[str], by: str) -> str:
    """Some of a list, and how many more there are."""
    return by.join(what[:4]) + (f"{by}and {len(what) - 4} more" if len(what) > 4 else "")


def _plural(count: int, kind: str) -> str:
    ending = "" if count == 1 else "ies" if kind == "category" else "s"
    return f"{count} {kind.removesuffix('y') if ending == 'ies' else kind}{ending}"


class _Complaint:
    """Makes the error about values that cannot be."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __call__(self, cells: Cells, bad: Array, what: str) -> ValueError:
        row, count = int(np.argmax(bad)), int(bad.sum())
        text = (
            cells.texts[int(cells.values[row])] if cells.kind in ("text", "category") and cells.values[row] >= 0 else ""
        )
        value = text or (written(cells.values[row : row + 1])[0] if cells.kind in ("number", "date") else "")
        more = f" (and so are {count - 1} more)" if count > 1 else ""
        return ValueError(
            f"{self.table.layout.place}, {self.table.where(row)}, {cells.title}: {value!r} is {what}{more}. "
            + self._advice(cells, what)
        )

    def _advice(self, cells: Cells, what: str) -> str:
        if what == "missing":
            return "The model learned from a table where nothing is missing: fill the value in, or leave the row out."
        if self.table.layout.like is not None:
            return "The model learned other values from this column: mend them, or leave the rows out."
        name = cells.name or str(cells.number)
        return f"Mend it, or say what the column is: types={{{name!r}: 'category'}}, or 'leave out' (--types {name}=category)."


def assembled(layout: Layout, found: list[Cells], where: Callable[[int], str]) -> Table:
    """The table of all its columns, those that number the rows for pandas left out, labels apart."""
    labels = None if layout.label is None else _classes(layout, found[layout.label], where)
    columns = [found[index] for index in layout.features]
    note = "" if layout.label is None else f"labels from {layout.title(layout.label)}"
    if _is_index(columns, layout):
        # Kept, the order of the file would be a feature.
        columns, note = columns[1:], "; ".join(filter(None, (note, "unnamed column of row numbers left out")))
    return Table(layout, columns, labels, where, note)


def _is_index(columns: list[Cells], layout: Layout) -> bool:
    """Whether the first column is the row numbers that pandas writes."""
    first = columns[0]
    unnamed = bool(layout.header) and first.name in ("", "Unnamed: 0") and first.kind == "number" and len(columns) > 1
    return unnamed and np.array_equal(first.values, np.arange(len(first.values)))


def _classes(layout: Layout, cells: Cells, where: Callable[[int], str]) -> tuple[Array, list[str]]:
    """Labels as indices into texts, shape (n,), -1 = none, and these."""
    if cells.kind == "lost":
        raise ValueError(
            f"{layout.place}, {cells.title} holds more than {MANY} different labels. Is it the right column?"
        )
    texts, found = list[str](), list(map(_class, cells.texts))
    for bad, text in enumerate(found):
        if text is not None:
            texts.append(text)
            continue
        row, cell = int(np.argmax(cells.values == bad)), cells.texts[bad]
        raise ValueError(
            f"{layout.place}, {where(row)}, {cells.title}: labels are classes, but this is the fraction {cell}. "
            "Name another column (label=...), or label='' for none."
        )
    return cells.values.astype(np.intp), texts


def _class(cell: str) -> str | None:
    """A label as text, the 3.0 that pandas makes of a 3 as 3; None for a fraction."""
    if whole := re.fullmatch(r"(-?\d+)\.0*", cell):
        return whole[1]
    return None if re.fullmatch(r"-?\d*\.\d+(e[-+]?\d+)?", cell) else cell


class Columns:
    """Takes the columns of a table block by block: numbers as they are, everything else as codes of its texts.

    What is no label goes to a `Pile`, which puts it on disk where it is large.

    Arguments:
        layout: Which column is what.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.each = [_Kept(LABELLESS if at == layout.label else MISSING) for at in range(layout.width)]
        self.pile, self.labels = Pile(len(layout.features)), list[Array]()

    def add(self, blocks: Sequence[tuple[str, Array]]) -> None:
        """Takes the kind and the values of the next rows, for each column: see `Cells`; codes are those of `each[at].codes`."""
        taken = [kept.add(kind, values) for kept, (kind, values) in zip(self.each, blocks, strict=True)]
        if self.layout.label is not None:
            self.labels.append(taken.pop(self.layout.label).astype(np.int32))
        self.pile.add(np.column_stack(taken))

    def cells(self) -> list[Cells]:
        """All columns, as they came."""
        x, found = self.pile.whole(), list[Cells]()
        for at, kept in enumerate(self.each):
            name = self.layout.header[at] if self.layout.header else ""
            mine = at == self.layout.label
            values = np.concatenate(self.labels) if mine else x[:, self.layout.features.index(at)]
            found.append(kept.cells(name, at + 1, values))
        return found


class _Kept:
    """What is known of a column whose values come block by block."""

    def __init__(self, missing: frozenset[str]) -> None:
        self.codes, self.missing, self.lost = Codes(missing), 0, False
        self.blocks: list[tuple[str, int]] = []
        self.counts = np.zeros(0, np.int64)

    def add(self, kind: str, values: Array) -> Array:
        """Takes note of a block; gives its values."""
        self.blocks.append((kind, len(values)))
        if kind in ("number", "date"):
            self.missing += int(np.isnan(values).sum())
        else:
            self.missing += int((values < 0).sum())
            self._count(values)
        return values

    def _count(self, codes: Array) -> None:
        if not self.lost:
            found = np.bincount(codes[codes >= 0], minlength=max(len(self.counts), len(self.codes.texts)))
            found[: len(self.counts)] += self.counts
            self.counts = found
        if len(self.codes.texts) > MANY:  # nothing that a model can learn from, and all of memory in time
            self.lost, self.counts, self.codes = True, np.zeros(0, np.int64), Codes(self.codes.missing)

    def cells(self, name: str, number: int, values: Array) -> Cells:
        """The column, its values given. Numbers of a column that holds text as well become text again."""
        kinds = {kind for kind, _ in self.blocks}
        if len(kinds) == 1 and kinds <= {"number", "date"}:
            return Cells(name, number, kinds.pop(), values, self.missing)
        start = 0
        for kind, count in self.blocks:
            if kind == "number" and not self.lost:
                codes = self.codes.of(written(values[start : start + count]))
                self._count(codes)
                values[start : start + count] = codes
            start += count
        if self.lost:
            return Cells(name, number, "lost", values, self.missing)
        kind = "category" if kinds == {"category"} else "text"
        return Cells(name, number, kind, values, self.missing, tuple(self.codes.texts), self.counts)


class Codes(dict[str, int]):
    """A number for each text, in the order they come; -1 for those that mean missing."""

    def __init__(self, missing: frozenset[str]) -> None:
        super().__init__()
        self.missing, self.texts = missing, list[str]()

    def __missing__(self, text: str) -> int:
        code = self[text] = -1 if text.lower() in self.missing else len(self.texts)
        self.texts += [text] if code >= 0 else []
        return code

    def of(self, texts: Iterable[str]) -> Array:
        """The numbers of texts, shape (n,)."""
        return np.fromiter(map(self.__getitem__, texts), np.int64)
