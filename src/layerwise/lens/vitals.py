"""How healthy are the layers of any net: gradients, dead and saturated units, weights, rank, distance from the start?"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.health import Activity, root_mean_square
from layerwise.lens.activity import Spread, spread
from layerwise.lens.capture import watch
from layerwise.lens.names import part_of
from layerwise.lens.running import check_differentiable, evaluating, length, run, to_module
from layerwise.units import Bernoulli, Gaussian, Rectified, Units

ROWS = 2000  # of which the rank is computed; the figure is at most this
KINDS: dict[type[nn.Module], Units] = {
    nn.Sigmoid: Bernoulli(), nn.Hardsigmoid: Bernoulli(), nn.ReLU: Rectified(), nn.ReLU6: Rectified(),
}  # fmt: skip
NEAR = 0.05  # of the range from its end, where the slope of a bounded unit is nearly gone


@dataclass(frozen=True)
class Vitals:
    """What the units of a layer do over rows that should be held out, and what its weights look like.

    Arguments:
        units: How many.
        rows: Over how many states each was looked at: rows, times places.
        kind: "bernoulli" (in [0, 1]), "rectified" (>= 0), or "gaussian" for any other.
        guessed: Whether the states told the kind, not the module.
        dead, saturated, constant: How many units are so, as `layerwise.health.Activity` has it: for every row. Gaussian units
            can be neither dead nor saturated.
        flat: Share of all states where a unit in [0, 1] or [-1, 1] lies within 5 % of its range from an end, or a rectified
            one at 0: there little or no gradient comes through. NaN for units without ends.
        states: Histogram of all states.
        rank: Effective rank of the states about their mean (Roy & Vetterli, 2007): exp of the entropy of the shares of the
            singular values. At least 1, at most `rank_cap`.
        rank_cap: The less of units and rows: what a layer can have.
        weights: Histogram of its weights; None for a layer that has none.
        moved: Length of what training added to the weights, as a share of the length at the start; None without a start.
        gradient: Root mean square of the loss's gradient by the weights; None without a loss or weights.
    """

    units: int
    rows: int
    kind: str
    guessed: bool
    dead: int
    saturated: int
    constant: int
    flat: float
    states: Spread
    rank: float
    rank_cap: int
    weights: Spread | None = None
    moved: float | None = None
    gradient: float | None = None


def kind_of(layer: nn.Module | None, codes: Tensor) -> tuple[Units, bool]:
    """Kind of a layer's units, by its last module, or by the states: whether all are in (0, 1), or >= 0 with exact zeros.

    Returns:
        The kind, and whether it was guessed from the states.

    Example:
        >>> kind_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.zeros(3, 2))[0].name.lower()
        'rectified'
    """
    last = None if layer is None else list(layer.modules())[-1]
    for module, kind in KINDS.items():
        if isinstance(last, module):
            return kind, False
    if last is not None and type(last).__module__.startswith("torch.nn"):
        return Gaussian(), False
    low, high = float(codes.min()), float(codes.max())
    if low == 0:
        return Rectified(), True
    return (Bernoulli(), True) if low > 0 and high < 1 else (Gaussian(), True)


@torch.no_grad()
def vitals(codes: Tensor, layer: nn.Module | None = None, *, start: Mapping[str, Tensor] | None = None) -> Vitals:
    """Health of one layer by its codes, and by its weights if it is given.

    Arguments:
        codes: States, shape (n, units).
        layer: The module that gave them.
        start: Its `state_dict()` before training, for the distance travelled.

    Raises:
        ValueError: If there are no rows, states are not finite, or the start has other shapes.

    Example:
        >>> found = vitals(torch.tensor([[0.0, 1.0, 3.0], [0.0, 2.0, 0.0]]), nn.ReLU())
        >>> found.kind, found.dead, found.flat
        ('rectified', 1, 0.5)
    """
    if not codes.isfinite().all():
        raise ValueError("The states of the layer hold NaN or infinite values: look at the learning rate and the data.")
    kind, guessed = kind_of(layer, codes)
    seen = Activity.of(codes.split(2000), kind)
    weights = weights_of(layer) if layer is not None else {}
    return Vitals(
        units=codes.shape[1], rows=len(codes), kind=kind.name.lower(), guessed=guessed, dead=int(seen.dead.sum()),
        saturated=int(seen.saturated.sum()), constant=int(seen.constant.sum()), flat=_flat(layer, kind, codes),
        states=spread(codes, bins=40), rank=effective_rank(codes[:ROWS]), rank_cap=min(len(codes), ROWS, codes.shape[1]),
        weights=spread(torch.cat([w.flatten() for w in weights.values()])[:, None].cpu(), bins=40) if weights else None,
        moved=_moved(weights, start) if weights and start else None,
    )  # fmt: skip


def weights_of(layer: nn.Module) -> dict[str, Tensor]:
    """The matrices and kernels of a module, by name; biases and scales, which have one axis, are left out.

    Example:
        >>> list(weights_of(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
        ['0.weight']
    """
    return {name: value.detach() for name, value in layer.named_parameters() if value.ndim > 1}


@torch.no_grad()
def effective_rank(codes: Tensor) -> float:
    r"""Exp of the entropy of :math:`s_i / \sum s`, the singular values of codes about their mean (Roy & Vetterli, 2007).

    Arguments:
        codes: Shape (n, units).

    Returns:
        Between 1 and min(n - 1, units); 0 if all rows are alike.

    Example:
        >>> round(effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])), 3)
        2.0
    """
    x = codes.detach().cpu().double()
    x = x - x.mean(0)
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    values = torch.where(values > 1e-12 * values.max(), values, 0.0).sqrt()
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def gradients(
    module: nn.Module, layers: Sequence[str], loss: Callable[[Any, Tensor], Tensor], rows: Any, targets: Tensor
) -> dict[str, float]:
    """Root mean square of a loss's gradient in the weights of each layer, that make layers of unequal size comparable.

    A ladder that falls towards the input is the vanishing gradient (Hochreiter, 1991; Glorot & Bengio, 2010). The module's own
    gradients and mode are left as they were.

    Arguments:
        module: Any module, which answers in evaluation mode.
        layers: Names of layers; one that is no module has no weights.
        loss: From the module's output and the targets to one number.
        rows, targets: One batch.

    Returns:
        A figure for each layer that has weights.

    Raises:
        ValueError: If a layer is not there, or no gradient comes from the loss.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
        >>> gradients(net, ["0"], lambda y, _: y.sum(), torch.tensor([[3.0, 4.0]]), torch.zeros(1))["0"]  # of (3, 4)
        3.5355...
    """
    parts = _parts(module, layers)
    weights = [[p for p in part.parameters() if p.is_floating_point() and p.ndim > 1] for part in parts.values()]
    with evaluating(module), torch.enable_grad(), _learning(module):
        score = loss(run(module, to_module(module, rows)), targets)
        check_differentiable(score)
        flat = [p for each in weights for p in each]
        slopes = iter(torch.autograd.grad(score, flat, allow_unused=True, materialize_grads=True) if flat else ())
    return {
        name: root_mean_square([next(slopes) for _ in each]) for name, each in zip(parts, weights, strict=True) if each
    }


@contextlib.contextmanager
def _learning(module: nn.Module) -> Iterator[None]:
    """Weights that are frozen have a gradient inside."""
    frozen = [p for p in module.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


class GradientHistory:
    """The gradient of each layer through training, read off what back-propagation leaves: `note` after `backward`.

    Arguments:
        module: The net that is trained.
        layers: Names of sub-modules.

    Raises:
        ValueError: If a layer is not there.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> history = GradientHistory(net, [""])
        >>> for step in range(3):
        ...     net(torch.ones(1, 2)).sum().backward()
        ...     history.note(step)
        >>> history.curves[""]
        [(0, 1.0), (1, 2.0), (2, 3.0)]
    """

    def __init__(self, module: nn.Module, layers: Sequence[str]) -> None:
        self._parts = _parts(module, layers)
        self.curves: dict[str, list[tuple[int, float]]] = {name: [] for name in layers}

    def note(self, step: int) -> None:
        """Adds the root mean square of each layer's gradient, under this number; a layer without gradients gets none."""
        for name, part in self._parts.items():
            slopes = [p.grad for p in part.parameters() if p.grad is not None and p.ndim > 1]
            if slopes:
                self.curves[name].append((step, root_mean_square(slopes)))


