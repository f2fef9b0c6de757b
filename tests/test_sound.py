"""A tone stays a tone on its way to a spectrogram and back; clips end up alike; what cannot be read is named."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import sys
import wave
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.data import Row, load
from layerwise.data.sound import fsdd_speakers, read_fsdd, read_sounds, resampled
from layerwise.data.spectrogram import SoundRow, hertz_to_mel, mel_bank, mel_to_hertz

soundfile = pytest.importorskip("soundfile")
FSDD = Path(os.environ.get("LAYERWISE_DATA", "/nowhere")) / "fsdd"


def tone(hertz: float, seconds: float = 0.5, rate: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(file: Path, samples: np.ndarray, rate: int = 8000, subtype: str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, samples, rate, subtype=subtype, format="AIFF" if file.suffix == ".aif" else None)
    return file


def write_folder(folder: Path, clips: int = 3, seconds: float = 0.5, rate: int = 8000) -> Path:
    """Clips of two classes, of another pitch each."""
    for index in range(clips):
        for name, hertz in (("high", 2000), ("low", 300)):
            write(folder / name / f"{index}.wav", tone(hertz + 50 * index, seconds, rate), rate)
    return folder


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for each in sorted(folder.rglob("*.*")):
            archive.write(each, each.relative_to(folder))
    return file


def peak(samples: np.ndarray, rate: int) -> float:
    """The loudest frequency, in Hz."""
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples))


def band_of(row: SoundRow, hertz: float) -> int:
    """The band whose centre is nearest in mel, by arithmetic of its own."""
    low, high = (2595 * math.log10(1 + each / 700) for each in (row.lowest, row.highest))
    return round((2595 * math.log10(1 + hertz / 700) - low) / (high - low) * (row.bands + 1)) - 1


def refused(call: Callable[[], object], *words: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


# The filter bank, the spectrum, the rate


@pytest.mark.parametrize(("rate", "fft", "bands", "lowest"), [(8000, 512, 40, 20.0), (44100, 4096, 64, 0.0)])
def test_the_mel_bank_matches_one_triangle_at_a_time(rate: int, fft: int, bands: int, lowest: float) -> None:
    slow = np.zeros((bands, fft // 2 + 1))
    mels = [2595 * math.log10(1 + each / 700) for each in (lowest, rate / 2)]
    corners = [700 * (10 ** ((mels[0] + (mels[1] - mels[0]) * at / (bands + 1)) / 2595) - 1) for at in range(bands + 2)]
    for band, (left, centre, right) in enumerate(zip(corners, corners[1:], corners[2:])):
        for bin_ in range(fft // 2 + 1):
            frequency = bin_ * rate / fft
            if left < frequency <= centre:
                slow[band, bin_] = (frequency - left) / (centre - left)
            elif centre < frequency < right:
                slow[band, bin_] = (right - frequency) / (right - centre)
    bank = mel_bank(rate, fft, bands, lowest, rate / 2)
    np.testing.assert_allclose(bank, slow, atol=1e-9)
    inside = (np.arange(fft // 2 + 1) * rate / fft >= corners[1]) & (
        np.arange(fft // 2 + 1) * rate / fft <= corners[-2]
    )
    np.testing.assert_allclose(bank.sum(0)[inside], 1)


@given(st.floats(0, 48_000))
def test_mel_and_back(hertz: float) -> None:
    assert mel_to_hertz(hertz_to_mel(hertz)) == pytest.approx(hertz, abs=1e-6)
    assert hertz_to_mel(1000) == pytest.approx(1000, abs=0.1)  # the scale is made to meet there


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("hertz", [200, 1000, 3300])
def test_a_tone_is_loudest_in_its_band(rate: int, hertz: float) -> None:
    row = SoundRow.of(rate, seconds=0.3)
    decibels = row.decibels(tone(hertz, 0.3, rate))
    assert set(decibels.argmax(0)) == {band_of(row, hertz)}
    assert decibels.max() == 0
    assert np.median(decibels) < -30  # and nearly nowhere else


def test_a_spectrogram_matches_one_frame_at_a_time() -> None:
    row = SoundRow.of(4000, bands=12, seconds=0.2)
    clip = np.random.default_rng(0).normal(size=row.samples)
    clip -= clip.mean()
    padded = np.pad(clip, row.window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(row.window) / row.window)
    power = np.zeros(row.shape)
    for frame in range(row.frames):
        start = row.window + frame * row.hop - row.window // 2
        spectrum = np.fft.rfft(padded[start : start + row.window] * hann, row.fft)
        power[:, frame] = row.bank @ np.abs(spectrum) ** 2
    np.testing.assert_allclose(row.decibels(clip), 10 * np.log10(power / power.max()).clip(-8), atol=1e-4)


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 8000), (22050, 44100), (8000, 8000)])
def test_resampling_keeps_a_tone_and_its_level(rate: int, wanted: int) -> None:
    after = resampled(tone(1000, 1.0, rate), rate, wanted)
    assert len(after) == wanted
    middle = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(after[middle], tone(1000, 1.0, wanted)[middle], atol=2e-3)


def test_resampling_folds_nothing_back() -> None:
    assert np.abs(resampled(tone(9000, 1.0, 44100), 44100, 8000)[400:-400]).max() < 0.01


def test_neither_loudness_nor_an_offset_makes_a_difference() -> None:
    row = SoundRow.of(8000, seconds=0.5)
    clip = tone(700) * np.linspace(0, 1, 4000)
    for other in (1e-4 * clip, 30 * clip, clip + 0.4):
        np.testing.assert_allclose(row.decibels(other), row.decibels(clip), atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_is_the_lowest_level(level: float) -> None:
    row = SoundRow.of(8000, seconds=0.5)
    decibels = row.decibels(np.full(3001, level))
    assert (decibels == row.low).all()
    assert not row.audio(row.scale(decibels))[0].any()


# What a row is


def test_a_row_survives_json() -> None:
    row = SoundRow.of(22050, bands=64, seconds=1.5)
    again = Row.from_dict(json.loads(json.dumps(row.to_dict())))
    assert type(again) is SoundRow
    assert again == row
    assert (row.window, row.hop, row.frames) == (551, 220, 150)


def test_a_row_in_words() -> None:
    assert SoundRow.of(16000, seconds=1.0).words(300) == "300 sounds of 40 bands x 100 frames (1 s)"


def test_low_frequencies_are_at_the_bottom_of_the_picture() -> None:
    row = SoundRow.of(8000, bands=10, seconds=0.2)
    pixels = np.asarray(row.picture(row.scale(row.decibels(tone(300, 0.2)))))
    assert pixels.shape == (10, 20)
    assert pixels[:, 10].argmax() == 9 - band_of(row, 300)
    refused(lambda: row.picture([0.5]), "1 came")


@pytest.mark.parametrize("rate", [8000, 22050])
@pytest.mark.parametrize("hertz", [300, 1000, 2500])
def test_a_tone_can_be_heard_again(rate: int, hertz: float) -> None:
    row = SoundRow.of(rate, bands=64, seconds=0.5)
    values = row.scale(row.decibels(tone(hertz, 0.5, rate)))
    samples, its_rate = row.audio(values)
    assert (samples.dtype, samples.shape, its_rate) == (np.float32, (row.samples,), rate)
    assert np.abs(samples).max() <= 1
    width = np.diff(mel_to_hertz(hertz_to_mel(hertz) + np.array([0, hertz_to_mel(rate / 2) / 65])))[0]
    assert abs(peak(samples, rate) - hertz) < width  # finer than a band cannot be known
    np.testing.assert_array_equal(row.audio(values.reshape(row.shape))[0], samples)


def test_what_is_heard_again_has_the_same_spectrogram() -> None:
    row = SoundRow.of(8000, seconds=0.6)
    chirp = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 4000)) / 8000)  # and then silence
    values = row.scale(row.decibels(chirp))
    again = row.scale(row.decibels(row.audio(values)[0]))
    loud = values > 0.5
    assert 80 * np.abs(again - values)[loud].mean() < 2.5  # decibels
    assert again.reshape(row.shape)[:, -5:].max() < 0.2  # 64 dB below the loudest


def test_a_wav_holds_what_is_heard() -> None:
    row = SoundRow.of(8000, seconds=0.2)
    values = row.scale(row.decibels(tone(800, 0.2)))
    with wave.open(io.BytesIO(row.wav(values))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        samples = np.frombuffer(file.readframes(9999), "<i2")
    np.testing.assert_allclose(samples / 32767, row.audio(values)[0], atol=1e-4)


def test_sound_is_made_of_one_row_of_numbers() -> None:
    row = SoundRow.of(8000, seconds=0.1)
    refused(lambda: row.audio([0.5, 0.5]), "2 came", "one row at a time")
    refused(lambda: row.audio(np.full(row.size, np.nan)), "NaN", "smaller learning rate")
    refused(lambda: row.decibels([]), "(0,)")
    refused(lambda: row.decibels([0.1, np.inf]), "1 of 2", "infinite")


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"shape": (3, 4, 5)}, "(bands, frames)"),
        ({"kind": "image"}, "(bands, frames)"),
        ({"hop": 300}, "hop <= window"),
        ({"hop": 0}, "hop <= window"),
        ({"highest": 5000.0}, "rate / 2"),
        ({"lowest": 4000.0}, "lowest < highest"),
        ({"rate": 0}, "rate / 2"),
        ({"shape": (500, 10)}, "fewer bands"),
        ({"fit": "squeeze"}, "fit='stretch'"),
        ({"low": 0.0}, "low < high"),
    ],
    ids=str,
)
def test_rows_that_cannot_be_are_refused(form: dict[str, object], word: str) -> None:
    refused(lambda: replace(SoundRow.of(8000), **form), word)  # type: ignore[arg-type]


# Folders and zips


def test_a_folder_and_its_zip_hold_the_same(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "birds")
    (data,) = read_sounds(folder)
    (packed,) = read_sounds(zipped(folder, tmp_path / "birds.zip"))
    assert (data.name, packed.name) == ("birds", "birds")
    assert data.classes == packed.classes == ("high", "low")
    assert data.y is not None
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.x, packed.x)
    assert data.row == packed.row == SoundRow.of(8000, seconds=0.5)
    assert data.matrix().min() >= 0
    assert data.matrix().max() == 1


def test_load_reads_sounds_and_splits_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "birds", clips=5)
    train, test = (load(folder, part, bands=20, seconds=0.3) for part in ("train", "test"))
    assert (len(train), len(test)) == (8, 2)
    assert train.row == test.row == SoundRow.of(8000, bands=20, seconds=0.3)
    assert test.lengths is not None
    assert test.lengths.tolist() == [50, 50]
    assert "cut to 0.3 s" in train.note


def test_an_official_split_is_kept_and_decided_by_its_training_part(tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "train", clips=3, seconds=0.4)
    write_folder(tmp_path / "set" / "test", clips=5, seconds=0.9, rate=16000)
    train, test = read_sounds(tmp_path / "set")
    assert (len(train), len(test)) == (6, 10)
    assert train.row == test.row == SoundRow.of(8000, seconds=0.4)
    assert "10 of 16 resampled to 8000 Hz" in test.note
    assert "10 of 16 cut to 0.4 s" in test.note


def test_unlabelled_clips_have_no_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", clips=1)
    write(folder / "unlabelled" / "x.wav", tone(500))
    (data,) = read_sounds(folder)
    assert data.y is not None
    assert sorted(data.y.tolist()) == [-1, 0, 1]
    write(tmp_path / "loose" / "x.wav", tone(500))
    assert read_sounds(tmp_path / "loose")[0].y is None


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff", "aif", "au"])
def test_formats_say_the_same(suffix: str, tmp_path: Path) -> None:
    clip = tone(1000, 0.5, 16000)
    write(tmp_path / "a" / "clip.wav", clip, 16000)
    write(tmp_path / "b" / f"clip.{suffix}", clip, 16000)
    row = SoundRow.of(16000, seconds=0.4)
    wav, other = (read_sounds(tmp_path / folder, like=row)[0].matrix() for folder in "ab")
    loud = wav > 0.6
    assert np.abs(wav - other)[loud].max() < 0.05
    assert other.reshape(row.shape)[:, 10].argmax() == band_of(row, 1000)


def test_channels_are_mixed_down(tmp_path: Path) -> None:
    left, right = tone(500), tone(1500)
    write(tmp_path / "stereo" / "clip.wav", np.stack([left, right], 1), subtype="FLOAT")
    write(tmp_path / "mono" / "clip.wav", (left + right) / 2, subtype="FLOAT")
    (stereo,), (mono,) = read_sounds(tmp_path / "stereo"), read_sounds(tmp_path / "mono")
    np.testing.assert_allclose(stereo.matrix(), mono.matrix(), atol=1e-3)
    assert "1 of 1 mixed down to mono" in stereo.note
    assert "mixed" not in mono.note


def test_rates_become_the_most_common_one(tmp_path: Path) -> None:
    for index, rate in enumerate([8000, 16000, 16000, 44100]):
        write(tmp_path / "set" / f"{index}.wav", tone(1000, 0.5, rate), rate)
    (data,) = read_sounds(tmp_path / "set")
    assert isinstance(data.row, SoundRow)
    assert data.row.rate == 16000
    assert data.lengths is not None
    assert data.lengths.tolist() == [50] * 4
    assert "at 16000 Hz (the most common rate)" in data.note
    assert "2 of 4 resampled to 16000 Hz" in data.note
    bands = data.matrix().reshape(4, *data.row.shape)[:, :, 25].argmax(1)
    assert set(bands) == {band_of(data.row, 1000)}
    (asked,) = read_sounds(tmp_path / "set", rate=8000)
    assert "at 8000 Hz:" in asked.note
    assert "3 of 4 resampled to 8000 Hz" in asked.note


def test_clips_are_padded_or_cut_to_what_most_have(tmp_path: Path) -> None:
    for index in range(20):
        write(tmp_path / "set" / f"{index:02}.wav", tone(600, 2.0 if index == 19 else 0.3 + 0.01 * index))
    (data,) = read_sounds(tmp_path / "set")
    assert data.row.shape == (40, 48)  # 19 of 20 have at most 0.48 s
    assert data.lengths is not None
    assert data.lengths.tolist() == [*range(30, 49), 200]
    assert "18 of 20 padded with silence to 0.48 s" in data.note
    assert "1 of 20 cut to 0.48 s" in data.note
    clips = data.matrix().reshape(20, 40, 48)
    for clip, length in zip(clips, data.lengths.tolist()):
        assert not clip[:, length + 2 :].any()  # a window reaches one frame on
        assert (clip[:, : min(length, 48) - 2].max(0) > 0.9).all()
    (asked,) = read_sounds(tmp_path / "set", seconds=0.35)
    assert asked.row.shape == (40, 35)
    np.testing.assert_array_equal(asked.lengths, data.lengths)


def words(seconds: float, quiet: tuple[float, float], rate: int = 8000) -> np.ndarray:
    """A low tone and then a high one, equally long, between two stretches of silence."""
    spoken = np.concatenate([tone(hertz, seconds / 2, rate) for hertz in (500, 2000)])
    return np.concatenate([np.zeros(int(quiet[0] * rate)), spoken, np.zeros(int(quiet[1] * rate))])


def test_stretched_clips_are_alike_however_fast_they_are_said_and_wherever_they_begin() -> None:
    row = SoundRow.of(8000, bands=24, seconds=0.4, fit="stretch")
    said = [row.decibels(words(seconds, quiet)) for seconds, quiet in
            ((0.4, (0, 0)), (0.8, (0, 0)), (0.2, (0, 0)), (0.4, (0.3, 0.1)), (1.6, (0.2, 0.7)))]  # fmt: skip
    low, high = band_of(row, 500), band_of(row, 2000)
    for clip in said:
        assert clip.shape == (24, 40)
        assert set(clip[:, :18].argmax(0)) == {low} and set(clip[:, 22:].argmax(0)) == {high}  # also no change of pitch


def test_a_clip_that_is_as_long_as_a_row_is_left_as_it_is() -> None:
    padded, stretched = (SoundRow.of(8000, bands=24, seconds=0.4, fit=fit) for fit in ("pad", "stretch"))
    clip = tone(700, 0.4)
    np.testing.assert_allclose(stretched.decibels(clip), padded.decibels(clip), atol=1e-5)


def test_stretching_copes_with_silence_and_with_a_click() -> None:
    row = SoundRow.of(8000, bands=8, seconds=0.1, fit="stretch")
    assert (row.decibels(np.zeros(4000)) == row.low).all()
    click = np.zeros(4000)
    click[2000] = 1
    assert (row.decibels(click).max(0) > -30).all()
    assert row.decibels(np.ones(1)).shape == row.shape


def test_stretched_clips_are_read_whole_and_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name, seconds in (("slow", 1.0), ("fast", 0.25)):
        write(folder / "a" / f"{name}.wav", words(seconds, (0, 0), 16000), 16000)
    (data,) = read_sounds(folder, rate=8000, seconds=0.5, fit="stretch")
    assert data.row.fit == "stretch" and "stretched to 0.5 s" in data.row.words(2)
    assert "2 of 2 stretched or squeezed to 0.5 s" in data.note and "padded" not in data.note
    high = data.matrix().reshape(2, *data.row.shape)[:, :, 40].argmax(1)
    assert set(high) == {band_of(data.row, 2000)}  # the end of the long clip is there
    again = Row.from_dict(json.loads(json.dumps(data.row.to_dict())))
    (same,) = read_sounds(folder, like=again)
    np.testing.assert_array_equal(same.x, data.x)
    refused(lambda: read_sounds(folder, like=again, fit="pad"), "fit=pad", "fit=stretch", "Leave it out")
    older = {name: value for name, value in data.row.to_dict().items() if name != "fit"}
    assert Row.from_dict(older).fit == "pad"  # type: ignore[attr-defined]


def test_a_clip_too_long_to_be_stretched_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set" / "a" / "long.wav", tone(500, 1.0))
    monkeypatch.setattr("layerwise.data.sound.MEMORY", 1 << 20)
    refused(lambda: read_sounds(tmp_path / "set", seconds=0.2, fit="stretch"), "long.wav", "1 s long", "stretched")


def test_a_cut_clip_is_the_beginning_of_the_whole(tmp_path: Path) -> None:
    clip = tone(600, 1.0, 44100)
    write(tmp_path / "long" / "clip.wav", clip, 44100)
    write(tmp_path / "short" / "clip.wav", clip[:13230], 44100)
    (long,), (short,) = (read_sounds(tmp_path / each, rate=8000, seconds=0.3) for each in ("long", "short"))
    x, y = (each.matrix().reshape(40, 30)[:, :28] for each in (long, short))
    np.testing.assert_allclose(x, y, atol=0.05)


def test_like_gives_the_same_rows(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    (data,) = read_sounds(folder, rate=11025, seconds=0.37, bands=24)
    again = Row.from_dict(json.loads(json.dumps(data.row.to_dict())))
    (same,) = read_sounds(folder, like=again)
    assert same.row == data.row
    np.testing.assert_array_equal(same.x, data.x)
    write(tmp_path / "other" / "new.wav", tone(500, 3.0, 44100), 44100)
    (other,) = read_sounds(tmp_path / "other", like=again)
    assert other.row == data.row
    assert "most common" not in other.note
    read_sounds(folder, like=again, bands=24)
    refused(lambda: read_sounds(folder, like=again, bands=40), "bands=40", "bands=24", "Leave it out")


# What cannot be read


def broken_clips() -> dict[str, tuple[str, bytes]]:
    def made(samples: np.ndarray, form: str = "WAV", subtype: str | None = None) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, format=form, subtype=subtype)
        return file.getvalue()

    good, mp3, flac = (made(tone(500, 2.0), form) for form in ("WAV", "MP3", "FLAC"))
    nan = tone(500)
    nan[[7, 9]] = np.nan
    return {
        "text": ("Format not recognised", b"no sound at all" * 99),
        "empty": ("Format not recognised", b""),
        "a header": ("No 'data' chunk", good[:30]),
        "no samples": ("0 seconds long", made(np.zeros(0))),
        "no rate": ("lacks the sampling rate", good[:24] + struct.pack("<I", 0) + good[28:]),
        "a wild rate": ("rate of 2000000000 Hz", good[:24] + struct.pack("<I", 2_000_000_000) + good[28:]),
        "NaN": ("2 of its 4000 samples are NaN", made(nan, subtype="FLOAT")),
        "half a flac": ("lost sync", flac[: len(flac) // 2]),
        "half a wav": ("cut short: 15978 of 32000 bytes", good[: len(good) // 2]),
        "half an aiff": ("cut short", made(tone(500, 2.0), "AIFF")[:9000]),
        "half an mp3": ("cut short", mp3[: len(mp3) // 2]),
    }


def test_a_recorder_that_could_not_know_the_length_is_believed(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(500, 0.5), 8000, format="WAV")
    endless = bytearray(file.getvalue())
    endless[40:44] = struct.pack("<I", 0xFFFFFFFF)  # of the data chunk, as programs write it into a pipe
    (tmp_path / "a.wav").write_bytes(endless)
    (data,) = read_sounds(tmp_path)
    assert data.lengths is not None and data.lengths.tolist() == [50]


@pytest.mark.parametrize(("reason", "content"), broken_clips().values(), ids=broken_clips())
def test_a_broken_clip_among_many(reason: str, content: bytes, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    (folder / "low" / "bad.wav").write_bytes(content)
    for path in (folder, zipped(folder, tmp_path / "set.zip")):
        refused(lambda path=path: read_sounds(path), "bad.wav", "as a sound", reason, "broken='skip'")
        (data,) = read_sounds(path, broken="skip")
        assert "broken files skipped: 1 (bad.wav)" in data.note
        assert data.y is not None
        assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
        assert data.lengths is not None
        assert len(data.lengths) == 6
    refused(lambda: read_sounds(folder, broken="ignore"), "'ignore'")  # type: ignore[arg-type]


def test_silence_is_allowed_and_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", clips=1)
    write(folder / "low" / "still.wav", np.zeros(4000))
    (data,) = read_sounds(folder)
    assert "1 of 3 silent" in data.note
    assert not data.matrix([2]).any()


def test_folders_without_sounds(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    refused(lambda: read_sounds(tmp_path / "none"), "no sound", ".flac", ".wav")
    (tmp_path / "none" / "readme.md").write_text("?")
    refused(lambda: read_sounds(tmp_path / "none"), "1 other files")
    write_folder(tmp_path / "set", clips=1)
    (tmp_path / "set" / "readme.md").write_text("?")
    assert "files that are no sounds ignored: 1" in read_sounds(tmp_path / "set")[0].note
    write_folder(tmp_path / "split" / "train", clips=1)
    (tmp_path / "split" / "test").mkdir()
    refused(lambda: read_sounds(tmp_path / "split"), "one of them no sound")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.wav").write_bytes(b"?")
    refused(lambda: read_sounds(tmp_path / "bad", broken="skip"), "no sound", "1 broken")


def test_a_zip_that_points_outside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../clip.wav", b"")
    refused(lambda: read_sounds(tmp_path / "bad.zip"), "points outside")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0}, ("0 seconds", "not 0")),
        ({"seconds": -1.5}, ("0 seconds", "-1.5")),
        ({"seconds": math.nan}, ("0 seconds", "nan")),
        ({"rate": 0}, ("1000", "not at 0")),
        ({"rate": 10**9}, ("384000", "not at 1000000000")),
        ({"bands": 0}, ("at least 1 band", "not 0")),
        ({"bands": 900}, ("900 bands", "fewer bands")),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, float], words: tuple[str, ...], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", clips=1)
    refused(lambda: read_sounds(folder, **options), *words)  # type: ignore[arg-type]


def test_a_length_that_nobody_asked_for_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "set", clips=1)
    monkeypatch.setattr("layerwise.data.sound.MEMORY", 10_000)
    refused(lambda: read_sounds(folder), "memory", "seconds=")
    assert len(read_sounds(folder, seconds=0.2)[0]) == 2


def test_a_member_of_a_zip_that_is_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zipped(write_folder(tmp_path / "set", clips=1), tmp_path / "set.zip")
    monkeypatch.setattr("layerwise.data.sound.LARGEST", 1000)
    refused(lambda: read_sounds(file), "larger than")


def test_without_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "set", clips=1)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    refused(lambda: read_sounds(folder, broken="skip"), "pip install 'layerwise[sound]'", kind=ImportError)


# Spoken digits


def write_fsdd(folder: Path) -> Path:
    for digit in (0, 1):
        for speaker, hertz in (("ann", 400), ("bob", 900)):
            for index in (0, 4, 5, 11):
                write(folder / "raw" / "recordings" / f"{digit}_{speaker}_{index}.wav", tone(hertz + 300 * digit, 0.1))
    zipped(folder / "raw", folder / "fsdd.zip")
    return folder


def test_spoken_digits_are_split_by_their_numbers(tmp_path: Path) -> None:
    folder = write_fsdd(tmp_path)
    train, test = read_fsdd(folder, seconds=0.1, bands=20)
    who = fsdd_speakers(folder)
    for part, speakers in zip((train, test), who):
        assert part.classes == ("0", "1")
        assert part.y is not None
        assert part.y.tolist() == [0] * 4 + [1] * 4
        assert speakers.tolist() == ["ann", "ann", "bob", "bob"] * 2
        loudest = part.matrix().reshape(8, 20, 10)[:, :, 5].argmax(1)  # so rows and speakers are aligned
        hertz = [{"ann": 400, "bob": 900}[name] + 300 * digit for name, digit in zip(speakers, part.y)]
        assert isinstance(part.row, SoundRow)
        assert loudest.tolist() == [band_of(part.row, each) for each in hertz]
    (again, _) = read_fsdd(folder, like=train.row)
    np.testing.assert_array_equal(again.x, train.x)


def test_other_names_are_no_spoken_digits(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "clip.wav", tone(500, 0.1))
    zipped(tmp_path / "raw", tmp_path / "fsdd.zip")
    refused(lambda: read_fsdd(tmp_path), "clip.wav", "7_jackson_32.wav")


@pytest.mark.skipif(not (FSDD / "fsdd.zip").is_file(), reason="LAYERWISE_DATA holds no fsdd/fsdd.zip")
def test_the_real_spoken_digits() -> None:
    train, test = read_fsdd(FSDD, seconds=0.2, bands=8)
    assert (len(train), len(test)) == (2700, 300)
    assert train.classes == test.classes == tuple("0123456789")
    who = fsdd_speakers(FSDD)
    assert [len(each) for each in who] == [2700, 300]
    assert np.unique(who[0]).tolist() == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    for part, each in ((train, 45), (test, 5)):
        assert part.y is not None
        assert np.bincount(part.y).tolist() == [6 * each] * 10
