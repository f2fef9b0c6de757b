"""Folders of pictures: one sub-folder per class, any size and mode that Pillow reads."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np

from layerwise.data.arrays import Parts, Piece, parts
from layerwise.data.dataset import Array, Floats, Row
from layerwise.data.disk import empty
from layerwise.data.folders import PICTURES, Found, Reader, listing, name_of, names_of, place, splits

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

MOST = 4 << 30
"""Bytes that pictures may take at a size nobody asked for."""

NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow knows but cannot draw, or (EPS) draws by running another program on the file."""

ORIENTATION = 0x0112
"""EXIF's tag."""


class Header(NamedTuple):
    """What the header of a picture says: upright size, whether it is grey, and has more than 8 bits."""

    height: int
    width: int
    grey: bool
    deep: bool


def read_images(
    folder: Path,
    size: tuple[int, int] | None = None,
    broken: Literal["stop", "skip"] = "stop",
    like: Row | None = None,
) -> Parts:
    """Pictures of a folder or zip in one sub-folder per class; those in `unlabelled/` or in no sub-folder have no label.

    A folder that holds train/ and test/, each like that, is an official split. All pictures are turned upright
    by their EXIF tag, laid on white where they are transparent, and made grey if all are grey, else colour. They keep
    their aspect ratio and are centred, and the rest is filled with the colour of their border. Grey pictures are
    stored with 16 bits if any has more than 8. Of an animation, the first frame is taken. Several are read at the same
    time; all together lie in a temporary file if they are large (`disk.empty`).

    Arguments:
        folder: Or zip, or a single picture. Files that are no pictures, by extension, are left out and counted in the note.
        size: (height, width) of all; by default that of `like`, or the most common one.
        broken: What to do about a picture that cannot be read: "stop" with an error, or "skip" it and count it.

    Raises:
        ValueError: For a picture that cannot be read or is too large to be meant, and for folders not like that.
        OSError: If a disk has no room for them.
    """
    if size is None and like is not None and like.kind == "image":
        size = like.shape[-2], like.shape[-1]
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"A size is (height, width) in pixels, each at least 1, not {size}.")
    listings, others = zip(*(listing(part, PICTURES, is_picture) for part in splits(place(folder))), strict=True)
    reader, done = Reader(broken, PICTURES), Counter[str]()
    every = [found.file for part in listings for found in part]
    with _limits_unsaid():
        headers = {file: header for file, header in zip(every, reader.each(every, _picture(_header))) if header}
    if not headers:
        raise ValueError(
            f"{folder} holds no picture that can be read ({sum(others)} other files). Give a folder of "
            "pictures, one sub-folder per class, or the path of the data file itself."
        )
    form = _form(list(headers.values()), size, folder)
    known = [[found for found in part if found.file in headers] for part in listings]
    with _limits_unsaid():
        pieces = [_piece(part, form, reader, done, folder) for part in known]
    return parts(pieces, name_of(folder), note=_note(form, len(headers), done, reader.notes(sum(others))))


def is_picture(suffix: str) -> bool:
    """Whether a file is a picture by its extension, in lower case."""
    return suffix in _extensions()


@cache
def _extensions() -> frozenset[str]:
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in _formats())


def _formats() -> list[str]:
    from PIL import Image

    Image.init()
    return [kind for kind in Image.OPEN if kind not in NOT_PICTURES]


def _picture(look: Callable[[Image], T]) -> Callable[[BinaryIO], T]:
    """What `look` sees in the picture that a stream holds."""
    from PIL import Image, UnidentifiedImageError

    def seen(stream: BinaryIO) -> T:
        most = Image.MAX_IMAGE_PIXELS or 1 << 62
        try:
            # A stream, not a name: of a file it can map, Pillow garbles a TIFF that lies on its side.
            with Image.open(stream, formats=_formats()) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                return look(image)
        except Image.DecompressionBombError:
            raise ValueError(
                f"it has more than {most / 1e6:.3g} million pixels, which could exhaust the memory; save it smaller"
            ) from None
        except UnidentifiedImageError:
            raise ValueError("its contents are of no format that Pillow knows") from None

    return seen


