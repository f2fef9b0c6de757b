"""What is read is what was written; parts are disjoint and exhaustive; what cannot be read is named, with a way on."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import re
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from layerwise import rows as budget
from layerwise.data import (
    Dataset,
    Known,
    KnownFile,
    Row,
    cache_folder,
    catalogue,
    download,
    get,
    keep_labels,
    known,
    load,
)  # fmt: skip
from layerwise.data.arrays import read_idx_folder
from layerwise.data.photographs import read_cifar10, read_orl_faces

GREY = np.random.default_rng(0).integers(0, 256, (12, 5, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
TABLE = np.random.default_rng(2).normal(size=(12, 3))
Y = np.arange(12) % 3


def write_idx(path: Path, array: np.ndarray) -> Path:
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    big = array.astype(array.dtype.newbyteorder(">"))
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + big.tobytes()) if path.suffix == ".gz" else head + big.tobytes())
    return path


def write_mnist(folder: Path, suffix: str = "-idx{}-ubyte.gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        write_idx(folder / f"{part}-images{suffix.format(3)}", GREY[rows])
        write_idx(folder / f"{part}-labels{suffix.format(1)}", Y[rows].astype(np.uint8))
    return folder


def write_folder(folder: Path, pictures: np.ndarray, classes: list[str]) -> Path:
    for index, (pixels, name) in enumerate(zip(pictures, classes, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{index:03}.png")
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def refused(call: Callable[[], object], *words: str, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"
    return str(caught.value)


# What a row is


def rows_of_every_kind() -> list[Row]:
    return [
        Row("image", (5, 4), 0, 255),
        Row("image", (3, 5, 4), 0, 16),
        Row("table", (3,)),
        Row("table", (2,), names=("length", "width")),
    ]


@pytest.mark.parametrize("row", rows_of_every_kind(), ids=str)
def test_a_row_survives_json(row: Row) -> None:
    assert Row.from_dict(json.loads(json.dumps(row.to_dict()))) == row


@pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_picture_shows_the_stored_pixels(stored: np.ndarray, tmp_path: Path) -> None:
    data = load(save(tmp_path / "a.npz", x=stored), "all")
    for index, pixels in enumerate(stored):
        flat = data.matrix([index])
        np.testing.assert_array_equal(np.asarray(data.row.picture(flat)), pixels)
        np.testing.assert_array_equal(np.asarray(data.row.picture(flat.reshape(data.row.shape))), pixels)


def test_a_picture_clips_and_refuses_what_is_no_row() -> None:
    row = Row("image", (1, 3), 0, 16)
    assert np.asarray(row.picture([-1, 0.5, 7])).tolist() == [[0, 128, 255]]
    refused(lambda: row.picture([0, 1]), "2 came")
    refused(lambda: row.picture([0, 1, np.nan]), "NaN")
    refused(lambda: Row("table", (3,)).picture([0, 0, 0]), "no picture")


@pytest.mark.parametrize(
    "fields",
    [
        ("sound", (3,)),
        ("image", (5, 4)),
        ("image", (5, 4), 1, 1),
        ("image", (4, 5, 4), 0, 1),
        ("image", (0, 4), 0, 1),
        ("table", (3, 3)),
        ("table", (3,), 0, 1),
        ("table", ()),
        ("table", (3,), None, None, ("a",)),
        ("image", (1, 1), 0, 1, ("a",)),
    ],
    ids=str,
)
def test_rows_that_cannot_be_are_refused(fields: tuple[Any, ...]) -> None:
    refused(lambda: Row(*fields))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", ">i4", "float32", "float64"])
def test_scaling_matches_one_value_at_a_time(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.data.arrays.BLOCK", 100)  # the range is that of all blocks
    stored = GREY.astype(dtype)
    data = load(save(tmp_path / "a.npz", x=stored), "all")
    low, high = {"uint8": (0, 255), "uint16": (0, 65535)}.get(dtype, (GREY.min(), GREY.max()))
    slow = [[(float(value) - low) / (float(high) - low) for value in picture.flat] for picture in stored]
    assert data.matrix().dtype == np.float32
    np.testing.assert_allclose(data.matrix(), slow, rtol=1e-6)
    assert ("span" in data.note) == (dtype not in ("uint8", "uint16"))  # a range found in the data is said


def test_small_steps_on_a_large_offset_survive_scaling() -> None:
    stored = 1e9 + np.array([[[0.0, 0.25, 0.5, 1.0]]])
    assert Row("image", (1, 4), 1e9, 1e9 + 1).scale(stored).tolist() == [[0, 0.25, 0.5, 1]]


@pytest.mark.parametrize(
    "y, words",
    [
        (np.zeros(3, np.int64), "one per row"),
        (np.full(12, 3), "3 classes"),
        (np.full(12, -2), "-1 means"),
        (np.zeros(12), "int64"),
        (np.zeros((12, 1), np.int64), "one per row"),
    ],
)
def test_a_data_set_refuses_labels_that_do_not_fit(y: np.ndarray, words: str) -> None:
    refused(lambda: Dataset(GREY, y, ("a", "b", "c"), Row("image", (5, 4), 0, 255), "mine"), "mine", words)


def test_a_data_set_refuses_rows_of_another_shape() -> None:
    refused(lambda: Dataset(GREY, None, (), Row("image", (4, 5), 0, 255), "mine"), "(5, 4)", "(4, 5)")


def test_taking_rows_takes_their_labels() -> None:
    data = Dataset(GREY, Y, ("a", "b", "c"), Row("image", (5, 4), 0, 255), "mine")
    for index in ([3, 1], slice(2, 9, 3), Y == 1, np.array([], dtype=int)):
        some = data.take(index)
        np.testing.assert_array_equal(some.x, GREY[index])
        np.testing.assert_array_equal(some.y, Y[index])
        np.testing.assert_array_equal(some.matrix(), data.matrix(index))
    assert np.shares_memory(data.take(slice(3, 5)).x, GREY)


def test_a_line_tells_what_a_data_set_is() -> None:
    row = Row("image", (5, 4), 0, 255)
    assert (
        Dataset(GREY, Y, ("a", "b", "c"), row, "mine").describe() == "mine: 12 images of 5 x 4, 3 classes, all labelled"
    )
    some = Dataset(GREY, np.where(Y == 2, -1, Y), ("a", "b"), row, "mine", "note")
    assert some.describe() == "mine: 12 images of 5 x 4, 2 classes, 8 labelled (note)" and some.labelled == 8
    assert Dataset(TABLE, None, (), Row("table", (3,)), "t").describe() == "t: 12 rows of 3 columns, no labels"


# Round trips


@pytest.mark.parametrize("keys", [("x", "y"), ("X", "Y"), ("data", "target"), ("images", "labels")], ids=str)
@pytest.mark.parametrize("x", [GREY, TABLE, GREY / 255], ids=["grey", "table", "floats"])
def test_npz_round_trip(keys: tuple[str, str], x: np.ndarray, tmp_path: Path) -> None:
    data = load(save(tmp_path / "mine.npz", **dict(zip(keys, (x, Y), strict=True))), "all")
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, Y)
    assert (data.x.dtype, data.classes, data.name) == (x.dtype, ("0", "1", "2"), "mine.npz")
    assert data.row.kind == ("table" if x is TABLE else "image")


def test_an_npz_as_of_keras_keeps_its_split(tmp_path: Path) -> None:
    path = save(tmp_path / "mnist.npz", x_train=GREY[:8], y_train=Y[:8], x_test=GREY[8:], y_test=Y[8:])
    for part, rows in (("train", slice(0, 8)), ("test", slice(8, 12)), ("all", slice(0, 12))):
        data = load(path, part)  # type: ignore[arg-type]
        np.testing.assert_array_equal(data.x, GREY[rows])
        np.testing.assert_array_equal(data.y, Y[rows])
        assert "its own split" in data.note or part == "all"


def test_a_test_part_without_labels_is_unlabelled_in_the_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x_train=GREY[:8], y_train=Y[:8], x_test=GREY[8:])
    assert load(path, "test").y is None
    np.testing.assert_array_equal(load(path, "all").y, [*Y[:8], -1, -1, -1, -1])


def test_both_parts_of_a_split_are_scaled_alike(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x_train=np.full((2, 3, 3), 7.0), x_test=np.arange(9.0).reshape(1, 3, 3) - 1)
    assert load(path, "train").row == load(path, "test").row == Row("image", (3, 3), -1, 7)


@pytest.mark.parametrize(
    "x, shape",
    [
        (GREY, (5, 4)),
        (GREY[..., None], (5, 4)),
        (COLOUR, (3, 5, 4)),
        (np.moveaxis(COLOUR, 3, 1), (3, 5, 4)),
        (TABLE, (3,)),
        (np.zeros((3, 784)), (784,)),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_npy_shapes(x: np.ndarray, shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", x)
    data = load(tmp_path / "a.npy", "all")
    assert data.y is None and data.row.shape == shape
    assert data.row.kind == ("table" if len(shape) == 1 else "image")  # 784 columns are not guessed to be pixels
    picture = x[2].reshape(data.row.shape) if shape != (3, 5, 4) else COLOUR[2].transpose(2, 0, 1)
    np.testing.assert_array_equal(data.x[2], picture)


def test_a_memory_map_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (20_000, 32, 32, 3))
    x[12_345, 3, 4, 1] = 51
    del x
    tracemalloc.start()
    for part in ("train", "test", "all"):
        data = load(tmp_path / "a.npy", part)
        assert data.matrix(slice(10, 20)).shape == (10, 3072)
    assert data.matrix([12_345]).reshape(3, 32, 32)[1, 3, 4] == np.float32(0.2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # of 61 million


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["-idx3-ubyte", "-idx3-ubyte.gz", ".idx3-ubyte", ".idx"])
def test_idx_round_trip(dtype: str, suffix: str, tmp_path: Path) -> None:
    stored = (GREY // 2).astype(dtype)
    images = write_idx(tmp_path / f"some-images{suffix}", stored)
    assert load(images, "all").y is None
    write_idx(tmp_path / f"some-labels{suffix.replace('3', '1')}", Y.astype(np.uint8))
    data = load(images, "all")
    np.testing.assert_array_equal(data.x, stored)
    np.testing.assert_array_equal(data.y, Y)
    assert "some-labels" in data.note


@pytest.mark.parametrize("suffix", ["-idx{}-ubyte.gz", "-idx{}-ubyte", ".idx{}-ubyte"])
def test_a_folder_of_four_idx_files_has_the_official_split(suffix: str, tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mine", suffix)
    for part, rows in (("train", slice(0, 8)), ("test", slice(8, 12)), ("all", slice(0, 12))):
        data = load(folder, part)  # type: ignore[arg-type]
        np.testing.assert_array_equal(data.x, GREY[rows])
        np.testing.assert_array_equal(data.y, Y[rows])


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.data"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("header", [True, False])
def test_csv_round_trip(name: str, separator: str, header: bool, tmp_path: Path) -> None:
    lines = [["one", "two", "class", "three"]] * header + [
        [repr(float(row[0])), repr(float(row[1])), "abc"[label], repr(float(row[2]))]
        for row, label in zip(TABLE, Y, strict=True)
    ]
    text = "".join(separator.join(line) + "\r\n" for line in lines).encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    data = load(tmp_path / name, "all", label=None if header else 3)
    np.testing.assert_array_equal(data.x, TABLE)
    np.testing.assert_array_equal(data.y, Y)
    assert data.classes == ("a", "b", "c") and "column 3" in data.note
    assert data.row == Row("table", (3,), names=("one", "two", "three") if header else ())


@pytest.mark.parametrize("label", [3, "3", -1, "-1", "kind"])
def test_a_column_of_labels_by_name_or_number(label: str | int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b,kind\n1,2,10\n3,4,\n5,6,9.0\n")
    data = load(path, "all", label=label)
    assert (
        data.classes == ("9", "10") and data.y is not None and data.y.tolist() == [1, -1, 0]
    )  # by value, empty = none
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    "text, header, rows",
    [
        ("1,2\n3,4\n", False, 2),
        ("a,b\n3,4\n", True, 1),
        ("label,0,1\n5,1,2\n", True, 1),
        ("T,2\nI,5\n", False, 2),
        ("Y,2\nI,5\n", False, 2),
        ("class,0,1\ncat,1,2\n", True, 1),
        ("name,y\nx,5\n", True, 1),
        ("\n\na,b\n\n1,2\n\n", True, 1),
        ("a,b\n,2\n1,2\n", True, 2),
        ("1,?\n3,4", False, 2),
    ],
)
def test_headers_are_known_when_seen(text: str, header: bool, rows: int, tmp_path: Path) -> None:
    from layerwise.data.tables import _is_header, _lines

    with write(tmp_path / "a.csv", text).open(newline="") as stream:
        lines = [cells for _, cells in _lines(stream)]
    assert _is_header(lines) == header and len(lines) - header == rows


def test_no_column_of_labels_is_taken_where_none_is_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y,z\n1,2,3\n1,3,4\n")
    assert load(path, "all").row.names == ("x", "z")
    data = load(path, "all", label="")
    assert data.y is None and data.row.names == ("x", "y", "z")


def test_the_row_numbers_of_pandas_are_left_out_and_said(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", ",a,b\n0,5,6\n1,7,8\n"), "all")
    assert data.row.names == ("a", "b") and data.x.tolist() == [[5, 6], [7, 8]] and "row numbers" in data.note


@pytest.mark.parametrize("pictures", [GREY, COLOUR, GREY.astype(np.uint16) * 257], ids=["grey", "colour", "deep"])
def test_image_folder_round_trip(pictures: np.ndarray, tmp_path: Path) -> None:
    if pictures.ndim == 4:
        pictures = np.concatenate([pictures[..., :1] // 2, pictures[..., 1:]], axis=-1)
    data = load(write_folder(tmp_path / "mine", pictures, [f"{label}" for label in Y]), "all")
    order = np.argsort(Y, kind="stable")
    expected = np.moveaxis(pictures, 3, 1) if pictures.ndim == 4 else pictures
    np.testing.assert_array_equal(data.x, expected[order])
    np.testing.assert_array_equal(data.y, Y[order])
    assert data.x.dtype == pictures.dtype and data.note == ""
    assert (data.row.low, data.row.high) == (0, 255 if pictures.dtype == np.uint8 else 65535)


def test_image_folder_with_its_own_split_is_one_set(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", COLOUR[:6], list("aabbcc"))
    write_folder(tmp_path / "test", GREY[6:10], list("abab"))  # grey, but the whole is colour
    train, test, whole = (load(tmp_path, part) for part in ("train", "test", "all"))
    assert train.classes == test.classes == ("a", "b", "c") and train.row == test.row == Row("image", (3, 5, 4), 0, 255)
    assert (len(train), len(test), len(whole)) == (6, 4, 10)
    assert "4 of 10 grey made colour" in test.note
    np.testing.assert_array_equal(test.x[:, 0], test.x[:, 2])


def test_unlabelled_pictures_have_no_label(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", GREY[:5], ["cat", "dog", "unlabelled", "unlabelled", "cat"])
    data = load(folder, "all")
    assert data.classes == ("cat", "dog") and data.y is not None and data.y.tolist() == [0, 0, 1, -1, -1]
    for flat in ("", "unlabelled"):
        data = load(write_folder(tmp_path / f"flat{flat}", GREY, [flat] * 12), "all")
        assert data.y is None and data.classes == ()
        np.testing.assert_array_equal(data.x, GREY)


# Pictures of all sorts


def test_pictures_are_resized_to_the_most_common_size_and_it_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:3], ["a"] * 3)
    Image.new("L", (40, 10), 200).save(tmp_path / "a" / "wide.png")
    data = load(tmp_path, "all")
    assert data.row.shape == (5, 4) and "1 of 4 resized to 5 x 4" in data.note
    assert data.x[3].tolist() == [[200] * 4] * 5  # the bars have the colour of the border
    np.testing.assert_array_equal(data.x[:3], GREY[:3])


@pytest.mark.parametrize(
    "size, inside",
    [
        ((6, 8), (slice(0, 6), slice(2, 5))),
        ((20, 10), (slice(0, 20), slice(0, 10))),
        ((4, 9), (slice(0, 4), slice(3, 5))),
    ],
)
def test_pictures_keep_their_aspect_ratio_and_are_centred(
    size: tuple[int, int], inside: tuple[slice, slice], tmp_path: Path
) -> None:
    picture = np.zeros((20, 10), np.uint8)
    picture[1:-1, 1:-1] = 255
    write_folder(tmp_path, picture[None], ["a"])
    seen = load(tmp_path, "all", size=size).x[0]
    assert seen.shape == size and seen[inside].max() > 150
    outside = np.ones(size, bool)
    outside[inside] = False
    assert not seen[outside].any()


def test_a_very_long_picture_keeps_a_pixel(tmp_path: Path) -> None:
    write_folder(tmp_path, np.full((1, 1, 1000), 9, np.uint8), ["a"])
    assert load(tmp_path, "all", size=(8, 8)).x[0].tolist() == [[9] * 8] * 8


@pytest.mark.parametrize("extension", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(extension: str, orientation: int, tmp_path: Path) -> None:
    upright = np.kron(np.array([[0, 90, 180], [255, 30, 130]], np.uint8), np.ones((16, 16), np.uint8))
    # How a camera stores it so that the tag turns it back, from the table of the EXIF standard.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    Image.fromarray(stored).save(tmp_path / "a" / f"a.{extension}", exif=exif, quality=100)
    data = load(tmp_path, "all")
    assert data.row.shape[-2:] == upright.shape and ("turned upright" in data.note) == (orientation != 1)
    seen = data.x[0] if data.x.ndim == 3 else data.x[0, 0]
    assert np.abs(seen.astype(int) - upright).max() < 20


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_pictures_of_every_mode_are_read(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (4, 2)))
    if mode == "F":
        picture = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    elif mode.startswith("I"):
        deep = 257 * np.asarray(grey).astype(np.uint16)
        picture = Image.fromarray(deep if mode == "I;16" else deep.astype(np.int32))
    else:
        picture = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
    (tmp_path / "a").mkdir()
    extension = "tiff" if mode in ("CMYK", "YCbCr", "F", "I") else "png"
    picture.save(tmp_path / "a" / f"a.{extension}")
    data = load(tmp_path, "all")
    grey_modes = ("1", "L", "LA", "P", "I;16", "I", "F")
    assert data.row.shape == ((4, 4) if mode in grey_modes else (3, 4, 4))
    np.testing.assert_allclose(data.matrix().reshape(-1, 4, 4)[0], np.asarray(grey) / 255, atol=0.01)
    Image.fromarray(COLOUR[0]).save(tmp_path / "a" / "b.png")  # and as one of a coloured set
    data = load(tmp_path, "all", size=(4, 4))
    np.testing.assert_allclose(data.matrix([0]).reshape(3, 4, 4)[1], np.asarray(grey) / 255, atol=0.01)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 2, 2, 4), np.uint8)
    pixels[0, 0, 0] = [255, 0, 0, 255]
    data = load(write_folder(tmp_path, pixels, ["a"]), "all")
    assert data.x[0, :, 0, 0].tolist() == [255, 0, 0] and (data.x[0, :, 1] == 255).all()
    assert "1 of 1 laid on white" in data.note


def test_grey_pictures_of_8_and_16_bits_share_a_range(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:1], ["a"])
    Image.fromarray(GREY[1].astype(np.uint16) * 257).save(tmp_path / "a" / "z.png")
    np.testing.assert_allclose(load(tmp_path, "all").matrix(), GREY[:2].reshape(2, -1) / 255, atol=1e-6)


def break_it(file: Path) -> None:
    file.write_bytes(b"not a picture")


def tear_it(file: Path) -> None:
    Image.fromarray(GREY.reshape(12, 20)).save(file)
    file.write_bytes(file.read_bytes()[:150])  # the header is whole


@pytest.mark.parametrize("spoil", [break_it, tear_it])
def test_a_broken_picture_is_named_or_skipped_and_counted(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:4], list("aabb"))
    spoil(tmp_path / "a" / "000.png")
    refused(lambda: load(tmp_path, "all"), str(tmp_path / "a" / "000.png"), "broken='skip'")
    data = load(tmp_path, "all", broken="skip", size=(5, 4))
    assert "broken files skipped: 1 (000.png)" in data.note
    np.testing.assert_array_equal(data.x, GREY[1:4])
    assert data.y is not None and data.y.tolist() == [0, 1, 1]


def test_a_decompression_bomb_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, GREY[:1], ["a"])
    for limit in (15, 5):  # 20 pixels: Pillow only warns of the first, and stops at twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refused(lambda: load(tmp_path, "all"), "000.png", "million pixels")


def test_pictures_too_many_for_memory_ask_for_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, GREY, ["a"] * 12)
    monkeypatch.setattr("layerwise.data.images.MOST", 100)
    refused(lambda: load(tmp_path, "all"), "size=", "5 x 4")
    assert len(load(tmp_path, "all", size=(2, 2))) == 12


def test_pictures_larger_than_memory_are_on_disk_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, np.concatenate([COLOUR] * 10), list("ab" * 60))
    (tmp_path / "b" / "001.png").write_bytes(b"")
    how: dict[str, Any] = {"broken": "skip", "size": (5, 4)}
    small = [load(tmp_path, part, **how) for part in ("train", "test", "all")]
    monkeypatch.setattr(budget, "MEMORY", 1000)
    large = [load(tmp_path, part, **how) for part in ("train", "test", "all")]
    for one, other in zip(small, large, strict=True):
        assert isinstance(other.x, np.memmap) and not isinstance(one.x, np.memmap)
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.files, other.files)  # type: ignore[arg-type]
        assert (
            one.y is not None and other.y is not None and one.y.tolist() == other.y.tolist() and one.note == other.note
        )
    assert np.bincount(large[1].y).min() > 0  # type: ignore[arg-type]  # not the last rows, which are all of one class
    mine = large[0].x[3].copy()
    large[0].x[3] = 0
    assert mine.any() and load(tmp_path, **how).x[3].any()  # nobody else has that file


def test_a_disk_without_room_says_so_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, GREY, ["a"] * 12)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(budget, "MEMORY", 100)
    monkeypatch.setattr("layerwise.data.disk.os.posix_fallocate", full)
    refused(lambda: load(tmp_path, "all"), "TMPDIR", "GiB left", kind=OSError)


def test_postscript_is_never_run(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:1], ["a"])
    Image.fromarray(GREY[1]).save(tmp_path / "a" / "b.eps")
    assert "ignored: 1" in load(tmp_path, "all").note
    (tmp_path / "a" / "b.eps").rename(tmp_path / "a" / "b.png")
    refused(lambda: load(tmp_path, "all"), "b.png")


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda f: f.mkdir(), ["no picture"]),
        (lambda f: write_folder(f, GREY[:1], ["a/b"]), ["inside the folder of a class"]),
        (lambda f: write_folder(f, GREY[:1], ["train"]), ["train/", "test/"]),
        (lambda f: write_folder(f, GREY[:2], ["", "a"]), ["beside sub-folders", "unlabelled"]),
        (lambda f: (f / "a").mkdir(parents=True), ["holds no pictures"]),
        (lambda f: (f.mkdir(), write(f / "a.doc", "hello")), ["no picture", "1 other"]),
    ],
)
def test_folders_that_are_no_data_set_say_why(build: Callable[[Path], Any], words: list[str], tmp_path: Path) -> None:
    build(tmp_path / "mine")
    refused(lambda: load(tmp_path / "mine"), "mine", *words)


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:2], ["a", "b"])
    (tmp_path / "a" / ".DS_Store").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    assert len(load(tmp_path, "all")) == 2


# Parts


@given(y=st.lists(st.integers(-1, 4), min_size=2, max_size=60), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_parts_are_disjoint_exhaustive_and_fair(
    tmp_path_factory: pytest.TempPathFactory, y: list[int], share: float, seed: int
) -> None:
    counts = {label: y.count(label) for label in set(y) - {-1}} or {-1: len(y)}
    if set(y) == {-1, 1} or max(counts.values()) < 2:
        return  # refused: the one is ambiguous, the other leaves nothing to test on
    path = save(tmp_path_factory.mktemp("part") / "a.npz", x=np.arange(len(y))[:, None], y=np.array(y))
    train, test, whole = (load(path, part, holdout=share, seed=seed) for part in ("train", "test", "all"))
    assert sorted([*train.x[:, 0], *test.x[:, 0]]) == whole.x[:, 0].tolist() == list(range(len(y)))
    assert train.classes == test.classes and len(test) >= 1
    for label, count in counts.items():
        held = sum(y[row] == label for row in test.x[:, 0])
        assert held < count  # no class is emptied
        if share * count >= 1 and (1 - share) * min(counts.values()) >= 2:
            assert abs(held - share * count) <= 1
    assert -1 in counts or not any(y[row] == -1 for row in test.x[:, 0])  # unlabelled rows are for training


def test_a_split_follows_its_seed_and_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=np.arange(50)[:, None], y=np.arange(50) % 5)
    first, again, other = (load(path, "test", seed=seed, holdout=0.3).x.ravel().tolist() for seed in (1, 1, 2))
    assert first == again != other and len(first) == 15
    assert "15 of 50 rows" in load(path, "train", holdout=0.3, seed=1).note
    assert "seed 1, stratified" in load(path, "test", holdout=0.3, seed=1).note


def test_a_memory_map_is_cut_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    train, test = load(tmp_path / "a.npy", "train"), load(tmp_path / "a.npy", "test")
    assert isinstance(train.x, np.memmap) and isinstance(test.x, np.memmap)
    np.testing.assert_array_equal(np.concatenate([train.x, test.x]), GREY)
    assert len(test) == 2 and "last 2 of 12 rows" in train.note and "last 2 of 12 rows" in test.note


def test_nothing_to_test_on_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=GREY[:3], y=[0, 1, 2])
    assert len(load(path, "train")) == 3
    refused(lambda: load(path, "test"), "no row can be held out")


@given(y=st.lists(st.integers(-1, 3), min_size=1, max_size=40), data=st.data(), seed=st.integers(0, 9))
def test_kept_labels_are_as_even_as_classes_allow(y: list[int], data: st.DataObject, seed: int) -> None:
    classes, labelled = len(set(y) - {-1}), sum(label >= 0 for label in y)
    count = data.draw(st.integers(classes, labelled))
    kept = keep_labels(np.array(y), count, seed)
    assert (kept >= 0).sum() == count and all(new in (old, -1) for new, old in zip(kept, y, strict=True))
    np.testing.assert_array_equal(kept, keep_labels(np.array(y), count, seed))
    sizes = {label: int((kept == label).sum()) for label in set(y) - {-1}}
    for label, size in sizes.items():
        assert size == y.count(label) or size >= max(sizes.values()) - 1  # behind only if it has no more to give


def test_keeping_too_few_or_too_many_labels_is_refused() -> None:
    y = np.array([0, 0, 1, -1])
    refused(lambda: keep_labels(y, 1, 0), "from 2", "to 3")
    refused(lambda: keep_labels(y, 4, 0), "from 2", "to 3")
    assert y.tolist() == [0, 0, 1, -1]
    chosen = {tuple(keep_labels(np.zeros(9, int), 3, seed)) for seed in range(9)}
    assert len(chosen) > 3  # the seed chooses


# What cannot be read


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"a": GREY}, ["holds a", "x"]),
        ({}, ["nothing"]),
        ({"x_train": GREY}, ["x_test"]),
        ({"x": np.zeros((0, 3))}, ["empty", "(0, 3)"]),
        ({"x": np.zeros((3, 0))}, ["empty"]),
        ({"x": np.zeros((2, 0, 4))}, ["empty"]),
        ({"x": np.zeros(3)}, ["(n, columns)"]),
        ({"x": np.zeros((2, 5, 5, 4))}, ["[..., :3]"]),
        ({"x": np.array([["a"]])}, ["real numbers"]),
        ({"x": np.ones((2, 2), complex)}, ["real numbers"]),
        ({"x": np.array([[1, None], [2, 3]])}, ["pickled"]),
        ({"x": GREY, "y": np.array([None] * 12)}, ["pickled"]),
        ({"x": TABLE, "y": Y[:5]}, ["12 rows", "(5,)"]),
        ({"x": TABLE, "y": np.eye(12)}, ["one-hot"]),
        ({"x": TABLE, "y": Y + 0.5}, ["0.5"]),
        ({"x": TABLE, "y": np.full(12, np.inf)}, ["inf"]),
        ({"x": TABLE, "y": Y - 3}, ["-3"]),
        ({"x": TABLE, "y": Y % 2 * 2 - 1}, ["-1 means no label"]),
        ({"x_train": GREY, "x_test": GREY[:, 1:]}, ["alike"]),
        ({"x_train": GREY, "x_test": GREY / 1.0}, ["alike"]),
    ],
    ids=lambda value: "+".join(value)[:40],
)
def test_npz_that_cannot_be_learned_from(arrays: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    refused(lambda: load(save(tmp_path / "mine.npz", **arrays)), "mine.npz", *words)


@pytest.mark.parametrize("labels", [["b", "", "a"], [b"b", b"", b"a"], [7.0, -1.0, 2.0], [[7], [-1], [2]]], ids=str)
def test_labels_may_be_text_or_numbers(labels: list[Any], tmp_path: Path) -> None:
    data = load(save(tmp_path / "a.npz", x=TABLE[:3], y=np.array(labels)), "all")
    assert data.y is not None and data.y.tolist() == [1, -1, 0] and data.classes in (("a", "b"), ("2", "7"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("block", [1, 64, 1 << 24])
def test_values_that_are_no_numbers_are_located(
    value: float, name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerwise.data.arrays.BLOCK", block)
    x = TABLE.copy()
    x[7, 2] = x[3, 1] = value
    np.save(tmp_path / "a.npy", x)
    save(tmp_path / "a.npz", x=x)
    refused(lambda: load(tmp_path / name), name, "2 values", "row 3 column 1", "row 7 column 2")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv.gz", "a-images-idx3-ubyte.gz"])
@pytest.mark.parametrize("cut", [0, 5, 90, -20])
def test_files_cut_short_are_named(name: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / name
    {
        "a.npz": lambda: np.savez_compressed(path, x=GREY),
        "a.npy": lambda: np.save(path, GREY),
        "a.csv.gz": lambda: path.write_bytes(gzip.compress("".join(f"{a},{b},{c}\n" for a, b, c in TABLE).encode())),
    }.get(name, lambda: write_idx(path, GREY))()
    path.write_bytes(path.read_bytes()[:cut])
    refused(lambda: load(path), name)


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\x08",
        b"\0\0\x08\x03\0\0",
        b"\0\0\x07\x01\0\0\0\0",
        b"PK\3\4 and so on",
        b"\0\0\x08\x03" + b"\xff" * 12,
        b"\0\0\x08\x02\0\0\0\x01\0\0\0\x01ab",
    ],
)
def test_idx_that_is_none(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.data.arrays.BLOCK", 1)  # so that a block ends where the array does
    (tmp_path / "a.idx").write_bytes(content)
    refused(lambda: load(tmp_path / "a.idx"), "a.idx")


def test_idx_of_labels_is_no_data_set(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "train-labels-idx1-ubyte.gz", Y.astype(np.uint8))
    refused(lambda: load(path), path.name, "images file")


def test_idx_folder_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    next(write_mnist(tmp_path).glob("t10k-labels*")).unlink()
    refused(lambda: load(tmp_path), "test-labels", kind=FileNotFoundError)


def test_an_npy_of_pickles_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    refused(lambda: load(tmp_path / "a.npy"), "a.npy", "pickled")
    save(tmp_path / "b.npz", x=GREY).rename(tmp_path / "b.npy")
    refused(lambda: load(tmp_path / "b.npy"), "it is an .npz")


@pytest.mark.parametrize(
    "text, label, words",
    [
        ("a,b\n1,2\n3\n", None, ["line 3", "1 cells", "2"]),
        ("1,2\n\n3,4,5\n", None, ["line 3", "3 cells"]),
        ("a,label,b\n" + "1,x,2\n" * 20 + "3,y,red\n", None, ["line 22", "column 3 ('b')", "'red'", "types="]),
        ("a,b\n,nan\n?,\n", None, ["holds nothing"]),
        ("1,1e999\n", None, ["1e999"]),
        ("a,b\n", None, ["no rows"]),
        ("\n \n", None, ["no rows"]),
        ("label\n1\n2\n", None, ["besides the labels"]),
        ("a,b\n1,2\n", "c", ["'c'", "a, b", "1 to 2"]),
        ("1,2\n3,4\n", 3, ["3", "1 to 2"]),
        ("1,2\n3,4\n", 0, ["1 to 2"]),
        ("a,y\n1,0.25\n", None, ["0.25", "fraction"]),
        ("1,\0\n", None, ["a.csv"]),
    ],
    ids=repr,
)
def test_csv_that_cannot_be_read_names_the_place(
    text: str, label: str | int | None, words: list[str], tmp_path: Path
) -> None:
    refused(lambda: load(write(tmp_path / "a.csv", text), label=label), "a.csv", *words)


def test_csv_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe,b\n1,2\n".encode("latin-1"))
    refused(lambda: load(tmp_path / "a.csv"), "a.csv", "UTF-8")


def test_what_is_not_there_or_of_no_known_kind(tmp_path: Path) -> None:
    refused(lambda: load("fashon_mnist"), "Did you mean fashion_mnist", kind=FileNotFoundError)
    refused(lambda: load(tmp_path / "none.npz"), "none.npz", kind=FileNotFoundError)
    refused(lambda: load(write(tmp_path / "a.xls", "x")), ".xls", ".npz", ".npy", ".csv", "idx", "folders")
    refused(lambda: load(write(tmp_path / "a", "x")), "without extension")
    refused(lambda: load(write(tmp_path / "a.csv", "")), "empty")
    refused(lambda: get("mnits"), "Did you mean mnist")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"part": "valid"}, "'valid'"),
        ({"holdout": 0}, "between 0 and 1"),
        ({"holdout": 1.0}, "between 0 and 1"),
        ({"size": (8, 8)}, "size"),
        ({"label": 1}, "not a table"),
        ({"broken": "skip"}, "not a folder"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    refused(lambda: load("digits", **options), words)


def test_folders_refuse_options_of_other_kinds(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:2], ["a", "b"])
    refused(lambda: load(tmp_path, size=(0, 8)), "(0, 8)")
    refused(lambda: load(tmp_path, broken="ignore"), "'ignore'")  # type: ignore[arg-type]
    refused(lambda: load(tmp_path, label="a"), "not a table")


# Known sets


def test_digits_are_there_and_split_for_good() -> None:
    train, test, whole = load(), load("digits", "test"), load("digits", "all")
    assert (len(train), len(test), len(whole)) == (1297, 500, 1797)
    assert train.matrix().max() == 1 and train.row == Row("image", (8, 8), 0, 16)
    rows = [tuple(row) for row in np.concatenate([train.matrix(), test.matrix()])]
    assert rows == [tuple(row) for row in whole.matrix()] and len(set(rows)) == 1797
    assert test.y is not None and train.y is not None
    np.testing.assert_allclose(np.bincount(test.y), 500 / 1797 * np.bincount(whole.y), atol=1)  # type: ignore[arg-type]
    # Published figures rest on this split: it may never change.
    assert hashlib.sha256(test.x.tobytes()).hexdigest()[:16] == "6ff5f77a3cc80105"


def test_the_catalogue_is_complete() -> None:
    for record in known():
        assert record.kind in ("image", "table", "sound", "text") and record.about and record.licence and record.page
        assert all(home.endswith("/") for home in record.homes)
        assert not record.files or bool(record.homes) != bool(record.by_hand)
        for file in record.files if record.homes else ():
            kind, _, digest = file.sha256.rpartition(":")
            assert len(digest) == {"": 64, "md5": 32}[kind] and int(digest, 16)


@pytest.mark.parametrize("record", [record for record in known() if record.files], ids=lambda record: record.name)
def test_the_real_sets_are_what_the_catalogue_says(record: Known) -> None:
    if "LAYERWISE_DATA" not in os.environ or record.missing:
        pytest.skip(f"LAYERWISE_DATA is not a folder with {record.name}")
    get(record.name, progress=False)  # checks, and finds nothing to download
    data = load(record.name, "all")
    rows = sum(record.rows)
    if "a part: " in data.note:
        rows = sum(map(int, re.findall(r"(\d+) of \d+ t\w+ rows", data.note)))
    assert len(data) == rows and data.classes == record.classes and data.row.kind == record.kind
    assert record.kind == "text" or data.x.shape[1:] == record.shape
    if record.classes:
        assert data.y is not None and np.bincount(data.y).tolist().count(0) == 0 and data.labelled == rows


def cifar_records(count: int, seed: int) -> np.ndarray:
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records


def write_cifar(folder: Path, files: dict[str, bytes], packed: str) -> None:
    folder.mkdir()
    if packed == ".tar.gz":
        with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for name, content in reversed(files.items()):  # the order in the archive does not matter
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return
    pack = {"": bytes, ".xz": lzma.compress, ".gz": gzip.compress}[packed]
    for name, content in files.items():
        (folder / f"{name}{packed}").write_bytes(pack(content))


@pytest.mark.parametrize("packed", [".tar.gz", ".xz", ".gz", ""])
def test_cifar_records_are_read_however_they_are_packed(packed: str, tmp_path: Path) -> None:
    train, test = cifar_records(30, 0), cifar_records(10, 1)
    files = {"data_batch_1.bin": train[:20].tobytes(), "data_batch_2.bin": train[20:].tobytes()}
    write_cifar(tmp_path / "c", files | {"test_batch.bin": test.tobytes()}, packed)
    both = read_cifar10(tmp_path / "c")
    for data, records in zip(both, (train, test), strict=True):
        assert data.y is not None and data.y.tolist() == records[:, 0].tolist()
        slow = [[record[1:1025], record[1025:2049], record[2049:]] for record in records]  # red, green, blue
        np.testing.assert_array_equal(data.x, np.reshape(slow, (-1, 3, 32, 32)))
        assert "a part: 30 of 50000 training rows and 10 of 10000 test rows" in data.note
    # A path is enough, of the folder or of the archive.
    for path in [tmp_path / "c", *(tmp_path / "c").glob("*.tar.gz")]:
        np.testing.assert_array_equal(load(path, "test").x, both[1].x)


@pytest.mark.parametrize("packed", [".tar.gz", ".xz", ".gz", ""])
@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: f | {"test_batch.bin": b"1" * 3072}, "3073 bytes"),
        (lambda f: f | {"test_batch.bin": b""}, "3073 bytes"),
        (lambda f: f | {"test_batch.bin": bytes(3073 * 10_001)}, "up to 10000 records"),  # unpacks to too much
        (lambda f: f | {"test_batch.bin": b"\x0b" + bytes(3072)}, "class 11"),
        (lambda f: {name: f[name] for name in f if "test" not in name}, "no test files"),
    ],
)
def test_cifar_that_is_none_is_refused(packed: str, spoil: Any, words: str, tmp_path: Path) -> None:
    files = {"data_batch_1.bin": cifar_records(10, 0).tobytes(), "test_batch.bin": cifar_records(10, 1).tobytes()}
    write_cifar(tmp_path / "c", spoil(files), packed)
    refused(lambda: read_cifar10(tmp_path / "c"), words, "Fetch")


@pytest.mark.parametrize("packed", [".tar.gz", ".xz", ".gz"])
def test_a_torn_archive_of_cifar_is_named(packed: str, tmp_path: Path) -> None:
    write_cifar(
        tmp_path / "c",
        {f"{name}.bin": cifar_records(10, 0).tobytes() for name in ("data_batch_1", "test_batch")},
        packed,
    )
    file = sorted((tmp_path / "c").iterdir())[0]
    file.write_bytes(file.read_bytes()[:9000])
    refused(lambda: read_cifar10(tmp_path / "c"), file.name, "Fetch it again")


def write_orl(path: Path, leave_out: str = "", size: tuple[int, int] = (92, 112)) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("orl_faces/README", "faces")
        for person, number in itertools.product(range(1, 41), range(1, 11)):
            if (name := f"s{person}/{number}.pgm") != leave_out:
                picture = b"P5\n%d %d\n255\n" % size + bytes([5 * person + number]) * (size[0] * size[1])
                archive.writestr(f"orl_faces/{name}", picture)
    return path


def test_each_orl_face_is_half_for_training_half_for_testing(tmp_path: Path) -> None:
    train, test = read_orl_faces(write_orl(tmp_path / "att_faces.zip").parent)
    for data, numbers in ((train, range(1, 6)), (test, range(6, 11))):
        people = [(person, number) for person in range(1, 41) for number in numbers]
        assert data.x[:, 7, 7].tolist() == [5 * person + number for person, number in people]
        assert data.y is not None and data.y.tolist() == [person - 1 for person, _ in people]
        assert data.row == Row("image", (112, 92), 0, 255)


def test_orl_faces_that_are_none_are_refused(tmp_path: Path) -> None:
    refused(
        lambda: read_orl_faces(write_orl(tmp_path / "orl_faces.zip", leave_out="s7/3.pgm").parent), "lacks 1", "s7/3"
    )
    refused(
        lambda: read_orl_faces(write_orl(tmp_path / "orl_faces.zip", size=(8, 8)).parent), "(8, 8)", "orl_faces.zip"
    )
    refused(lambda: read_orl_faces(write_orl(tmp_path / "orl_faces.zip", size=(2048, 1024)).parent), "unpack to")
    (tmp_path / "orl_faces.zip").write_bytes(b"PK")
    refused(lambda: read_orl_faces(tmp_path), "not an intact zip")


class Home(ThreadingHTTPServer):
    """Serves a folder: whole, with a byte changed, or cut in the middle (once, or always); with ranges or without."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mood, self.ranges, self.asked = folder, "whole", False, list[str]()
        self.wanted, self.sent = list[str | None](), 0
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Home

    def do_GET(self) -> None:
        home, wanted = self.server, self.headers["Range"] if self.server.ranges else None
        home.asked.append(self.path)
        home.wanted.append(wanted)
        whole = (home.folder / self.path[1:]).read_bytes()
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(404 if home.mood == "gone" else 416 if start >= len(whole) else 206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        content = whole[start:]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if home.mood == "changed":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if home.mood.startswith("cut"):
            content = content[: len(content) // 2]
        if home.mood == "cut once":
            home.mood = "whole"
        home.sent += len(content)
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home for a set called `tiny`, and an empty cache."""
    server = Home(write_mnist(tmp_path / "home"))
    files = tuple(
        KnownFile(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
        for file in sorted(server.folder.iterdir())
    )
    tiny = Known(
        "tiny",
        "Tiny.",
        "image",
        (5, 4),
        (8, 4),
        "none",
        ("a", "b", "c"),
        read_idx_folder,
        files,
        (f"http://127.0.0.1:{server.server_port}/",),
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", (*catalogue.CATALOGUE, tiny))
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setenv("LAYERWISE_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def tiny(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Known:
    """The set called `tiny`, changed."""
    record = catalogue.find("tiny")
    assert record is not None
    monkeypatch.setattr(catalogue, "CATALOGUE", (record := replace(record, **changes),))
    return record


def test_a_set_is_downloaded_once_and_never_by_load(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    refused(lambda: load("tiny"), "layerwise data get tiny", "LAYERWISE_DATA", kind=FileNotFoundError)
    assert not home.asked
    folder = get("tiny")
    assert folder == cache_folder() / "tiny" and len(home.asked) == 4
    assert "train-images-idx3-ubyte.gz 0.0 MB" in capsys.readouterr().err
    get("tiny", progress=False)
    assert len(home.asked) == 4 and capsys.readouterr() == ("", "")
    data = load("tiny", "all")
    np.testing.assert_array_equal(data.x, GREY)
    assert (data.name, data.classes) == ("tiny", ("a", "b", "c"))


@pytest.mark.parametrize("mood, reason", [("changed", "does not match"), ("gone", "404")])
def test_a_failed_download_leaves_nothing_and_says_how_to_go_on(home: Home, mood: str, reason: str) -> None:
    home.mood = mood
    text = refused(
        lambda: get("tiny", progress=False),
        "tiny",
        reason,
        "nothing incomplete was kept",
        f":{home.server_port}/",
        str(cache_folder() / "tiny"),
        "LAYERWISE_DATA",
        kind=ConnectionError,
    )
    assert " at 0x" not in text
    assert list((cache_folder() / "tiny").iterdir()) == [] and len(home.asked) == download.TRIES
    home.mood = "whole"
    assert len(load("tiny", "all") if get("tiny", progress=False) else ()) == 12


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_cut_off_goes_on_where_it_stopped(home: Home, ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ranges, home.mood = ranges, "cut once"
    monkeypatch.setattr(download, "CHUNK", 1)  # what of a chunk is cut off is lost
    first = min(home.folder.iterdir())
    get("tiny", progress=False)
    assert len(home.asked) == 5 and len(load("tiny", "all")) == 12
    half, total = first.stat().st_size // 2, sum(file.stat().st_size for file in home.folder.iterdir())
    assert home.wanted[:3] == ([None, f"bytes={half}-", None] if ranges else [None, None, None])
    assert home.sent == (total if ranges else total + half)  # no byte came twice
    assert not list((cache_folder() / "tiny").glob("*.part"))


def test_what_came_of_a_download_is_kept_for_the_next_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = min(home.folder.iterdir())
    have, whole = first.stat().st_size // 2, first.stat().st_size
    home.ranges, home.mood = True, "cut"
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setattr(download, "CHUNK", 1)
    text = refused(lambda: get("tiny", progress=False), "tiny", "same command goes on", kind=ConnectionError)
    part = cache_folder() / "tiny" / f"{first.name}.part"
    assert part.read_bytes() == first.read_bytes()[:have] and f"{have} of {whole} bytes" in text and str(part) in text
    refused(lambda: load("tiny"), "layerwise data get tiny", kind=FileNotFoundError)  # half a file is no file
    home.mood, home.wanted[:] = "whole", []
    get("tiny", progress=False)
    assert home.wanted[0] == f"bytes={have}-" and not part.exists() and len(load("tiny", "all")) == 12


@pytest.mark.parametrize("left", [b"something else", b"longer than the file " * 1000], ids=["other", "longer"])
def test_a_part_of_another_file_is_thrown_away(home: Home, left: bytes) -> None:
    home.ranges = True
    part = cache_folder() / "tiny" / f"{min(home.folder.iterdir()).name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    get("tiny", progress=False)
    assert not part.exists() and len(load("tiny", "all")) == 12 and len(home.asked) == 5  # the first was the wrong one


def test_a_file_that_is_sent_plain_is_packed_and_checked_inside(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for file in sorted(home.folder.iterdir()):
        content = gzip.decompress(file.read_bytes())
        (home.folder / file.stem).write_bytes(content)
        files.append(KnownFile(file.name, hashlib.sha256(content).hexdigest(), len(content), packed=True))
    tiny(monkeypatch, files=tuple(files))
    folder = get("tiny", progress=False)
    assert sorted(file.name for file in folder.iterdir()) == [file.name for file in files]
    np.testing.assert_array_equal(load("tiny", "all").x, GREY)
    (folder / files[0].name).write_bytes(gzip.compress(gzip.decompress((folder / files[0].name).read_bytes()), 1))
    get("tiny", progress=False)  # packed otherwise, the same inside
    assert len(home.asked) == 4
    (folder / files[0].name).write_bytes((folder / files[0].name).read_bytes()[:50])
    get("tiny", progress=False)
    assert len(home.asked) == 5 and len(load("tiny", "all")) == 12


def test_an_md5_will_do_where_no_sha256_is_published(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record = catalogue.find("tiny")
    assert record is not None
    digests = [hashlib.md5((home.folder / file.name).read_bytes()).hexdigest() for file in record.files]
    tiny(
        monkeypatch,
        files=tuple(KnownFile(file.name, f"md5:{digest}", 0) for file, digest in zip(record.files, digests)),
    )
    get("tiny", progress=False)
    assert len(home.asked) == 4
    min((cache_folder() / "tiny").iterdir()).write_bytes(b"")
    get("tiny", progress=False)
    assert len(home.asked) == 5


def test_other_files_that_the_reader_takes_are_enough(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record = catalogue.find("tiny")
    assert record is not None
    folder = cache_folder() / "tiny"
    write_mnist(folder)
    tiny(monkeypatch, files=(KnownFile("all.tar", "0" * 64, 9),), others=(record.files,))
    get("tiny", progress=False)
    assert not home.asked and len(load("tiny", "all")) == 12
    (folder / record.files[0].name).write_bytes(b"")  # wrong: fetches what is published
    refused(lambda: get("tiny", progress=False), "all.tar", kind=ConnectionError)
    assert "/all.tar" in home.asked
    (folder / record.files[0].name).unlink()
    refused(lambda: load("tiny"), "lacks all.tar", kind=FileNotFoundError)


def test_a_set_to_be_fetched_by_hand_says_how(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tiny(monkeypatch, homes=(), by_hand="Fetch them there.", page="http://there/")
    words = ["Fetch them there.", "http://there/", record.files[0].name, str(cache_folder() / "tiny")]
    refused(lambda: get("tiny"), *words, kind=FileNotFoundError)
    write_mnist(cache_folder() / "tiny")
    assert len(load("tiny", "all") if get("tiny") else ()) == 12 and not home.asked


def test_a_second_home_steps_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    record = catalogue.find("tiny")
    assert record is not None
    tiny(monkeypatch, homes=("http://127.0.0.1:1/", *record.homes))
    get("tiny", progress=False)
    assert len(home.asked) == 4


def test_a_file_gone_bad_is_fetched_again(home: Home) -> None:
    file = get("tiny", progress=False) / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(b"")
    get("tiny", progress=False)
    assert file.read_bytes() == (home.folder / file.name).read_bytes() and len(home.asked) == 5


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAYERWISE_DATA", raising=False)
    assert "layerwise" in str(cache_folder())
    monkeypatch.setenv("LAYERWISE_DATA", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"


def test_importing_waits_for_nothing_heavy() -> None:
    code = "import sys, layerwise.data; print({'torch', 'PIL', 'pooch', 'sklearn', 'requests'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(catalogue.__file__).parents[2])},
    )
    assert out.stdout.strip() == "set()"
