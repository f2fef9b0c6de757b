"""A clip as a log-mel spectrogram, and back from a spectrogram to sound.

A row is what is heard, not how loud it was recorded: mono, the mean taken away, decibels below the loudest of the clip.
The mel scale is HTK's, 2595 log10(1 + f / 700), with triangles of height 1 that sum to one between their centres.
"""

from __future__ import annotations

import io
import math
import wave
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt

from layerwise.data.row import Array, Floats, Row

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW, HOP = 0.025, 0.010
"""Seconds that a frame of a spectrogram looks at, and from one frame to the next."""

Fit = Literal["pad", "stretch"]
FITS = ("pad", "stretch")
HEARD = 30.0
"""Decibels below the loudest of a clip at which silence begins, where it is left out."""

BANDS = 40
RANGE = 80.0  # decibels below the loudest that are kept
LOWEST = 20.0  # Hz: what nobody hears must not be the loudest
INVERTING, PHASING = 20, 30  # rounds, from bands to frequencies and from those to samples
MOMENTUM = 0.99

RATES = (1000, 384_000)
"""Hz between which a sampling rate can be meant."""


@dataclass(frozen=True)
class SoundRow(Row):
    """A clip as a log-mel spectrogram: decibels below its loudest, by band (lowest first) and frame.

    Arguments:
        shape: (bands, frames).
        low: Decibels that are scaled to 0; silence is there.
        high: Decibels that are scaled to 1: the loudest.
        rate: Of the samples, in Hz.
        window: Samples that a frame looks at.
        hop: Samples from one frame to the next.
        lowest: Where the first band begins, in Hz.
        highest: Where the last band ends, in Hz.
        fit: How a clip gets its length: "pad" puts silence behind it, or cuts it; "stretch" leaves out what lies more than
            30 dB below the loudest at both ends, and stretches or squeezes the rest (without a change of pitch).

    Raises:
        ValueError: If these do not fit together, or a band is too narrow to hold a frequency.

    Example:
        >>> row = SoundRow.of(8000, bands=40, seconds=0.5)
        >>> row.words(300), row.window, row.hop
        ('300 sounds of 40 bands x 50 frames (0.5 s)', 200, 80)
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
        >>> decibels = row.decibels(tone)
        >>> decibels.shape, float(decibels.max())
        ((40, 50), 0.0)
        >>> samples, rate = row.audio(row.scale(decibels))
        >>> round(int(np.abs(np.fft.rfft(samples)).argmax()) * rate / len(samples), -2)  # bands are 80 Hz apart here
        1000.0
    """

    rate: int = 0
    window: int = 0
    hop: int = 0
    lowest: float = 0.0
    highest: float = 0.0
    fit: str = "pad"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "sound" or len(self.shape) != 2:
            raise ValueError(f"A row of sound has shape (bands, frames), not {self.shape} of kind {self.kind!r}.")
        if not 1 <= self.hop <= self.window or not 0 <= self.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"A row of sound has 1 <= hop <= window and 0 <= lowest < highest <= rate / 2, not {self}. "
                "SoundRow.of(rate) chooses them."
            )
        if self.fit not in FITS:
            raise ValueError(f"A clip gets its length by fit='pad' or fit='stretch', not by {self.fit!r}.")
        narrow = int((self.bank.sum(1) == 0).sum())
        if narrow:
            raise ValueError(
                f"{self.bands} bands from {self.lowest:g} to {self.highest:g} Hz are too many for windows of "
                f"{self.window} samples at {self.rate} Hz: {narrow} of them hold no frequency. Choose fewer bands."
            )

    @classmethod
    def of(
        cls, rate: int, bands: int = BANDS, seconds: float = 1.0, frames: int | None = None, fit: str = "pad"
    ) -> Self:
        """The usual form at a sampling rate: windows of 25 ms every 10 ms, up to half the rate, down to -80 dB.

        Arguments:
            rate: In Hz.
            seconds: Of a row, where `frames` are not given; at least one frame.
            fit: "pad" or "stretch".

        Raises:
            ValueError: If rate, bands or seconds are out of range.
        """
        if not RATES[0] <= rate <= RATES[1]:
            raise ValueError(f"A sampling rate lies between {RATES[0]} and {RATES[1]} Hz, not at {rate}.")
        if bands < 1:
            raise ValueError(f"A spectrogram has at least 1 band, not {bands}. {BANDS} are usual.")
        if not 0 < seconds < math.inf:
            raise ValueError(f"A clip is more than 0 seconds long, not {seconds}. Leave it out to choose by the clips.")
        window, hop = round(WINDOW * rate), round(HOP * rate)
        frames = max(1, round(seconds * rate / hop)) if frames is None else frames
        return cls("sound", (bands, frames), -RANGE, 0.0, (), rate, window, hop, LOWEST, rate / 2, fit)

    @property
    def bands(self) -> int:
        """Number of mel bands."""
        return self.shape[0]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.shape[1]

    @property
    def samples(self) -> int:
        """Number of samples of a clip; frame t is centred on sample t * hop."""
        return self.frames * self.hop

    @property
    def fft(self) -> int:
        """Length of the Fourier transform: a power of two, at least twice the window, so that narrow bands hold a bin."""
        return 1 << (2 * self.window - 1).bit_length()

    @property
    def bank(self) -> Array:
        """The mel filter bank, shape (bands, fft / 2 + 1)."""
        return mel_bank(self.rate, self.fft, self.bands, self.lowest, self.highest)

    def words(self, count: int) -> str:
        """What `count` rows are, for people."""
        seconds = self.samples / self.rate
        how = "" if self.fit == "pad" else "stretched to "
        return f"{count} sounds of {self.bands} bands x {self.frames} frames ({how}{seconds:.2g} s)"

    def decibels(self, samples: npt.ArrayLike) -> Floats:
        """Mono samples at `rate` as a row is stored: in [low, high], shape (bands, frames).

        Arguments:
            samples: Shape (k,); fitted to the length of a row as `fit` says. How loud they are makes no difference.

        Raises:
            ValueError: If there are none, or some are NaN or infinite.
        """
        clip = _normal(np.asarray(samples, dtype=np.float64))
        frames = self.frames if self.fit == "pad" else -(-len(clip) // self.hop)
        power = self.bank @ np.abs(self._spectrum(_fitted(clip, frames * self.hop))[:, :frames]) ** 2
        least = 10 ** ((self.low or 0.0) / 10)
        decibels = 10 * np.log10((power / (power.max() or 1.0)).clip(least))
        if self.fit == "stretch":
            decibels = _stretched(decibels, self.frames)
        return decibels.astype(np.float32) + np.float32(self.high or 0.0)

    def audio(self, values: npt.ArrayLike) -> tuple[Floats, int]:
        """One row of scaled values as sound: its phase is made up (Griffin and Lim, 1984), always in the same way.

        Arguments:
            values: In [0, 1], flat or of the row's shape; what lies outside is clipped.

        Returns:
            Samples in [-1, 1], shape (frames * hop,), and their rate in Hz. All zeros if all values are.

        Raises:
            ValueError: For values that are too many, too few or not numbers.
        """
        samples = self._griffin_lim(self._magnitudes(self._checked(values)))
        peak = np.abs(samples).max()
        return (samples / peak if peak else samples).astype(np.float32), self.rate

    def wav(self, values: npt.ArrayLike) -> bytes:
        """What `audio` gives as a file: WAV of 16 bits, mono."""
        samples, rate = self.audio(values)
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setparams((1, 2, rate, 0, "NONE", ""))
            out.writeframes(np.rint(32767 * samples).astype("<i2").tobytes())
        return file.getvalue()

    def picture(self, values: npt.ArrayLike) -> Image:
        """The spectrogram as a grey picture: time from left to right, low frequencies at the bottom."""
        pixels = np.asarray(values)
        return super().picture(pixels.reshape(self.shape)[::-1] if pixels.size == self.size else pixels)

    def _checked(self, values: npt.ArrayLike) -> Array:
        scaled = np.asarray(values, dtype=np.float64)
        if scaled.size != self.size:
            raise ValueError(
                f"A sound of shape {self.shape} takes {self.size} values, but {scaled.size} came. "
                "Give one row at a time."
            )
        if np.isnan(scaled).any():
            raise ValueError(
                f"{np.isnan(scaled).sum()} of {self.size} values are NaN: the model that made them diverged. "
                "Train it again at a smaller learning rate."
            )
        return scaled.reshape(self.shape).clip(0, 1)

    def _magnitudes(self, scaled: Array) -> Array:
        """Magnitudes of each frequency, shape (fft / 2 + 1, frames + 1), whose bands have the given levels."""
        decibels = ((self.high or 0.0) - (self.low or 0.0)) * (scaled - 1)
        wanted = np.where(scaled > 0, 10 ** (decibels / 10), 0.0)  # the lowest level stands for all that is below
        # Richardson (1972) and Lucy (1974): unlike the pseudo-inverse, never below 0, and right in faint bands too.
        power, weight = self.bank.T @ wanted, self.bank.sum(0)[:, None].clip(1e-12)
        for _ in range(INVERTING):
            power *= self.bank.T @ (wanted / (self.bank @ power).clip(1e-30)) / weight
        return np.sqrt(np.pad(power, ((0, 0), (0, 1))))

    def _griffin_lim(self, magnitudes: Array) -> Array:
        """Samples whose spectrum has about these magnitudes, by the fast form (Perraudin et al., 2013)."""
        phase = 2 * math.pi * np.random.RandomState(0).random_sample(magnitudes.shape)
        last: Array = np.zeros(1)
        for _ in range(PHASING):
            spectrum = self._spectrum(self._sound(magnitudes * np.exp(1j * phase)))
            phase = np.angle(spectrum + MOMENTUM * (spectrum - last))
            last = spectrum
        return self._sound(magnitudes * np.exp(1j * phase))

    def _spectrum(self, samples: Array) -> Array:
        """Short-time Fourier transform, shape (fft / 2 + 1, frames + 1), of samples, shape (samples,), float64."""
        import torch

        hann = torch.hann_window(self.window, dtype=torch.float64)
        signal = torch.from_numpy(samples)
        form = self.fft, self.hop, self.window, hann
        return torch.stft(signal, *form, pad_mode="constant", return_complex=True).numpy()

    def _sound(self, spectrum: Array) -> Array:
        """The samples of a short-time Fourier transform, shape (samples,)."""
        import torch

        hann = torch.hann_window(self.window, dtype=torch.float64)
        return torch.istft(
            torch.from_numpy(spectrum), self.fft, self.hop, self.window, hann, length=self.samples
        ).numpy()


@lru_cache(maxsize=16)
def mel_bank(rate: int, fft: int, bands: int, lowest: float, highest: float) -> Array:
    """HTK's mel filter bank: triangles of height 1 whose corners are evenly spaced in mel, shape (bands, fft / 2 + 1).

    Arguments:
        rate: Sampling rate, in Hz.
        fft: Length of the Fourier transform.
        lowest: Where the first triangle begins, in Hz.
        highest: Where the last one ends, in Hz.

    Example:
        >>> mel_bank(8000, 16, 2, 0.0, 4000.0).round(2)
        array([[0.  , 0.81, 0.68, 0.25, 0.  , 0.  , 0.  , 0.  , 0.  ],
               [0.  , 0.  , 0.32, 0.75, 0.91, 0.68, 0.45, 0.23, 0.  ]])
    """
    edges = mel_to_hertz(np.linspace(hertz_to_mel(lowest), hertz_to_mel(highest), bands + 2))[:, None]
    frequencies = np.arange(fft // 2 + 1) * rate / fft
    rise = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    bank: Array = np.minimum(rise, fall).clip(0)
    bank.setflags(write=False)  # the cache hands it to everyone
    return bank


def hertz_to_mel(hertz: npt.ArrayLike) -> Array:
    """HTK's scale: about even below 1000 Hz, logarithmic above."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_to_hertz(mel: npt.ArrayLike) -> Array:
    """The other way."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def _normal(samples: Array) -> Array:
    """Without its mean, which would be the loudest of all, and with a peak of 1."""
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"A clip has samples of shape (k,), at least one, not {samples.shape}. Mix channels down.")
    if bad := int((~np.isfinite(samples)).sum()):
        raise ValueError(f"{bad} of {samples.size} samples are NaN or infinite. Mend or leave out the clip.")
    centred = samples - samples.mean()
    peak = np.abs(centred).max()
    # Of a constant, rounding leaves a little, which must not become the loudest.
    return centred / peak if peak > 1e-7 * np.abs(samples).max() else np.zeros_like(samples)


def _stretched(decibels: Array, frames: int) -> Array:
    """What is heard, from its first to its last frame, shape (bands, frames): between frames decibels are interpolated."""
    heard = np.flatnonzero(decibels.max(0) >= -HEARD)  # of silence nothing
    first, last = (heard[0], heard[-1]) if len(heard) else (0, decibels.shape[1] - 1)
    at = np.linspace(first, last, frames)
    left = np.minimum(at.astype(np.int64), max(last - 1, first))
    share = at - left
    return decibels[:, left] * (1 - share) + decibels[:, np.minimum(left + 1, last)] * share


def _fitted(samples: Array, count: int) -> Array:
    """Cut, or padded with silence at the end, shape (count,)."""
    cut = samples[:count]
    return np.pad(cut, (0, count - len(cut)))
