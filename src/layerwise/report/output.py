"""Where a report is written, and what it may replace there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from layerwise.findings import FORMAT
from layerwise.report.page import GENERATOR, render

PAGE, DATA = "report.html", "report.json"


def check_out(out: str | Path) -> Path:
    """The folder to write into, checked before the work begins.

    Raises:
        FileExistsError: If it is a file, or holds a `report.html` or `report.json` that is no report of ours.
    """
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a report is written into a folder. Choose another name.")
    for name, mark in ((PAGE, GENERATOR), (DATA, FORMAT.partition("/")[0])):
        file = folder / name
        if file.exists() and not (file.is_file() and mark.encode() in file.read_bytes()[:2000]):
            raise FileExistsError(
                f"{file} is not a report of layerwise and is left alone. Choose another folder, or move it."
            )
    return folder


def write(found: dict[str, Any], out: str | Path) -> Path:
    """Writes `report.html` and `report.json` into the folder `out`, each whole or not at all; returns the page's path.

    Arguments:
        found: What `Explanation.to_dict` gives.

    Raises:
        FileExistsError: As `check_out`.
    """
    folder = check_out(out)
    page = render(found)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / DATA, json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    _replace(folder / PAGE, page)
    return folder / PAGE


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
