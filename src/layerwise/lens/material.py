"""What came to be looked at: rows, their labels, and how to show a row to a person."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.data.dataset import Dataset, Row

PICTURE = 64  # pixels: longer sides are reduced


@dataclass(frozen=True, eq=False)
class Material:
    """Rows with their labels.

    Arguments:
        x: A Dataset, or an array, scipy sparse matrix or data frame of shape (n, features), as the model takes it.
        y: Class indices, shape (n,), -1 = no label.
        classes: Names of the classes.
        row: How to show a row; `low` and `high` are the values in x that are drawn black and white.
        name, note: Of the data.
        targets: What a model that gives values should give, shape (n, values), NaN where that is not known; None if there are
            none.
    """

    x: Any
    y: np.ndarray
    classes: tuple[str, ...]
    row: Row
    name: str = ""
    note: str = ""
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0]) if hasattr(self.x, "shape") else len(self.x)

    def rows(self, index: Any = slice(None)) -> np.ndarray:
        """Dense rows, shape (k, features), in the precision they came in."""
        if isinstance(self.x, Dataset):
            return self.x.matrix(index)
        picked = self.x.iloc[index] if hasattr(self.x, "iloc") else self.x[index]
        picked = np.asarray(picked.toarray() if hasattr(picked, "toarray") else picked)
        return picked if picked.dtype in (np.float32, np.float64) else picked.astype(np.float32)

    def tensor(self, index: Any) -> Tensor:
        """Rows as float32, shape (k, features)."""
        return torch.from_numpy(np.ascontiguousarray(self.rows(index), dtype=np.float32))

    @property
    def known(self) -> np.ndarray:
        """Indices of the labelled rows."""
        return np.flatnonzero(self.y >= 0)

    @property
    def columns(self) -> list[str]:
        """Names of the features."""
        return list(self.row.names) or [f"column {number}" for number in range(1, self.row.size + 1)]

    @property
    def pictured(self) -> bool:
        """Whether a row has a picture."""
        return self.row.pictured

    def pictures(self, values: Any) -> np.ndarray:
        """Rows of values in the data's units as pictures, uint8, shape (k, height, width) or (k, height, width, 3).

        Sides of more than 64 pixels are reduced by a whole factor.
        """
        values = np.asarray(values, dtype=np.float64)
        if not isinstance(self.x, Dataset):  # whose values are scaled already
            low, high = float(self.row.low or 0), float(self.row.high or 1)
            values = (values - low) / (high - low)
        factor = -(-max(self.row.shape[-2:]) // PICTURE)
        return np.stack([np.asarray(self.row.picture(each).reduce(factor)) for each in values])

    def texts(self, index: Any) -> list[str]:
        """The rows as text, where they are texts; else an empty list."""
        if self.row.kind != "text" or not isinstance(self.x, Dataset):
            return []
        return [" ".join(str(text).split()) for text in self.x.x[index]]

    def sounds(self, index: Sequence[int]) -> list[str]:
        """The rows to be heard, each a WAV file in base64; empty strings where they are no sounds."""
        if not hasattr(self.row, "wav") or not isinstance(self.x, Dataset):
            return [""] * len(index)
        return [base64.b64encode(self.row.wav(row)).decode("ascii") for row in self.rows(index)] if len(index) else []


def material(
    data: Any,
    row: Row | None,
    classes: Sequence[Any] | None,
    columns: Sequence[str] | None = None,
    values: int | None = None,
) -> Material:
    """Checks what came and makes a `Material` of it.

    Arguments:
        data: A `Dataset`, a tuple (X, y), or X alone.
        row: How to show a row of X; None means the Dataset's own, or a table.
        classes: The classes that the model knows; None for models that know none.
        columns: Names of the features that the model was fitted with.
        values: How many values the model gives each row: y then holds these, shape (n,) or (n, values), and NaN where they are
            not known. None for models that give something else.

    Raises:
        ValueError: If there are no rows, they do not fit the labels or `row`, or hold NaN, or there are unknown labels.

    Example:
        >>> few = material((np.eye(3), ["b", "a", "b"]), None, ["a", "b"])
        >>> len(few), few.y.tolist(), few.columns
        (3, [1, 0, 1], ['column 1', 'column 2', 'column 3'])
    """
    if isinstance(data, Dataset):
        _check_rows(len(data))
        y, names = _dataset_labels(data, classes)
        return _checked(Material(data, y, names, row or data.row, data.name, data.note))
    x, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    if hasattr(x, "tocsr"):
        x = x.tocsr()  # the one sparse format whose rows can be picked
    if len(x.shape) != 2:
        raise ValueError(f"Rows are a matrix of shape (n, features), but these have shape {tuple(x.shape)}. "
                         "Pass X, (X, y) or a layerwise.data.Dataset; flatten images with X.reshape(len(X), -1).")  # fmt: skip
    _check_rows(int(x.shape[0]))
    targets = None if values is None or labels is None else _targets(labels, x.shape[0], values)
    y, names = _codes(None if values is not None else labels, x.shape[0], classes)
    return _checked(Material(x, y, names, row or _table(x, columns), targets=targets))


def _check_rows(rows: int) -> None:
    if rows == 0:
        raise ValueError(
            "There are no rows to look at: the data has 0 rows. Pass the rows that the model was tested on."
        )


def _table(x: Any, columns: Sequence[str] | None) -> Row:
    names = [str(name) for name in (x.columns if hasattr(x, "columns") else columns if columns is not None else ())]
    return Row("table", (int(x.shape[1]),), names=tuple(names))


def _dataset_labels(data: Dataset, classes: Sequence[Any] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """A Dataset's labels are indices; a model may have been fitted with those or with the names of the classes."""
    if data.y is None or not data.labelled:
        names = data.classes if classes is None else tuple(_name_of(data, each) for each in classes)
        return np.full(len(data), -1), names
    if classes is None:
        return data.y, data.classes
    if np.asarray(classes).dtype.kind in "if":
        y, _ = _codes(data.y, len(data), classes)
        return y, tuple(_name_of(data, each) for each in classes)
    texts = np.array([*data.classes, ""])[data.y]
    codes, _ = _codes(np.where(data.y < 0, str(classes[0]), texts), len(data), classes)
    return np.where(data.y < 0, -1, codes), tuple(str(each) for each in classes)


