"""What is to be explained: an output, a unit of a layer, a direction in a layer, or why one and not the other."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.capture import Watch
from layerwise.lens.names import wanted


class Target(abc.ABC):
    """Makes one number per row of what a module answered."""

    @property
    def layers(self) -> tuple[str | nn.Module, ...]:
        """The layers that must be seen for it."""
        return ()

    @abc.abstractmethod
    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,), part of the graph, from the module's output and the layers that were seen."""

    def pick(self, index: Tensor) -> Target:
        """The target of these rows; another one only where each row has its own."""
        return self

    def within(self, module: nn.Module) -> Target:
        """The target, its layers named so that it fits a copy of `module` too."""
        return self


@dataclass(frozen=True)
class Index(Target):
    """An output by its place: `Index(3)` is output[:, 3], `Index((-1, 7))` is output[:, -1, 7], `Index(())` output itself.

    Example:
        >>> Index(1).scores(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), None, 2)
        tensor([2., 4.])
    """

    place: int | tuple[int, ...]

    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,)."""
        answer = answers(output, rows)
        place = self.place if isinstance(self.place, tuple) else (self.place,)
        if not place and answer.shape[1:] == (1,):
            return answer[:, 0]
        sizes = tuple(answer.shape[1:])
        if len(place) != len(sizes):
            raise ValueError(f"The module answers with {sizes or 'one number'} per row, but the target names {len(place)} "
                             f"places. Give {_asked(sizes)}.")  # fmt: skip
        for number, size in zip(place, sizes, strict=True):
            _check_place(number, size)
        where: tuple[Any, ...] = (slice(None), *place)
        return answer[where]


@dataclass(frozen=True)
class Each(Target):
    """One output per row: `places[i]` is that of row i.

    Example:
        >>> Each((1, 0)).scores(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), None, 2)
        tensor([2., 3.])
    """

    places: tuple[int, ...]

    def pick(self, index: Tensor) -> Target:
        """The targets of these rows."""
        _check_count(len(self.places), int(index.max()) + 1)
        return Each(tuple(self.places[number] for number in index.tolist()))

    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,)."""
        answer = answers(output, rows)
        if answer.ndim != 2 or len(self.places) != rows:
            raise ValueError(f"{len(self.places)} targets were given for {rows} rows of answers {tuple(answer.shape[1:])}. "
                             "A target per row needs one per row, and an output of shape (rows, classes).")  # fmt: skip
        for place in set(self.places):
            _check_place(place, answer.shape[1])
        places = torch.tensor(self.places, device=answer.device) % answer.shape[1]
        return answer.gather(1, places[:, None])[:, 0]


@dataclass(frozen=True, eq=False)
class InLayer(Target):
    """Something in one layer."""

    layer: str | nn.Module

    @property
    def layers(self) -> tuple[str | nn.Module, ...]:
        """The layer."""
        return (self.layer,)

    def within(self, module: nn.Module) -> Target:
        """The target, with its layer named."""
        return dataclasses.replace(self, layer=wanted(module, self.layer)[0].text)


@dataclass(frozen=True, eq=False)
class Direction(InLayer):
    """How far a layer's state lies along a direction: its product with `vector`.

    Arguments:
        layer: Name of a layer, as `layerwise.lens.names` has it, or the module.
        vector: Shape (units,), or (rows, units) for one per row. It is not normalised.
        position: Where in a layer with places, such as (row, column) or (step,); None means the mean over all of them.

    Example:
        >>> from layerwise.lens.capture import watch
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> target = Direction("0", torch.tensor([1.0, -1.0]))
        >>> with watch(net, target.layers) as seen:
        ...     scores = target.scores(net(torch.rand(4, 3)), seen, 4)
        >>> scores.shape
        torch.Size([4])
    """

    vector: Tensor
    position: tuple[int, ...] | None = None

    def pick(self, index: Tensor) -> Target:
        """The directions of these rows."""
        if self.vector.ndim == 1:
            return self
        _check_count(len(self.vector), int(index.max()) + 1)
        return dataclasses.replace(self, vector=self.vector[index.to(self.vector.device)])

    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,)."""
        values = _units(self.layer, seen, rows)
        vector = self.vector.to(values)
        if vector.shape not in (values.shape[-1:], (rows, values.shape[-1])):
            raise ValueError(f"{self.layer!r} has {values.shape[-1]} units, but the direction has shape "
                             f"{tuple(vector.shape)}. Give one number per unit, or a row of them for each of the {rows} "
                             "rows.")  # fmt: skip
        if vector.ndim == 2:
            vector = vector.view(rows, *[1] * (values.ndim - 2), -1)
        return _at((values * vector).sum(-1), self.position)


@dataclass(frozen=True, eq=False)
class Unit(InLayer):
    """The activation of one unit of a layer; `layer` and `position` as for `Direction`.

    Example:
        >>> Unit("layer3", 17, position=(2, 2)).layers
        ('layer3',)
    """

    unit: int
    position: tuple[int, ...] | None = None

    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,)."""
        values = _units(self.layer, seen, rows)
        _check_place(self.unit, values.shape[-1], "unit", "The layer")
        return _at(values[..., self.unit], self.position)


