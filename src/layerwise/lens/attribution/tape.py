"""What a module computes, as a list of tensor operations: functional, reused and in-place ones included.

The pass runs through torch's functionalisation, which turns in-place operations and writes into views into plain ones, under a
mode that sees each operation after it was taken apart into those of aten. Fused attention is kept off, so that nothing is
hidden in it; `Question.asked` does the same for recurrent layers, and packed sequences are packed by plain operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from layerwise.lens.running import is_plain

Path = tuple[int, ...]  # of a tensor in the arguments: (1,), or (0, 2) for the third in a list that comes first


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation that depends on what the tape started from.

    Arguments:
        kind: Such as `torch.ops.aten.relu.default`.
        arguments, named: As they were given, but for values of the tape: these are None here, and `at` gives them.
        inputs: Numbers of the values among the arguments that depend on the start.
        outputs: Numbers of the values it made; None for what is no floating-point tensor.
        made: What it made besides, such as indices; None for its values.
        values: All values of the tape, by their numbers.
    """

    kind: Any
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    inputs: dict[Path, int]
    outputs: list[int | None]
    made: list[Any]
    values: list[Tensor]

    @property
    def name(self) -> str:
        """As torch writes it, without the overload: `aten.relu`."""
        return f"{self.kind.namespace}.{self.kind._schema.name.split('::')[1]}"

    @property
    def result(self) -> Tensor:
        """The first result."""
        return self.made[0] if self.outputs[0] is None else self.values[self.outputs[0]]

    def at(self, *path: int) -> Any:
        """The argument in that place, as it was when the operation ran."""
        if path in self.inputs:
            return self.values[self.inputs[path]]
        value: Any = self.arguments
        for step in path:
            value = value[step]
        return value

    def get(self, place: int, default: Any = None) -> Any:
        """The argument in that place, or what stands for it where it was not given."""
        if place < len(self.arguments):
            return self.at(place)
        name = self.kind._schema.arguments[place].name
        return self.named.get(name, default)

    def forget(self) -> None:
        """Frees what it made."""
        for number in self.outputs:
            if number is not None:
                self.values[number] = torch.empty(0)

    def run(self, changed: Mapping[Path, Tensor]) -> list[Any]:
        """The results with some arguments changed."""
        arguments: list[Any] = [list(each) if isinstance(each, list | tuple) else each for each in self.arguments]
        came = {path: self.values[number] for path, number in self.inputs.items()}
        for path, value in (came | dict(changed)).items():
            if len(path) == 1:
                arguments[path[0]] = value
            else:
                arguments[path[0]][path[1]] = value
        if self.kind._schema.is_mutable:
            arguments[0] = arguments[0].clone()
        return _listed(self.kind(*arguments, **self.named))


@dataclass(eq=False)
class Tape:
    """The operations of one pass, in order.

    Arguments:
        values: All values that depend on the start, by their numbers.
        start: Number of the value that it started from.
        end: Number of the value that came out; None if it does not depend on the start.
        scores: What came out.
    """

    operations: list[Operation] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    start: int = 0
    end: int | None = None
    scores: Tensor = field(default_factory=lambda: torch.empty(0))


def record(function: Callable[[Tensor], Tensor], points: Tensor) -> Tape:
    """Runs `function` without a graph and writes down what depends on `points`.

    Raises:
        ValueError: If the module does what cannot be followed: it changes tensors of its own, such as a cache, takes gradients
            itself, or runs in inference mode.

    Example:
        >>> tape = record(lambda x: (x @ torch.ones(3, 1)).relu_().sum(1), torch.rand(4, 3))
        >>> [operation.name for operation in tape.operations]
        ['aten.clone', 'aten.mm', 'aten.relu', 'aten.sum']
    """
    recorder = _Recorder(points)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), recorder, _Followed():
            scores = torch.func.functionalize(lambda start: function(start.clone()))(points)
    except RuntimeError as error:
        with torch.no_grad():
            function(points)  # which says what is wrong with the module or its rows, if it is that
        raise ValueError(_refusal(str(error))) from error
    if any(value.is_inference() for value in recorder.values):
        raise ValueError(
            "The module, or a part of it, runs under torch.inference_mode, where nothing can be followed. Take that off or run "
            "it under torch.no_grad; or take occlusion, which asks for answers only."
        )
    recorder.tape.end, recorder.tape.scores = recorder.number(scores), scores
    return recorder.tape


REASONS = {  # by what torch says
    "a non-functional tensor": "changes a tensor of its own while it runs (a cache or a counter)",
    "autograd.Function": "runs an autograd.Function of its own",  # without what it needs to be taken apart
    "requires_grad_": "makes a tensor that is to have a gradient (it takes gradients itself, or nests tensors)",
}


