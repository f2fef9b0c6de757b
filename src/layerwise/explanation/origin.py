"""What was looked at: which model, and which rows?"""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy as np

from layerwise import __version__
from layerwise.explanation.look import LOOK, Look
from layerwise.findings import Data, Model
from layerwise.lens.material import Material


def model(look: Look) -> Model:
    """The model."""
    subject = look.subject
    versions = {name: version(name) for name in ("torch", "scikit-learn", "numpy")}
    return Model(
        name=subject.name, depth=len(look.codes),
        widths=[subject.features, *(int(states.shape[1]) for states in look.states)],
        kinds=[subject.visible, *subject.kinds],
        outputs=len(look.came.classes) if subject.classifies else 0,
        parameters=sum(p.numel() for p in subject.module.parameters()),
        seconds=sum(curve.seconds for curve in subject.curves),
        epochs=sum(len(curve.train) for curve in subject.curves), settings=subject.settings,
        versions={"layerwise": __version__, "Python": platform.python_version()} | versions,
        looked_at=subject.what, generative=subject.generative,
    )  # fmt: skip


def data(look: Look) -> Data:
    """The rows."""
    came, learned = look.came, look.learned
    note = "; ".join(filter(None, (came.note, look.subject.note)))
    return Data(
        name=came.name, note=note, rows=len(came), labelled=len(came.known), kind=came.row.kind,
        shape=list(came.row.shape), low=float(look.rows.min()), high=float(look.rows.max()),
        per_class=np.bincount(came.y[came.known], minlength=len(came.classes)).tolist(), looked_at=len(look.chosen),
        trained_rows=None if learned is None else len(learned),
        trained_labelled=None if learned is None else len(learned.known),
        shared=None if learned is None else _shared(came, learned),
    )  # fmt: skip


def _shared(came: Material, learned: Material) -> int:
    """How many rows of `came` are among `learned`, value by value as float32."""
    seen = {key for start in range(0, len(learned), LOOK) for key in _keys(learned, start)}
    return sum(key in seen for start in range(0, len(came), LOOK) for key in _keys(came, start))


def _keys(rows: Material, start: int) -> list[int]:
    return [hash(each.numpy().tobytes()) for each in rows.tensor(slice(start, start + LOOK))]
