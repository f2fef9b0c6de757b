"""Arrays on disk (.npz, .npy, idx), and the way every kind ends: `parts`, from arrays and labels to data sets."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from layerwise.data.dataset import Array, Dataset, Row
from layerwise.data.labels import encode

BLOCK = 1 << 24  # bytes read at once where a whole file is looked through

Parts = tuple[Dataset, ...]
"""One data set not split yet, or the two of an official split: training and test."""


class Piece(NamedTuple):
    """An array of rows, their labels if they have any (see `labels.encode`), and the files that they are from."""

    x: Array
    labels: Array | None = None
    files: Array | None = None


def parts(
    pieces: Sequence[Piece], name: str, *, names: tuple[str, ...] = (), note: str = "", row: Row | None = None
) -> Parts:
    """Data sets from arrays as a file holds them: one piece, or two that are an official split.

    Unless `row` says what they are, two axes are a table, (n, height, width) and (n, height, width, 3) are images, and
    so is (n, 3, height, width).

    Raises:
        ValueError: If an array is empty, of no known shape, not of real and finite numbers, or does not fit its labels.
    """
    arrays = [_shaped(piece.x, name) for piece in pieces]
    if len({(x.shape[1:], x.dtype) for x in arrays}) > 1:
        raise ValueError(
            f"{name}: training rows are {arrays[0].shape[1:]} {arrays[0].dtype}, but test rows are "
            f"{arrays[1].shape[1:]} {arrays[1].dtype}. Store both alike."
        )
    for x in arrays:
        _check_finite(x, name)
    row, scaled = (row, "") if row else _row(arrays, names)
    try:
        labels, classes = encode([piece.labels for piece in pieces])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    whose = ("",) if len(pieces) == 1 else ("training part of its own split", "test part of its own split")
    return tuple(
        Dataset(x, y, classes, row, name, "; ".join(filter(None, (part, note, scaled))), files=piece.files)
        for x, y, part, piece in zip(arrays, labels, whose, pieces, strict=True)
    )


def read_npz(path: Path) -> Parts:
    """An .npz with x and y, or with x_train, y_train, x_test and y_test as in Keras' mnist.npz.

    X, images or data will do for x, and labels or target for y.
    """
    with _numpy_file(path), np.load(path, allow_pickle=False) as file:
        keys = {key.lower(): key for key in file.files}
    wanted = [_keys(keys, path, part) for part in (("_train", "_test") if "x_train" in keys else ("",))]
    with _numpy_file(path), np.load(path, allow_pickle=False) as file:
        pieces = [Piece(file[x], file[y] if y else None) for x, y in wanted]
    return parts(pieces, path.name)


def read_npy(path: Path) -> Parts:
    """Rows without labels; the file stays on disk and is read as rows are asked for."""
    with _numpy_file(path):
        x = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(x, np.ndarray):
            raise TypeError("it is an .npz")
    return parts([Piece(x)], path.name)


def read_idx(path: Path) -> Parts:
    """An idx file of images, with the labels of the file beside it whose name says labels instead of images."""
    x, labels = idx(path), _labels_beside(path)
    if x.ndim == 1:
        raise ValueError(f"{path} holds one number a row, as files of labels do. Give the path of the images file.")
    if labels is None:
        return parts([Piece(x)], path.name)
    return parts([Piece(x, idx(labels))], path.name, note=f"labels from {labels.name}")


def read_idx_folder(folder: Path) -> Parts:
    """The four files of MNIST and its kin: images and labels, for training and for the official test."""
    found = idx_files(folder)
    wanted = [(part, what) for part in ("train", "test") for what in ("images", "labels")]
    missing = [f"{part}-{what}" for part, what in wanted if (part, what) not in found]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds idx files, but none named {', '.join(missing)}. "
            "Add them, or give the path of one images file."
        )
    return parts(
        [Piece(idx(found[part, "images"]), idx(found[part, "labels"])) for part in ("train", "test")], folder.name
    )


def idx_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The files of MNIST's naming in a folder, by (train or test, images or labels)."""
    pattern = re.compile(r"(train|test|t10k)-(images|labels)[-.]idx\d(-ubyte)?(\.gz)?")
    # Reversed: of a file and its .gz the unpacked one comes last and wins.
    return {
        ("train" if match[1] == "train" else "test", match[2]): file
        for file in sorted(folder.iterdir(), reverse=True)
        if (match := pattern.fullmatch(file.name))
    }


def is_idx(path: Path) -> bool:
    """Whether a file is named like idx: x.idx, train-images-idx3-ubyte.gz, t10k-images.idx3-ubyte."""
    return re.search(r"[-.]idx\d?(-ubyte)?(\.gz)?$", path.name.lower()) is not None