def _refusal(said: str) -> str:
    known = (reason for sign, reason in REASONS.items() if sign in said)
    reason = next(
        known, f"does what torch cannot take apart ({said.splitlines()[0][:200] if said else 'no reason given'})"
    )
    return (f"The module {reason}, which cannot be followed. Write it with plain operations, or take a method that needs "
            "gradients only, such as IntegratedGradients.")  # fmt: skip


class _Recorder(TorchDispatchMode):
    def __init__(self, points: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape = Tape(values=[points])
        self.values = self.tape.values
        self.numbers = {id(points): 0}  # of the tensors that depend on the start
        self.alive = [points]  # so that no other tensor gets the id of one of them

    def number(self, value: Any) -> int | None:
        return self.numbers.get(id(value)) if isinstance(value, Tensor) else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {path: number for path, value in _paths(args) if (number := self.number(value)) is not None}
        came = tuple(args)
        if inputs and func._schema.is_mutable:
            self._keep_as_they_are(args[0])
            came = (args[0].clone(), *args[1:])
        made = func(*args, **(kwargs or {}))
        if inputs:
            results = _listed(made)
            outputs = [self._new(each) for each in results]
            rest = [None if number is not None else each for number, each in zip(outputs, results, strict=True)]
            came = _without(came, inputs)
            self.tape.operations.append(Operation(func, came, kwargs or {}, inputs, outputs, rest, self.values))
        return made

    def _new(self, value: Any) -> int | None:
        if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
            return None
        self.values.append(value)
        self.alive.append(value)
        self.numbers[id(value)] = len(self.values) - 1
        return len(self.values) - 1

    def _keep_as_they_are(self, changed: Tensor) -> None:
        """Copies of all values that lie in the memory of what will be changed in place (inside a kernel)."""
        place = changed.untyped_storage().data_ptr()
        for number, value in enumerate(self.values):
            if value.untyped_storage().data_ptr() == place:
                self.values[number] = value.clone()


class _Followed(TorchFunctionMode):
    """Sees to it that functionalisation can follow.

    Sequences are packed and padded by slices and lists of them, as torch's own kernels write where it does not look. What is
    made of parameters alone (a mask, a copy of a weight) becomes a tensor that may be written into.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._VF._pack_padded_sequence:
            return _packed(*args)
        if func is torch._VF._pad_packed_sequence:
            return _padded(*args)
        made = func(*args, **(kwargs or {}))
        return torch.ops.aten.lift_fresh(made) if _is_fresh(made, args) else made


def _is_fresh(made: Any, arguments: Any) -> bool:
    """Whether it is a tensor that functionalisation does not know yet, and no view of an argument."""
    if type(made) is not Tensor or torch._is_functional_tensor(made) or not is_plain(made):
        return False
    place = made.untyped_storage().data_ptr()
    return all(
        each.untyped_storage().data_ptr() != place for _, each in _paths(arguments) if each.layout == torch.strided
    )


def _packed(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """The steps of sequences, longest first, one step of all of them after the other; and how many reach each step."""
    steps = x.transpose(0, 1) if batch_first else x
    sizes = [int((lengths > step).sum()) for step in range(int(lengths.max()))]
    return torch.cat([steps[step, :size] for step, size in enumerate(sizes)]), torch.tensor(sizes)


def _padded(data: Tensor, sizes: Tensor, batch_first: bool, padding: float, total: int) -> tuple[Tensor, Tensor]:
    """The inverse, padded to `total` steps (or, if that is not above 0, to the longest), and the lengths."""
    most, short = int(sizes[0]), max(total - len(sizes), 0)
    steps = [_filled(each, most, padding) for each in data.split([int(size) for size in sizes])]
    steps += [_filled(data[:0], most, padding)] * short
    return torch.stack(steps, 1 if batch_first else 0), (sizes[:, None] > torch.arange(most)).sum(0)


def _filled(rows: Tensor, count: int, padding: float) -> Tensor:
    rest = rows.new_full((count - len(rows), *rows.shape[1:]), padding)
    return torch.cat([rows, rest]) if len(rest) else rows


def _paths(arguments: Any) -> Iterator[tuple[Path, Any]]:
    for place, value in enumerate(arguments):
        if isinstance(value, Tensor):
            yield (place,), value
        elif isinstance(value, list | tuple):
            yield from (((place, number), each) for number, each in enumerate(value) if isinstance(each, Tensor))


def _without(arguments: tuple[Any, ...], inputs: Mapping[Path, int]) -> tuple[Any, ...]:
    """The arguments but for those that are values of the tape, which would be held twice."""
    return tuple(
        None if (place,) in inputs
        else [None if (place, number) in inputs else each for number, each in enumerate(value)]
        if isinstance(value, list | tuple) else value
        for place, value in enumerate(arguments)
    )  # fmt: skip


def _listed(made: Any) -> list[Any]:
    return list(made) if isinstance(made, tuple | list) else [made]
