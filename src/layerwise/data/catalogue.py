"""The known sets: found by name, read from the cache, and fetched into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from layerwise.data.arrays import Parts
from layerwise.data.download import KnownFile, cache_folder, fetch, is_right
from layerwise.data.sets import CATALOGUE, Known

__all__ = ["CATALOGUE", "Known", "KnownFile", "cache_folder", "find", "get", "known", "read_known", "suggest"]


def known() -> list[Known]:
    """The known sets, the default first.

    Example:
        >>> [record.name for record in known()][:4]
        ['digits', 'mnist', 'fashion_mnist', 'cifar10']
    """
    return list(CATALOGUE)


def find(name: str) -> Known | None:
    """The known set of that name."""
    return next((record for record in CATALOGUE if record.name == name), None)


def read_known(record: Known, **how: Any) -> Parts:
    """The training and test parts of a known set; `how` goes to its reader.

    Raises:
        FileNotFoundError: If its files are not in the cache; nothing is downloaded.
    """
    folder = record.folder
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

    Other complete files of the set that its reader takes (`Known.others`) are checked and left as they are.

    Arguments:
        name: Of the set.
        progress: Whether to show it, on standard error.

    Returns:
        The folder with the files. For an embedded set there is nothing to get, and it may not exist.

    Raises:
        ValueError: If no set has that name.
        FileNotFoundError: If the set has to be fetched by hand; says from where, and where to put it.
        ConnectionError: If a file could not be had, or is not the one it should be. Nothing of a wrong file is kept; of
            one that was cut off, what came is, and the next call goes on from there.
    """
    record = find(name)
    if record is None:
        raise ValueError(f"No known set is called {name!r}. {suggest(name)}")
    folder = record.folder
    if not record.missing and all(is_right(file, folder) for file in record.here):
        return folder
    if not record.homes:
        raise FileNotFoundError(
            f"No download of {record.name} with a published checksum is known, so this is left to you. {record.by_hand} "
            f"Put {' and '.join(file.name for file in record.files)} into {folder}. About the set: {record.page}"
        )
    for file in record.files:
        try:
            fetch(file, record.homes, folder, progress)
        except ConnectionError as error:
            raise ConnectionError(
                f"{record.name} {error}\nTry again later, or put {', '.join(file.name for file in record.files)} into "
                f"{folder} yourself, or set LAYERWISE_DATA to a folder that holds {record.name}/ with these files. "
                f"About the set: {record.page}"
            ) from None
    return folder


def suggest(name: str) -> str:
    """The known names, the nearest first."""
    from difflib import get_close_matches

    names = [record.name for record in CATALOGUE]
    near = get_close_matches(name.lower(), names)
    return (f"Did you mean {' or '.join(near)}? " if near else "") + f"Known sets: {', '.join(names)}."
