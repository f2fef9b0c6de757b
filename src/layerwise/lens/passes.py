"""One layer of one pass, as part of its graph: what the questions about single units start from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.capture import Output, watch
from layerwise.lens.running import evaluating, length, run, to_module


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
    for layer in layers:
        if layer not in found:
            near = [name for name in found if name.startswith(layer)] or list(found)
            raise ValueError(f"{layer!r} is not one layer of this pass. Name one of: {', '.join(map(repr, near))}.")
    return [InGraph(found[layer], length(given)) for layer in layers]


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
        module, layer: Which sub-module.
        axis: Where its output counts units.
        edit: From a tensor (..., units), which it may change, to one of the same shape.

    Raises:
        ValueError: If the layer is no sub-module that answers with one tensor.
    """

    def hook(_part: nn.Module, _given: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{layer!r} answers with a {type(output).__name__}: name a part of it that gives one tensor."
            )
        return edit(output.movedim(axis, -1).clone()).movedim(-1, axis)

    parts = dict(module.named_modules())
    if layer not in parts:
        raise ValueError(f"Only the output of a sub-module can be changed, and {layer!r} is none.")
    handle = parts[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
