"""Where the files of known sets lie, and how they get there: checked, and resumed where a download was cut off."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerwise.data.arrays import unpacked

if TYPE_CHECKING:
    from requests import Response

TRIES = 3
PAUSE = 1.0  # seconds, before a second round
CHUNK = 1 << 16


@dataclass(frozen=True)
class KnownFile:
    """A file of a known set; `name` follows the set's homes in its URL.

    Arguments:
        name: In the folder of the set.
        sha256: Of what the homes send; "md5:..." where only that is published, "" where it is not known.
        bytes: Of what the homes send; 0 where it is not known.
        packed: Whether the homes send it without the .gz of its name: it is packed here, and checked as it is inside.
    """

    name: str
    sha256: str
    bytes: int
    packed: bool = False

    @property
    def sent(self) -> str:
        """Its name at home."""
        return self.name.removesuffix(".gz") if self.packed else self.name


def cache_folder() -> Path:
    """Where the files of known sets are, in a sub-folder each: LAYERWISE_DATA, or the system's place for caches."""
    if folder := os.environ.get("LAYERWISE_DATA"):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("layerwise"))


def is_right(file: KnownFile, folder: Path) -> bool:
    """Whether a file is in the folder and, if its checksum is known, is the one it should be."""
    path = folder / file.name
    if not path.is_file():
        return False
    kind, _, digest = file.sha256.rpartition(":")
    if not digest:
        return True
    try:
        with unpacked(path) if file.packed else path.open("rb") as stream:
            return hashlib.file_digest(stream, kind or "sha256").hexdigest() == digest  # type: ignore[arg-type]
    except ValueError:  # a broken gzip
        return False


def fetch(file: KnownFile, homes: Sequence[str], folder: Path, progress: bool) -> None:
    """Gets one file, from each home in turn, unless it is there and right.

    What came of a download that broke off is kept beside it as .part, and the next one goes on from there.

    Raises:
        ConnectionError: If no home sent it whole and right; says what was tried, and what is kept.
    """
    import pooch

    if is_right(file, folder):
        return
    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.sent}.part"
    failures: list[str] = []
    for attempt in range(TRIES):
        time.sleep(PAUSE * attempt)
        for home in homes:
            downloader = Resuming(part, _Bar(file.name) if progress else None)
            try:
                # Writes beside it, and moves that only if its checksum is right.
                pooch.retrieve(home + file.sent, file.sha256 or None, file.sent, folder, downloader=downloader)
                return _pack(folder / file.sent) if file.packed else None
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                failures.append(f"{home + file.sent}: {re.sub('<[^>]* at 0x[^>]*>:? *', '', str(error))}")
    raise ConnectionError("\n  ".join([_what_is_left(file, part), *dict.fromkeys(failures)]))


class Resuming:
    """Downloads a file for pooch, and goes on with what came before of one that was cut off.

    Arguments:
        part: Where the bytes that came are kept until all are there.
        bar: Is shown the progress.
    """

    def __init__(self, part: Path, bar: _Bar | None = None) -> None:
        self.part, self.bar = part, bar

    def __call__(self, url: str, output: str, _: object) -> None:
        """Moves the whole file to `output`; whether it is the right one is for pooch to say."""
        import requests

        have = size(self.part)
        # Servers may unpack a .gz for whoever says they accept gzip, and the checksum is that of the .gz.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, stream=True, timeout=30, headers=headers) as answer:
            if answer.status_code != 416:  # 416: nothing was left to send
                answer.raise_for_status()
                self._write(answer)
        os.replace(self.part, output)

    def _write(self, answer: Response) -> None:
        # A server that knows no ranges sends all of it, from byte 0.
        range_ = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        start = int(range_[1]) if answer.status_code == 206 and range_ else 0
        total = start + int(answer.headers.get("Content-Length", 0))
        with open(self.part, "r+b" if self.part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                if self.bar:
                    self.bar.show(file.tell(), total)
        if size(self.part) < total:  # not every version of urllib3 says so
            raise ConnectionError(f"the connection was cut after {size(self.part)} of {total} bytes")
        if self.bar:
            self.bar.close(total)


def size(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    return path.stat().st_size if path.is_file() else 0


def _pack(path: Path) -> None:
    """Puts a file into a .gz of its name."""
    packed = path.with_name(f"{path.name}.gz")
    whole = packed.with_name(f"{packed.name}.part")
    with contextlib.ExitStack() as undo:
        undo.callback(whole.unlink, missing_ok=True)
        with path.open("rb") as source, gzip.open(whole, "wb") as target:
            shutil.copyfileobj(source, target)
        os.replace(whole, packed)
    path.unlink()


def _what_is_left(file: KnownFile, part: Path) -> str:
    if not (have := size(part)):
        part.unlink(missing_ok=True)
        return "could not be downloaded, and nothing incomplete was kept."
    of = f" of {file.bytes}" if file.bytes else ""
    return (
        f"could not be downloaded whole. {have}{of} bytes of {file.sent} are kept in {part}: the same command goes on "
        "from there, if the server can, and else starts that file over."
    )


class _Bar:
    """Progress of one file on standard error: percent on a terminal, else one line at the end."""

    def __init__(self, name: str) -> None:
        self.name = name

    def show(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and total:
            print(f"\r{self.name} {100 * min(done, total) // total:3d} %", end="", file=sys.stderr, flush=True)

    def close(self, total: int) -> None:
        print(f"\r{self.name} {total / 1e6:.1f} MB", file=sys.stderr)
