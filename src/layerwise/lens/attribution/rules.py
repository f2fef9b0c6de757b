r"""How relevance goes back through one operation, for every operation that has a rule.

All of it is done with *multipliers*: the relevance of a value x is :math:`R_x = m_x\,(x - x_0)`, where :math:`x_0` is 0 for
LRP and the value at the baseline for DeepLift (Shrikumar et al., 2017, section 3.1; Ancona et al., 2018, show that LRP is of
this form). An operation :math:`y = f(x)` conserves if :math:`m_y (y - y_0) = \sum m_x (x - x_0)`; what LRP cannot hand on,
because it stems from a constant, is absorbed and counted.

An operation gets a rule by joining the table: `@rule("aten.my_operation")`. One that has none is refused by its name.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from layerwise.lens.attribution.layers import Layer
from layerwise.lens.attribution.tape import Operation, Path, Tape

Multipliers = dict[Path, Tensor]  # by the place of the argument that they belong to
TINY = 1e-6  # differences below this have the derivative for a slope


class Way(abc.ABC):
    """What LRP and DeepLift do differently: where differences start from, and what constants do."""

    name: str

    @abc.abstractmethod
    def reference(self, operation: Operation) -> Operation | None:
        """The same operation at the baseline; None if differences are from zero."""

    @abc.abstractmethod
    def absorb(self, relevance: Tensor) -> None:
        """Counts relevance that a constant keeps."""

    @abc.abstractmethod
    def is_gate(self, operation: Operation, path: Path) -> bool:
        """Whether the argument only weighs what it is multiplied with: it is then held constant."""

    @abc.abstractmethod
    def weighted(self, operation: Operation, layer: Layer, multiplier: Tensor) -> Tensor:
        """Multipliers of what goes into a layer with weights."""

    def is_inverse(self, operation: Operation, path: Path) -> bool:
        """Whether the argument was made as 1 / s: a product with it is a quotient."""
        return False

    def fold(self, operation: Operation) -> bool:
        """Whether a batch norm in evaluation mode is left to the layer below it, which then gets the norm's multiplier."""
        return False

    def refuse(self, operation: Operation, why: str = "") -> ValueError:
        """The error that says which operation stands in the way."""
        shapes = [tuple(operation.at(*path).shape) for path in operation.inputs]
        return ValueError(
            f"{self.name} has no rule for {operation.name} of {' and '.join(map(str, shapes))}{why and ', ' + why}. Start "
            "above it (layer=...), write it otherwise, add a rule (layerwise.lens.attribution.rules.rule), or take a method "
            "that needs gradients only, such as IntegratedGradients."
        )


Rule = Callable[[Operation, Sequence[Tensor | None], Way], Multipliers]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enters a rule for operations of these names into the table."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def back(tape: Tape, way: Way) -> Tensor:
    """Multipliers of the tape's start, in its shape. The tape is used up.

    Raises:
        ValueError: If an operation on the way has no rule, or the scores do not depend on the start.
    """
    if tape.end is None:
        raise ValueError("What was asked for does not depend on the rows through anything that can be followed: it is a whole "
                         "number (argmax, rounding) or a constant. Ask for the logits.")  # fmt: skip
    found: dict[int, Tensor] = {tape.end: torch.ones_like(tape.scores)}
    while tape.operations:
        operation = tape.operations.pop()  # the tape is used up, so that memory falls while it is played back
        above = [None if number is None else found.pop(number, None) for number in operation.outputs]
        if any(each is not None for each in above):
            for path, multiplier in _below(operation, above, way).items():
                if path in operation.inputs:
                    number = operation.inputs[path]
                    found[number] = found[number] + multiplier if number in found else multiplier
        for each in (operation, way.reference(operation)):
            if each is not None:
                each.forget()
    return found.get(tape.start, torch.zeros_like(tape.values[tape.start]))


def _below(operation: Operation, above: Sequence[Tensor | None], way: Way) -> Multipliers:
    follow = RULES.get(operation.name.rstrip("_"))
    if follow is None:
        raise way.refuse(operation)
    other = way.reference(operation)
    if other is not None and not _alike(operation, other):
        raise way.refuse(operation, "which chooses otherwise at the baseline (or is given another constant)")
    try:
        return follow(operation, above, way)
    except (RuntimeError, NotImplementedError) as error:  # torch knows no derivative of it, for one
        raise way.refuse(operation, f"for torch says {error}") from error


OVERWRITES = ("copy", "slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter", "index_put")


def _alike(operation: Operation, other: Operation) -> bool:
    """Whether all that is no value of the tape is the same in both passes: masks, indices, numbers, constants.

    What the rows themselves chose without a gradient, by a comparison or as a number, cannot be accounted for.
    """
    # of these the first argument may be uninitialised
    skipped = operation.name.removeprefix("aten.").rstrip("_") in OVERWRITES
    mine, theirs = operation.arguments[skipped:], other.arguments[skipped:]
    return _same(mine, theirs) and _same(list(operation.named.values()), list(other.named.values()))


def _same(mine: object, theirs: object) -> bool:
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        if mine.shape != theirs.shape:
            return False
        held = (
            mine.device == theirs.device and mine.data_ptr() == theirs.data_ptr() and mine.stride() == theirs.stride()
        )
        return held or torch.equal(mine, theirs)
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return len(mine) == len(theirs) and all(_same(a, b) for a, b in zip(mine, theirs, strict=True))
    return type(mine) is type(theirs) and bool(mine == theirs)


def only(above: Sequence[Tensor | None]) -> Tensor:
    """The multiplier of the first result, which is the only one that is used."""
    assert above[0] is not None and all(each is None for each in above[1:])
    return above[0]


def kept(multiplier: Tensor, constant: Tensor | float) -> Tensor:
    """What a constant keeps; nothing where nothing arrives, even of an infinite one (a mask)."""
    return torch.where(multiplier == 0, 0, multiplier * constant)


def by_divisor(a: Tensor, s: Tensor, a0: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    r"""Multipliers of DeepLift through :math:`q = a / s` to a and s, where both divisors have the same sign.

    With the means over both passes, :math:`\Delta a = \bar{s} \Delta q + \bar{q} \Delta s`, so
    :math:`\Delta q = (\Delta a - \bar{q} \Delta s) / \bar{s}`: one divisor near 0, as that of the norm of a baseline without
    any contrast, makes neither multiplier large. (A product with :math:`1 / s` would multiply by the mean of 1 / s.)
    """
    return 2 / (s + s0), -(a / s + a0 / s0) / (s + s0)


def slope(dx: Tensor, dy: Tensor, derivative: Tensor) -> Tensor:
    """dy / dx, and the derivative where dx is too small to divide by."""
    close = dx.abs() < TINY
    return torch.where(close, derivative, dy / torch.where(close, 1, dx))
