"""The known sets: what they are, where their files are at home, and how they get into the cache."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts, read_idx_folder
from layerwise.data.labels import pick

TRIES = 3
PAUSE = 1.0  # seconds, before a second round


@dataclass(frozen=True)
class KnownFile:
    """A file of a known set; `name` follows the set's homes in its URL."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Known:
    """A known set. `rows` are those of the training and test parts; a set without `files` is embedded."""

    name: str
    about: str
    kind: str
    shape: tuple[int, ...]
    rows: tuple[int, int]
    licence: str
    classes: tuple[str, ...]
    read: Callable[..., Parts] = field(repr=False)
    files: tuple[KnownFile, ...] = ()
    homes: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Names of the files that are not in the cache."""
        folder = cache_folder() / self.name if self.files else None
        return [file.name for file in self.files if folder and not (folder / file.name).is_file()]


def known() -> list[Known]:
    """The known sets, the default first.

    Example:
        >>> [record.name for record in known()]
        ['digits', 'mnist', 'fashion_mnist']
    """
    return list(CATALOGUE)


def find(name: str) -> Known | None:
    """The known set of that name."""
    return next((record for record in CATALOGUE if record.name == name), None)


def cache_folder() -> Path:
    """Where the files of known sets are, in a sub-folder each: LAYERWISE_DATA, or the system's place for caches."""
    if folder := os.environ.get("LAYERWISE_DATA"):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("layerwise"))


def read_known(record: Known, **how: Any) -> Parts:
    """The training and test parts of a known set; `how` goes to its reader.

    Raises:
        FileNotFoundError: If its files are not in the cache; nothing is downloaded.
    """
    folder = cache_folder() / record.name if record.files else Path()
    if record.missing:
        raise FileNotFoundError(
            f"{record.name} is not here: {folder} lacks {', '.join(record.missing)}. Get it with "
            f"`layerwise data get {record.name}`, or set LAYERWISE_DATA to a folder that holds {record.name}/."
        )
    found = record.read(folder, **how)
    if len(found[0].classes) != len(record.classes):
        raise ValueError(
            f"{record.name} has {len(record.classes)} classes, but the files in {folder} have {len(found[0].classes)}. "
            f"Check them with `layerwise data get {record.name}`, or load the folder by its path."
        )
    return tuple(replace(part, name=record.name, classes=record.classes) for part in found)


def get(name: str, progress: bool = True) -> Path:
    """Downloads the files of a known set that are not in the cache yet, and checks all of them.

    Arguments:
        name: Of the set.
        progress: Whether to show it, on standard error.

    Returns:
        The folder with the files. For an embedded set there is nothing to get, and it may not exist.

    Raises:
        ValueError: If no set has that name.
        ConnectionError: If a file could not be had, or is not the one it should be. Nothing of it is kept.
    """
    record = find(name)
    if record is None:
        raise ValueError(f"No known set is called {name!r}. {suggest(name)}")
    folder = cache_folder() / record.name
    for file in record.files:
        _fetch(record, file, folder, progress)
    return folder


def suggest(name: str) -> str:
    """The known names, the nearest first."""
    from difflib import get_close_matches

    names = [record.name for record in CATALOGUE]
    near = get_close_matches(name.lower(), names)
    return (f"Did you mean {' or '.join(near)}? " if near else "") + f"Known sets: {', '.join(names)}."


def _fetch(record: Known, file: KnownFile, folder: Path, progress: bool) -> None:
    """Gets one file, from each home in turn, unless it is there and right."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    if (folder / file.name).is_file() and pooch.file_hash(folder / file.name) == file.sha256:
        return
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for attempt in range(TRIES):
        time.sleep(PAUSE * attempt)
        for home in record.homes:
            # Servers may unpack a .gz for whoever says they accept gzip, and the checksum is that of the .gz.
            downloader = pooch.HTTPDownloader(
                progressbar=_Bar(file) if progress else False,
                chunk_size=1 << 16,
                timeout=30,
                headers={"Accept-Encoding": "identity"},
            )
            try:
                # Writes a part file beside it, and moves that once its checksum is right.
                pooch.retrieve(home + file.name, file.sha256, file.name, folder, downloader=downloader)
                return
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                failures.append(f"{home + file.name}: {re.sub('<[^>]* at 0x[^>]*>:? *', '', str(error))}")
    raise ConnectionError(
        f"{record.name} could not be downloaded, and nothing incomplete was kept.\n  "
        + "\n  ".join(dict.fromkeys(failures))
        + f"\nTry again later, or put {', '.join(file.name for file in record.files)} into {folder} yourself, "
        f"or set LAYERWISE_DATA to a folder that holds {record.name}/ with these files."
    )


class _Bar:
    """Progress of one file on standard error, as pooch calls it: percent on a terminal, else one line at the end."""

    total = 0

    def __init__(self, file: KnownFile) -> None:
        self.file, self.done = file, 0

    def update(self, count: int) -> None:
        self.done = min(self.done + count, self.file.bytes)
        if sys.stderr.isatty():
            print(f"\r{self.file.name} {100 * self.done // self.file.bytes:3d} %", end="", file=sys.stderr, flush=True)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        print(f"\r{self.file.name} {self.file.bytes / 1e6:.1f} MB", file=sys.stderr)


def _read_digits(_: Path) -> Parts:
    """scikit-learn's digits: 1297 rows to train on and 500 to test on, by class and always the same."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = data.images.astype(np.uint8), data.target
    test = np.zeros(len(x), dtype=bool)
    test[pick([np.flatnonzero(y == label) for label in range(10)], 500, seed=0)] = True
    note = "fixed split of scikit-learn's digits into 1297 and 500, stratified by class"
    both = parts([Piece(x[~test], y[~test]), Piece(x[test], y[test])], "digits", note=note)
    return tuple(replace(part, row=replace(part.row, high=16.0)) for part in both)


CATALOGUE = (
    Known(
        "digits",
        "Handwritten digits, 8 x 8 pixels of 17 greys, embedded in scikit-learn: the default.",
        "image",
        (8, 8),
        (1297, 500),
        "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
        tuple("0123456789"),
        _read_digits,
    ),
    Known(
        "mnist",
        "Handwritten digits, 28 x 28 pixels (LeCun, Cortes, Burges).",
        "image",
        (28, 28),
        (60000, 10000),
        "none stated by the authors; often given as CC BY-SA 3.0",
        tuple("0123456789"),
        read_idx_folder,
        (
            KnownFile(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9912422,
            ),
            KnownFile(
                "train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881
            ),
            KnownFile(
                "t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877
            ),
            KnownFile(
                "t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542
            ),
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    Known(
        "fashion_mnist",
        "Clothing, 28 x 28 pixels (Zalando Research).",
        "image",
        (28, 28),
        (60000, 10000),
        "MIT",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        read_idx_folder,
        (
            KnownFile(
                "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26421880,
            ),
            KnownFile(
                "train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515
            ),
            KnownFile(
                "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102
            ),
            KnownFile(
                "t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148
            ),
        ),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
)
