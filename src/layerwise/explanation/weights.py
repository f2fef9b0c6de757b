"""What do units look for: weights as pictures, and the rows that excite them most?"""

from __future__ import annotations

from dataclasses import replace

from layerwise import lens
from layerwise.explanation.look import COLUMNS, Look
from layerwise.explanation.pictures import drawn, scale_of
from layerwise.findings import Strongest, Weights

UNITS = 100  # units shown per layer
PIXELS = 250_000  # values drawn per layer


def of(look: Look) -> list[Weights]:
    """What the units of every layer look for, and those of the output."""
    if not look.subject.weights:
        return [_units(look, depth) for depth in range(1, len(look.codes) + 1)]
    count = min(UNITS, max(PIXELS // look.came.row.size, 8))
    return [_layer(look, depth, count) for depth in range(1, len(look.subject.weights) + 1)]


def _layer(look: Look, depth: int, count: int) -> Weights:
    """The filters of `count` units of a layer, as pictures, or for tables as the columns that matter most."""
    came, subject, weight = look.came, look.subject, look.subject.chain(depth)[-1]
    hidden = depth <= len(look.codes)
    units = lens.strongest_units(weight, count) if hidden else list(range(weight.shape[1]))[:count]
    filters = lens.project(subject.chain(depth), units)
    if came.pictured and subject.scale is not None:
        filters = filters * subject.scale  # a step of the standardised input, in the data's own units
    outputs = [] if hidden else [came.classes[unit] if subject.classifies else f"output {unit}" for unit in units]
    scale = scale_of(filters)
    layer = Weights(
        label=subject.labels[depth - 1] if hidden else "Output", units=int(weight.shape[1]), inputs=int(weight.shape[0]),
        projected=depth > 1, unit=units, names=outputs, scale=scale,
        clipped=float((filters.abs() > scale).float().mean()), all_columns=came.row.size,
        strongest=_strongest(look, depth, units) if hidden else [],
    )  # fmt: skip
    if came.pictured:
        return replace(layer, pictures=drawn(filters / scale, came.row.shape, came.row.kind))
    top = filters.square().sum(0).argsort(descending=True)[:COLUMNS].sort().values.numpy()
    return replace(layer, table=filters.numpy()[:, top], columns=look.names(top))


def _units(look: Look, depth: int) -> Weights:
    """A layer that is no matrix: the filters, if it is the lowest and convolves pictures, and the rows that excite it."""
    states, filters = look.states[depth - 1], look.subject.filters
    shown = filters is not None and depth == 1 and look.came.pictured and filters.shape[1] in (1, 3)
    units = list(range(states.shape[1]))[:UNITS]
    layer = Weights(
        label=look.subject.labels[depth - 1], units=int(states.shape[1]), inputs=0, projected=False, unit=units, names=[],
        scale=0.0, clipped=0.0, all_columns=0, strongest=_strongest(look, depth, units), filters=True,
    )  # fmt: skip
    if not shown or filters is None:
        return layer
    units = lens.strongest_units(filters.flatten(1).T, UNITS)
    scale = float(filters.abs().max()) or 1.0
    shape = tuple(filters.shape[2:]) if filters.shape[1] == 1 else tuple(filters.shape[1:])
    return replace(
        layer, unit=units, strongest=_strongest(look, 1, units), scale=scale,
        inputs=filters[0].numel(), pictures=drawn(filters[units] / scale, shape, look.came.row.kind),
    )  # fmt: skip


def _strongest(look: Look, depth: int, units: list[int], shown: int = 8, rows: int = 6) -> list[Strongest]:
    index, states = lens.strongest_rows(look.states[depth - 1], units[:shown], rows)
    numbers = look.chosen[index.numpy()].tolist()
    return [Strongest(*each) for each in zip(units, numbers, states.tolist(), strict=False)]
