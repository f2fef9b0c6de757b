"""Folders of files of one kind, and zips that hold such folders: one sub-folder per class, or train/ and test/ like that."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np

from layerwise.data.row import Array

T = TypeVar("T")
Place = Path | zipfile.Path
UNLABELLED = ("unlabelled", "unlabeled")
PICTURES, SOUNDS, TEXTS = "picture", "sound", "text"
EXTENSIONS = {SOUNDS: {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au"}, TEXTS: {".txt", ".md"}}
LOOK = 2000  # files by whose names the kind of a folder is told
AT_ONCE = 8  # files that are read at the same time, at most
AHEAD = 4  # files per thread that may be done before their turn


class Found(NamedTuple):
    """A file in a folder, and the class its sub-folder is named after: "" = none."""

    file: Place
    label: str


def place(path: Path) -> Place:
    """A folder or a lone file itself, or what is in a zip, which is read where it lies and never unpacked.

    Raises:
        ValueError: If it is no zip, or a member of it points outside.
    """
    if path.is_dir() or path.suffix.lower() != ".zip":
        return path
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is not an intact zip ({error}). Fetch or pack it again.") from error
    for name in archive.namelist():
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or name[1:2] == ":":
            raise ValueError(
                f"{path}: the member {name!r} points outside of the archive, so it is refused. Pack it again."
            )
    inside: Place = zipfile.Path(archive)
    while True:  # a zip often holds one folder that holds the rest
        entries = visible(inside)
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in ("train", "test"):
            return inside
        inside = entries[0]


def kind_of(folder: Place) -> str:
    """Of what most files in a folder are, by their names: PICTURES, SOUNDS or TEXTS."""
    count: Counter[str] = Counter()
    waiting = [folder]
    while waiting and count.total() < LOOK:
        for entry in visible(waiting.pop()):
            if entry.is_dir():
                waiting.append(entry)
            else:
                count[
                    next((kind for kind, known in EXTENSIONS.items() if entry.suffix.lower() in known), PICTURES)
                ] += 1
    return max(count, key=lambda kind: (count[kind], kind == PICTURES), default=PICTURES)


def splits(folder: Place) -> list[Place]:
    """The folder (or lone file) itself, or its train/ and test/."""
    both: list[Any] = [folder / "train", folder / "test"]
    alone = [part for part in both if part.is_dir()]
    if len(alone) == 1:
        raise ValueError(
            f"{folder} holds {alone[0].name}/ but not the other of train/ and test/. "
            f"Give the path {alone[0]} to split it at random, or add the other."
        )
    return alone or [folder]


def listing(folder: Place, what: str, wanted: Callable[[str], bool]) -> tuple[list[Found], int]:
    """The files of a folder whose lower-case extension is `wanted`, by name, and the number of others.

    Those of a sub-folder have its name for a class; those in `unlabelled/` or in no sub-folder have none.

    Arguments:
        folder: Or one such file.
        what: What such a file is called, for messages.

    Raises:
        ValueError: If folders are not like that.
    """
    if folder.is_file():
        return [Found(folder, "")], 0
    subfolders = [entry for entry in visible(folder) if entry.is_dir()]
    loose, others = _files(folder, wanted)
    found = [Found(file, "") for file in loose]
    for subfolder in subfolders:
        files, more = _files(subfolder, wanted)
        if inner := next((entry for entry in visible(subfolder) if entry.is_dir()), None):
            raise ValueError(
                f"{inner} is a folder inside the folder of a class. Move its {what}s up, "
                f"or load {subfolder} itself if its sub-folders are the classes."
            )
        if not files:
            raise ValueError(f"{subfolder} is the folder of a class, but holds no {what}s. Fill it or remove it.")
        found += [Found(file, "" if subfolder.name.lower() in UNLABELLED else subfolder.name) for file in files]
        others += more
    if loose and subfolders:
        raise ValueError(
            f"{folder} holds {what}s ({loose[0].name}, ...) beside sub-folders, so their class is not "
            f"known. Move them to {folder / UNLABELLED[0]}, or to their class."
        )
    return found, others


def visible(folder: Place) -> list[Any]:
    """What is in a folder, by name, without hidden files and what a Mac adds to a zip."""
    found: list[Any] = list(folder.iterdir())
    entries = sorted(found, key=lambda entry: entry.name)
    return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]


def names_of(files: Iterable[Place], root: Path) -> Array:
    """What files are called in the folder or zip they are from, shape (n,), strings."""
    names = [
        file.at if isinstance(file, zipfile.Path) else file.name if file == root else file.relative_to(root).as_posix()
        for file in files
    ]
    return np.array(names, dtype=object)


def _files(folder: Place, wanted: Callable[[str], bool]) -> tuple[list[Any], int]:
    files = [entry for entry in visible(folder) if entry.is_file()]
    good = [file for file in files if wanted(Path(file.name).suffix.lower())]
    return good, len(files) - len(good)


class Reader:
    """Reads files, and at a broken one stops with an error or notes that it was skipped.

    Arguments:
        broken: "stop" or "skip".
        what: What a file is, for messages.
    """

    def __init__(self, broken: Literal["stop", "skip"], what: str) -> None:
        if broken not in ("stop", "skip"):
            raise ValueError(f"What to do about broken {what}s is 'stop' or 'skip', not {broken!r}.")
        self.skip, self.what = broken == "skip", what
        self.skipped: list[str] = []

    def __call__(self, file: Place, look: Callable[[BinaryIO], T]) -> T | None:
        """What `look` makes of the open file; None if it is broken and skipped. Whatever it raises is a reason."""
        return self._settled(file, *self._tried(file, look))

    def each(self, files: Iterable[Place], look: Callable[[BinaryIO], T]) -> Iterator[T | None]:
        """What `look` makes of each file, in their order.

        Several are read at the same time, in threads: decoders of pictures and sound leave Python's lock alone.
        """
        waiting: deque[Any] = deque()
        pool = ThreadPoolExecutor(threads())
        try:
            for file in files:
                waiting.append((file, pool.submit(self._tried, file, look)))
                if len(waiting) > AHEAD * threads():
                    first, found = waiting.popleft()
                    yield self._settled(first, *found.result())
            for file, found in waiting:
                yield self._settled(file, *found.result())
        finally:
            pool.shutdown(cancel_futures=True)

    def _tried(self, file: Place, look: Callable[[BinaryIO], T]) -> tuple[T | None, str]:
        """What `look` makes of a file, or why it cannot."""
        try:
            with file.open("rb") as stream:
                return look(stream), ""  # type: ignore[arg-type]
        except Exception as error:  # readers of formats raise whatever their parsing trips over
            return None, str(error) or type(error).__name__

    def _settled(self, file: Place, found: T | None, reason: str) -> T | None:
        if reason and not self.skip:
            raise ValueError(
                f"{file} cannot be read as a {self.what} ({reason}). Mend or remove it, or leave such files "
                "out with broken='skip' (--broken skip)."
            )
        if reason:
            self.skipped.append(file.name)
        return found

    def notes(self, others: int) -> list[str]:
        """What was skipped and, of `others`, ignored, in words; it warns of the first."""
        said = []
        if self.skipped:
            some = ", ".join(self.skipped[:3]) + (", ..." if len(self.skipped) > 3 else "")
            said.append(f"broken files skipped: {len(self.skipped)} ({some})")
            warnings.warn(said[0], stacklevel=2)
        if others:
            said.append(f"files that are no {self.what}s ignored: {others}")
        return said


def threads() -> int:
    """How many files are read at the same time: one for each processor that this process may use, at most `AT_ONCE`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, AT_ONCE)


def name_of(path: Path) -> str:
    """What a folder or zip is called."""
    return path.resolve().name.removesuffix(".zip")