def idx(path: Path) -> Array:
    """The array of an idx file, packed by gzip or not.

    The format: two zero bytes, a type, the number of axes, their lengths as big-endian int32, then the values.
    """
    types = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
    with unpacked(path) as stream:
        head = stream.read(4)
        axes = stream.read(4 * head[3]) if len(head) == 4 else b""
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in types or not head[3] or len(axes) < 4 * head[3]:
            raise ValueError(
                f"{path} does not begin like an idx file (it begins with {(head + axes)[:8]!r}). "
                "Is it another format under this name?"
            )
        shape, dtype = struct.unpack(f">{head[3]}I", axes), np.dtype(types[head[2]])
        expected = math.prod(shape) * dtype.itemsize
        data = bytearray()
        while len(data) <= expected and (block := stream.read(BLOCK)):
            data += block
    if len(data) != expected:
        raise ValueError(
            f"{path} should hold {expected} bytes of shape {shape}, but holds "
            f"{'more' if len(data) > expected else len(data)}. Fetch it again."
        )
    return np.frombuffer(data, dtype).reshape(shape)


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if they begin like gzip."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a broken gzip file ({error}). Fetch or pack it again.") from error


@contextmanager
def _numpy_file(path: Path) -> Iterator[None]:
    """Says in words what numpy cannot read. Its own for pickles tell how to let them in: that runs what they hold."""
    try:
        yield
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
            raise ValueError(
                f"{path} holds pickled Python objects or is no numpy file. Pickles may run code when read, so they are "
                "refused. Save plain arrays of numbers, all rows of one shape."
            ) from error
        raise ValueError(
            f"{path} is not an intact numpy file ({error}). Save it again with numpy.save or numpy.savez."
        ) from error


def _keys(keys: dict[str, str], path: Path, part: str) -> tuple[str, str | None]:
    """The keys of rows and labels in an .npz."""
    rows, labels = ["x" + part], ["y" + part]
    if not part:
        rows, labels = [*rows, "images", "data"], [*labels, "labels", "target"]
    x = next((keys[key] for key in rows if key in keys), None)
    y = next((keys[key] for key in labels if key in keys), None)
    if x is None:
        raise ValueError(
            f"{path} holds {', '.join(keys.values()) or 'nothing'}. Save the rows as {' or '.join(rows)} "
            f"and the labels, if any, as {' or '.join(labels)}."
        )
    return x, y


def _labels_beside(path: Path) -> Path | None:
    if "images" not in path.name:
        return None
    name = re.sub(r"idx\d", "idx1", path.name.replace("images", "labels")).removesuffix(".gz")
    return next((file for file in (path.with_name(name), path.with_name(name + ".gz")) if file.is_file()), None)


def _shaped(x: Array, name: str) -> Array:
    """The array with colour axes moved to the front of a row, if it can be rows of numbers at all."""
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name}: rows are real numbers, not {x.dtype}. Convert them before saving.")
    if x.size == 0:
        raise ValueError(f"{name} is empty: its rows have shape {x.shape}. At least one row of one value is needed.")
    if x.ndim == 4 and x.shape[3] == 1:
        return x[..., 0]
    if x.ndim == 4 and x.shape[3] == 3:
        return np.moveaxis(x, 3, 1)
    if x.ndim in (2, 3) or (x.ndim == 4 and x.shape[1] == 3):
        return x
    raise ValueError(
        f"{name}: rows of shape {x.shape[1:]} are not known. A table is (n, columns), images are "
        "(n, height, width) or (n, height, width, 3); drop a channel for transparency (x[..., :3])."
    )


def _check_finite(x: Array, name: str) -> None:
    """Raises an error that says where values are NaN or infinite."""
    if x.dtype.kind != "f":
        return
    count, where = 0, list[str]()
    for start, block in _blocks(x):
        bad = np.argwhere(~np.isfinite(block))
        count += len(bad)
        where += [f"row {start + at[0]} column {', '.join(map(str, at[1:]))}" for at in bad[: 5 - len(where)].tolist()]
    if count:
        raise ValueError(
            f"{name}: {count} values are NaN or infinite, counted from 0 at {'; '.join(where)}"
            f"{' ...' if count > len(where) else ''}. Leave these rows out or fill the values in."
        )


def _row(arrays: Sequence[Array], names: tuple[str, ...]) -> tuple[Row, str]:
    """What a row of these arrays is, and a note if the range had to be looked up in them."""
    shape, dtype = arrays[0].shape[1:], arrays[0].dtype
    if len(shape) == 1:
        return Row("table", shape, names=names), ""
    if full := {"u1": 255.0, "u2": 65535.0, "b1": 1.0}.get(dtype.str[1:]):
        return Row("image", shape, 0.0, full), ""
    spans = [(float(block.min()), float(block.max())) for x in arrays for _, block in _blocks(x)]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return Row("image", shape, 0.0, 1.0), ""
    high = max(high, low + 1) if low == high else high
    return Row("image", shape, low, high), f"values span {low:g} to {high:g} and are scaled from that range"


def _blocks(x: Array) -> Iterator[tuple[int, Array]]:
    """The array in blocks of rows with the number of the first, so that a memory map stays on disk."""
    step = max(1, BLOCK * len(x) // x.nbytes)
    return ((start, x[start : start + step]) for start in range(0, len(x), step))
