"""One layer of one pass, as part of its graph: what the questions about single units start from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.capture import Output, mapped, of_other_rows, watch
from layerwise.lens.running import evaluating, length, run, to_module, without_fast_path


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradient by the weights, which saves the memory of it; all is put back afterwards."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with evaluating(module):
        try:
            for parameter in learning:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)


@dataclass(frozen=True, eq=False)
class InGraph:
    """What one layer answered to one batch, as part of the graph.

    Arguments:
        output: As `watch` saw it.
        rows: How many rows the batch had.
    """

    output: Output
    rows: int

    @property
    def tensor(self) -> Tensor:
        """As the layer gave it: gradients are taken by this."""
        return self.output.tensor

    @property
    def states(self) -> Tensor:
        """Shape (n, units, places), with one place for a layer that has none."""
        return self.shaped(self.tensor)

    def shaped(self, tensor: Tensor) -> Tensor:
        """A tensor like the layer's own, such as its gradient, in the shape of `states`."""
        values = self.output.by_row(tensor, self.rows)
        assert values is not None  # `found` made sure
        values = values.movedim(self.output.axis(values.shape), 1)
        return values.flatten(2) if values.ndim > 2 else values[:, :, None]


def in_graph(module: nn.Module, layers: list[str], rows: Any) -> list[InGraph]:
    """Runs the module once and gives what the layers answered; call it inside `frozen`.

    Raises:
        ValueError: As `layerwise.lens.stream`, and if a name means several layers.
    """
    with torch.enable_grad(), watch(module, layers) as seen:
        given = to_module(module, rows)
        run(module, given)
        found = seen.found(length(given))
    check_single(found, layers)
    return [InGraph(found[layer], length(given)) for layer in layers]


def check_single(found: Mapping[str, Any], layers: Sequence[str]) -> None:
    """Refuses names that mean several layers of a pass, such as that of a module that runs twice.

    Raises:
        ValueError: If there is one; those that it may mean are told.
    """
    for layer in layers:
        if layer not in found:
            near = [name for name in found if name.startswith(layer)] or list(found)
            raise ValueError(f"{layer!r} is not one layer of this pass. Name one of: {', '.join(map(repr, near))}.")


def check_units(units: list[int], count: int, layer: str) -> None:
    """Refuses units that the layer does not have.

    Raises:
        ValueError: If there is one.
    """
    if bad := [unit for unit in units if not 0 <= unit < count]:
        raise ValueError(f"Layer {layer!r} has units 0 to {count - 1}, but unit {bad[0]} was asked for.")


@contextlib.contextmanager
def edited(module: nn.Module, layer: str, axis: int, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The module with `edit` applied to the output of a layer, units on the last axis; nothing is left of it afterwards.

    Arguments:
        module, layer: Which layer, as `layerwise.lens.names` has it: a module, one of its runs or tensors, an operation.
        axis: Where its output counts units.
        edit: From a tensor (..., units), which it may change, to one of the same shape.

    Raises:
        ValueError: If the layer gave several tensors in a pass.
    """
    with watch(module, layer, lambda tensor: edit(tensor.movedim(axis, -1).clone()).movedim(-1, axis)) as seen:
        yield
        if len(places := {each.place for each in seen.outputs}) > 1:
            raise ValueError(f"{layer!r} gives {len(places)} tensors. Name one: {layer}{min(places)}.")


@contextlib.contextmanager
def resumed(module: nn.Module, layer: str, batch: Any) -> Iterator[None]:
    """Passes of this very batch begin at a layer: parts that had finished when it answered give what they gave then.

    That holds if what the module does before the layer does not depend on anything after it, and if the parts have no state
    and draw nothing: see whether the answers are the same.

    Arguments:
        module, layer: Which sub-module.
        batch: One batch of rows.
    """
    made = _Made(module, layer)
    with evaluating(module), without_fast_path(module), made.seen(), torch.no_grad():
        run(module, to_module(module, batch))
    with made.given():
        yield


class _Made:
    """What the parts of a module had made when a layer answered for the first time: the outermost of them."""

    def __init__(self, module: nn.Module, layer: str) -> None:
        self.module, self.last = module, module.get_submodule(layer)
        self.running: list[int] = []  # how many outputs there were when each part that is running began
        self.outputs: list[tuple[nn.Module, Any]] = []
        self.done = False

    @contextlib.contextmanager
    def seen(self) -> Iterator[None]:
        """A pass made inside is remembered."""
        with contextlib.ExitStack() as undo:
            for part in self.module.modules():
                undo.callback(part.register_forward_pre_hook(lambda *_: self.running.append(len(self.outputs))).remove)
                undo.callback(part.register_forward_hook(self._ends).remove)
            yield

    def _ends(self, part: nn.Module, _given: Any, output: Any) -> None:
        first = self.running.pop()
        if not self.done:
            self.outputs[first:] = [(part, _copied(output))]  # what it has run itself will not run again
            self.done = part is self.last

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """In each pass made inside, these parts give what they made, in the same order, and then run again."""
        left: dict[nn.Module, list[Any]] = {}

        def begin(*_: Any) -> None:
            left.clear()
            for part, output in self.outputs:
                left.setdefault(part, []).append(output)

        with contextlib.ExitStack() as undo:
            undo.callback(self.module.register_forward_pre_hook(begin, prepend=True).remove)
            for part in {part for part, _ in self.outputs}:
                undo.enter_context(_replaced(part, left))
            yield


@contextlib.contextmanager
def _replaced(part: nn.Module, left: dict[nn.Module, list[Any]]) -> Iterator[None]:
    """The part gives what is left for it, and runs if nothing is."""
    own, forward = part.__dict__.get("forward"), part.forward

    def give(*given: Any, **named: Any) -> Any:
        made = left.get(part) if not of_other_rows() else None  # which were made for these rows
        return _copied(made.pop(0)) if made else forward(*given, **named)

    part.forward = give
    try:
        yield
    finally:
        if own is None:
            del part.forward
        else:
            part.forward = own


def _copied(output: Any) -> Any:
    """So that no in-place operation reaches what is kept."""
    return mapped(output, lambda tensor, _: tensor.clone())
