"""Arrays that do not fit into memory: in temporary files that are gone when nobody uses them any more."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise import rows

Array = npt.NDArray[Any]
COPIES = (
    4  # of the rows that may be in memory at once while they are read, split and brought into the form of the model
)


def empty(shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
    """An array to be filled, in memory up to a quarter of `rows.MEMORY`, else on disk.

    Raises:
        OSError: If the disk for temporary files has no room for it.
    """
    shape = tuple(shape)
    need = math.prod(shape) * np.dtype(dtype).itemsize
    if COPIES * need <= rows.MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        reserve(file.fileno(), need)
        return np.memmap(file, dtype, "r+", shape=shape)


class Pile:
    """Rows of float64 that come in blocks, shape (k, width), in memory up to a quarter of `rows.MEMORY`, else on disk."""

    def __init__(self, width: int) -> None:
        self.width, self.rows = width, 0
        self._held: list[Array] = []
        self._file: Any = None

    def add(self, block: Array) -> None:
        """Takes the next rows.

        Raises:
            OSError: If the disk for temporary files is full.
        """
        self.rows += len(block)
        self._held.append(block)
        if self._file is None and COPIES * 8 * self.rows * self.width > rows.MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `whole` closes it
        if self._file is not None:
            try:
                for each in self._held:
                    self._file.write(np.ascontiguousarray(each, np.float64))
                self._file.flush()
            except OSError as error:
                raise _full(8 * self.rows * self.width, error) from error
            self._held.clear()

    def whole(self) -> Array:
        """All rows, shape (n, width), writable."""
        if self._file is None:
            return np.concatenate(self._held) if self._held else np.empty((0, self.width))
        with self._file as file:
            return np.memmap(file, np.float64, "r+", shape=(self.rows, self.width))


def reserve(file: int, need: int) -> None:
    """Makes a file, by its descriptor, `need` bytes long, on a disk that has them: a map of a full disk would kill us."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, need)
        else:
            os.truncate(file, need)
    except OSError as error:
        raise _full(need, error) from error


def _full(need: int, error: OSError) -> OSError:
    """The error to raise of one that came of writing `need` bytes."""
    if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return error
    folder = tempfile.gettempdir()
    return OSError(
        f"The rows take {need / 2**30:.1f} GiB or more in a temporary file, but {folder} has "
        f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB left. Name a folder on a larger disk by the environment "
        "variable TMPDIR, or make the rows smaller."
    )


def picked(x: Array, mask: Array) -> Array:
    """The rows of x where a mask, shape (n,), is true: in memory, or of a map on disk in another file."""
    if not isinstance(x, np.memmap):
        return x[mask]
    out, done = empty((int(mask.sum()), *x.shape[1:]), x.dtype), 0
    step = max(1, rows.BLOCK * len(x) // x.nbytes)
    for start in range(0, len(x), step):
        some = x[start : start + step][mask[start : start + step]]
        out[done : done + len(some)] = some
        done += len(some)
    return out
