"""What the commands about people do: enroll somebody, say who somebody is, set the threshold, test on people never met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import data as sets
from layerwise.data import Dataset
from layerwise.gallery import LIST, Answer, Gallery
from layerwise.lens import Recognition, Tradeoff, recognition
from layerwise.report.tradeoff import write_tradeoff
from layerwise.tasks import Learned, locate

PAGE = "tradeoff.html"


@dataclass(frozen=True)
class Enrolled:
    """What enrolling did: photos `added`, and how many the person now `held` of them; `notes` tell what was done to them."""

    name: str
    added: int
    held: int
    notes: tuple[str, ...]


def open_gallery(folder: Path, model: Path | None = None) -> Gallery:
    """The gallery in a folder, with its own model or the run that is named."""
    return Gallery.load(folder, model, large=None)  # one question is not worth building a graph


def enroll(folder: Path, name: str, sources: Sequence[str], model: Path | None) -> Enrolled:
    """Puts photos of one person into the gallery in `folder`, which begins with `model` if it is not there.

    Raises:
        ValueError: For photos that show nothing or cannot be taken, and if there is neither a gallery nor a model.
    """
    begun = (folder / LIST).exists()
    if not begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and is no gallery. Choose another name.")
    if not begun and model is None:
        raise ValueError(f"{folder} is no gallery yet. To begin one, name the run whose model makes its embeddings: "
                         "--model RUN. `layerwise train FACES --model embedder` learns one.")  # fmt: skip
    gallery = open_gallery(folder, model) if begun else Gallery(str(model), large=None)
    rows, notes = photos(gallery, sources)
    held = gallery.enroll(name, np.concatenate([part.matrix() for part in rows]))
    gallery.save(folder, overwrite=begun)
    return Enrolled(name, sum(map(len, rows)), held, notes)


def identify(
    folder: Path, sources: Sequence[str], model: Path | None = None
) -> tuple[list[tuple[str, Answer]], list[str]]:
    """Who is on each photo, by the name of its file (and its number, where a source holds several), and notes."""
    gallery = open_gallery(folder, model)
    rows, notes = photos(gallery, sources)
    answers = gallery.identify_all(np.concatenate([part.matrix() for part in rows]))
    files = [
        source if len(part) == 1 else f"{source}, {number}"
        for source, part in zip(sources, rows, strict=True)
        for number in range(1, len(part) + 1)
    ]
    unset = ["No threshold is set, so nobody is unknown: layerwise gallery calibrate " + str(folder)]
    return list(zip(files, answers, strict=True)), [*notes, *(unset if gallery.threshold is None else [])]


def photos(gallery: Gallery, sources: Sequence[str]) -> tuple[list[Dataset], tuple[str, ...]]:
    """The rows of files and folders as the gallery's model takes them, and what was done to them to that end."""
    learned = Learned(gallery.model, Path(gallery.source or ""))
    rows, notes = [], []
    for source in sources:
        came = sets.load(locate(source), "all", like=learned.row)
        fit = learned.fitting(came)
        notes += [f"{source}: {came.note}"] if came.note else []
        if fit.row.shape != came.row.shape:
            notes.append(f"{source}: made {'grey' if len(fit.row.shape) == 2 else 'colour'}, as the model takes it")
        rows.append(fit)
    return rows, tuple(notes)


def calibrate(folder: Path, source: str | None, false_accepts: float) -> tuple[Gallery, Tradeoff, Path]:
    """Sets the threshold of a gallery from data, and draws the trade-off: the gallery, the trade-off, and the page."""
    gallery = open_gallery(folder)
    strangers = None if source is None else np.concatenate([part.matrix() for part in photos(gallery, [source])[0]])
    curve = gallery.calibrate(false_accepts, strangers)
    gallery.save(folder, overwrite=True)
    page = write_tradeoff(folder / PAGE, f"Gallery {folder.name}", curve, gallery.threshold)
    return gallery, curve, page


def judged(learned: Learned, rows: Dataset) -> tuple[Recognition, Path | None]:
    """How well a model knows labelled rows of people again, and the page with the trade-off where it could be tried.

    Raises:
        ValueError: If the rows have no labels, or are too few.
    """
    known = np.flatnonzero(_labels(rows) >= 0)
    if not len(known):
        raise ValueError(
            f"{rows.name} has no labels, so it is not known who is who. Sort the files into one folder per person."
        )
    model: Any = learned.model
    embeddings, who = model.transform(rows.matrix(known)), _labels(rows)[known]
    found = recognition(embeddings, who)
    if found.equal_error is None:
        return found, None
    gallery = Gallery(model, large=None)
    gallery.enroll([rows.classes[label] for label in who], rows.matrix(known))
    curve = gallery.tradeoff()
    return found, write_tradeoff(learned.folder / PAGE, f"People of {rows.name}", curve, gallery.threshold)


def _labels(rows: Dataset) -> np.ndarray:
    return np.full(len(rows), -1) if rows.y is None else rows.y