def reached(module: nn.Module, rows: Any) -> list[str]:
    """Names of the parts that make a natural ladder: those of the module that answer by row.

    Where they are fewer than six, the parts that they are made of stand for them, but for blocks: several of a kind that make
    up a list or a sequence.

    Raises:
        ValueError: If there are none.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Linear(2, 2))
        >>> reached(net, torch.rand(2, 3))
        ['0.0', '0.1', '1']
        >>> reached(nn.Sequential(net[0], nn.Sequential(nn.Linear(2, 2), nn.ReLU())), torch.rand(2, 3))
        ['0', '1']
    """
    names = [name for name, _ in module.named_modules()]
    with torch.no_grad(), evaluating(module), watch(module, names) as seen:
        given = to_module(module, rows)
        run(module, given)
        answered = {each.module for each in seen.answering(length(given)).values()}
    if not answered:
        raise ValueError("No part of the module answers row by row. Name layers.")
    return _taken_apart(module, answered)


FEW = 6  # parts are taken apart where they are fewer


def _taken_apart(module: nn.Module, answered: set[str]) -> list[str]:
    """Of the names of parts that answered, those of a level at which they are not few; what did not is taken apart anyway."""
    names, blocks = [""], set[str]()
    while True:
        few, inside = len(names) < FEW, {}
        for name in names:
            inner = _children(module.get_submodule(name), name, blocks) if few or name not in answered else []
            some = [each for each in inner if any(f"{other}.".startswith(f"{each}.") for other in answered)]
            inside[name] = [] if name in blocks & answered else some
        if not any(inside.values()):
            return [name for name in names if name in answered]
        names = [each for name in names for each in inside[name] or [name]]


