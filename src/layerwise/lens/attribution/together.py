"""Several methods asked the same question: which of them can answer, what each finds, and how far they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from layerwise.lens.attribution.gradcam import GradCAM
from layerwise.lens.attribution.gradients import ExpectedGradients, InputXGradient, IntegratedGradients, SmoothGrad
from layerwise.lens.attribution.method import BATCH, Map, Method
from layerwise.lens.attribution.occlusion import Occlusion
from layerwise.lens.attribution.relevance import LRP, DeepLift
from layerwise.lens.capture import stream
from layerwise.lens.question import Question
from layerwise.lens.trust import Trial

ACROSS = 7  # windows of occlusion that lie side by side along a picture, about; as many again lie between them


@dataclass(frozen=True, eq=False)
class Attempt:
    """What came of asking a method: a map with its checks, or why there is none.

    Arguments:
        name: Of the method.
        map: None if it could not answer.
        refused: Why; "" if it could.
    """

    name: str
    map: Map | None
    refused: str


def usual(module: nn.Module, rows: Tensor, *, layer: str | None = None) -> dict[str, Method]:
    """The methods that suit a module, by their names; those that it turns out not to suit will say why when they are asked.

    Occlusion covers windows of about a seventh of a picture's sides, single steps of a sequence, single columns of a table.
    Grad-CAM looks at the last layer that has places.

    Arguments:
        module: Any.
        rows: Some, shape (n, ...).
        layer: Where explanations start; None for the rows.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 144, 2))
        >>> methods = usual(net, torch.rand(2, 1, 14, 14))
        >>> methods["Grad-CAM"].at, methods["Occlusion"].window
        ('1', (1, 2, 2))
    """
    question = Question(module, rows[:1], 0, layer=layer)
    window = _window(tuple(question.points.shape[1:]))
    strides = tuple(max(1, (each + 1) // 2) for each in window)
    methods: dict[str, Method] = {
        "Gradient × input": InputXGradient(module, layer=layer),
        "Integrated gradients": IntegratedGradients(module, layer=layer),
        "Expected gradients": ExpectedGradients(module, layer=layer, samples=200),
        "SmoothGrad": SmoothGrad(module, layer=layer),
        "DeepLift": DeepLift(module, layer=layer),
        "LRP": LRP(module, layer=layer),
        "Occlusion": Occlusion(module, layer=layer, window=window, strides=strides),
    }
    at = last_with_places(module, rows)
    return methods if at is None else methods | {"Grad-CAM": GradCAM(module, at, layer=layer)}


def _window(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 3:
        return shape[0], *(max(1, round(side / ACROSS)) for side in shape[1:])
    return (1, *shape[1:]) if len(shape) == 2 else (1,)


def last_with_places(module: nn.Module, rows: Tensor) -> str | None:
    """The name of the last layer of a pass whose units answer for several places; None if there is none.

    Example:
        >>> import torch
        >>> last_with_places(nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(18, 2)), torch.rand(1, 2, 8))
        '0'
    """
    if not list(module.children()):
        return None
    seen = next(stream(module, "*", rows[:1], finite=False))
    placed = [name for name, each in seen.items() if math.prod(each.positions) > 1]
    return placed[-1] if placed else None


def side_by_side(
    methods: Mapping[str, Method],
    rows: Tensor,
    target: Any,
    baselines: Any = None,
    *,
    data: Tensor | None = None,
    internal_batch_size: int = BATCH,
    **checks: Any,
) -> list[Attempt]:
    """Asks every method the same question, and checks each map against the same random orders.

    Arguments:
        methods: By their names, of one module, all with the same start.
        rows, target, baselines, internal_batch_size: As for `Method.attribute`.
        data: Rows that expected gradients average over; without them that method is refused.
        checks: Settings of `layerwise.lens.trust.check`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> rows = torch.rand(5, 4)
        >>> for attempt in side_by_side(usual(net, rows), rows, 1):
        ...     print(attempt.name, "refused" if attempt.refused else attempt.map.checks.complete is not None)
        Gradient × input False
        Integrated gradients True
        Expected gradients refused
        SmoothGrad False
        DeepLift True
        LRP True
        Occlusion False
    """
    attempts: list[Attempt] = []
    trial: Trial | None = None
    for name, method in methods.items():
        base = data if isinstance(method, ExpectedGradients) else baselines
        try:
            found = method.attribute(rows, base, target, internal_batch_size=internal_batch_size)
            if trial is None:
                trial = Trial(found.question, found.question.baselines(baselines), size=internal_batch_size)
            found.check(trial=trial, **checks)
        except ValueError as error:
            attempts.append(Attempt(name, None, str(error)))
        else:
            attempts.append(Attempt(name, found, ""))
    return attempts


def agreement(maps: np.ndarray) -> np.ndarray:
    """How far maps of a row agree: Spearman's rank correlations of their parts; those that are zero in all are left out.

    Arguments:
        maps: Shape (maps, parts), such as `by_part` makes them.

    Returns:
        Shape (maps, maps), in [-1, 1]; 0 for a map that is constant.

    Example:
        >>> agreement(np.array([[1.0, 5.0, 2.0, 0.0], [10.0, 30.0, 20.0, 0.0], [-1.0, -3.0, -2.0, 0.0]])).round(6).tolist()
        [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    from scipy.stats import rankdata

    used = maps[:, (maps != 0).any(0)]
    if not used.size:
        return np.zeros((len(maps), len(maps)))
    ranks = rankdata(used, axis=1)
    ranks = ranks - ranks.mean(1, keepdims=True)
    lengths = np.sqrt(np.square(ranks).sum(1, keepdims=True))
    ranks = ranks / np.where(lengths == 0, 1, lengths)
    return (ranks @ ranks.T).clip(-1, 1)


def by_part(found: Map) -> Tensor:
    """A map with one value per part: of pictures the channels are added up, of sequences the features of a step.

    Returns:
        Shape (n, height, width), (n, steps) or (n, columns).
    """
    values = found.values
    return values.sum(1) if values.ndim == 4 else values.sum(2) if values.ndim == 3 else values
