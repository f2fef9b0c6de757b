"""Which part of an input excited a unit? Its place, and the slope of its state by the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.passes import check_units, frozen, in_graph
from layerwise.lens.running import to_module

SHARE = 0.95  # of the slope's mass that the box holds along each axis


@dataclass(frozen=True)
class Evidence:
    """What in each row excited a unit. A slope is no attribution: it comes without the checks that a map of one needs.

    Arguments:
        states: The unit's largest state over its places, shape (n,).
        place: Index of that place in the layer, counted through, shape (n,); 0 in a layer without places.
        slope: Gradient of that state by the row, shape (n, ...) of the rows. Exactly 0 outside the receptive field.
        field: First and last index along each axis of a row with a slope other than 0: the receptive field as far as it was
            used, shape (n, axes, 2). Where no gradient comes (a unit that is off): the whole row.
        box: The same with the outer parts left away that hold 5 % of the slope's magnitude along the axis.
    """

    states: Tensor
    place: Tensor
    slope: Tensor
    field: Tensor
    box: Tensor


def evidence(
    module: nn.Module,
    layer: str,
    unit: int | Sequence[int],
    rows: Tensor,
    *,
    picture: Sequence[int] | None = None,
) -> Evidence:
    """For each row, where a unit's state is largest, and the part of the row that made it so.

    Arguments:
        module: Any module that answers row by row.
        layer, unit: Which; or a unit for each row.
        rows: One batch, floating point, shape (n, ...).
        picture: (H, W) or (C, H, W) that a row lays out: field and box are then those of the picture, also where the module
            takes rows that are flat.

    Raises:
        ValueError: As `layerwise.lens.stream`; if there is no such unit, rows hold whole numbers (of which nothing has a slope:
            take the layer after the embedding as the module), or do not lead to the layer.

    Example:
        >>> x = torch.zeros(1, 1, 9, 9)
        >>> x[0, 0, 5, 2] = 1.0
        >>> net = nn.Conv2d(1, 1, 3, bias=False)
        >>> net.weight.data.fill_(1.0)[0, 0, 1, 1] = 2.0
        >>> evidence(net, "", 0, x).field[0, 1:].tolist()  # rows 4 to 6, columns 1 to 3
        [[4, 6], [1, 3]]
    """
    if not rows.is_floating_point():
        raise ValueError(f"The rows are whole numbers ({rows.dtype}): they have no slope. Convert them with rows.float(), or "
                         "look at the module that follows their embedding.")  # fmt: skip
    with frozen(module):
        x: Any = to_module(module, rows).detach().requires_grad_()
        (found,) = in_graph(module, [layer], x)
        states = found.states
        units = [unit] * len(states) if isinstance(unit, int) else list(unit)
        if len(units) != len(states):
            raise ValueError(f"{len(states)} rows came with {len(units)} units. Give one unit, or one per row.")
        check_units(units, states.shape[1], layer)
        most, place = states[torch.arange(len(states)), units].max(1)
        slope = torch.autograd.grad(most.sum(), x, allow_unused=True)[0] if most.requires_grad else None
    if slope is None:
        raise ValueError(f"No gradient leads from {layer!r} to the rows.")
    size = slope.detach().abs().double().cpu()
    size = size if picture is None else size.reshape(len(size), *picture)
    field, box = (torch.stack([_span(size, axis, part) for axis in range(1, size.ndim)], 1) for part in (1.0, SHARE))
    return Evidence(most.detach().float().cpu(), place.cpu(), slope.detach().float().cpu(), field, box)


def _span(size: Tensor, axis: int, share: float) -> Tensor:
    """First and last index along an axis that hold this share of each row, as much left away at either end; shape (n, 2)."""
    along = size.movedim(axis, 1).flatten(2).sum(2) if size.ndim > 2 else size
    total = along.sum(1, keepdim=True)
    rest = (1 - share) / 2 * total
    first = (along.cumsum(1) > rest).int().argmax(1)
    last = along.shape[1] - 1 - (along.flip(1).cumsum(1) > rest).int().argmax(1)
    whole = torch.tensor([0, along.shape[1] - 1])
    return torch.where(total > 0, torch.stack([first, last], 1), whole)
