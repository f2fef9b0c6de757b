"""A saved model, and the rows it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import data as sets
from layerwise.data import Dataset, Row, Story
from layerwise.data.sources import hold_out_classes
from layerwise.estimators import IdentityEmbedder, TextWriter
from layerwise.estimators import load as load_model
from layerwise.tasks.learning import long_text, prepare, present
from layerwise.tasks.plan import PLAN, WRITER, Plan, as_read, is_known, locate

BLOCK = 2000  # rows that a model is shown at once


@dataclass(frozen=True, eq=False)
class Learned:
    """A saved model, and what it knows of its data; `held_out` are its test rows if they are read already."""

    model: Any
    folder: Path
    held_out: Dataset | None = None

    @classmethod
    def load(cls, folder: str | Path, plan: Plan | None = None) -> Learned:
        """The model that lies in `folder`; `plan` is the one that it was learned by just now.

        Raises:
            FileNotFoundError: If there is none, or it is not finished.
            ValueError: If it is damaged.
        """
        folder = Path(folder)
        if (folder / PLAN).exists() and not (folder / "model.json").exists():
            raise FileNotFoundError(
                f"{folder} is not finished yet. Go on with it: layerwise train --resume --out {folder}"
            )
        return cls(load_model(folder), folder, None if plan is None or plan.model == WRITER else plan.load("test"))

    @property
    def about(self) -> dict[str, Any]:
        """What was noted of the data; empty for a model that was saved from Python."""
        return dict(getattr(self.model, "data_", {}))

    @property
    def row(self) -> Row:
        """What a row is."""
        saved = self.about.get("row")
        return Row.from_dict(saved) if saved else Row("table", (int(self.model.n_features_in_),))

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty for a model that knows none."""
        return [str(name) for name in getattr(self.model, "classes_", ())]

    @property
    def writes(self) -> bool:
        """Whether it reads one long text and takes no rows."""
        return isinstance(self.model, TextWriter)

    @property
    def embeds(self) -> bool:
        """Whether it makes embeddings that tell people apart."""
        return isinstance(self.model, IdentityEmbedder)

    def story(self, source: str | None = None) -> Story:
        """The text that was held out when it learned, or all of the one at `source`."""
        about = self.about
        if source is not None and locate(source) != about.get("source"):
            return long_text(source)
        if "source" not in about:
            raise ValueError(f"{self.folder} does not say which text it learned from. Name the text to read.")
        return long_text(about["source"]).split(about["holdout"])[1]

    def test_rows(self) -> Dataset:
        """The rows that were held out when it learned."""
        if self.held_out is not None:
            return self.held_out
        about = self.about
        if "source" not in about:
            raise ValueError(f"{self.folder} does not say which data it learned from. Name the data to look at.")
        how = as_read(about["reading"])
        if self.embeds:
            both = sets.load(about["source"], "all", **how, like=self.row)
            return hold_out_classes(both, about["holdout"], about["seed"])[1]
        return sets.load(
            about["source"],
            "test",
            holdout=about["holdout"],
            seed=about["seed"],
            **how,
            like=Row.from_dict(about["row"]),
        )

    def rows(self, source: str | None, **how: Any) -> Dataset:
        """Rows for the model: its own test rows, the test part of a known set, or all rows of a file or folder.

        Arguments:
            source: None for its own test rows.
            how: Options of `layerwise.data.load` for other rows: broken="skip".

        Raises:
            ValueError: If they are no rows that it can take, or it takes none.
        """
        if self.writes:
            raise ValueError(f"{self.folder} holds a {type(self.model).__name__}, which reads a text on and on and takes no "
                             f"rows. Let it write (layerwise write {self.folder}), or evaluate it.")  # fmt: skip
        if source is None or locate(source) == self.about.get("source"):
            return self.test_rows()
        if is_known(source):
            return self.fitting(sets.load(source, "test", like=self.row, **how))
        if self.row.kind == "table" and Path(source).suffix.lower() not in (".npz", ".npy"):
            # Whether the column of labels is in it or not.
            how = how | {"label": self.about.get("reading", {}).get("label")}
        return self.fitting(sets.load(source, "all", like=self.row, **how))

    def fitting(self, data: Dataset) -> Dataset:
        """The rows in the shape that the model learned: pictures grey or in colour. Tables are read so (`load(like=...)`)."""
        own, came = self.row, data.row
        if own.kind == came.kind == "image" and len(own.shape) != len(came.shape):
            data = recoloured(data)
        alike = (data.row.kind, data.row.shape) == (own.kind, own.shape) or not self.about
        if not alike or data.row.size != self.model.n_features_in_:
            raise ValueError(f"{data.name} has rows of {_shape(came)}, but the model learned rows of {_shape(own)}. "
                             "Give it data of the same kind.")  # fmt: skip
        return data

    def codes(self, data: Dataset) -> np.ndarray:
        """The labels as indices into `classes`, shape (n,), -1 = no label.

        Raises:
            ValueError: If a row has a class that the model does not know.
        """
        if data.y is None:
            return np.full(len(data), -1)
        known = {name: index for index, name in enumerate(self.classes)}
        unknown = sorted(present(data) - set(known))
        if unknown:
            raise ValueError(f"{data.name} has rows of the class {unknown[0]!r}{_and_more(unknown)}, which the model does "
                             f"not know. {suggest(unknown[0], self.classes)}")  # fmt: skip
        return np.array([*(known.get(name, -1) for name in data.classes), -1])[data.y]

    def explain(self, source: str | None, out: Path, answers: Sequence[int] | None = None, **how: Any) -> Path:
        """Writes the report of the model, looking at `rows(source, **how)`; returns the page.

        Arguments:
            answers: As `layerwise.explain` takes them.
        """
        from layerwise.explanation import explain

        mine = source is None and (self.folder / PLAN).exists()
        training = prepare(Plan.read(self.folder))[1] if mine else None
        return explain(self.model, self.rows(source, **how), out, answers=answers, training=training)


def recoloured(data: Dataset) -> Dataset:
    """Colour pictures in grey (ITU-R BT.601, as Pillow does it), and grey ones in colour."""
    x = np.asarray(data.x)
    if data.row.shape[0] == 3 and x.ndim == 4:
        x = np.tensordot(x, np.array([0.299, 0.587, 0.114]), (1, 0))
    else:
        x = np.repeat(x[:, None], 3, axis=1)
    return replace(data, x=x, row=replace(data.row, shape=x.shape[1:]))


def suggest(name: str, names: Sequence[str]) -> str:
    """The nearest of the names, and all of them."""
    near = get_close_matches(name.lower(), [each.lower() for each in names], n=1)
    meant = [each for each in names if near and each.lower() == near[0]]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return (f"Did you mean {meant[0]}? " if meant else "") + f"It knows {shown}."


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _shape(row: Row) -> str:
    if row.kind == "table":
        return f"{row.size} columns"
    return " x ".join(map(str, row.shape[-2:])) + (" pixels in colour" if len(row.shape) == 3 else " grey pixels")
