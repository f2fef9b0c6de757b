"""What do layers keep of the input and of the labels?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import COLUMNS, Look
from layerwise.findings import Keeping, Kept, Ladder
from layerwise.stack import Stack


def of(look: Look, ladder: Ladder | None) -> Keeping:
    """What every layer keeps, the input first."""
    rebuilt = _rebuilt(look)
    probes = [rung.probe for rung in ladder.rungs] if ladder else [None] * (1 + len(look.codes))
    layers = [Kept(look.input_name, None, None, probes[0])]
    for number, label in enumerate(look.subject.labels):
        error, share = (rebuilt[number].error, rebuilt[number].share) if rebuilt else (None, None)
        layers.append(Kept(label, error, share, probes[number + 1]))
    examples = look.examples()
    keeping = Keeping(
        layers=layers, baseline=rebuilt[0].baseline if rebuilt else None, rows=len(look.chosen), examples=examples,
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


def _rebuilder(stack: Stack, depth: int) -> Callable[[Tensor], Tensor]:
    place = next(stack.parameters()).device
    return lambda x: stack.reconstruct(x.to(place), depth).cpu()
