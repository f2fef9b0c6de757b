"""Files that are written whole or not at all, whenever the process may be killed or the disk be full."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


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
