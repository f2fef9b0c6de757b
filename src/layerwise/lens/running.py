"""How a module is run to be looked at: in evaluation mode, on its own device, and left as it was found."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

CHANGES_IN_TRAINING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm, nn.RReLU)
DROPPED = ("dropout", "dropout_p", "drop_prob", "attention_dropout")  # attributes that say which share is left out


@contextlib.contextmanager
def evaluating(module: nn.Module, *, warn: bool = True) -> Iterator[None]:
    """Evaluation mode inside, and not inference mode; afterwards every part is in the mode it was in.

    It warns if that makes a difference, as far as parts tell: what a `forward` does by itself in training cannot be known.

    Raises:
        ValueError: If the module has parameters that are yet to be made.
    """
    check_made(module)
    inside = torch.is_inference_mode_enabled()  # where no gradient would come; leaving it turns gradients on
    with torch.inference_mode(False) if inside else contextlib.nullcontext():
        yield from _evaluating(module, warn)


def _evaluating(module: nn.Module, warn: bool) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    changed = sorted({type(part).__name__ for part, training in modes if training and _changes(part)})
    if changed and warn:
        warnings.warn(
            f"The module is in training mode, in which {', '.join(changed)} answers otherwise. It is looked at in "
            "evaluation mode, and then put back; call module.eval() first if that is what you meant.",
            stacklevel=5,
        )
    module.eval()
    try:
        with _without_checkpoints(), attributes_kept(module):
            yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """What parts set in themselves as they run (a cache, their last answer) is put back: it would be of no use later."""
    own = [vars(part) for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]
    homes = [home for each in own for home in (each, each["_buffers"])]
    kept = [dict(home) for home in homes]
    try:
        yield
    finally:
        for home, before in zip(homes, kept, strict=True):
            for name in home.keys() - before.keys():
                del home[name]
            home.update(before)


def _changes(part: nn.Module) -> bool:
    if isinstance(part, CHANGES_IN_TRAINING):
        return getattr(part, "p", 1) != 0
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.track_running_stats
    return any(isinstance(share := getattr(part, name, None), float) and share > 0 for name in DROPPED)


class _Plain:
    """Stands for reentrant checkpointing: the part runs, and what it made is kept."""

    @staticmethod
    def apply(part: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return part(*arguments)


def _nothing(*_given: Any, **_named: Any) -> Iterator[None]:
    """Stands for what the other kind of checkpointing does before a part runs, and after."""
    yield


@contextlib.contextmanager
def _without_checkpoints() -> Iterator[None]:
    """Checkpointed parts run plainly, and once.

    No gradient by a tensor and no tape of operations goes through reentrant checkpoints; the others refuse a part that answers
    otherwise when it runs again, as it does when nobody looks at it any more.
    """
    home = torch.utils.checkpoint
    plain = {"CheckpointFunction": _Plain, "_checkpoint_without_reentrant_generator": _nothing}
    kept = {name: getattr(home, name) for name in plain}
    try:
        for name, each in plain.items():
            setattr(home, name, each)
        yield
    finally:
        for name, each in kept.items():
            setattr(home, name, each)


@contextlib.contextmanager
def without_fast_path(module: nn.Module) -> Iterator[None]:
    """Parts run one by one, and not in one fused or compiled operation in which nothing can be seen."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    marks = ("_orig_mod", "_compiled_call_impl")  # of torch.compile(module) and module.compile()
    compiled = any(getattr(part, mark, None) is not None for part in module.modules() for mark in marks)
    try:
        with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def run(module: nn.Module, batch: Any) -> Any:
    """The module's answer to a batch: a tensor, a tuple of arguments, or a mapping of named arguments.

    Raises:
        ValueError: If it does not take whole numbers.
    """
    try:
        if isinstance(batch, Mapping):
            return module(**batch)
        return module(*batch) if isinstance(batch, tuple | list) else module(batch)
    except RuntimeError as error:
        if not isinstance(batch, Tensor) or batch.is_floating_point() or "type" not in str(error):
            raise
        raise ValueError(
            f"The module does not take whole numbers ({batch.dtype}): torch says {error}. Convert them, with rows.float() if "
            "they are numbers, with rows.long() if they are to be looked up."
        ) from error


def to_module(module: nn.Module, batch: Any) -> Any:
    """A batch on the module's device, its floating-point numbers in the module's precision."""
    if isinstance(batch, Mapping):
        return {key: to_module(module, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(to_module(module, value) for value in batch)
    if isinstance(batch, Tensor) and batch.is_inference():  # no gradient can come from it
        batch = batch.clone()
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


def check_made(module: nn.Module) -> None:
    """Refuses a module whose parameters have no numbers: those of a lazy one would be made for what it is looked at with.

    Raises:
        ValueError: If there is such a parameter.
    """
    for name, each in module.named_parameters():
        if is_lazy(each):
            raise ValueError(f"The module's parameter {name!r} is yet to be made (a lazy module): its weights would be random. "
                             "Run it on some rows, or load its weights, first.")  # fmt: skip
        if each.is_meta:
            raise ValueError(f"The module's parameter {name!r} has a shape but no numbers (device 'meta'). Load its weights "
                             "first, with load_state_dict(..., assign=True).")  # fmt: skip


def is_plain(tensor: Tensor) -> bool:
    """Whether its numbers are there as in an array: it is not sparse, not nested, and stands for no others.

    That it does inside of `torch.vmap` and `torch.func.grad`, after which it means nothing.
    """
    wrappers = torch._C._functorch
    wrapped = wrappers.is_batchedtensor(tensor) or wrappers.is_gradtrackingtensor(tensor)
    return tensor.layout == torch.strided and not tensor.is_nested and not wrapped


def all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN or infinity in it: a sum of such is none either, and is found four times as fast.

    Example:
        >>> all_finite(torch.tensor([3e38, 3e38])), all_finite(torch.tensor([1.0, torch.inf, -torch.inf]))
        (True, False)
    """
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())  # a sum may be too large


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuses NaN and infinities, and names the first layer that has them, in the order in which the layers ran.

    Raises:
        ValueError: If there are any.
    """
    for name, tensor in tensors.items():
        if not all_finite(tensor):
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


def check_in_graph(tensors: Mapping[str, Tensor]) -> None:
    """Refuses layers that ran under no_grad: the gradient by them is not 0 but unknown.

    Raises:
        ValueError: If there is one.
    """
    for name, tensor in tensors.items():
        if not tensor.requires_grad:
            raise ValueError(f"No gradient comes to {name!r}: the module runs it under no_grad. Name layers above it, or have "
                             "it run otherwise.")  # fmt: skip
