"""`Row`: what one row of the data is, how it becomes numbers, and how it is shown to a person again."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Index = slice | Sequence[int] | npt.NDArray[Any]

KINDS = ("image", "table", "sound", "text")


@dataclass(frozen=True)
class Row:
    """What a row of the data is, and how to show it to a person again.

    This class is enough for images and for tables of numbers. Other kinds of data are subclasses, which say how what is
    stored (words, categories, decibels) becomes numbers: `scale` is the one way there, for training and for answers.

    Arguments:
        kind: "image", "table", "sound" or "text".
        shape: Of one row of numbers: (height, width) grey, (3, height, width) colour, (columns,) table.
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

    kind: str
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()

    ranged: ClassVar[tuple[str, ...]] = ("image", "sound")  # kinds whose stored values have a range, and a picture

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"A row is of kind {', '.join(map(repr, KINDS))}, not {self.kind!r}.")
        if min(self.shape, default=0) < 1:
            raise ValueError(f"Every axis of a row is at least 1 long, but its shape is {self.shape}.")
        if self.pictured and not (len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[0] == 3)):
            raise ValueError(f"An image row has shape (height, width) or (3, height, width), not {self.shape}.")
        if self.pictured and (self.low is None or self.high is None or not self.low < self.high):
            raise ValueError(f"An image row needs low < high, the range it is stored in, not {self.low}, {self.high}.")
        if not self.pictured and (len(self.shape) != 1 or self.low is not None or self.high is not None):
            raise ValueError(
                f"A table row has shape (columns,) and no range, not {self.shape} and {self.low}, {self.high}."
            )
        if self.names and (self.pictured or len(self.names) != self.size):
            raise ValueError(f"Only tables have names, one per column: {len(self.names)} names, shape {self.shape}.")

    @property
    def size(self) -> int:
        """Number of features."""
        return math.prod(self.shape)

    @property
    def pictured(self) -> bool:
        """Whether a row has a picture."""
        return self.kind in self.ranged

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of one row as a `Dataset` stores it, before `scale`."""
        return self.shape

    def words(self, count: int) -> str:
        """What `count` rows are, for people."""
        shape = " x ".join(map(str, self.shape[-2:]))
        if not self.pictured:
            return f"{count} rows of {shape} columns"
        return f"{count} {'colour ' if len(self.shape) == 3 else ''}images of {shape}"

    def fitted(self, stored: Array) -> Self:
        """The row that knows what has to be learned from training rows, as they are stored; here there is nothing to learn."""
        return self

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

        if not self.pictured:
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
        form = {} if type(self) is Row else {"form": type(self).__name__}
        return {**form, **asdict(self), "shape": list(self.shape), "names": list(self.names)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Row:
        """The row that `to_dict` described, of whatever class."""
        form = saved.get("form", "Row")
        if cls is Row and form != "Row":
            kind: type[Row] = getattr(importlib.import_module(FORMS[form]), form)
            return kind.from_dict(saved)
        older = {
            each.name for each in fields(cls) if each.default is not MISSING
        } - saved.keys()  # than a field with a default
        own = {each.name: saved[each.name] for each in fields(cls) if each.name not in older}
        return cls(**own | {"shape": tuple(saved["shape"]), "names": tuple(saved["names"])})


FORMS: dict[str, str] = {
    "ColumnsRow": "layerwise.data.columns", "SoundRow": "layerwise.data.spectrogram", "TextRow": "layerwise.data.tokens",
}  # fmt: skip
"""The module of each subclass, by its name."""
