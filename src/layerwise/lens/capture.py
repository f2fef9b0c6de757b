"""What do the layers of a module answer to rows of data? For any torch module, which is left as it was found.

`watch` sees the layers of a pass made inside it, as part of its graph; `stream` goes through rows batch by batch; `capture`
holds all codes. What is seen is what came out of a layer: no in-place operation that follows can change it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerwise.lens.names import Layers, Wanted, wanted
from layerwise.lens.running import (
    check_differentiable,
    check_finite,
    evaluating,
    length,
    run,
    to_module,
    without_fast_path,
)

CHANNELS_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
)  # fmt: skip
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


@dataclass(frozen=True, eq=False)
class Seen:
    """What one layer answered to a batch.

    Arguments:
        values: Shape (n, ...), as the layer gave them, but with rows first; on the CPU.
        axis: Which axis of `values` counts the units: 1 for (n, units, H, W), 2 for (n, T, units).
        gradients: By `values` of what was asked for, same shape; None if nothing was.

    Example:
        >>> seen = Seen(torch.arange(12.0).reshape(1, 3, 2, 2), axis=1)
        >>> seen.positions, seen.rows().shape, seen.where(3)
        ((2, 2), torch.Size([4, 3]), (0, 1, 1))
    """

    values: Tensor
    axis: int
    gradients: Tensor | None = None

    @property
    def units(self) -> int:
        """How many units (channels, features) the layer has."""
        return int(self.values.shape[self.axis])

    @property
    def positions(self) -> tuple[int, ...]:
        """The places that each unit answers for: (H, W), (T,), or () for a layer without places."""
        return tuple(size for axis, size in enumerate(self.values.shape) if axis not in (0, self.axis))

    def rows(self) -> Tensor:
        """A row per place, shape (n * places, units): the places of a row of data come one after the other."""
        return self.values.movedim(self.axis, -1).flatten(0, -2)

    def flat(self) -> Tensor:
        """A row per row of data, shape (n, units * places), as `flatten(1)` gives it."""
        return self.values.flatten(1)

    def where(self, index: int) -> tuple[int, ...]:
        """Which row of data, and which position in it, row `index` of `rows()` stands for."""
        at: list[int] = []
        for size in reversed(self.positions):
            index, rest = divmod(index, size)
            at.insert(0, rest)
        return (index, *at)


def capture(module: nn.Module, layers: Layers, rows: Any, *, size: int = 500) -> dict[str, Tensor]:
    """Codes of the named layers for all rows, each of shape (n, units * places), float32 on the CPU.

    Arguments and errors are those of `stream`.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
        >>> capture(net, ["1"], torch.rand(4, 3))["1"].shape
        torch.Size([4, 2])
    """
    codes: dict[str, list[Tensor]] = {}
    for batch in stream(module, layers, rows, size=size):
        for name, seen in batch.items():
            codes.setdefault(name, []).append(seen.flat().float())
    return {name: torch.cat(parts) for name, parts in codes.items()}


def stream(
    module: nn.Module,
    layers: Layers,
    rows: Any,
    *,
    size: int = 500,
    of: Callable[[Any], Tensor] | None = None,
    finite: bool = True,
) -> Iterator[dict[str, Seen]]:
    """What the named layers answer, batch by batch: one pass serves them all, and nothing is kept.

    The module runs in evaluation mode, on its own device and in its own precision, and is left as it was found.

    Arguments:
        module: Any module that answers row by row.
        layers: Names, globs or modules, see `layerwise.lens.names`. A layer that runs several times in a pass comes as
            `name#1`, `name#2`, ...; one that gives several tensors as `name[0]`, `name[key]`, ....
        rows: A tensor or array, shape (n, ...), taken `size` rows at a time; or batches. A batch that is a tuple is given as
            arguments, one that is a mapping as named arguments.
        of: Makes one number, or one per row, of the module's output; its gradients by the layers are then `Seen.gradients`.
        finite: Whether NaN and infinities in a layer are refused.

    Raises:
        ValueError: If a name matches nothing (the nearest are offered); if a layer is not reached, or answers with no tensor
            or not row by row (one matched by a glob is left out instead); if one answers with NaN.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
        >>> for batch in stream(net, "1", torch.rand(4, 3), size=2, of=lambda output: output[:, 0]):
        ...     assert torch.equal(batch["1"].gradients, net[2].weight.detach().expand(2, 2))
    """
    for batch in _batches(rows, size):
        with evaluating(module), torch.set_grad_enabled(of is not None), watch(module, layers) as seen:
            given = to_module(module, batch)
            output = run(module, given)
            score = of(output) if of else None
        yield seen.taken(length(given), score, finite)


def _batches(rows: Any, size: int) -> Iterator[Any]:
    if isinstance(rows, Tensor) or hasattr(rows, "__array__"):
        rows = torch.as_tensor(rows)
        if not len(rows):
            raise ValueError("There are no rows to look at. Give at least one.")
        return iter(rows.split(size))
    return iter(rows)


def linear_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights, shape (inputs, units), of the stages of a net whose every child holds just one linear map.

    Raises:
        ValueError: If a stage holds none or several, so that "its" weights mean nothing.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), nn.Linear(2, 1))
        >>> {name: tuple(weight.shape) for name, weight in linear_weights(net).items()}
        {'0': (3, 2), '1': (2, 1)}
    """
    found = {}
    for name, stage in module.named_children():
        linear = [part for part in stage.modules() if isinstance(part, nn.Linear)]
        if len(linear) != 1:
            raise ValueError(
                f"Stage {name!r} holds {len(linear)} linear maps. Group the net so that each stage holds one."
            )
        found[name] = linear[0].weight.detach().T
    return found


