"""`load`: from a name or a path to a part of a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from layerwise.data.arrays import Parts, idx_files, is_idx, read_idx, read_idx_folder, read_npy, read_npz
from layerwise.data.catalogue import find, read_known, suggest
from layerwise.data.dataset import Dataset, Labels, Row
from layerwise.data.folders import EXTENSIONS, PICTURES, SOUNDS, TEXTS, kind_of, place
from layerwise.data.frames import read_frame, read_parquet
from layerwise.data.images import is_picture, read_images
from layerwise.data.labels import hold_out
from layerwise.data.photographs import is_cifar10, read_cifar10
from layerwise.data.sound import read_sounds
from layerwise.data.tables import read_csv
from layerwise.data.text import read_text, read_text_table, read_texts
from layerwise.data.tokens import TextRow

Part = Literal["train", "test", "all"]


def load(
    source: str | Path | Any = "digits",
    part: Part = "train",
    *,
    holdout: float = 0.2,
    seed: int = 0,
    like: Row | None = None,
    size: tuple[int, int] | None = None,
    label: str | int | None = None,
    types: Mapping[str, str] | None = None,
    text: str | Sequence[str] | None = None,
    form: str | None = None,
    length: int | None = None,
    hertz: int | None = None,
    seconds: float | None = None,
    bands: int | None = None,
    fit: Literal["pad", "stretch"] | None = None,
    broken: Literal["stop", "skip"] | None = None,
) -> Dataset:
    """A part of a known set, or of what is at a path; what was done to get it is in the `note`.

    Sets with an official split keep it: known ones, folders with train/ and test/, folders with the four files of
    MNIST, .npz with x_train and x_test. Of others, a share of the labelled rows of each class is held out, or of all
    rows where none has a label. The parts "train" and "test" share no row, and "all" is both together. What has to be
    learned from rows to make numbers of them is learned from the training part.

    Arguments:
        source: A known set (see `known`), or else the path of an .npz, an .npy, a CSV (.csv, .tsv, .data) or idx file,
            packed by gzip or not, a Parquet file, or a folder of pictures; or else a pandas DataFrame.
        part: "train", "test" or "all".
        holdout: Share of the rows in "test" where there is no official split, between 0 and 1.
        seed: Chooses them.
        like: What a row of the data that a model learned from is: these rows are read to be the same.
        size: (height, width) of the images from a folder of pictures; the most common one by default.
        label: Name or number (from 1; -1 is the last) of a table's column of labels; "" = none. By default one called label,
            class, target or y.
        types: What columns of a table are, by name (or number, from 1), where the guess is wrong: "number", "category",
            "date" or "leave out".
        text: Columns of a table that are text to be read; they are joined, and the other columns left out.
        form: What text becomes: "tfidf" (by default) or "counts" of words, or "characters", "words" or "subwords" in their
            order.
        length: Characters, words or subwords of a row of text in order; longer ones are cut.
        hertz: Sound is resampled to it, in Hz; by default the most common one.
        seconds: Of a clip: shorter ones are padded, longer ones cut; by default what 95 % of the clips have.
        bands: Mel bands of a spectrogram.
        fit: "pad" (by default), or "stretch": clips without the silence at both ends, stretched to one length.
        broken: "skip" leaves out files of a folder that cannot be read, and counts them; "stop" by default.

    Raises:
        FileNotFoundError: If there is nothing of that name. Known sets are not downloaded: see `get`.
        ValueError: If it is of no known kind, broken, or holds what cannot be learned from (see the readers).

    Example:
        >>> print(load("digits", "train").describe())
        digits: 1297 images of 8 x 8, 10 classes, all labelled (training part of its own split; fixed split ...)
    """
    how: dict[str, Any] = {
        "size": size, "label": label, "types": types, "text": text, "form": form, "length": length, "hertz": hertz,
        "seconds": seconds, "bands": bands, "fit": fit, "broken": broken,
    }  # fmt: skip
    if part not in ("train", "test", "all"):
        raise ValueError(f"A part is 'train', 'test' or 'all', not {part!r}.")
    if part != "all":
        train, test = load_both(source, holdout=holdout, seed=seed, like=like, **how)
        return train if part == "train" else not_empty(test)
    joined = _joined(_read(source, how | {"like": like}))
    return joined if like else joined.fitted()


def load_both(
    source: str | Path | Any, *, holdout: float = 0.2, seed: int = 0, like: Row | None = None, **how: Any
) -> tuple[Dataset, Dataset]:
    """The training part and the test part, which may be empty, as `load` gives them, but read once."""
    if not 0 < holdout < 1:
        raise ValueError(f"The share to hold out lies between 0 and 1, not at {holdout}.")
    found = _read(source, how | {"like": like})
    train, test = found if len(found) == 2 else _split(found[0], holdout, seed)
    if like is None:
        train = train.fitted()
        test = test.fitted(train.row)
    return train, test


def hold_out_classes(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """The rows of some classes, those without a label with them, and the rows of a share of the classes, picked at random.

    Raises:
        ValueError: If there are not two classes for the one part and two for the other.
    """
    present = np.unique(_labels(data)[_labels(data) >= 0])
    count = min(max(round(share * len(present)), 2), len(present) - 2)
    if count < 2:
        raise ValueError(
            f"{data.name} has rows of {len(present)} people (labels): at least 4 are needed, 2 to learn from and 2 others to "
            "test on. Sort the files into one folder per person, or name the column of labels (--label)."
        )
    held = np.isin(_labels(data), np.random.RandomState(seed).permutation(present)[:count])
    how = f"{count} of {len(present)} people (labels) picked at random (seed {seed})"
    return (
        replace(data.take(~held), note="; ".join(filter(None, (f"training part: all but {how}", data.note)))),
        replace(data.take(held), note="; ".join(filter(None, (f"test part: {how}", data.note)))),
    )


def not_empty(test: Dataset) -> Dataset:
    """A test part that has rows."""
    if not len(test):
        raise ValueError(f"{test.name}: no row can be held out for testing without emptying a class. Give more rows.")
    return test


def is_text(source: str | Path, text: str | Sequence[str] | None = None) -> bool:
    """Whether rows of a source are texts; false for what is not there."""
    if record := find(str(source)):
        return record.kind == "text"
    path = Path(source).expanduser()
    return text is not None or (path.exists() and _kind(path) in ("texts", ".txt"))


def _read(source: str | Path | Any, asked: Mapping[str, Any]) -> Parts:
    """Chooses the reader, and refuses options that it has no use for."""
    record = find(source) if isinstance(source, str) else None
    framed = hasattr(source, "iloc")  # as frames have; pandas may not be here
    path = source if framed else Path(source).expanduser()
    reader = read_frame if framed else record.read if record else READERS[_kind(Path(path))]
    given = {name: value for name, value in asked.items() if value is not None}
    like = given.pop("like", None)
    if reader in (read_csv, read_parquet, read_frame) and ("text" in given or isinstance(like, TextRow)):
        reader = read_text_table
    known = inspect.signature(reader).parameters
    for name, value in given.items():
        if INSIDE.get(name, name) not in known:
            what = "this frame" if framed else source
            raise ValueError(f"{name}={value!r} was given, but {what} is not {FOR[name]}. Leave it out.")
    given = {INSIDE.get(name, name): value for name, value in given.items()}
    given |= {"like": like} if like is not None and "like" in known else {}
    return read_known(record, **given) if record else reader(path, **given)


READERS: dict[str, Callable[..., Parts]] = {
    ".npz": read_npz, ".npy": read_npy, "idx": read_idx, "idx folder": read_idx_folder, "images": read_images,
    "CIFAR-10": read_cifar10, "sounds": read_sounds, "texts": read_texts, ".txt": read_text,
    "table": read_csv, ".parquet": read_parquet, ".pq": read_parquet,
}  # fmt: skip
FOLDERS = {PICTURES: "images", SOUNDS: "sounds", TEXTS: "texts"}
TABLES = (".csv", ".tsv", ".data")
FOR = {
    "size": "a folder of pictures", "broken": "a folder of files", "label": "a table", "types": "a table",
    "text": "a table", "form": "text", "length": "text", "hertz": "sound", "seconds": "sound", "bands": "sound",
    "fit": "sound",
}  # fmt: skip
"""What each option of reading is for."""
INSIDE = {"hertz": "rate"}
"""What a reader calls an option where that is another name."""


def _kind(path: Path) -> str:
    """Which reader a path is for."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is neither a known set nor a path that exists. {suggest(str(path))}")
    if is_cifar10(path):
        return "CIFAR-10"
    if path.is_dir():
        return "idx folder" if idx_files(path) else FOLDERS[kind_of(path)]
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). Fetch or save it again.")
    if is_idx(path):
        return "idx"
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in TABLES:
        return "table"
    if suffix == ".txt":
        return suffix
    if path.suffix.lower() == ".zip":
        return FOLDERS[kind_of(place(path))]
    if path.suffix.lower() in READERS:
        return path.suffix.lower()
    if path.suffix.lower() in EXTENSIONS[SOUNDS]:
        return "sounds"
    if is_picture(path.suffix.lower()):
        return "images"
    raise ValueError(
        f"{path}: {path.suffix or 'a name without extension'} is of no known kind. Readable are .npz, .npy, "
        f"{', '.join(TABLES)}, .txt (or .gz of these), .parquet, idx files (...-idx3-ubyte), CIFAR-10's binary files, "
        "pictures and sounds, and folders or zips of pictures, sounds or texts."
    )