def _children(part: nn.Module, name: str, blocks: set[str]) -> list[str]:
    """Names of the children, and of those of children that are mere lists; names of blocks are added to `blocks`."""
    found, kinds = [], Counter(type(each) for each in part.children())
    for child, module in part.named_children():
        full = f"{name}.{child}" if name else child
        lists = isinstance(module, nn.ModuleList | nn.ModuleDict)
        found += _children(module, full, blocks) if lists else [full]
        if isinstance(part, nn.Sequential | nn.ModuleList) and kinds[type(module)] > 1:
            blocks.add(full)
    return found


def _parts(module: nn.Module, layers: Iterable[str]) -> dict[str, nn.Module]:
    """The modules that give these layers; a layer that is an operation has none."""
    parts = {name: part_of(module, name) for name in layers}
    return {name: part for name, part in parts.items() if part is not None}


def _flat(layer: nn.Module | None, kind: Units, codes: Tensor) -> float:
    if isinstance(kind, Bernoulli):
        return float(((codes < NEAR) | (codes > 1 - NEAR)).double().mean())
    if isinstance(kind, Rectified):
        return float((codes <= 0).double().mean())
    if layer is not None and isinstance(list(layer.modules())[-1], nn.Tanh | nn.Hardtanh):
        return float((codes.abs() > 1 - 2 * NEAR).double().mean())
    return float("nan")


def _moved(weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> float:
    for name, value in weights.items():
        if name not in start or start[name].shape != value.shape:
            raise ValueError(f"The start has no {name!r} of shape {tuple(value.shape)}. Give the layer's state_dict() from "
                             "before training.")  # fmt: skip
    before = {name: start[name].to(value) for name, value in weights.items()}
    way = sum(float((value - before[name]).double().square().sum()) for name, value in weights.items())
    length = sum(float(value.double().square().sum()) for value in before.values())
    return (way / length) ** 0.5 if length else float("nan")
