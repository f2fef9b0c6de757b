"""Tables in text: CSV; and the known sets that are tables."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from layerwise.data.arrays import Parts, unpacked
from layerwise.data.columns import MISSING
from layerwise.data.dataset import Array, Row
from layerwise.data.layout import LABELS, Codes, Columns, Layout, Table, Types, assembled, data_sets, names_of

LINES = 4096  # read at once

Line = tuple[int, list[str]]
"""A line's number in the file, from 1, and its cells."""


def read_csv(path: Path, label: str | int | None = None, types: Types | None = None, like: Row | None = None) -> Parts:
    """A table, one row a line, with or without a header; packed by gzip or not.

    Where all columns are numbers and no value is missing, a row is these numbers; else it is a `ColumnsRow`.

    Arguments:
        path: Cells are parted by commas, semicolons or tabs, whichever the first line has most of.
        label: Name or number (from 1; -1 is the last) of the column of labels; its empty cells are rows without
            one. By default a column called label, class, target or y, if there is a header; "" = none.
        types: What columns are where the guess is wrong, by name or number: one of `columns.TYPES`.
        like: What a row of the table was that a model learned from: types and categories are taken from it, its columns
            are found by their names, the others ignored, and the labels may be absent.

    Raises:
        ValueError: If a line is of another length than the first, a value is no number or date in a column of them, the
            column of labels is not there or holds fractions, a column of `like` is not there, or there are no rows.
    """
    with _open(path) as lines:
        return data_sets(_read(str(path), lines, label, types, like), path.name)


@contextmanager
def _open(path: Path) -> Iterator[Iterator[Line]]:
    """The lines of a CSV file that are not blank; all have to be read before it is closed."""
    try:
        with unpacked(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            yield _lines(text)
    except (UnicodeDecodeError, csv.Error) as error:
        place = f", line {_bad_line(path)}:" if isinstance(error, UnicodeDecodeError) else " is"
        raise ValueError(
            f"{path}{place} not CSV in UTF-8 ({error}). Export it as plain CSV, UTF-8; or convert it: "
            "iconv -f ENCODING -t UTF-8 (often WINDOWS-1252 or UTF-16)."
        ) from error


def _bad_line(path: Path) -> int:
    """The first line that is not UTF-8, from 1."""
    with unpacked(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number


def _read(
    place: str,
    lines: Iterator[Line],
    label: str | int | None,
    types: Types | None,
    like: Row | None,
    names: Sequence[str] = (),
) -> Table:
    """The table of these lines; `names` are those of columns in a file without a header."""
    first = list(islice(lines, 20))
    header = list(names) or (first.pop(0)[1] if _is_header([cells for _, cells in first], like) else [])
    if not first:
        raise ValueError(f"{place} has no rows. A table has at least one line of values.")
    layout = Layout(place, header, len(header or first[0][1]), label, types, like)
    columns, as_texts = Columns(layout), [_as_texts(layout, index) for index in range(layout.width)]
    numbers, rest = array("q"), chain(first, lines)
    while some := list(islice(rest, LINES)):
        _check_lengths(layout, some)
        numbers.extend(number for number, _ in some)
        columns.add(
            [
                _block(cells, kept.codes, text)
                for cells, kept, text in zip(zip(*(cells for _, cells in some)), columns.each, as_texts, strict=True)
            ]
        )
    return assembled(layout, columns.cells(), lambda row: f"line {numbers[row]}")


def _as_texts(layout: Layout, index: int) -> bool:
    """Whether the numbers of a column are not numbers: 007 and 7 are two categories."""
    return index == layout.label or layout.types.get(index) == "category"


def _check_lengths(layout: Layout, lines: Iterable[Line]) -> None:
    for number, cells in lines:
        if len(cells) != layout.width:
            raise ValueError(
                f"{layout.place}, line {number}: {len(cells)} cells, where the first line has "
                f"{layout.width}. Mend the line; text that holds the separator belongs in quotes."
            )


def _block(cells: Sequence[str], codes: Codes, text: bool) -> tuple[str, Array]:
    """Cells of one column as numbers, or else (or if `text`, where numbers are text, too) as codes; and which it is."""
    numbers = None if text else _numbers(cells, codes.missing)
    return ("text", codes.of(cells)) if numbers is None else ("number", numbers)


def _numbers(cells: Sequence[str], missing: frozenset[str]) -> Array | None:
    """The cells as numbers, NaN = missing; None if one is text, or too large for a number."""
    try:
        try:
            values = np.array(list(map(float, cells)))
        except ValueError:
            values = np.array([np.nan if cell.lower() in missing else float(cell) for cell in cells])
    except ValueError:
        return None
    return None if np.isinf(values).any() else values


def _lines(text: TextIO) -> Iterator[Line]:
    """The lines that are not blank."""
    start = text.readline()
    if "\0" in start:
        raise csv.Error("its first line holds NUL")
    reader = csv.reader(chain([start], text), delimiter=max(",;\t", key=start.count), skipinitialspace=True)
    return ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells)))