def _name_of(data: Dataset, label: Any) -> str:
    whole = isinstance(label, int | float | np.number) and 0 <= label < len(data.classes)
    return data.classes[int(label)] if whole else str(label)


def _codes(labels: Any, rows: int, classes: Sequence[Any] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as class indices, -1 = no label, and the names of the classes."""
    if labels is None:
        return np.full(rows, -1), tuple(str(each) for each in classes) if classes is not None else ()
    y = np.asarray(labels)
    if y.shape != (rows,):
        raise ValueError(
            f"{rows} rows came with labels of shape {y.shape}. Give one label per row, -1 where there is none."
        )
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise ValueError("Labels are classes, but these hold fractions. Targets go with a model that gives values: of a "
                         'module that answers several numbers, say outputs="values".')  # fmt: skip
    known = np.unique(y[y != -1] if y.dtype.kind in "if" else y) if classes is None else np.asarray(classes)
    here = np.isin(y, known)
    missing = y == -1 if y.dtype.kind in "if" else np.zeros(rows, dtype=bool)
    if strange := np.unique(y[~here & ~missing]).tolist():
        raise ValueError(f"These labels are no classes of the model: {strange[:5]}; it knows {known.tolist()[:20]}. "
                         "Give the labels as they were given to fit; of a module whose outputs are no classes, say "
                         'outputs="values" or outputs="code".')  # fmt: skip
    order = np.argsort(known)
    codes = order[np.searchsorted(known[order], np.where(here, y, known[0]))]
    return np.where(here, codes, -1).astype(np.int64), tuple(str(each) for each in known.tolist())


def _targets(labels: Any, rows: int, values: int) -> np.ndarray:
    """What a model should give, shape (rows, values)."""
    y = np.asarray(labels)
    if y.dtype.kind not in "biuf" or y.size != rows * values or y.shape[:1] != (rows,):
        raise ValueError(f"{rows} rows of which the model foretells {values} {'value' if values == 1 else 'values'} each came "
                         f"with targets of shape {y.shape}, {y.dtype}. Give numbers of shape {(rows, values)}, NaN where one "
                         "is not known; pass X alone if there are none.")  # fmt: skip
    return y.reshape(rows, values).astype(np.float64)


def _checked(came: Material) -> Material:
    """Refuses NaN, and a row that does not fit the data."""
    features = came.x.row.size if isinstance(came.x, Dataset) else int(came.x.shape[1])
    if came.row.size != features:
        raise ValueError(f"A row has {features} features, but `row` describes {came.row.size} (shape {came.row.shape}). "
                         "Give the shape of one row as X holds it.")  # fmt: skip
    low, high = np.inf, -np.inf
    for start in range(0, len(came), 2000):
        part = came.rows(slice(start, start + 2000))
        if not np.isfinite(part).all():
            bad = int((~np.isfinite(part)).sum())
            raise ValueError(f"{bad} values of rows {start} to {start + len(part) - 1} are NaN or infinite. Fill them first, "
                             "as they were filled for fit (sklearn.impute.SimpleImputer).")  # fmt: skip
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    _check_range(came, low, high)
    return came


def _check_range(came: Material, low: float, high: float) -> None:
    if isinstance(came.x, Dataset) or came.row.low is None or came.row.high is None:
        return
    if low < high and high - came.row.low < 0.1 * (came.row.high - came.row.low):
        raise ValueError(f"X spans [{low:.3g}, {high:.3g}], but `row` draws {came.row.low:g} black and {came.row.high:g} "
                         "white: all pictures would be black. Give the range that X has: Row(..., low=0, high=1).")  # fmt: skip