# -- one pass ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Output:
    """One tensor that a layer gave.

    Arguments:
        layer: Name of the module, with `:operation` if it is one that the module ran itself.
        call: The how many-th time the layer ran in this pass, from 1.
        place: Where the tensor stood in what the layer returned, such as `[0]`; empty if it was all.
        tensor: As it came, part of the graph.
        channels: Of the last layer that says where its units are: (on the first axis after the rows?, how many).
        time_first: Whether the layer says that rows are its second axis.
    """

    layer: str
    call: int
    place: str
    tensor: Tensor
    channels: tuple[bool, int] | None
    time_first: bool

    def by_row(self, tensor: Tensor, rows: int) -> Tensor | None:
        """`tensor`, shaped as this one, as (rows, units, ...); None if it has no row per row of data."""
        shape = tensor.shape
        if tensor.ndim > 2 and shape[1] == rows and (self.time_first or shape[0] != rows):
            return tensor.transpose(0, 1)
        if tensor.ndim == 0 or shape[0] != rows:
            return None
        return tensor[:, None] if tensor.ndim == 1 else tensor

    def axis(self, shape: tuple[int, ...]) -> int:
        """Which axis of a tensor of this shape, rows first, counts the units."""
        last = len(shape) - 1
        first, width = self.channels or (last != 2, 0)  # (n, C, H, W) and (n, T, C) if nothing says otherwise
        if shape[last] == width and not (first and shape[1] == width):
            return last
        return 1 if shape[1] == width or last != 2 else last


