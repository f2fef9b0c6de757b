"""Files that are written whole or not at all, whenever the process may be killed or the disk be full."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(contents: Mapping[Path, bytes | str]) -> None:
    """Puts each content into its file; until all are there, what was there before stays.

    Raises:
        OSError: If one cannot be written, with what to do; what was there before is untouched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole({Path(folder) / "a.txt": "all of it"})
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    parts = {path: path.with_name(f"{path.name}.part") for path in contents}
    try:
        for path, content in contents.items():
            with open(parts[path], "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        before = "What was there before is untouched" if any(path.exists() for path in contents) else "Nothing is left"
        raise OSError(
            f"{', '.join(map(str, contents))} could not be written: {error.strerror or error}. {before}. Make room "
            f"({sum(map(len, contents.values())) / 1e6:.1f} MB are needed), or choose a folder on another disk."
        ) from error
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def add_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Adds a line of JSON to a file, which begins with the first; a line for which there is no room leaves nothing.

    Raises:
        OSError: If it cannot be written, with what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for error in (1.5, 1.25):
        ...         add_line(Path(folder) / "log.jsonl", {"error": error})
        ...     print((Path(folder) / "log.jsonl").read_text(), end="")
        {"error": 1.5}
        {"error": 1.25}
    """
    line, before = f"{json.dumps(entry)}\n", path.stat().st_size if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "a") as file:
            file.write(line)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, before)
        raise OSError(
            f"A line could not be added to {path}: {error.strerror or error}. The lines before it are untouched. Make room, "
            "or choose a folder on another disk."
        ) from error
