"""How do codes lie?"""

from __future__ import annotations

from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.findings import CodeMap, Panel


def of(look: Look) -> CodeMap | None:
    """The same rows on a plane, by the top code and by the input; None if neither can be drawn."""
    raw = look.input if look.column_scale is None else look.input / look.column_scale
    spaces = (
        (f"Code of layer {len(look.codes)}", look.codes[-1]),
        ("Symbol counts" if look.subject.symbols else "Input", raw),
    )
    panels = [_panel(look, space, method, rows) for space, rows in spaces for method in ("t-SNE", "PCA")]
    drawn = [panel for panel in panels if panel]
    return CodeMap(look.mapped.tolist(), drawn) if drawn else None


def _panel(look: Look, space: str, method: str, rows: Tensor) -> Panel | None:
    try:
        flat = lens.flatten(rows[look.on_map].numpy(), "pca" if method == "PCA" else "tsne", seed=look.seed)
    except ValueError as error:
        look.left_out[f"Map of the {space[0].lower()}{space[1:]}"] = str(error)
        return None
    middles = lens.middles(flat.points, look.came.y[look.mapped], len(look.came.classes))
    return Panel(space, method, flat.points, middles, flat.trust, flat.neighbours, flat.shown, flat.perplexity)