class Watch:
    """What the wanted layers gave in the last pass; made by `watch`."""

    def __init__(self, module: nn.Module, layers: Layers, put: Tensor | None = None) -> None:
        self.wanted, self.put = wanted(module, layers), put
        self.quiet = False
        self.begin()

    def begin(self) -> None:
        """Forgets the pass before."""
        self.outputs: list[Output] = []
        self.calls: Counter[str] = Counter()
        self.path: list[str] = []  # names of the modules being run
        self.channels: tuple[bool, int] | None = None

    @property
    def named(self) -> dict[str, Output]:
        """The outputs, in the order in which they came."""
        several = {each.layer for each in self.outputs if each.place}
        chosen = {each.module for each in self.wanted if each.place}
        several = {
            layer
            for layer in several
            if layer in chosen or len({e.place for e in self.outputs if e.layer == layer}) > 1
        }
        return {
            each.layer
            + (f"#{each.call}" if self.calls[each.layer] > 1 else "")
            + (each.place if each.layer in several else ""): each
            for each in self.outputs
        }

    def found(self, rows: int) -> dict[str, Output]:
        """`named`, without what has no row for each of `rows` rows.

        Raises:
            ValueError: If nothing is left of a layer that was asked for by its name, or of all.
        """
        found = {name: each for name, each in self.named.items() if each.by_row(each.tensor, rows) is not None}
        for each in self.wanted:
            if not any(_fits(each, output) for output in found.values()) and not (each.loose and found):
                raise ValueError(self._missing(each, rows))
        return found

    @staticmethod
    def fits(name: str, output: Output) -> bool:
        """Whether an output is of the layer of that name."""
        stem, bracket, place = name.partition("[")
        stem, _, call = stem.partition("#")
        asked = Wanted(name, *_apart(stem), int(call) if call else None, place=bracket + place)
        return asked.fits(*_apart(output.layer), output.call, output.place)

    def taken(self, rows: int, score: Tensor | None = None, finite: bool = True) -> dict[str, Seen]:
        """`found`, out of the graph and on the CPU, with the gradients of `score`, a number or one per row."""
        found = self.found(rows)
        tensors = [each.tensor for each in found.values()]
        if finite:
            check_finite({name: each.tensor for name, each in found.items()})
        slopes: list[Tensor | None] = [None] * len(tensors)
        if score is not None:
            check_differentiable(score)
            slopes = list(torch.autograd.grad(score.sum(), tensors, allow_unused=True, materialize_grads=True))
        taken = {}
        for (name, each), slope in zip(found.items(), slopes):
            values, slope = (None if t is None else each.by_row(t.detach(), rows) for t in (each.tensor, slope))
            assert values is not None
            taken[name] = Seen(values.cpu(), each.axis(values.shape), None if slope is None else slope.cpu())
        return taken

    def _missing(self, each: Wanted, rows: int) -> str:
        gave = [tuple(output.tensor.shape) for output in self.outputs if _fits(each, output)]
        if gave:
            return f"{each.text!r} gave {gave[0]} for {rows} rows: it does not answer row by row. Choose a layer that does."
        if each.call and any(each.fits(*_apart(layer), each.call) for layer in self.calls):
            return f"{each.text!r} does not run {each.call} times in a pass."
        if each.operation is not None:
            ran = [layer for layer in self.calls if ":" in layer]
            near = [layer for layer in ran if each.fits(_apart(layer)[0], each.operation, each.call or 1)] or ran
            return f"No operation that ran is {each.text!r}. There ran: {', '.join(near[:30]) or 'none'}."
        return (f"{each.text!r} gave no tensor when the module ran: the data does not reach it, or it answers otherwise. "
                "Name another layer, or an operation such as 'block:relu'.")  # fmt: skip

    # What the hooks do.

    def leave(self) -> None:
        """The innermost module has been run."""
        self.path.pop()

    def keep(self, layer: str, output: Any, time_first: bool = False) -> Any:
        """Keeps the tensors in `output` if the layer is wanted; what it returns is to go on in place of `output`."""
        self.calls[layer] += 1
        call = self.calls[layer]
        if not any(each.fits(*_apart(layer), call) for each in self.wanted):
            return output

        def go_on(tensor: Tensor, place: str) -> Tensor:
            if not any(each.fits(*_apart(layer), call, place) for each in self.wanted):
                return tensor
            tensor = tensor if self.put is None else self.put
            if torch.is_grad_enabled() and not tensor.requires_grad:  # frozen weights and whole numbers: it starts here
                tensor = tensor.detach().requires_grad_()
            self.outputs.append(Output(layer, call, place, tensor, self.channels, time_first))
            return tensor.clone()  # so that in-place operations do not reach what is kept

        self.quiet = True  # the copies are no operations of the module
        output = mapped(output, go_on)
        self.quiet = False
        return output


