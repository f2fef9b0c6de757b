"""Text: lines of a file, folders, and columns of a table."""

from __future__ import annotations

from pathlib import Path

from layerwise.data.arrays import Parts
from layerwise.data.row import Row


def read_text(path: Path, form: str | None = None, length: int | None = None, like: Row | None = None) -> Parts:
    """The lines of a file."""
    raise NotImplementedError


def read_texts(path: Path, form: str | None = None, length: int | None = None, like: Row | None = None) -> Parts:
    """A folder or zip of text files, one sub-folder per class."""
    raise NotImplementedError
