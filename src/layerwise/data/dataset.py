"""`Dataset`: rows as they are stored, their labels, and what a row is (`Row`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from layerwise.rows import LazyRows

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Index = slice | Sequence[int] | npt.NDArray[Any]


@dataclass(frozen=True)
class Row:
    """What a row of the data is, and how to show it to a person again.

    Arguments:
        kind: "image" or "table".
        shape: Of one row: (height, width) grey, (3, height, width) colour, (columns,) table.
        low: Smallest stored value an image can hold; scaled to 0. None for tables, which are left as they are.
        high: Largest stored value an image can hold; scaled to 1. None for tables.
        names: Of the columns, tables only; empty where they have none.

    Raises:
        ValueError: If these do not fit together.

    Example:
        >>> row = Row("image", (2, 2), low=0, high=255)
        >>> row.scale([[0, 51], [102, 255]]).tolist()
        [[0.0, 0.20000000298023224, 0.4000000059604645, 1.0]]
        >>> row.picture([0, 0.2, 0.4, 1]).size
        (2, 2)
        >>> Row.from_dict(row.to_dict()) == row
        True
    """

    kind: Literal["image", "table"]
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        image = self.kind == "image"
        if self.kind not in ("image", "table"):
            raise ValueError(f"A row is of kind 'image' or 'table', not {self.kind!r}.")
        if min(self.shape, default=0) < 1:
            raise ValueError(f"Every axis of a row is at least 1 long, but its shape is {self.shape}.")
        if image and not (len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[0] == 3)):
            raise ValueError(f"An image row has shape (height, width) or (3, height, width), not {self.shape}.")
        if image and (self.low is None or self.high is None or not self.low < self.high):
            raise ValueError(f"An image row needs low < high, the range it is stored in, not {self.low}, {self.high}.")
        if not image and (len(self.shape) != 1 or self.low is not None or self.high is not None):
            raise ValueError(
                f"A table row has shape (columns,) and no range, not {self.shape} and {self.low}, {self.high}."
            )
        if self.names and (image or len(self.names) != self.size):
            raise ValueError(f"Only tables have names, one per column: {len(self.names)} names, shape {self.shape}.")

    @property
    def size(self) -> int:
        """Number of features."""
        return math.prod(self.shape)

    def scale(self, stored: npt.ArrayLike) -> Floats:
        """Stored values as float32, shape (k, size): images in [0, 1], tables as they are."""
        rows = np.asarray(stored).reshape(-1, self.size)
        if self.low is None or self.high is None:
            return rows.astype(np.float32)
        # float32 cannot hold a wide integer or a small step on a large offset; uint8 and uint16 fit.
        wide: Array = rows.astype(np.float32 if rows.dtype.itemsize <= 2 else np.float64)
        np.divide(np.subtract(wide, self.low, out=wide), self.high - self.low, out=wide)
        return wide.astype(np.float32, copy=False)

    def picture(self, values: npt.ArrayLike) -> Image:
        """One row of scaled values as a picture, grey ("L") or colour ("RGB").

        Arguments:
            values: In [0, 1], flat or of the row's shape; what lies outside is clipped.

        Raises:
            ValueError: For a table, which has no picture; for values that are too many, too few or not numbers.
        """
        from PIL import Image

        if self.kind != "image":
            raise ValueError(f"A {self.kind} row has no picture. Print its {self.size} values, named by `Row.names`.")
        pixels = np.asarray(values, dtype=np.float64)
        if pixels.size != self.size:
            raise ValueError(
                f"A picture of shape {self.shape} takes {self.size} values, but {pixels.size} came. "
                "Give one row at a time."
            )
        if np.isnan(pixels).any():
            raise ValueError(
                f"{np.isnan(pixels).sum()} of {self.size} values are NaN: the model that made them diverged. "
                "Train it again at a smaller learning rate."
            )
        pixels = np.rint(255 * pixels.clip(0, 1)).reshape(self.shape)
        if len(self.shape) == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_dict` takes them back."""
        return {**asdict(self), "shape": list(self.shape), "names": list(self.names)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Row:
        """The row that `to_dict` described."""
        return cls(saved["kind"], tuple(saved["shape"]), saved["low"], saved["high"], tuple(saved["names"]))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows as they are stored, and what is known about them.

    Arguments:
        x: Shape (n, *row.shape), of any real dtype; may be a read-only memory map.
        y: Shape (n,), int64: an index into `classes`, -1 = no label. None where there are no labels at all.
        classes: Names of the classes.
        row: What one row is.
        name: Of the set.
        note: Where it is from: which part, what was resized, left out, scaled.

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

    def __post_init__(self) -> None:
        if self.x.shape[1:] != self.row.shape:
            raise ValueError(f"{self.name}: rows of shape {self.x.shape[1:]} are not rows of shape {self.row.shape}.")
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
        return LazyRows(self.matrix, (len(self), self.row.size))

    def take(self, index: Index) -> Dataset:
        """The rows at `index` (a slice, whole numbers or a mask); a slice copies nothing."""
        return replace(self, x=self.x[index], y=None if self.y is None else self.y[index])

    def describe(self) -> str:
        """One line for a terminal."""
        shape = " x ".join(map(str, self.row.shape[-2:]))
        what = {1: f"rows of {shape} columns", 2: f"images of {shape}", 3: f"colour images of {shape}"}
        how_many = "all" if self.labelled == len(self) else self.labelled
        labels = f"{len(self.classes)} classes, {how_many} labelled" if self.labelled else "no labels"
        line = f"{self.name}: {len(self)} {what[len(self.row.shape)]}, {labels}"
        return f"{line} ({self.note})" if self.note else line
