"""Changes to rows that leave their class as it is, drawn anew for every batch: shifts, flips, turns, masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("image", "sound")  # whose rows can be changed and stay what they are


@dataclass(frozen=True)
class Augment:
    """Random changes to pictures or spectrograms, one draw per row.

    Arguments:
        shape: Of a row, (channels, height, width) or (height, width).
        shift: Most pixels by which a row moves in each direction; zeros come in, or the border, see `fill`.
        flip: Whether left and right are swapped in half of the rows.
        turn: Largest angle in degrees; turning and zooming interpolate between pixels.
        zoom: Largest change of size, as a share: 0.1 is from 0.9 to 1.1 times.
        mask_time, mask_bands: Largest share of the columns (time) or lines (bands) that are set to 0 (Park et al., 2019).
        shift_time: Most columns (of a spectrogram, frames) by which a row moves earlier or later; no line moves.
        fill: "zeros" or "border".

    Raises:
        ValueError: If a number is out of its range, or rows have no height and width.

    Example:
        >>> Augment((1, 2, 2), shift=1)(torch.ones(3, 4)).shape
        torch.Size([3, 4])
    """

    shape: tuple[int, ...]
    shift: int = 0
    flip: bool = False
    turn: float = 0.0
    zoom: float = 0.0
    mask_time: float = 0.0
    mask_bands: float = 0.0
    shift_time: int = 0
    fill: str = "zeros"

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3):
            raise ValueError(
                f"Only pictures and spectrograms are moved, not rows of shape {self.shape}. Leave augment out."
            )
        if (
            min(self.shift, self.shift_time) < 0
            or not 0 <= self.zoom < 1
            or not 0 <= max(self.mask_time, self.mask_bands) < 1
        ):
            raise ValueError(f"shift and shift_time are at least 0, zoom and masks lie in [0, 1); got {self}.")
        if self.fill not in ("zeros", "border"):
            raise ValueError(f"fill is 'zeros' or 'border', got {self.fill!r}.")

    def __call__(self, x: Tensor) -> Tensor:
        """Rows like x, flat or shaped, each changed in a way of its own."""
        images = x.reshape(len(x), *((1,) * (3 - len(self.shape))), *self.shape)
        if self.turn or self.zoom:
            images = self._turned(images)
        if self.shift or self.shift_time:
            images = self._shifted(images)
        if self.flip:
            images = torch.where(_coins(images) < 0.5, images.flip(3), images)
        images = _masked(images, self.mask_bands, 2)
        return _masked(images, self.mask_time, 3).reshape(x.shape)

    def _shifted(self, images: Tensor) -> Tensor:
        """Moved by whole pixels: a window cut out of the padded rows."""
        n, channels, height, width = images.shape
        down, across = self.shift, max(self.shift, self.shift_time)
        mode = "constant" if self.fill == "zeros" else "replicate"
        padded = F.pad(images, (across, across, down, down), mode=mode)
        top = (
            torch.randint(2 * down + 1, (n, 1, 1), device=images.device)
            + torch.arange(height, device=images.device)[:, None]
        )
        left = torch.randint(2 * across + 1, (n, 1, 1), device=images.device) + torch.arange(
            width, device=images.device
        )
        index = (top * padded.shape[3] + left).view(n, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(n, channels, height, width)

    def _turned(self, images: Tensor) -> Tensor:
        n = len(images)
        angle = math.radians(self.turn) * (2 * torch.rand(n, device=images.device) - 1)
        size = 1 + self.zoom * (2 * torch.rand(n, device=images.device) - 1)
        cos, sin, zero = angle.cos() / size, angle.sin() / size, torch.zeros_like(angle)
        ratio = images.shape[2] / images.shape[3]
        matrix = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], 1).view(n, 2, 3).to(images.dtype)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode=self.fill, align_corners=False)


def _coins(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)


def _masked(images: Tensor, share: float, axis: int) -> Tensor:
    """The images with one stretch of random length, up to `share` of the axis, set to 0."""
    if not share:
        return images
    size = images.shape[axis]
    length = _coins(images) * share * size
    start = _coins(images) * (size - length)
    at = torch.arange(size, device=images.device).view([1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1])
    return images.masked_fill((at >= start) & (at < start + length), 0.0)


def suited(kind: str, shape: Sequence[int]) -> dict[str, float | bool | str]:
    """What leaves the class of a row of that kind ("image" or "sound") as it is, as arguments of `Augment`.

    Pictures move by up to a fourteenth of their height, colour ones are flipped, too: digits and letters are grey, and may
    not be. Sounds, of shape (bands, frames), move by a tenth of their length, and lose a stretch of time and of bands.

    Raises:
        ValueError: For other kinds, and rows without a height and a width.

    Example:
        >>> suited("image", (1, 28, 28))
        {'shift': 2}
    """
    if kind not in KINDS or len(shape) not in (2, 3):
        raise ValueError(
            f"Only pictures and spectrograms are moved, not {kind} rows of shape {tuple(shape)}. Leave augment out."
        )
    height, width = tuple(shape)[-2:]
    if kind == "sound":
        return {"shift_time": width // 10, "mask_time": 0.15, "mask_bands": 0.15, "fill": "zeros"}
    colour = len(shape) == 3 and shape[0] == 3
    pixels = max(1, round(height / (8 if colour else 14)))
    return {"shift": pixels, "flip": True, "fill": "border"} if colour else {"shift": pixels}