@contextlib.contextmanager
def watch(module: nn.Module, layers: Layers, put: Tensor | None = None) -> Iterator[Watch]:
    """Sees the named layers of each pass of `module` made inside; all hooks are gone afterwards, also after an error.

    With `put` the module goes on with that in place of what the layers gave.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
        >>> with watch(net, "*") as seen:
        ...     output = net(torch.rand(4, 3))
        >>> (seen.named["0"].tensor.relu() == output).all().item(), list(seen.named)
        (True, ['0', '1'])
    """
    seen = Watch(module, layers, put)
    operations = any(each.operation is not None for each in seen.wanted)
    with contextlib.ExitStack() as undo, without_fast_path():

        def on(handle: torch.utils.hooks.RemovableHandle) -> None:
            undo.callback(handle.remove)

        on(module.register_forward_pre_hook(lambda *_: seen.begin(), prepend=True))
        for name, part in module.named_modules(remove_duplicate=False):
            if isinstance(part, CHANNELS_FIRST + CHANNELS_LAST):
                on(part.register_forward_hook(_notes_channels(seen)))
            if any(each.fits(name, None, each.call or 1) for each in seen.wanted):
                on(part.register_forward_hook(_keeps(seen, name)))
        if operations:
            for name, part in module.named_modules():
                on(part.register_forward_pre_hook(lambda _module, _given, name=name: seen.path.append(name)))
                on(part.register_forward_hook(lambda *_: seen.leave(), always_call=True))
            undo.enter_context(_Operations(seen))
        yield seen


def _keeps(seen: Watch, name: str) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(part: nn.Module, _given: Any, output: Any) -> Any:
        return seen.keep(name, output, getattr(part, "batch_first", True) is False)

    return hook


def _notes_channels(seen: Watch) -> Callable[[nn.Module, Any, Any], None]:
    def hook(part: nn.Module, _given: Any, output: Any) -> None:
        first = isinstance(part, CHANNELS_FIRST)
        tensor = output if isinstance(output, Tensor) else output[0]
        if isinstance(tensor, Tensor) and tensor.ndim > 1:
            seen.channels = (first, int(tensor.shape[1 if first else -1]))

    return hook


class _Operations(TorchFunctionMode):
    """Sees the operations that a module's `forward` calls itself, by the names that are written there."""

    def __init__(self, seen: Watch) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, in_place = _operation(func)
        if self.seen.quiet or not self.seen.path or not name:
            return func(*args, **kwargs)
        layer = f"{self.seen.path[-1]}:{name}"
        if not in_place:
            return self.seen.keep(layer, func(*args, **kwargs))
        changed = args[0].clone()
        func(changed, *args[1:], **kwargs)
        return args[0].copy_(self.seen.keep(layer, changed))  # what is kept is no longer what goes on being changed


def _operation(func: Any) -> tuple[str, bool]:
    """Name of a function as one would write it, and whether it works in place; no name for what reads an attribute."""
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__", "__setitem__"):
        return "", False
    bare = name.strip("_")
    in_place = name.endswith("_") and not name.startswith("__")
    if name.startswith("__") and bare[:1] in "ir" and bare[1:] in ARITHMETIC:
        in_place, bare = bare[0] == "i", bare[1:]
    return {"truediv": "div"}.get(bare, bare), in_place


ARITHMETIC = ("add", "sub", "mul", "div", "truediv", "matmul", "pow", "floordiv", "mod")


def mapped(output: Any, go_on: Callable[[Tensor, str], Tensor], place: str = "") -> Any:
    """`output` with `go_on` of each floating-point tensor in it: tuples, lists, mappings and dataclasses are taken apart."""
    if isinstance(output, Tensor):
        return go_on(output, place) if output.is_floating_point() else output
    if isinstance(output, Mapping):
        made = copy.copy(output)
        for key, value in output.items():
            made[key] = mapped(value, go_on, f"{place}[{key}]")  # type: ignore[index]
        return made
    if isinstance(output, tuple | list):
        parts = [mapped(value, go_on, f"{place}[{index}]") for index, value in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        other = copy.copy(output)
        for field in dataclasses.fields(output):
            value = mapped(getattr(output, field.name), go_on, f"{place}[{field.name}]")
            object.__setattr__(other, field.name, value)
        return other
    return output


def _apart(layer: str) -> tuple[str, str | None]:
    module, colon, operation = layer.partition(":")
    return module, operation if colon else None


def _fits(each: Wanted, output: Output) -> bool:
    return each.fits(*_apart(output.layer), output.call, output.place)
