"""What do layers keep of the input and of the labels?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import COLUMNS, Look
from layerwise.findings import Keeping, Kept
from layerwise.stack import Stack


def of(look: Look) -> Keeping:
    """What every layer keeps, the input first."""
    rebuilt, probes = _rebuilt(look), _probes(look)
    layers = [Kept("Symbol counts" if look.subject.symbols else "Input", None, None, *_mean_sd(probes[0]))]
    for number, label in enumerate(look.subject.labels):
        error, share = (rebuilt[number].error, rebuilt[number].share) if rebuilt else (None, None)
        layers.append(Kept(label, error, share, *_mean_sd(probes[number + 1])))
    examples = look.examples()
    keeping = Keeping(
        layers=layers, baseline=rebuilt[0].baseline if rebuilt else None, rows=len(look.chosen),
        probe_rows=len(_probed(look)), folds=len(probes[0]), examples=examples,
        tuned_whole=look.subject.tuned_whole, standardised=look.column_scale is not None,
    )  # fmt: skip
    if not rebuilt:
        return keeping
    if look.came.pictured:
        return replace(keeping, pictures=_rebuilt_pictures(look, examples))
    first = np.arange(look.came.row.size)[:COLUMNS]
    explained = np.stack([each.explained[first] for each in rebuilt])
    return replace(keeping, explained=explained, all_columns=look.came.row.size, columns=look.names(first))


def _rebuilt(look: Look) -> list[lens.Rebuilt]:
    """How well the rows are rebuilt from each layer."""
    stack = look.subject.stack
    if stack is None:
        return []
    depths = range(1, len(look.codes) + 1)
    return [lens.rebuild(_rebuilder(stack, depth), look.rows, scale=look.column_scale) for depth in depths]


def _rebuilt_pictures(look: Look, examples: list[int]) -> np.ndarray:
    assert look.subject.stack is not None
    rows, stack = look.came.tensor(examples), look.subject.stack
    with torch.no_grad():
        return np.stack([look.came.pictures(_rebuilder(stack, depth)(rows)) for depth in range(1, len(stack) + 1)])


def _probed(look: Look) -> np.ndarray:
    """Labelled rows of the map, as positions in `chosen`."""
    return look.on_map[look.came.y[look.mapped] >= 0]


def _probes(look: Look) -> list[list[float]]:
    """Errors of a linear probe on the input and on each layer's codes."""
    at = _probed(look)
    labels = look.came.y[look.chosen[at]]
    probes = [lens.linear_probe(codes[at], labels, seed=look.seed) for codes in (look.input, *look.codes)]
    if not probes[0]:
        look.left_out["Linear probes"] = "no two classes have two labelled rows each"
    return probes


def _rebuilder(stack: Stack, depth: int) -> Callable[[Tensor], Tensor]:
    place = next(stack.parameters()).device
    return lambda x: stack.reconstruct(x.to(place), depth).cpu()


def _mean_sd(values: list[float]) -> tuple[float | None, float | None]:
    return (float(np.mean(values)), float(np.std(values, ddof=1))) if len(values) > 1 else (None, None)
