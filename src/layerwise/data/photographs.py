"""The readers of known sets of photographs: CIFAR-10 and the ORL faces."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts
from layerwise.data.dataset import Array

CIFAR = "cifar-10-binary.tar.gz"
RECORD = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue plane
BATCH = 10_000  # records of an official file
BATCHES = re.compile(r"(data_batch_|test_)\w+\.bin(\.xz|\.gz)?")

ORL = ("orl_faces.zip", "att_faces.zip")
PEOPLE, PHOTOS = 40, 10
FACE = (112, 92)


def read_cifar10(folder: Path) -> Parts:
    """CIFAR-10 in its binary form: the official archive (or the folder it is in), or a folder of the files in it.

    These may be packed by xz or gzip.

    Files called data_batch_*.bin are for training, those called test_*.bin for testing. Where they are less than the
    whole, the note says how much. Nothing is unpacked to disk.

    Raises:
        ValueError: If a file is broken, or holds no records of CIFAR-10.
    """
    archive = folder if folder.is_file() else folder / CIFAR
    members = dict(_of_archive(archive) if archive.is_file() else _of_files(folder))
    train, test = (
        [members[name] for name in sorted(members) if name.startswith(start)] for start in ("data_", "test_")
    )
    if not train or not test:
        raise ValueError(f"{folder} holds no {'test' if train else 'training'} files of CIFAR-10. Fetch {CIFAR} again.")
    pieces = [_records(each, folder) for each in (train, test)]
    have, whole = [len(piece.x) for piece in pieces], (5 * BATCH, BATCH)
    part = f"a part: {have[0]} of {whole[0]} training rows and {have[1]} of {whole[1]} test rows"
    return parts(pieces, "cifar10", note="" if tuple(have) == whole else part)


def read_orl_faces(folder: Path) -> Parts:
    """The ORL faces: of each of 40 people, photographs 1 to 5 are for training and 6 to 10 for testing.

    They are read from a zip of orl_faces/s{person}/{number}.pgm, in any folder.

    Raises:
        ValueError: If a photograph is missing, or is none of this set.
    """
    path = next(folder / name for name in ORL if (folder / name).is_file())
    faces = np.empty((PEOPLE, PHOTOS, *FACE), np.uint8)
    missing = {(person, number) for person in range(PEOPLE) for number in range(PHOTOS)}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if match := re.search(r"(?:^|/)s(\d+)/(\d+)\.pgm$", member.filename):
                    which = int(match[1]) - 1, int(match[2]) - 1
                    faces[which] = _face(archive, member)
                    missing.discard(which)
    except (zipfile.BadZipFile, zlib.error, OSError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not an intact zip of the ORL faces ({error}). Fetch it again.") from error
    if missing:
        person, number = min(missing)
        raise ValueError(f"{path} lacks {len(missing)} of 400 photographs, s{person + 1}/{number + 1}.pgm the first.")
    who = np.repeat(np.arange(1, PEOPLE + 1), PHOTOS // 2)
    pieces = [Piece(half.reshape(-1, *FACE), who) for half in (faces[:, :5], faces[:, 5:])]
    return parts(pieces, "orl_faces", note="photographs 1 to 5 of each person are for training, 6 to 10 for testing")


def is_cifar10(path: Path) -> bool:
    """Whether a path is the official archive, or a folder that holds it or its files."""
    if path.is_dir():
        return any(file.name == CIFAR or BATCHES.fullmatch(file.name) for file in path.iterdir())
    return path.name == CIFAR


def _of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in the official archive, read as it is unpacked."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".bin"):
                    stream = archive.extractfile(member)
                    yield Path(member.name).name, _limited(stream, member.name) if stream else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{path} is not an intact archive ({error}). Fetch it again.") from error


def _of_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names, without what packed them, and contents of the files in a folder."""
    openers: dict[str, Any] = {".bin": open, ".xz": lzma.open, ".gz": gzip.open}
    for path in sorted(folder.iterdir()):
        if BATCHES.fullmatch(path.name):
            try:
                with openers[path.suffix](path, "rb") as stream:
                    yield path.name, _limited(stream, path.name)
            except (lzma.LZMAError, EOFError, zlib.error, OSError) as error:
                raise ValueError(f"{path} is broken ({error}). Fetch it again.") from error


def _limited(stream: IO[bytes], name: str) -> bytes:
    """All of a stream, which is no more than an official file holds, however much it might unpack to."""
    content = stream.read(BATCH * RECORD + 1)
    if not content or len(content) % RECORD or len(content) > BATCH * RECORD:
        raise ValueError(f"{name} is not up to {BATCH} records of {RECORD} bytes, as CIFAR-10 has. Fetch it again.")
    return content


def _records(contents: list[bytes], folder: Path) -> Piece:
    """Pictures, shape (n, 3, 32, 32), and labels of all records."""
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, RECORD)
    if (label := records[:, 0].max()) > 9:
        raise ValueError(f"{folder} holds a record of class {label}, but CIFAR-10 has classes 0 to 9. Fetch it again.")
    return Piece(np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0])


def _face(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    from PIL import Image

    if member.file_size > 1 << 20:
        raise ValueError(f"{member.filename} would unpack to {member.file_size} bytes")
    with Image.open(io.BytesIO(archive.read(member)), formats=["PPM"]) as image:
        face = np.asarray(image)
    if face.shape != FACE or face.dtype != np.uint8:
        raise ValueError(f"{member.filename} is {face.shape} {face.dtype}, not {FACE} with 8 bits")
    return face
