"""`Dataset`: rows as they are stored, their labels, and what a row is (`Row`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from layerwise.data.disk import picked
from layerwise.data.row import Array, Floats, Index, Labels, Row
from layerwise.rows import LazyRows


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows as they are stored, and what is known about them.

    Arguments:
        x: Shape ``(n, *row.stored)``, of any real dtype (text: strings); may be a read-only memory map.
        y: Shape (n,), int64: an index into `classes`, -1 = no label. None where there are no labels at all.
        classes: Names of the classes.
        row: What one row is.
        name: Of the set.
        note: Where it is from: which part, what was resized, left out, scaled.
        lengths: Of clips that were padded or cut: how many frames each had, shape (n,), int64.
        files: Of a folder or zip: the file of each row, as it is called there, shape (n,), strings.

    Raises:
        ValueError: If these do not fit together.

    Example:
        >>> from layerwise.data import load
        >>> digits = load("digits", "test")
        >>> digits.x.shape, digits.x.dtype, digits.row.high
        ((500, 8, 8), dtype('uint8'), 16.0)
        >>> digits.matrix(slice(0, 3)).shape
        (3, 64)
    """

    x: Array
    y: Labels | None
    classes: tuple[str, ...]
    row: Row
    name: str
    note: str = ""
    lengths: Labels | None = None
    files: Array | None = None

    def __post_init__(self) -> None:
        if self.x.shape[1:] != self.row.stored:
            raise ValueError(f"{self.name}: rows of shape {self.x.shape[1:]} are not rows of shape {self.row.stored}.")
        if self.y is None:
            return
        if self.y.shape != (len(self.x),):
            raise ValueError(f"{self.name}: {len(self.x)} rows, but labels of shape {self.y.shape}. Give one per row.")
        if self.y.dtype != np.int64:
            raise ValueError(f"{self.name}: labels are int64, not {self.y.dtype}. Convert them with y.astype('int64').")
        if len(self.y) and not -1 <= self.y.min() <= self.y.max() < len(self.classes):
            raise ValueError(
                f"{self.name}: labels span {self.y.min()}..{self.y.max()}, but there are "
                f"{len(self.classes)} classes. They run from 0, and -1 means no label."
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def labelled(self) -> int:
        """How many rows have a label."""
        return 0 if self.y is None else int((self.y >= 0).sum())

    def matrix(self, index: Index = slice(None)) -> Floats:
        """Scaled flat rows, shape (k, row.size): images in [0, 1], tables as they are.

        Of a memory map, only the rows asked for are read.
        """
        return self.row.scale(self.x[index])

    def rows(self) -> LazyRows:
        """The same as `matrix()`, shape (n, row.size), but read as rows are asked for: a memory map stays on disk."""
        return LazyRows(self.matrix, (len(self), self.row.size), source=self.x)

    def take(self, index: Index) -> Dataset:
        """The rows at `index`: of a slice nothing is copied; of a map on disk, what a mask picks stays on disk."""
        y, lengths, files = (None if each is None else each[index] for each in (self.y, self.lengths, self.files))
        mask = isinstance(index, np.ndarray) and index.dtype == bool
        x = picked(self.x, np.asarray(index)) if mask else self.x[index]
        return replace(self, x=x, y=y, lengths=lengths, files=files)

    def fitted(self, row: Row | None = None) -> Dataset:
        """The same rows, whose `row` has learned from them what it has to (or is the given one, that has)."""
        return replace(self, row=row or self.row.fitted(self.x))

    @property
    def title(self) -> str:
        """What it is, in a line."""
        how_many = "all" if self.labelled == len(self) else self.labelled
        labels = f"{len(self.classes)} classes, {how_many} labelled" if self.labelled else "no labels"
        return f"{self.name}: {self.row.words(len(self))}, {labels}"

    def describe(self) -> str:
        """What it is and what was done to get it, in one line."""
        return f"{self.title} ({self.note})" if self.note else self.title

    def lines(self) -> str:
        """The same for a terminal: a line for each thing that was done."""
        return "\n  ".join([self.title, *self.note.split("; ")]).rstrip()


__all__ = ["Array", "Dataset", "Floats", "Index", "Labels", "Row"]
