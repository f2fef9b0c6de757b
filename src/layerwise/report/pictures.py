"""Arrays of bytes as PNG pictures inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

ABOVE, BELOW = (38, 120, 214), (228, 105, 22)  # blue and orange: told apart by every kind of colour vision
STEPS = 63  # shades on each side of zero


def data_uri(image: Image.Image, **settings: object) -> str:
    """The picture as a `data:` address.

    Example:
        >>> data_uri(Image.new("L", (1, 1)))[:30]
        'data:image/png;base64,iVBORw0K'
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=9, **settings)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def plain_picture(pixels: np.ndarray) -> str:
    """Grey, shape (height, width), or colour, (height, width, 3), uint8."""
    return data_uri(Image.fromarray(np.ascontiguousarray(pixels)))


def signed_picture(values: np.ndarray) -> str:
    """Values of -127 to 127, int8: blue above zero, orange below, and at zero nothing, so that it lies on any ground.

    With three channels, shape (height, width, 3), colours around a middle grey.
    """
    if values.ndim == 3:
        return plain_picture((values.astype(np.int16) + 128).astype(np.uint8))
    index = np.rint(values.astype(np.float32) * (STEPS / 127)).astype(np.int16) + STEPS
    image = Image.fromarray(index.astype(np.uint8), "P")
    image.putpalette([channel for step in range(-STEPS, STEPS + 1) for channel in (ABOVE if step > 0 else BELOW)])
    return data_uri(image, transparency=bytes(round(255 * abs(step) / STEPS) for step in range(-STEPS, STEPS + 1)))


def sheet(pictures: np.ndarray, *, signed: bool = False) -> tuple[str, int]:
    """Many pictures, shape (k, height, width[, 3]), in one, and how many there are in a row of it; bytes, or signed values."""
    across = max(1, int(np.ceil(np.sqrt(len(pictures)))))
    down = -(-len(pictures) // across)
    height, width, *colour = pictures.shape[1:]
    full = np.zeros((across * down, height, width, *colour), pictures.dtype)
    full[: len(pictures)] = pictures
    grid = full.reshape(down, across, height, width, *colour).swapaxes(1, 2)
    return (signed_picture if signed else plain_picture)(grid.reshape(down * height, across * width, *colour)), across
