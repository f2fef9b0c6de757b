"""How do codes lie?"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.findings import CodeMap, Panel
from layerwise.subject import code_of

SPACES = 5  # layers drawn besides the input
METHODS: dict[str, Literal["tsne", "pca", "umap"]] = {"t-SNE": "tsne", "PCA": "pca", "UMAP": "umap"}


def of(look: Look, also: Sequence[int] = ()) -> CodeMap | None:
    """The same rows on a plane, by the codes of layers, the top one first, and by the input; None if none can be drawn.

    Arguments:
        also: Rows that are on the map in any case.
    """
    more = np.setdiff1d(np.array(also, dtype=np.int64), look.mapped)
    raw, codes = _held(look, more)
    rows = np.append(look.mapped, more)
    last = len(codes) - 1
    shown = np.unique(np.linspace(last, 0, min(SPACES, last + 1)).round().astype(int))[::-1]
    spaces = [(f"Code of {_named(look.subject.labels[at])}", codes[at]) for at in shown]
    spaces.append((look.input_name, raw))
    methods = [name for name in METHODS if name != "UMAP" or importlib.util.find_spec("umap")]
    panels = [_panel(look, rows, space, method, codes) for space, codes in spaces for method in methods]
    drawn = [panel for panel in panels if panel]
    return CodeMap(rows.tolist(), drawn) if drawn else None


def _held(look: Look, more: np.ndarray) -> tuple[Tensor, list[Tensor]]:
    """Input and codes of the rows on the map, and of some more."""
    raw, codes = look.input[look.on_map], [each[look.on_map] for each in look.codes]
    if len(more):
        rows = look.came.tensor(more)
        seen = next(lens.stream(look.subject.module, look.subject.stages, look.subject.given(rows), size=len(more)))
        raw = torch.cat([raw, look.input_of(rows)])
        codes = [torch.cat([held, code_of(each)]) for held, each in zip(codes, seen.values(), strict=True)]
    return raw if look.column_scale is None else raw / look.column_scale, codes


def _named(label: str) -> str:
    return f"l{label[1:]}" if label.startswith("Layer ") else label


def _panel(look: Look, rows: np.ndarray, space: str, method: str, codes: Tensor) -> Panel | None:
    try:
        flat = lens.flatten(codes.numpy(), METHODS[method], seed=look.seed)
    except ValueError as error:
        look.left_out[f"Map of the {space[0].lower()}{space[1:]}"] = str(error)
        return None
    middles = lens.middles(flat.points, look.came.y[rows], len(look.came.classes))
    return Panel(space, method, flat.points, middles, flat.trust, flat.neighbours, flat.shown, flat.perplexity)
