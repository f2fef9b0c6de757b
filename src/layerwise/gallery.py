"""A gallery: who was met, once or a few times, and who of them comes again. It holds embeddings, never the photos.

The model that makes the embeddings learned on other people, and stays as it is: enrolling somebody is looking once.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialise

from layerwise.estimators import load
from layerwise.files import write_whole
from layerwise.lens.tradeoff import Tradeoff, tradeoff
from layerwise.neighbours import LARGE, Neighbours
from layerwise.saving import fingerprint

UNKNOWN = "unknown"
FORMAT = 1
LIST, VECTORS = "gallery.json", "embeddings.safetensors"
TRIALS = 2000  # photos of the gallery, at most, that play the stranger when the threshold is set
BLOCK = 1 << 24  # cosines in memory at once then


@dataclass(frozen=True)
class Answer:
    """Who somebody is.

    Arguments:
        name: Of the nearest person, or "unknown" if even that one is not near enough.
        score: The cosine between the photo's embedding and the nearest one in the gallery, in [-1, 1].
        nearest: The nearest person, also where `name` is "unknown".
    """

    name: str
    score: float
    nearest: str


class Gallery:
    """People (voices, things, ...) that are known from a few photos (clips, rows, ...) each.

    Arguments:
        model: A fitted estimator of this library whose `transform` gives embeddings, such as `IdentityEmbedder`, or the
            folder of a saved one.
        threshold: Lowest score that counts as known; None takes the `threshold_` of the model, if it has one. Where there is
            none, nobody is unknown. `calibrate` sets it from data.
        large: From how many bytes of embeddings on neighbours are searched through a graph, see `Neighbours`.

    Raises:
        ValueError: If the model makes no embeddings.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from layerwise import IdentityEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X, old = X / 16, y < 6
        >>> model = IdentityEmbedder(shape=(8, 8), layers=(16,), epochs=5, random_state=0).fit(X[old], y[old])
        >>> gallery = Gallery(model, threshold=0.0)
        >>> for digit in (6, 7, 8, 9):  # kinds that the model never met
        ...     photos = gallery.enroll(str(digit), X[y == digit][:5])
        >>> gallery.people
        {'6': 5, '7': 5, '8': 5, '9': 5}
        >>> gallery.identify(X[y == 7][20]).name
        '7'
    """

    def __init__(self, model: Any, *, threshold: float | None = None, large: int | None = LARGE) -> None:
        self.source = str(Path(model).absolute()) if isinstance(model, str | Path) else None
        self.model = load(model) if isinstance(model, str | Path) else model
        if not hasattr(self.model, "transform"):
            raise ValueError(f"A {type(self.model).__name__} makes no embeddings, which a gallery needs. Learn a model "
                             "that does: layerwise train FACES --model embedder")  # fmt: skip
        self.fingerprint = fingerprint(self.model)
        self.threshold: float | None = (
            getattr(self.model, "threshold_", None) if threshold is None else float(threshold)
        )
        self.large = large
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._who = np.empty(0, np.int64)
        self._near: Neighbours | None = None

    def __len__(self) -> int:
        """How many photos are held."""
        return len(self._who)

    @property
    def people(self) -> dict[str, int]:
        """Who is enrolled, in the order of coming, and with how many photos."""
        counts = np.bincount(self._who, minlength=len(self._names))
        return {name: int(count) for name, count in zip(self._names, counts, strict=True)}

    # -- who comes and goes --------------------------------------------------------------------------------------------

    def enroll(self, name: str | Sequence[str], photos: npt.ArrayLike) -> int:
        """Remembers photos: one or several of one person, or one name for each; a known name gets further ones.

        Arguments:
            name: Of the person, or a name per photo.
            photos: One row as the model takes it, or several, shape (n, features) or ``(n, *shape)``.

        Returns:
            How many photos there are now of the person (of all people, if several names came).

        Raises:
            ValueError: For photos that the model does not take or that show nothing, and names that are none.
        """
        vectors = self._embedded(photos)
        names = [name] * len(vectors) if isinstance(name, str) else [str(each) for each in name]
        if len(names) != len(vectors):
            raise ValueError(f"{len(vectors)} photos came with {len(names)} names. Give one name, or one per photo.")
        names = [_checked(each) for each in names]
        for each in dict.fromkeys(names):
            if each not in self._numbers:
                self._numbers[each] = len(self._names)
                self._names.append(each)
        self._who = np.concatenate([self._who, np.array([self._numbers[each] for each in names], np.int64)])
        self._add(vectors)
        return self.people[names[0]] if isinstance(name, str) else len(self)

    def remove(self, name: str) -> int:
        """Forgets a person; returns how many photos were held.

        Raises:
            ValueError: If nobody has that name.
        """
        if name not in self._numbers:
            near = get_close_matches(name, self._names, n=1, cutoff=0.5)
            meant = f"Did you mean {near[0]}?" if near else f"It knows {len(self._names)} people."
            raise ValueError(f"There is nobody called {name!r} in the gallery. {meant}")
        number = self._numbers[name]
        kept = self._who != number
        assert self._near is not None
        self._near.keep(kept)
        who = self._who[kept]
        self._who = np.where(who > number, who - 1, who)
        del self._names[number]
        self._numbers = {each: at for at, each in enumerate(self._names)}
        return int((~kept).sum())

    # -- who is it -----------------------------------------------------------------------------------------------------

    def identify(self, photo: npt.ArrayLike) -> Answer:
        """Who is on one photo.

        Raises:
            ValueError: As `identify_all`, and if several photos came.
        """
        answers = self.identify_all(photo)
        if len(answers) != 1:
            raise ValueError(f"{len(answers)} photos came, not one. Ask identify_all.")
        return answers[0]

    def identify_all(self, photos: npt.ArrayLike) -> list[Answer]:
        """Who is on each of several photos.

        Raises:
            ValueError: If nobody is enrolled, and for photos that the model does not take or that show nothing.
        """
        nearest, scores = self._best(self._embedded(photos))
        limit = -np.inf if self.threshold is None else self.threshold
        return [
            Answer(self._names[who] if score >= limit else UNKNOWN, float(score), self._names[who])
            for who, score in zip(nearest, scores, strict=True)
        ]

    # -- the threshold -------------------------------------------------------------------------------------------------

    def calibrate(self, false_accepts: float = 0.01, strangers: npt.ArrayLike | None = None) -> Tradeoff:
        """Sets the threshold so that at most that share of strangers is taken for somebody.

        A threshold is right for a gallery of about this size: the more people, the easier it is for a stranger to be like
        one.

        Arguments:
            false_accepts: The share, in [0, 1).
            strangers: As for `tradeoff`.

        Returns:
            The trade-off at every threshold.

        Raises:
            ValueError: If there are too few people or photos to try anybody.
        """
        curve = self.tradeoff(strangers)
        threshold = curve.threshold(false_accepts)
        if false_accepts * curve.strangers < 1:
            warnings.warn(f"A false-accept rate of {false_accepts:g} cannot be told from {curve.strangers} trials: the "
                          "threshold lies just above the best of them.", stacklevel=2)  # fmt: skip
        self.threshold = threshold
        return curve

    def tradeoff(self, strangers: npt.ArrayLike | None = None) -> Tradeoff:
        """How many strangers are taken for somebody, and how many people not known again, at every threshold.

        People are tried with each of their own photos while that photo is left out. Strangers are the rows given, or
        else every person of the gallery once more while all of that person's photos are left out: the more people there
        are, the finer the rates that can be told.

        Arguments:
            strangers: Rows of people who are not enrolled.

        Raises:
            ValueError: If there are too few people or photos to try anybody.
        """
        vectors = self._near.vectors if self._near is not None else np.empty((0, 1), np.float32)
        own, others = self._leave_one_out(vectors, _spread(len(vectors), TRIALS))
        members = np.isfinite(own)
        if not members.any():
            raise ValueError(
                "Nobody in the gallery has two photos, so nobody can be tried. Enroll a second photo of some."
            )
        if strangers is None and len(self._names) < 2:
            raise ValueError("One person alone cannot play the stranger. Enroll another, or give rows of strangers.")
        played = others if strangers is None else self._best(self._embedded(strangers))[1]
        return tradeoff(own[members], played, (own >= others)[members])

    def _leave_one_out(
        self, vectors: npt.NDArray[np.float32], tried: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """For some photos the best score with another photo of the same person (-inf: none), and with other people."""
        own, others = np.empty((2, len(tried)), np.float32)
        step = max(1, BLOCK // max(1, len(vectors)))
        for at in range(0, len(tried), step):
            part = tried[at : at + step]
            cosines = vectors[part] @ vectors.T
            same = self._who[part][:, None] == self._who[None]
            others[at : at + step] = np.where(same, -np.inf, cosines).max(1, initial=-np.inf)
            cosines[np.arange(len(part)), part] = -np.inf
            own[at : at + step] = np.where(same, cosines, -np.inf).max(1, initial=-np.inf)
        return own, others

    # -- as files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the gallery into the folder `path`: names in JSON, embeddings in safetensors, and neither photos nor model.

        Raises:
            FileExistsError: If `path` is a file, or a gallery is there and `overwrite` is False.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"{path} is a file; a gallery is saved into a folder. Choose another name.")
        if (path / LIST).exists() and not overwrite:
            raise FileExistsError(f"{path} holds a gallery already. Choose another folder, or pass overwrite=True.")
        path.mkdir(parents=True, exist_ok=True)
        vectors = self._near.vectors if self._near is not None else np.empty((0, 1), np.float32)
        about = {"format": FORMAT, "model": self.source, "fingerprint": self.fingerprint, "threshold": self.threshold,
                 "people": self._names}  # fmt: skip
        write_whole({
            path / VECTORS: serialise({"embeddings": vectors, "who": self._who}), path / LIST: json.dumps(about, indent=1)
        })  # fmt: skip
        return path

    @classmethod
    def load(cls, path: str | Path, model: Any = None, *, large: int | None = LARGE) -> Self:
        """The gallery that `save` wrote, with its model: an estimator, its folder, or None for the folder it came from.

        Raises:
            FileNotFoundError: If there is no gallery, or its model is gone.
            ValueError: If the files are damaged, or another model made the embeddings.
        """
        path = Path(path)
        about, vectors, who = _read(path)
        if model is None and about["model"] is None:
            raise ValueError(f"{path} does not say where its model lies. Name it.")
        gallery = cls(about["model"] if model is None else model, threshold=about["threshold"], large=large)
        if gallery.fingerprint != about["fingerprint"]:
            raise ValueError(f"{path} was made by another model than {gallery.source or 'this one'}: embeddings of two models "
                             "do not compare. Give the model that made it, or enroll everybody anew elsewhere.")  # fmt: skip
        gallery.source = gallery.source or about["model"]
        gallery.threshold = about["threshold"]
        gallery._names, gallery._who = list(about["people"]), who
        gallery._numbers = {name: number for number, name in enumerate(gallery._names)}
        if len(vectors):
            gallery._add(vectors)
        return gallery

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _add(self, vectors: npt.NDArray[np.float32]) -> None:
        if self._near is None:
            self._near = Neighbours(vectors.shape[1], self.large)
        self._near.add(vectors)

    def _best(self, vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Whose photo is nearest to each vector, and how near."""
        if not len(self) or self._near is None:
            raise ValueError("The gallery is empty, so nobody can be known. Enroll somebody first.")
        which, scores = self._near.search(vectors, 1)
        return self._who[which[:, 0]], scores[:, 0]

    def _embedded(self, photos: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Embeddings of length 1, shape (n, size)."""
        made = np.asarray(self.model.transform(self._rows(photos)), np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True).clip(1e-12)

    def _rows(self, photos: npt.ArrayLike) -> npt.NDArray[Any]:
        """Photos as rows, shape (n, features), after a look at them."""
        rows, size = np.asarray(photos), int(self.model.n_features_in_)
        if rows.dtype.kind not in "biuf" or not rows.size:
            raise ValueError(f"Photos are arrays of numbers, not {rows.dtype} of shape {rows.shape}.")
        if rows.size != size and (rows.ndim < 2 or rows[0].size != size):
            raise ValueError(f"Photos of shape {rows.shape} came, but the model takes {_taken(self.model)}. Give pictures of "
                             "that size and mode, as layerwise.data reads them.")  # fmt: skip
        rows = rows.reshape(-1, size)
        spread = rows.max(1) - rows.min(1)
        if not spread.all():
            which = int(np.flatnonzero(spread == 0)[0])
            raise ValueError(f"Photo {which + 1} of {len(rows)} has no contrast: all its values are {rows[which, 0]:g}. Leave "
                             "it out.")  # fmt: skip
        return rows


def _checked(name: str) -> str:
    """A name as it is kept."""
    kept = " ".join(name.split())
    if not kept or kept == UNKNOWN:
        raise ValueError(f"{name!r} is no name: it is empty, or what strangers are called. Choose another.")
    return kept


def _taken(model: Any) -> str:
    """What one row of the model is, in words."""
    saved = getattr(model, "data_", {}).get("row")
    shape = saved["shape"] if saved else getattr(model, "shape_", (model.n_features_in_,))
    return f"{' x '.join(map(str, shape))} ({model.n_features_in_} values) each"


def _spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Indices of up to `count` rows, spread evenly."""
    return np.linspace(0, max(rows - 1, 0), min(rows, count)).astype(np.int64)


def _read(path: Path) -> tuple[dict[str, Any], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """What the files of a gallery hold."""
    if not (path / LIST).exists():
        raise FileNotFoundError(f"{path} holds no gallery: {LIST} is missing. `layerwise enroll {path} NAME PHOTO --model RUN` "
                                "begins one.")  # fmt: skip
    try:
        about = json.loads((path / LIST).read_text())
        if about["format"] > FORMAT:
            raise ValueError(
                f"{path} has format {about['format']}, newer than this layerwise reads: upgrade layerwise."
            )
        held = load_file(path / VECTORS)
        vectors, who = held["embeddings"], held["who"]
        if len(vectors) != len(who) or (len(who) and not 0 <= who.min() <= who.max() < len(about["people"])):
            raise KeyError("names and embeddings do not fit together")
        return {key: about[key] for key in ("model", "fingerprint", "threshold", "people")}, vectors, who
    except (KeyError, TypeError, json.JSONDecodeError, SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged, and was not loaded ({type(error).__name__}: {error}).") from error
