"""Sound: folders and zips of clips, read, mixed down, resampled, and brought to one length."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts
from layerwise.data.disk import empty
from layerwise.data.folders import EXTENSIONS, SOUNDS, Found, Place, Reader, listing, name_of, names_of, place, splits
from layerwise.data.row import Array, Row
from layerwise.data.spectrogram import BANDS, HEARD, HOP, RATES, Fit, SoundRow

if TYPE_CHECKING:
    pass

MOST = 0.95  # share of the clips that are no longer than the length of all

MEMORY = 4 << 30
"""Bytes that clips may take at a length nobody asked for."""

LARGEST = 1 << 30
"""Bytes of one file."""


def resampled(samples: Array, rate: int, wanted: int) -> Array:
    """Samples at another rate in Hz, shape (ceil(k * wanted / rate),)."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return resample_poly(samples, wanted // common, rate // common)


def read_sounds(
    path: Path,
    rate: int | None = None,
    seconds: float | None = None,
    bands: int | None = None,
    fit: Fit | None = None,
    broken: Literal["stop", "skip"] = "stop",
    like: Row | None = None,
) -> Parts:
    """Clips of a folder or zip in one sub-folder per class; those in `unlabelled/` or in no sub-folder have no label.

    A folder that holds train/ and test/, each like that, is an official split. WAV, FLAC, OGG, MP3, AIFF and AU are
    read, of any rate and number of channels; a zip is not unpacked. Shorter clips are padded with silence at the end,
    longer ones cut there, or all are stretched (`fit`); how many frames each had is in `Dataset.lengths`. Rows are stored
    as float16 decibels.

    Arguments:
        path: Files that are no sounds, by their extension, are left out and counted in the note.
        rate: That all are resampled to, in Hz; by default the most common one (of the training part).
        seconds: Of all; by default as long as 95 % of the clips (of the training part) are at most.
        bands: Mel bands; 40 by default.
        fit: "pad" (by default) or "stretch", see `SoundRow`: single words that some say fast and others slowly.
        broken: What to do about a clip that cannot be read: "stop" with an error, or "skip" it and count it.
        like: A `SoundRow` that these rows are to be like; it says rate, length and bands.

    Raises:
        ImportError: If soundfile is not installed.
        ValueError: For a clip that cannot be read, for options out of range, and for folders not like that.
    """
    listings, others = zip(
        *(listing(part, SOUNDS, EXTENSIONS[SOUNDS].__contains__) for part in splits(place(path))), strict=True
    )
    asked = Asked(rate, seconds, bands, fit, like if isinstance(like, SoundRow) else None)
    return _read(listings, asked, Reader(broken, SOUNDS), path, sum(others))


def read_fsdd(
    folder: Path,
    rate: int | None = None,
    seconds: float | None = None,
    bands: int | None = None,
    fit: Fit | None = None,
    like: Row | None = None,
) -> Parts:
    """Free Spoken Digit Dataset, fsdd.zip in a folder: recordings 0 to 4 of each digit and speaker are for testing."""
    asked = Asked(rate, seconds, bands, fit, like if isinstance(like, SoundRow) else None)
    return _read(_fsdd(folder), asked, Reader("stop", SOUNDS), folder / FSDD, 0)


def fsdd_speakers(folder: Path) -> tuple[Array, Array]:
    """Who speaks in each row of the training and of the test part of `read_fsdd`, shape (n,), text."""
    train, test = (np.array([_spoken(found.file)[1] for found in part]) for part in _fsdd(folder))
    return train, test


FSDD = "fsdd.zip"


def _fsdd(folder: Path) -> list[list[Found]]:
    """The recordings of the training part and of the test part, by name."""
    loose, _ = listing(place(folder / FSDD), SOUNDS, EXTENSIONS[SOUNDS].__contains__)
    both: list[list[Found]] = [[], []]
    for found in loose:
        digit, _, index = _spoken(found.file)
        both[index < 5].append(Found(found.file, digit))
    return both


def _spoken(file: Place) -> tuple[str, str, int]:
    """Digit, speaker and number of a recording, from its name: 7_jackson_32.wav."""
    match file.name.removesuffix(".wav").split("_"):
        case [digit, speaker, index] if index.isdecimal():
            return digit, speaker, int(index)
    raise ValueError(
        f"{file} is not named like 7_jackson_32.wav, as recordings of spoken digits are. Fetch them again."
    )


