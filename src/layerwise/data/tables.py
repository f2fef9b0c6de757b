"""Tables of numbers in text: CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts, unpacked

LABELS = ("label", "class", "target", "y")
"""Columns that hold the labels unless another is named."""

Line = tuple[int, list[str]]
"""A line's number in the file, from 1, and its cells."""


def read_csv(path: Path, label: str | int | None = None) -> Parts:
    """A table of numbers, one row a line, with or without a header; packed by gzip or not.

    Arguments:
        path: Cells are parted by commas, semicolons or tabs, whichever the first line has most of.
        label: Name or number (from 1; -1 is the last) of the column of labels; its empty cells are rows without
            one. By default a column called label, class, target or y, if there is a header; "" = none.

    Raises:
        ValueError: If a line is of another length than the first, a cell is not a finite number, the column
            of labels is not there or holds fractions, or there are no rows.
    """
    try:
        with unpacked(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            return _read(path, _lines(text), label)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not CSV in UTF-8 ({error}). Export it as plain CSV, UTF-8.") from error


def _read(path: Path, lines: Iterator[Line], label: str | int | None) -> Parts:
    first = list(islice(lines, 20))
    header = first.pop(0)[1] if _is_header([cells for _, cells in first]) else []
    if not first:
        raise ValueError(f"{path} has no rows. A table has at least one line of numbers.")
    columns = _Columns(path, header, width=len(header or first[0][1]), label=label)
    values, labels = array("d"), list[str]()
    for number, cells in chain(first, lines):
        labels += columns.split(number, cells)
        values.extend(columns.numbers(number, cells))
    x, names = np.array(values).reshape(-1, columns.width), columns.names
    note = "" if columns.label is None else f"labels from {columns.title(columns.label)}"
    if names[:1] == ("",) and len(names) > 1 and np.array_equal(x[:, 0], np.arange(len(x))):
        # pandas numbers the rows so: kept, the order of the file would be a feature.
        x, names, note = x[:, 1:], names[1:], "; ".join(filter(None, (note, "unnamed column of row numbers left out")))
    return parts([Piece(x, np.array(labels, dtype=np.str_) if labels else None)], path.name, names=names, note=note)


class _Columns:
    """What the columns of one file are; takes its lines apart."""

    def __init__(self, path: Path, header: list[str], width: int, label: str | int | None) -> None:
        self.path, self.header, self.cells = path, header, width
        self.label = self._find(label)
        self.names = tuple(name for index, name in enumerate(header) if index != self.label)
        self.width = width - (self.label is not None)
        if not self.width:
            raise ValueError(f"{path} has no column besides the labels. Add the features, one column each.")

    def title(self, index: int) -> str:
        return f"column {index + 1}" + (f" ({self.header[index]!r})" if self.header and self.header[index] else "")

    def split(self, number: int, cells: list[str]) -> list[str]:
        """Takes the label out of a line's cells, and gives it."""
        if len(cells) != self.cells:
            raise ValueError(
                f"{self.path}, line {number}: {len(cells)} cells, where the first line has "
                f"{self.cells}. Mend the line; text that holds the separator belongs in quotes."
            )
        return [] if self.label is None else [self._class(number, cells.pop(self.label))]

    def numbers(self, number: int, cells: list[str]) -> list[float]:
        """The numbers of a line without its label."""
        try:
            values = list(map(float, cells))
            if math.isfinite(sum(values)):
                return values
        except ValueError:
            pass
        for index, cell in enumerate(cells):
            if not math.isfinite(_number(cell)):
                raise ValueError(self._complaint(number, index, cell))
        return values

    def _complaint(self, number: int, index: int, cell: str) -> str:
        """What is wrong with a cell that is no number; `index` does not count the column of labels."""
        index += self.label is not None and index >= self.label
        what = f"{self.path}, line {number}, {self.title(index)}: {cell!r} is not a finite number. "
        if _is_missing(cell):
            return what + "Fill the missing value in, or leave the row or the column out."
        classes = f"If the column holds the classes, say label={index + 1}. " if self.label is None else ""
        return what + classes + "Turn other text into numbers, or leave the column out."

    def _class(self, number: int, cell: str) -> str:
        """A label as text, the 3.0 that pandas makes of a 3 as 3."""
        if whole := re.fullmatch(r"(-?\d+)\.0*", cell):
            return whole[1]
        if re.fullmatch(r"-?\d*\.\d+", cell):
            raise ValueError(
                f"{self.path}, line {number}, {self.title(self.label or 0)}: labels are classes, but this "
                f"is the fraction {cell}. Name another column (label=...), or label='' for none."
            )
        return cell

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
        if not 1 <= abs(position) <= self.cells:
            names = f"the columns {', '.join(self.header[:20])}" if self.header else "no header"
            raise ValueError(
                f"{self.path} has {self.cells} columns and {names}, but no single column {label!r}. "
                f"Give a name, or a number from 1 to {self.cells} (-1 is the last)."
            )
        return position - 1 if position > 0 else self.cells + position


def _lines(text: TextIO) -> Iterator[Line]:
    """The lines that are not blank."""
    start = text.readline()
    reader = csv.reader(chain([start], text), delimiter=max(",;\t", key=start.count), skipinitialspace=True)
    return ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells)))


def _is_header(lines: Sequence[list[str]]) -> bool:
    """Whether the first line names the columns: it has text above numbers, only text, or the word for labels."""
    if not lines:
        return False
    head, body = lines[0], lines[1:]
    below = [[cells[index] for cells in body if index < len(cells) and cells[index]] for index in range(len(head))]
    # A lone y may be a class: the letters of UCI begin so.
    text_above_numbers = any(
        _is_text(cell) and column and not any(map(_is_text, column)) for cell, column in zip(head, below, strict=True)
    )
    only_text = all(map(_is_text, head)) and len(set(head)) == len(head)
    return text_above_numbers or only_text or any(cell.lower() in LABELS[:3] for cell in head)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_missing(cell: str) -> bool:
    return cell.lower() in ("", "?", "na", "n/a", "nan", "null", "none")


def _is_text(cell: str) -> bool:
    return not _is_missing(cell) and math.isnan(_number(cell))
