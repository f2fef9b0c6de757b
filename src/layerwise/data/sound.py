"""Folders and zips of sound clips as log-mel spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from layerwise.data.arrays import Parts
from layerwise.data.row import Row


def read_sounds(
    path: Path,
    rate: int | None = None,
    seconds: float | None = None,
    bands: int | None = None,
    broken: Literal["stop", "skip"] = "stop",
    like: Row | None = None,
) -> Parts:
    """Clips in one sub-folder per class."""
    raise NotImplementedError