class Asked(NamedTuple):
    """What is asked of all clips, None where they decide."""

    rate: int | None
    seconds: float | None
    bands: int | None
    fit: Fit | None
    like: SoundRow | None


class Header(NamedTuple):
    """What the header of a clip says."""

    rate: int
    channels: int
    samples: int

    def frames(self, rate: int, hop: int) -> int:
        """Frames of the clip at another rate, at least 1."""
        return -(-self.samples * rate // (self.rate * hop))


def _read(listings: Sequence[Sequence[Found]], asked: Asked, reader: Reader, path: Path, others: int) -> Parts:
    """The parts of a set of clips."""
    _soundfile()  # a reader would take its absence for broken files
    every = [found.file for part in listings for found in part]
    headers = {file: header for file, header in zip(every, reader.each(every, _header), strict=True) if header}
    known = [[found for found in part if found.file in headers] for part in listings]
    if not all(known):
        raise ValueError(
            f"{path} holds {'no sound' if not headers else 'train/ and test/, but one of them no sound'} that can be "
            f"read ({others} other files, {len(reader.skipped)} broken). Give a folder of clips ("
            f"{', '.join(sorted(EXTENSIONS[SOUNDS]))}), one sub-folder per class."
        )
    row = _row([headers[found.file] for found in known[0]], len(headers), asked, path)
    done = Counter[str]()
    pieces, lengths = zip(*(_piece(part, headers, row, reader, done, path) for part in known), strict=True)
    note = "; ".join([_form(row, asked), *_changes(done, row), *reader.notes(others)])
    found = parts(pieces, name_of(path), row=row, note=note)
    return tuple(replace(part, lengths=length) for part, length in zip(found, lengths, strict=True))


def _row(headers: Sequence[Header], total: int, asked: Asked, path: Path) -> SoundRow:
    """What all clips become."""
    if asked.like:
        return _like(asked.like, asked)
    rate = Counter(header.rate for header in headers).most_common(1)[0][0] if asked.rate is None else asked.rate
    bands, fit = BANDS if asked.bands is None else asked.bands, asked.fit or "pad"
    if asked.seconds is not None:
        return SoundRow.of(rate, bands, asked.seconds, fit=fit)
    hop = SoundRow.of(rate, bands).hop
    lengths = [header.frames(rate, hop) for header in headers]
    row = SoundRow.of(rate, bands, frames=int(np.quantile(lengths, MOST, method="inverted_cdf")), fit=fit)
    # What is stored, and what one clip takes on its way there: its samples, as read, and its spectrum.
    need = 2 * total * row.size + row.frames * (row.fft * 16 + row.hop * 64)
    if need > MEMORY:
        raise ValueError(
            f"{path}: {total} clips of {row.samples / rate:.0f} s would take {need / 2**30:.0f} GiB of memory. "
            "Choose a shorter length, as in seconds=10 or --seconds 10."
        )
    return row


def _like(like: SoundRow, asked: Asked) -> SoundRow:
    """The row to be like, if nothing else is asked."""
    form = (like.rate, like.samples / like.rate, like.bands, like.fit)
    for name, wanted, has in zip(asked._fields, asked[:-1], form, strict=False):
        if wanted is not None and wanted != has:
            raise ValueError(
                f"{name}={wanted} was asked, but these clips are to be like rows of {name}={has}. Leave it out."
            )
    return like


def _piece(
    listed: Sequence[Found], headers: dict[Place, Header], row: SoundRow, reader: Reader, done: Counter[str], path: Path
) -> tuple[Piece, Array]:
    """The clips of one part and their lengths in frames; counts in `done` what was done to them."""
    x = empty((len(listed), *row.shape), np.float16)
    kept: list[Found] = []
    lengths: list[int] = []
    heard = reader.each((found.file for found in listed), lambda stream: row.decibels(_heard(stream, row)))
    for found, decibels in zip(listed, heard, strict=True):
        if decibels is not None:
            header = headers[found.file]
            x[len(kept)] = decibels
            kept.append(found)
            lengths.append(header.frames(row.rate, row.hop))
            done.update(_done(header, row, lengths[-1], silent=decibels.max() == row.low))
    labels = [found.label for found in kept]
    names = names_of((found.file for found in kept), path)
    return Piece(x[: len(kept)], np.array(labels) if any(labels) else None, names), np.array(lengths, np.int64)


def _done(header: Header, row: SoundRow, frames: int, silent: bool) -> list[str]:
    """What was done to a clip."""
    pads = row.fit == "pad"
    changes = {
        "mixed down": header.channels > 1,
        "resampled": header.rate != row.rate,
        "padded": pads and frames < row.frames,
        "cut": pads and frames > row.frames,
        "stretched": not pads,
        "silent": silent,
    }
    return ["clips", *(change for change, made in changes.items() if made)]


def _form(row: SoundRow, asked: Asked) -> str:
    """What a row is, in words."""
    why = " (the most common rate)" if asked.rate is None and not asked.like else ""
    ms = [f"{1000 * samples / row.rate:.3g}" for samples in (row.window, row.hop)]
    return (
        f"log-mel spectrograms at {row.rate} Hz{why}: {row.bands} HTK bands from {row.lowest:g} to {row.highest:g} Hz, "
        f"windows of {ms[0]} ms every {ms[1]} ms, decibels below the loudest of a clip down to {row.low:g}"
    )


def _changes(done: Counter[str], row: SoundRow) -> list[str]:
    """What was done to how many clips, in words."""
    length = f"{row.samples / row.rate:.3g} s"
    words = {
        "mixed down": "mixed down to mono",
        "resampled": f"resampled to {row.rate} Hz",
        "padded": f"padded with silence to {length}",
        "cut": f"cut to {length}",
        "stretched": f"stretched or squeezed to {length}, without the silence at both ends (below -{HEARD:g} dB)",
        "silent": "silent",
    }
    return [f"{done[change]} of {done['clips']} {how}" for change, how in words.items() if done[change]]


def _header(stream: BinaryIO) -> Header:
    with _opened(stream) as file:
        header = Header(file.samplerate, file.channels, file.frames)
        _check_whole(file.extra_info)
    if not RATES[0] <= header.rate <= RATES[1]:
        raise ValueError(f"its header gives a sampling rate of {header.rate} Hz")
    if header.samples == 0:
        raise ValueError("it is 0 seconds long")
    if header.samples >= 1 << 62:  # libsndfile's word for a stream whose end it does not know
        raise ValueError("its header does not say how long it is")
    return header


def _check_whole(log: str) -> None:
    """Raises an error if libsndfile found less in a file than its header says (WAV, AIFF); recorders that stream say 2 GiB."""
    cut = re.search(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if cut and int(cut[2]) < int(cut[1]) < 0x7FFFF000:
        raise ValueError(f"it is cut short: {cut[2]} of {cut[1]} bytes of sound are there")


def _heard(stream: BinaryIO, row: SoundRow) -> Array:
    """The samples of a clip that go into a row: mono, at the rate of the row."""
    with _opened(stream) as file:
        # Of a clip that may be cut, a little more than the row holds: the resampling filter looks ahead.
        wanted = min(file.frames, math.ceil((row.samples / row.rate + HOP) * file.samplerate))
        if row.fit == "stretch":
            wanted, length = file.frames, file.frames / file.samplerate
            if length > (most := _longest(row)):
                raise ValueError(f"it is {length:.0f} s long, and at most {most:.0f} s can be stretched")
        samples = file.read(wanted, dtype="float32", always_2d=True)
        rate = file.samplerate
    if len(samples) < 0.9 * wanted:  # lossy formats may be a few samples off
        raise ValueError(f"it is cut short: {len(samples)} of {wanted} samples are there")
    if bad := int((~np.isfinite(samples)).sum()):
        raise ValueError(f"{bad} of its {samples.size} samples are NaN or infinite")
    return resampled(samples.mean(1), rate, row.rate)


def _opened(stream: BinaryIO) -> Any:
    """The clip that a stream holds, as soundfile opens it."""
    soundfile = _soundfile()
    if isinstance(stream, zipfile.ZipExtFile):  # it would be unpacked again at each step back
        held = stream.read(LARGEST + 1)
        if len(held) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 30} GiB, which is no clip")
        stream = io.BytesIO(held)
    try:
        return soundfile.SoundFile(stream)
    except soundfile.LibsndfileError as error:
        reason = error.error_string
        if "SF_INFO" in reason:
            reason = "its header lacks the sampling rate or the number of channels"
        raise ValueError(reason.rstrip(".")) from None


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the library it wraps is not there
        raise ImportError(
            f"Sounds are read by soundfile, which is not here ({error}). Install it: pip install 'layerwise[sound]'"
        ) from error
    return soundfile


def _longest(row: SoundRow) -> float:
    """Seconds of a clip that is stretched, at most: its samples and its spectrum have to fit into memory."""
    return MEMORY / (row.fft / row.hop * 16 + 64) / row.rate