def _joined(found: Parts) -> Dataset:
    """The only part, or the training part followed by the test part."""
    if len(found) == 1:
        return found[0]
    train, test = found
    y = None
    if train.y is not None or test.y is not None:
        y = np.concatenate([_labels(train), _labels(test)])
    note = train.note.replace("training part of its own split", "training and test parts together", 1)
    lengths = None if train.lengths is None or test.lengths is None else np.concatenate([train.lengths, test.lengths])
    files = None if train.files is None or test.files is None else np.concatenate([train.files, test.files])
    return replace(train, x=np.concatenate([train.x, test.x]), y=y, note=note, lengths=lengths, files=files)


def _labels(data: Dataset) -> Labels:
    return np.full(len(data), -1, np.int64) if data.y is None else data.y


def _split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test parts of a set that has no official ones."""
    if isinstance(data.x, np.memmap) and not data.labelled:
        # Rows picked at random would have to be copied, which brings nothing where there are no classes to be even over.
        cut = len(data) - min(max(1, round(share * len(data))), len(data) - 1)
        indices: tuple[Any, Any] = slice(0, cut), slice(cut, None)
        how = f"the last {len(data) - cut} of {len(data)} rows, in the order of the file"
    else:
        held = hold_out(data.y, len(data), share, seed)
        indices = ~held, held
        by_class = ", stratified by class" if data.labelled else ""
        how = f"{held.sum()} of {len(data)} rows picked at random (seed {seed}{by_class})"
    train, test = map(data.take, indices)
    return (
        replace(train, note="; ".join(filter(None, (f"training part: all but {how}", data.note)))),
        replace(test, note="; ".join(filter(None, (f"test part: {how}", data.note)))),
    )
