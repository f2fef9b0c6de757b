"""How a module is run to be looked at: in evaluation mode, on its own device, and left as it was found."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

CHANGES_IN_TRAINING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every part is in the mode it was in. It warns if that makes a difference."""
    modes = [(part, part.training) for part in module.modules()]
    if changed := sorted({type(part).__name__ for part, training in modes if training and _changes(part)}):
        warnings.warn(
            f"The module is in training mode, in which {', '.join(changed)} answers otherwise. It is looked at in "
            "evaluation mode, and then put back; call module.eval() first if that is what you meant.",
            stacklevel=4,
        )
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _changes(part: nn.Module) -> bool:
    return isinstance(part, CHANGES_IN_TRAINING) and getattr(part, "p", 1) != 0


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Transformer layers run their parts inside, and not one fused operation in which nothing can be seen."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def run(module: nn.Module, batch: Any) -> Any:
    """The module's answer to a batch: a tensor, a tuple of arguments, or a mapping of named arguments."""
    if isinstance(batch, Mapping):
        return module(**batch)
    return module(*batch) if isinstance(batch, tuple | list) else module(batch)


def to_module(module: nn.Module, batch: Any) -> Any:
    """A batch on the module's device, its floating-point numbers in the module's precision."""
    if isinstance(batch, Mapping):
        return {key: to_module(module, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(to_module(module, value) for value in batch)
    weight = next((each for each in module.parameters() if each.is_floating_point()), None)
    if weight is None or not isinstance(batch, Tensor):
        return batch
    return batch.to(weight.device, weight.dtype if batch.is_floating_point() else None)


def length(batch: Any) -> int:
    """How many rows a batch holds."""
    first = batch
    while not isinstance(first, Tensor):
        first = next(iter(first.values() if isinstance(first, Mapping) else first))
    return len(first)


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuses NaN and infinities, and names the first layer that has them, in the order in which the layers ran.

    Raises:
        ValueError: If there are any.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise ValueError(f"{bad} of {tensor.numel()} activations of {name!r} are NaN or infinite. Look for what goes in: "
                             "NaN in the data, weights that diverged, a logarithm or division of zero.")  # fmt: skip


def check_differentiable(score: Tensor) -> None:
    """Refuses an answer that no gradient comes from.

    Raises:
        ValueError: If it is none.
    """
    if not score.requires_grad:
        raise ValueError("No gradient comes from what was asked for: it is a whole number (argmax, rounding), was detached, or "
                         "was made under no_grad. Ask for the logits or probabilities it is made from.")  # fmt: skip
