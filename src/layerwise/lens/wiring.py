"""What does a unit get from the layers below, what does it give to those above, and which units are like it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.passes import check_units, frozen, in_graph


@dataclass(frozen=True)
class Wired:
    """The strongest connections of a unit, strongest first.

    Arguments:
        units: Indices in the other layer.
        mean: Mean over the rows of what the connection carries, in units of the state it arrives at; signed.
        strength: Root mean square of the same: a connection whose sign changes is strong too.
        share: Share of each in the sum of all squares, so that a short list says how much of it all it holds.
        rows: How many rows were looked at.
    """

    units: list[int]
    mean: list[float]
    strength: list[float]
    share: list[float]
    rows: int


def inputs_of(module: nn.Module, layer: str, unit: int, below: str, rows: Any, *, count: int = 10) -> Wired:
    r"""The units of the layer below that give most to a unit: state x slope, :math:`a_j \, \partial b / \partial a_j`.

    Where only a linear map lies between, that is weight x activity, and all of them together with the bias make the state. With
    an activation between, it is its slope at each row; name the layer before the activation to leave it out. In layers with
    places a unit stands for all its places together.

    Arguments:
        module: Any module.
        layer, unit: Whose inputs.
        below: The layer they come from.
        rows: One batch of rows, as the module takes it.
        count: How many to tell.

    Raises:
        ValueError: As `layerwise.lens.stream`; if there is no such unit, or `below` does not lead to it.

    Example:
        >>> net = nn.Sequential(nn.Identity(), nn.Linear(3, 1))
        >>> net[1].weight.data = torch.tensor([[0.0, 2.0, -1.0]])
        >>> found = inputs_of(net, "1", 0, "0", torch.tensor([[1.0, 1.0, 5.0]]), count=2)
        >>> found.units, found.mean
        ([2, 1], [-5.0, 2.0])
    """
    with frozen(module):
        low, high = in_graph(module, [below, layer], rows)
        states = high.states
        check_units([unit], states.shape[1], layer)
        slope = low.shaped(_slope(states[:, unit].sum(), low.tensor, below, layer))
    return _strongest((low.states.detach() * slope).sum(2), count)


def outputs_of(module: nn.Module, layer: str, unit: int, above: str, rows: Any, *, count: int = 10) -> Wired:
    """The units of the layer above that a unit gives most to, measured as in `inputs_of`.

    Arguments:
        module, rows, count: As in `inputs_of`.
        layer, unit: Whose outputs.
        above: The layer they go to.

    Raises:
        ValueError: As `inputs_of`.

    Example:
        >>> net = nn.Sequential(nn.Identity(), nn.Linear(1, 3))
        >>> net[1].weight.data = torch.tensor([[0.0], [2.0], [-1.0]])
        >>> outputs_of(net, "0", 0, "1", torch.tensor([[3.0]]), count=2).mean
        [6.0, -3.0]
    """
    with frozen(module):
        low, high = in_graph(module, [layer, above], rows)
        states, upper = low.states.detach(), high.states
        check_units([unit], states.shape[1], layer)
        # v^T J is linear in v, so its derivative by v is J itself: two backward passes serve all units above.
        pull = torch.ones_like(upper[:, :, :1], requires_grad=True)
        slope = low.shaped(_slope((pull * upper).sum(), low.tensor, layer, above, create_graph=True))
        (given,) = torch.autograd.grad((states * slope)[:, unit].sum(), pull)
    return _strongest(given[:, :, 0], count)


@dataclass(frozen=True)
class Connections:
    """What all units of a layer get from all of one below, as in `Wired`: `mean` and `strength` are (units, units below)."""

    mean: Tensor
    strength: Tensor
    rows: int


def connections(module: nn.Module, below: str, layer: str, rows: Any) -> Connections:
    """`inputs_of` for every unit of a layer at once: one pass up, and one pass back per unit.

    Raises:
        ValueError: As `inputs_of`.

    Example:
        >>> net = nn.Sequential(nn.Identity(), nn.Linear(3, 1))
        >>> net[1].weight.data = torch.tensor([[0.0, 2.0, -1.0]])
        >>> connections(net, "0", "1", torch.tensor([[1.0, 1.0, 5.0]])).mean.tolist()
        [[0.0, 2.0, -5.0]]
    """
    mean, square = [], []
    with frozen(module):
        low, high = in_graph(module, [below, layer], rows)
        given, states = low.states.detach(), high.states.sum((0, 2))
        for unit in range(len(states)):
            slope = low.shaped(_slope(states[unit], low.tensor, below, layer, retain_graph=True))
            carried = (given * slope).float().sum(2)  # half precision would lose what is summed over rows
            mean.append(carried.mean(0))
            square.append(carried.square().mean(0))
    return Connections(torch.stack(mean).cpu(), torch.stack(square).sqrt().cpu(), len(given))


def nearest_units(
    columns: Tensor, unit: int, *, count: int = 10, centred: bool = True
) -> tuple[list[int], list[float]]:
    """The units most like one: by correlation of their states, or by the angle between their incoming weights.

    Arguments:
        columns: Codes, shape (rows, units); or weights, shape (inputs, units), with `centred` off.
        unit: Which.
        count: How many neighbours.
        centred: True for correlations, False for cosines.

    Returns:
        Indices and correlations or cosines, in [-1, 1], the largest first. A constant or empty column is like none: 0.

    Raises:
        ValueError: If there is no such unit.

    Example:
        >>> nearest_units(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.1, 1.0]]), 0, centred=False, count=1)[0]
        [1]
    """
    check_units([unit], columns.shape[1], "of the columns")
    x = columns.double()
    size = x.norm(dim=0)
    x = x - x.mean(0) if centred else x
    length = x.norm(dim=0)
    x = torch.where(length > 1e-6 * size, x / length.clamp_min(1e-300), torch.zeros_like(x))
    likeness = (x.T @ x[:, unit]).clamp(-1, 1)
    likeness[unit] = -torch.inf
    order = likeness.argsort(descending=True, stable=True)[: min(count, len(likeness) - 1)]
    return order.tolist(), likeness[order].tolist()


def _slope(
    score: Tensor, source: Tensor, below: str, layer: str, *, create_graph: bool = False, retain_graph: bool = False
) -> Tensor:
    slope = None
    if score.requires_grad and source.requires_grad:  # not under no_grad
        (slope,) = torch.autograd.grad(
            score, source, create_graph=create_graph, retain_graph=retain_graph or create_graph, allow_unused=True
        )
    if slope is None:
        raise ValueError(f"No gradient leads from {layer!r} to {below!r}: it does not lie below it.")
    return slope


def _strongest(carried: Tensor, count: int) -> Wired:
    """From what each connection carries for each row, shape (n, units)."""
    carried = carried.detach().double().cpu()
    square = carried.square().mean(0)
    order = square.argsort(descending=True, stable=True)[:count]
    share = square[order] / square.sum().clamp_min(1e-300)
    return Wired(
        order.tolist(), carried.mean(0)[order].tolist(), square[order].sqrt().tolist(), share.tolist(), len(carried)
    )
