"""What an explanation says, as plain data: everything on the page is drawn from `Explanation.to_dict`, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerwise.findings.answers import Answer, Answers, Asked, MethodNote, Near, Part, Removal, Shown, Training
from layerwise.findings.layers import (
    Ablation,
    Changed,
    Dreamed,
    Ladder,
    LayerPage,
    Liked,
    Living,
    Probed,
    Rung,
    Side,
    Told,
    Wires,
)
from layerwise.findings.overview import (
    CodeMap,
    Confused,
    Curve,
    Data,
    Dreams,
    Fit,
    Gallery,
    Gradient,
    Health,
    Keeping,
    Kept,
    LayerHealth,
    Method,
    Mistakes,
    Model,
    Panel,
    Score,
    Setting,
    Strongest,
    Weights,
)
from layerwise.findings.plain import pack, plain, unpack

FORMAT = "layerwise-report/3"


@dataclass(frozen=True)
class Explanation:
    """All that the report says about a model, section by section; a section that does not apply is None or empty.

    `left_out` tells why, by the name of the section. `to_dict` gives what `report.json` holds.
    """

    title: str
    made: str
    seed: int
    model: Model
    data: Data
    classes: list[str]
    score: Score | None
    fit: Fit | None
    comparison: list[Method]
    curves: list[Curve]
    weights: list[Weights]
    keeping: Keeping
    dreams: Dreams | None
    mistakes: Mistakes | None
    map: CodeMap | None
    health: Health
    ladder: Ladder | None
    layers: list[LayerPage]
    answers: Answers | None
    gallery: Gallery
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold: numbers with 6 digits, no NaN (null), pictures as bytes in base64 (`unpack`)."""
        return {"format": FORMAT, **plain(self)}


__all__ = [
    "FORMAT",
    "Ablation",
    "Answer",
    "Answers",
    "Asked",
    "Changed",
    "CodeMap",
    "Confused",
    "Curve",
    "Data",
    "Dreamed",
    "Dreams",
    "Explanation",
    "Fit",
    "Gallery",
    "Gradient",
    "Health",
    "Keeping",
    "Kept",
    "Ladder",
    "LayerHealth",
    "LayerPage",
    "Liked",
    "Living",
    "Method",
    "MethodNote",
    "Mistakes",
    "Model",
    "Near",
    "Panel",
    "Part",
    "Probed",
    "Removal",
    "Rung",
    "Score",
    "Setting",
    "Shown",
    "Side",
    "Strongest",
    "Told",
    "Training",
    "Weights",
    "Wires",
    "pack",
    "plain",
    "unpack",
]
