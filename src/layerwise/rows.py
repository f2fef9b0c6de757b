"""Rows that stay where they are, on disk or in a smaller type, until they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

MEMORY = 2**29  # bytes of rows, or of codes, that are held in memory before they stay on or go to disk
BLOCK = 1 << 24  # bytes read at once where all rows are looked through


class LazyRows:
    """Rows, shape (n, features), that are read when they are asked for: what is on disk stays there.

    `read(index)`, for a slice or whole numbers, gives rows as an array of `dtype`. It stands wherever an array of rows
    does: estimators and `Batches` take it. `source` is the array or memory map that they are read from, row by row in
    its order, if there is one: `Batches` shuffles what is on disk in blocks.

    Example:
        >>> rows = LazyRows(lambda index: np.arange(6.0)[index, None] / 10, (6, 1), np.float64)
        >>> rows[2:4].tolist(), float(rows.max())
        ([[0.2], [0.3]], 0.5)
    """

    def __init__(
        self, read: Callable[[Any], np.ndarray], shape: tuple[int, int], dtype: Any = np.float32, source: Any = None
    ) -> None:
        self.read, self.shape, self.dtype, self.source = read, shape, np.dtype(dtype), source

    @classmethod
    def of(cls, x: np.ndarray) -> LazyRows:
        """The rows of an array or memory map, shape (n, features), as float32."""
        return cls(lambda index: x[index].astype(np.float32), (x.shape[0], x.shape[1]), source=x)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.read(index)

    def picked(self, index: np.ndarray) -> LazyRows:
        """The rows at `index`, whole numbers of shape (k,), still unread."""
        # Rows left out leave the others in order, and what is near stays near.
        source = self.source if len(index) and (np.diff(index) > 0).all() else None
        return LazyRows(lambda at: self.read(index[at]), (len(index), self.shape[1]), self.dtype, source)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows once, in order, about 16 MiB at a time."""
        step = max(1, BLOCK // (self.shape[1] * self.dtype.itemsize))
        return (self[start : start + step] for start in range(0, len(self), step))

    def min(self) -> Any:
        """The smallest value; NaN if there is one."""
        return np.min([block.min() for block in self.blocks()])

    def max(self) -> Any:
        """The largest value; NaN if there is one."""
        return np.max([block.max() for block in self.blocks()])


def some(x: Any, index: np.ndarray) -> Any:
    """The rows of x at `index`, whole numbers; lazy rows stay unread."""
    return x.picked(index) if isinstance(x, LazyRows) else x[index]


def too_large(x: Any) -> int:
    """Bytes of a row that is stored in a memory map of more than `MEMORY` bytes; 0 where rows are in memory or few."""
    source = x.source if isinstance(x, LazyRows) else x
    return source.nbytes // len(source) if isinstance(source, np.memmap) and source.nbytes > MEMORY else 0