@contextmanager
def _limits_unsaid() -> Iterator[None]:
    """Without Pillow's warning of pictures that `_picture` refuses. All threads share what is set here."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _header(image: Image) -> Header:
    # Not getexif() for all: for PNG it would decode the whole picture.
    turned = "exif" in image.info and image.getexif().get(ORIENTATION, 1) >= 5
    height, width = image.size if turned else image.size[::-1]
    return Header(height, width, _is_grey(image), _is_deep(image))


def _is_grey(image: Image) -> bool:
    from PIL import ImageMode

    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return ImageMode.getmode(image.mode).basemode == "L"


def _is_deep(image: Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _form(headers: Sequence[Header], size: tuple[int, int] | None, folder: Path) -> Header:
    """What all pictures become."""
    common = Counter((header.height, header.width) for header in headers).most_common(1)[0][0]
    grey = all(header.grey for header in headers)
    form = Header(*(size or common), grey, grey and any(header.deep for header in headers))
    need = len(headers) * form.height * form.width * (1 + form.deep if grey else 3)
    if size is None and need > MOST:
        raise ValueError(
            f"{folder}: {len(headers)} pictures of {form.height} x {form.width} would take "
            f"{need / 2**30:.0f} GiB. Choose a smaller size, as in size=(64, 64) or --size 64x64, or ask for this one."
        )
    return form


def _piece(listed: Sequence[Found], form: Header, reader: Reader, done: Counter[str], folder: Path) -> Piece:
    """The pictures of one part; counts in `done` what was done to them."""
    shape = (form.height, form.width) if form.grey else (form.height, form.width, 3)
    x = empty((len(listed), *shape), np.uint16 if form.deep else np.uint8)
    kept: list[Found] = []
    drawn = reader.each((found.file for found in listed), _picture(lambda image: _drawn(image, form)))
    for found, seen in zip(listed, drawn, strict=True):
        if seen:
            pixels, changes = seen
            x[len(kept)] = np.rint(pixels, dtype=np.float32)
            kept.append(found)
            done.update(changes)
    labels = [found.label for found in kept]
    names = names_of((found.file for found in kept), folder)
    return Piece(x[: len(kept)], np.array(labels) if any(labels) else None, names)


def _drawn(image: Image, form: Header) -> tuple[Array, list[str]]:
    """The pixels of a picture in the form of all, and what was done to it."""
    from PIL import ImageOps

    turned = image.getexif().get(ORIENTATION, 1) != 1
    upright = ImageOps.exif_transpose(image)
    opaque = _on_white(upright)
    fitted = _fitted(_converted(opaque, form), form)
    changes = {
        "turned upright": turned,
        "laid on white": opaque is not upright,
        "grey made colour": not form.grey and _is_grey(image),
        "resized": upright.size != (form.width, form.height),
    }
    return fitted, [change for change, made in changes.items() if made]


def _on_white(image: Image) -> Image:
    """The picture itself if nothing shows through it."""
    from PIL import Image

    if not image.has_transparency_data or image.mode.startswith("I"):
        return image
    layer = image.convert("RGBA")
    if np.asarray(layer)[..., 3].min() == 255:
        return image
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _converted(image: Image, form: Header) -> Image:
    """The picture in mode L, RGB, or F with values up to 65535."""
    from PIL import Image

    if form.deep and _is_deep(image):
        return Image.fromarray(_sixteen_bits(image))
    if form.deep:
        return Image.fromarray(np.float32(257) * np.asarray(image.convert("L")))
    if _is_deep(image):  # Pillow would clip at 255.
        image = Image.fromarray(np.rint(_sixteen_bits(image) / 257).astype(np.uint8))
    return image.convert("L" if form.grey else "RGB")


def _sixteen_bits(image: Image) -> Floats:
    """Values from 0 to 65535."""
    values = np.asarray(image).astype(np.float32)
    low, high = values.min(), values.max()
    if image.mode == "F" and low >= 0 and high <= 1:
        return 65535 * values
    if not (image.mode != "F" and low >= 0 and high <= 65535):
        raise ValueError(f"its values span {low:g} to {high:g}, where white is not known. Save it with 8 or 16 bits.")
    return values


def _fitted(image: Image, form: Header) -> Array:
    """The pixels at the size of all: same aspect ratio, centred, the rest in the colour of the border."""
    from PIL import Image

    if image.size == (form.width, form.height):
        return np.asarray(image)
    scale = min(form.width / image.width, form.height / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # Lanczos overshoots at edges; Pillow clips modes of 8 bits only.
    inner = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).clip(0, 65535)
    whole = np.asarray(image)
    canvas = np.empty((form.height, form.width, *inner.shape[2:]), inner.dtype)
    canvas[:] = np.median(np.concatenate([whole[0], whole[-1], whole[:, 0], whole[:, -1]]), axis=0)
    top, left = (form.height - height) // 2, (form.width - width) // 2
    canvas[top : top + height, left : left + width] = inner
    return canvas


def _note(form: Header, total: int, done: Counter[str], left_out: Sequence[str]) -> str:
    """What was done to how many pictures, in words."""
    how = {"resized": f" to {form.height} x {form.width}, aspect ratio kept, centred, filled with the border's colour"}
    said = [f"{count} of {total} {change}{how.get(change, '')}" for change, count in sorted(done.items())]
    return "; ".join([*said, *left_out])