def _is_header(lines: Sequence[list[str]], like: Row | None = None) -> bool:
    """Whether the first line names the columns: it has text above numbers, only text, the word for labels, or known names."""
    if not lines:
        return False
    head, body = lines[0], lines[1:]
    if like is not None and (known := names_of(like)) and set(known) <= set(head):
        return True
    below = [[cells[index] for cells in body if index < len(cells) and cells[index]] for index in range(len(head))]
    # A lone y may be a class: the letters of UCI begin so.
    text_above_numbers = any(
        _is_text(cell) and column and not any(map(_is_text, column)) for cell, column in zip(head, below, strict=True)
    )
    only_text = all(map(_is_text, head)) and len(set(head)) == len(head)
    return text_above_numbers or only_text or any(cell.lower() in LABELS[:3] for cell in head)


def _is_text(cell: str) -> bool:
    """Whether a cell is neither missing nor a number."""
    if cell.lower() in MISSING:
        return False
    try:
        return bool(np.isnan(float(cell)))
    except ValueError:
        return True


# -- known sets -------------------------------------------------------------------------------------------------------

ADULT = ("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
         "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income")  # fmt: skip
LETTER = ("letter", "x-box", "y-box", "width", "high", "onpix", "x-bar", "y-bar", "x2bar", "y2bar", "xybar", "x2ybr",
          "xy2br", "x-ege", "xegvy", "y-ege", "yegvx")  # fmt: skip
COVTYPE = (
    "Elevation", "Aspect", "Slope", "Horizontal_Distance_To_Hydrology", "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways", "Hillshade_9am", "Hillshade_Noon", "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points", *(f"Wilderness_Area{number}" for number in range(1, 5)),
    *(f"Soil_Type{number}" for number in range(1, 41)), "Cover_Type",
)  # fmt: skip


def read_letter(folder: Path, like: Row | None = None) -> Parts:
    """UCI's letters: the first 16 000 rows to train on, the last 4000 to test on, as its authors did."""
    path = folder / "letter-recognition.data.gz"
    with _open(path) as lines:
        table = _read(str(path), lines, 1, None, like, names=LETTER)
    note = f"{table.note}; fixed split into the first 16000 rows and the last 4000"
    return data_sets(table._replace(note=note), "letter", slice(0, 16000), slice(16000, None))


def read_adult(folder: Path, like: Row | None = None) -> Parts:
    """UCI's census incomes, with its own split."""
    found = []
    for name in ("adult.data.gz", "adult.test.gz"):
        with _open(folder / name) as lines:
            # The test file begins with a comment, and its labels end in a dot.
            found.append([(at, [*cells[:-1], cells[-1].rstrip(".")]) for at, cells in lines if cells[0][:1] != "|"])
    table = _read(str(folder), chain(*found), -1, None, like, names=ADULT)
    return data_sets(table, "adult", slice(0, len(found[0])), slice(len(found[0]), None))


def read_covtype(folder: Path, like: Row | None = None) -> Parts:
    """20 000 rows of UCI's forest cover types, which has no split of its own: shuffled, then 15 000 and 5000."""
    path = folder / "covtype.20k.data.gz"
    with _open(path) as lines:
        table = _read(str(path), lines, -1, None, like, names=COVTYPE)
    order = np.random.RandomState(0).permutation(len(table.columns[0].values))
    note = f"{table.note}; fixed split of the rows, shuffled by RandomState(0), into 15000 and 5000"
    return data_sets(table._replace(note=note), "covtype", order[:15000], order[15000:])


__all__ = ["LABELS", "Line", "read_adult", "read_covtype", "read_csv", "read_letter"]