@dataclass(frozen=True, eq=False)
class Contrast(Target):
    """Why `this` and not `that`: the difference of two targets.

    Example:
        >>> Contrast(1, 0).scores(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), None, 2)
        tensor([1., 2.])
    """

    this: Any
    that: Any

    @property
    def layers(self) -> tuple[str | nn.Module, ...]:
        """Those of both."""
        return target_of(self.this).layers + target_of(self.that).layers

    def pick(self, index: Tensor) -> Target:
        """The contrast of these rows."""
        return Contrast(target_of(self.this).pick(index), target_of(self.that).pick(index))

    def within(self, module: nn.Module) -> Target:
        """The contrast, its layers named."""
        return Contrast(target_of(self.this).within(module), target_of(self.that).within(module))

    def scores(self, output: Any, seen: Watch | None, rows: int) -> Tensor:
        """Shape (rows,)."""
        this, that = target_of(self.this), target_of(self.that)
        return this.scores(output, seen, rows) - that.scores(output, seen, rows)


def target_of(target: Any) -> Target:
    """The target meant: None for the only output, a number or tuple for a place, a list or tensor for a place per row.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> target_of(3), target_of([0, 1])
        (Index(place=3), Each(places=(0, 1)))
    """
    if isinstance(target, Target):
        return target
    if target is None:
        return Index(())
    if hasattr(target, "tolist"):
        target = target.tolist()
    if isinstance(target, int) and not isinstance(target, bool):
        return Index(target)
    if isinstance(target, Sequence) and target and all(isinstance(each, int) for each in target):
        return Index(target) if isinstance(target, tuple) else Each(tuple(target))
    raise ValueError(f"{target!r} is no target. Give the number of an output, one number per row, or a Unit, Direction or "
                     "Contrast.")  # fmt: skip


def answers(output: Any, rows: int) -> Tensor:
    """The tensor meant when a module's output is asked for: itself, its `logits`, or the only tensor in it.

    Raises:
        ValueError: If that is not clear, or it does not hold a row per row.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    found = [logits] if isinstance(logits, Tensor) else _tensors(output)
    if len(found) != 1:
        raise ValueError(f"The module answers with {len(found)} tensors, so that an output by number means nothing. Name the "
                         "unit of a layer, Unit('head', 3), or wrap the module so that it gives one.")  # fmt: skip
    if found[0].ndim == 0 or found[0].shape[0] != rows:
        raise ValueError(f"The module answers {tuple(found[0].shape)} to {rows} rows: it does not answer row by row.")
    return found[0]


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    elif dataclasses.is_dataclass(output):
        output = [getattr(output, field.name) for field in dataclasses.fields(output)]
    return [each for each in output if isinstance(each, Tensor)] if isinstance(output, tuple | list) else []


def _units(layer: str | nn.Module, seen: Watch | None, rows: int) -> Tensor:
    """What a layer gave, shape (rows, ..., units)."""
    assert seen is not None
    name = layer if isinstance(layer, str) else next(each.text for each in seen.wanted if each.layer is layer)
    fitting = [each for each in seen.found(rows).values() if seen.fits(name, each)]
    if len(fitting) != 1:
        raise ValueError(
            f"{name!r} stands for {len(fitting)} tensors in one pass. Say which: {name}#1 is the first call."
        )
    values = fitting[0].by_row(fitting[0].tensor, rows)
    assert values is not None
    return values.movedim(fitting[0].axis(values.shape), -1)


def _at(values: Tensor, position: tuple[int, ...] | None) -> Tensor:
    """(rows, *positions) to (rows,)."""
    if position is None:
        return values.flatten(1).mean(1) if values.ndim > 1 else values
    if len(position) != values.ndim - 1:
        raise ValueError(f"The layer has places {tuple(values.shape[1:])}, but position {position} was asked for.")
    for number, size in zip(position, values.shape[1:], strict=True):
        _check_place(number, size, "position", "The layer")
    where: tuple[Any, ...] = (slice(None), *position)
    return values[where]


def _check_count(targets: int, rows: int) -> None:
    if targets < rows:
        raise ValueError(f"{targets} targets were given for more rows than that. Give one per row, or one.")


def _check_place(number: int, size: int, what: str = "target", whose: str = "The output") -> None:
    if not -size <= number < size:
        raise ValueError(f"{what.capitalize()} {number} is out of range. {whose} has {size} of them: 0 to {size - 1}.")


def _asked(sizes: tuple[int, ...]) -> str:
    if not sizes:
        return "no target"
    if len(sizes) == 1:
        return f"target=0 to {sizes[0] - 1}"
    return f"a tuple such as target={tuple(size - 1 for size in sizes)}"
