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
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerwise.lens.names import Layers, Wanted, by_name, names_of, wanted
from layerwise.lens.running import (
    check_differentiable,
    check_finite,
    check_in_graph,
    evaluating,
    is_plain,
    length,
    run,
    to_module,
    without_fast_path,
)

CHANNELS_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
)  # fmt: skip
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


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
            taken = seen.taken(length(given), of(output) if of else None, finite)
        yield taken


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
        module: Name of the module.
        operation: Of one that the module ran itself; None for what the module gave.
        call: The how many-th time the layer ran in this pass, from 1.
        place: Where the tensor stood in what the layer returned, such as `[0]`; empty if it was all.
        tensor: As it came, part of the graph.
        channels: Of the last layer that says where its units are: (on the first axis after the rows?, how many).
        time_first: Whether the layer says that rows are its second axis.
        rows_at: Which axis counts the rows, -1 for none, where that was found out; None where the shape must tell.
    """

    module: str
    operation: str | None
    call: int
    place: str
    tensor: Tensor
    channels: tuple[bool, int] | None
    time_first: bool
    rows_at: int | None = None

    @property
    def layer(self) -> str:
        """The module's name, with `:operation` if it is one that the module ran itself."""
        return self.module if self.operation is None else f"{self.module}:{self.operation}"

    def by_row(self, tensor: Tensor, rows: int) -> Tensor | None:
        """`tensor`, shaped as this one, as (rows, units, ...); None if it has no row per row of data."""
        shape = tensor.shape
        if self.rows_at is not None:
            if self.rows_at < 0:
                return None
            tensor = tensor.movedim(self.rows_at, 0)
            return tensor[:, None] if tensor.ndim == 1 else tensor
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


@dataclass(eq=False)
class _Pass:
    """One pass: what the module was given, what layers gave, how often each ran, and which are being run."""

    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    calls: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    path: list[str] = field(default_factory=list)
    channels: tuple[bool, int] | None = None


class Watch:
    """What the wanted layers gave in the last pass; made by `watch`."""

    def __init__(self, module: nn.Module, layers: Layers, put: Put | None = None) -> None:
        self.module, self.wanted, self.put = module, wanted(module, layers), put
        self.names = names_of(module)
        self.quiet = False
        self._passes = {True: _Pass(), False: _Pass()}

    def begin(self, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Forgets the pass before."""
        self._passes[_is_meant(self)] = _Pass(given, named)

    @property
    def now(self) -> _Pass:
        """The last pass."""
        return self._passes[_is_meant(self)]

    @property
    def outputs(self) -> list[Output]:
        """What the wanted layers gave in it."""
        return self.now.outputs

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
            + (f"#{each.call}" if self.now.calls[each.module, each.operation] > 1 else "")
            + (each.place if each.layer in several else ""): each
            for each in self.outputs
        }

    def answering(self, rows: int) -> dict[str, Output]:
        """`named`, without what has no row for each of `rows` rows."""
        named = self._settled(rows) if self._doubtful(rows) else self.named
        return {name: each for name, each in named.items() if each.by_row(each.tensor, rows) is not None}

    def found(self, rows: int) -> dict[str, Output]:
        """As `answering`.

        Raises:
            ValueError: If nothing is left of a layer that was asked for by its name, or of all.
        """
        found = self.answering(rows)
        for each in self.wanted:
            if not any(_fits(each, output) for output in found.values()) and not (each.loose and found):
                raise ValueError(self._missing(each, rows))
        return found

    def _doubtful(self, rows: int) -> bool:
        """Whether something else is by chance as many as the rows, so that shapes do not tell which axis counts these."""
        if rows == 1 or getattr(self.module, "batch_first", True) is False:  # the latter says it, and takes rows second
            return False
        shapes = [each.shape for each in _tensors([self.now.given, self.now.named])]
        return any(list(shape).count(rows) > 1 for shape in [*shapes, *(each.tensor.shape for each in self.outputs)])

    def _settled(self, rows: int) -> dict[str, Output]:
        """`named`, with the axes that count the rows: those that follow in a pass of another number of rows."""
        mine, count = self.named, 3 if rows == 2 else 2
        other, given, named = Watch(self.module, ""), self.now.given, self.now.named
        other.wanted = self.wanted
        number = _OTHER.set((other, rows, count))
        try:
            with torch.no_grad(), evaluating(self.module, warn=False), _hooked(self.module, other):
                self.module(*_of_rows(given, rows, count), **_of_rows(named, rows, count))
        except Exception:  # whatever the module says to other rows, such as one that keeps a state for those it knows
            return mine
        finally:
            _OTHER.reset(number)
        shapes = {name: each.tensor.shape for name, each in other.named.items()}
        return {
            name: replace(each, rows_at=_varying(each.tensor.shape, shapes[name], rows, count))
            if name in shapes
            else each
            for name, each in mine.items()
        }

    def fits(self, name: str, output: Output) -> bool:
        """Whether an output is of the layer of that name."""
        return _fits(by_name(self.names, name), output)

    def taken(self, rows: int, score: Tensor | None = None, finite: bool = True) -> dict[str, Seen]:
        """`found`, out of the graph and on the CPU, with the gradients of `score`, a number or one per row."""
        found = self.found(rows)
        if finite:
            found = {name: each for name, each in found.items() if not self._masks(each)}
            check_finite({name: each.tensor for name, each in found.items()})
        tensors = [each.tensor for each in found.values()]
        slopes: list[Tensor | None] = [None] * len(tensors)
        if score is not None:
            check_differentiable(score)
            check_in_graph({name: each.tensor for name, each in found.items()})
            slopes = list(torch.autograd.grad(score.sum(), tensors, allow_unused=True, materialize_grads=True))
        taken = {}
        for (name, each), slope in zip(found.items(), slopes):
            values, slope = (None if t is None else each.by_row(t.detach(), rows) for t in (each.tensor, slope))
            assert values is not None
            taken[name] = Seen(values.cpu(), each.axis(values.shape), None if slope is None else slope.cpu())
        return taken

    def _masks(self, output: Output) -> bool:
        """Whether it is an operation, not asked for by its name, that puts infinities where attention must not look."""
        if output.operation is None or any(_fits(each, output) and not each.loose for each in self.wanted):
            return False
        return bool(output.tensor.isinf().any() and not output.tensor.isnan().any())

    def _missing(self, each: Wanted, rows: int) -> str:
        gave = [tuple(output.tensor.shape) for output in self.outputs if _fits(each, output)]
        if gave:
            return f"{each.text!r} gave {gave[0]} for {rows} rows: it does not answer row by row. Choose a layer that does."
        if each.call and any(each.fits(*layer, each.call) for layer in self.now.calls):
            return f"{each.text!r} does not run {each.call} times in a pass."
        if each.operation is not None:
            ran = [layer for layer in self.now.calls if layer[1] is not None]
            near = [layer for layer in ran if each.fits(layer[0], each.operation, each.call or 1)] or ran
            said = ", ".join(f"{module}:{operation}" for module, operation in near[:30])
            return f"No operation that ran is {each.text!r}. There ran: {said or 'none'}."
        return (f"{each.text!r} gave no tensor when the module ran: the data does not reach it, or it answers otherwise (with "
                "nested or sparse tensors, or inside of torch.vmap or torch.func.grad). Name another "
                "layer, or an operation such as 'block:relu'.")  # fmt: skip

    # What the hooks do.

    def leave(self) -> None:
        """The innermost module has been run."""
        self.now.path.pop()

    def keep(self, module: str, operation: str | None, output: Any, time_first: bool = False) -> Any:
        """Keeps the tensors in `output` if the layer is wanted; what it returns is to go on in place of `output`."""
        now = self.now
        now.calls[module, operation] += 1
        call = now.calls[module, operation]
        if not any(each.fits(module, operation, call) for each in self.wanted):
            return output

        def go_on(tensor: Tensor, place: str) -> Tensor:
            if not is_plain(tensor) or not any(each.fits(module, operation, call, place) for each in self.wanted):
                return tensor
            tensor = tensor if self.put is None else self._put(tensor)
            if torch.is_grad_enabled() and not tensor.requires_grad:  # frozen weights and whole numbers: it starts here
                tensor = tensor.detach().requires_grad_()
            now.outputs.append(Output(module, operation, call, place, tensor, now.channels, time_first))
            return tensor.clone()  # so that in-place operations do not reach what is kept

        self.quiet = True  # the copies are no operations of the module
        output = mapped(output, go_on)
        self.quiet = False
        return output

    def _put(self, tensor: Tensor) -> Tensor:
        if not isinstance(self.put, Tensor):
            return self.put(tensor) if self.put else tensor
        return self.put if (other := _OTHER.get()) is None else _of_rows(self.put, other[1], other[2])


Put = Tensor | Callable[[Tensor], Tensor]

# The one that watches a pass of another number of rows (`Watch._settled`), how many there were, and how many there are: for
# all others it is another pass than the one that they tell of.
_OTHER: ContextVar[tuple[Watch, int, int] | None] = ContextVar("_OTHER", default=None)


def _of_rows(given: Any, rows: int, count: int) -> Any:
    """The same arguments with `count` rows, where there are `rows` of them."""
    if type(given) in (tuple, list):
        return type(given)(_of_rows(each, rows, count) for each in given)
    if type(given) is dict:
        return {key: _of_rows(each, rows, count) for key, each in given.items()}
    if not isinstance(given, Tensor) or not given.ndim or len(given) != rows:
        return given
    return given[:count] if count <= rows else torch.cat([given, given[: count - rows]])


def _tensors(given: Any) -> list[Tensor]:
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, tuple | list):
        return [tensor for each in given for tensor in _tensors(each)]
    return [given] if isinstance(given, Tensor) else []


def _varying(shape: torch.Size, other: torch.Size, rows: int, count: int) -> int | None:
    """The first axis that follows the number of rows; -1 for none; None for shapes that do not compare."""
    if len(shape) != len(other):
        return None
    return next((axis for axis, sizes in enumerate(zip(shape, other, strict=True)) if sizes == (rows, count)), -1)


@contextlib.contextmanager
def watch(module: nn.Module, layers: Layers, put: Put | None = None) -> Iterator[Watch]:
    """Sees the named layers of each pass of `module` made inside; all hooks are gone afterwards, also after an error.

    With `put`, a tensor or what makes one of what a layer gave, the module goes on with that in its place.

    Raises:
        ValueError: If the module was compiled by TorchScript, which does not let anybody see its parts.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
        >>> with watch(net, "*") as seen:
        ...     output = net(torch.rand(4, 3))
        >>> (seen.named["0"].tensor.relu() == output).all().item(), list(seen.named)
        (True, ['0', '1'])
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("The module was compiled by TorchScript (torch.jit.trace or script), so that its layers cannot be "
                         "seen. Give the module that it was made from.")  # fmt: skip
    seen = Watch(module, layers, put)
    with _hooked(module, seen):
        yield seen


@contextlib.contextmanager
def _hooked(module: nn.Module, seen: Watch) -> Iterator[None]:
    operations = any(each.operation is not None for each in seen.wanted)
    with contextlib.ExitStack() as undo, without_fast_path(module):

        def on(handle: torch.utils.hooks.RemovableHandle) -> None:
            undo.callback(handle.remove)

        on(module.register_forward_pre_hook(_begins(seen), prepend=True, with_kwargs=True))
        for name, part in module.named_modules(remove_duplicate=False):
            if isinstance(part, torch.jit.ScriptModule):
                continue  # it takes no hooks
            if isinstance(part, CHANNELS_FIRST + CHANNELS_LAST):
                on(part.register_forward_hook(_notes_channels(seen)))
            if any(each.fits(name, None, each.call or 1) for each in seen.wanted):
                on(part.register_forward_hook(_keeps(seen, name)))
        if operations:
            for name, part in module.named_modules():
                on(part.register_forward_pre_hook(lambda _module, _given, name=name: seen.now.path.append(name)))
                on(part.register_forward_hook(lambda *_: seen.leave(), always_call=True))
            undo.enter_context(_Operations(seen))
        yield


def _begins(seen: Watch) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, given, named: seen.begin(given, named)


def of_other_rows() -> bool:
    """Whether the pass that is being made is one with other rows, by which `Watch` finds out where rows are counted."""
    return _OTHER.get() is not None


def _is_meant(seen: Watch) -> bool:
    """Whether the pass is one that it tells of."""
    other = _OTHER.get()
    return other is None or other[0] is seen


def _keeps(seen: Watch, name: str) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(part: nn.Module, _given: Any, output: Any) -> Any:
        return seen.keep(name, None, output, getattr(part, "batch_first", True) is False)

    return hook


def _notes_channels(seen: Watch) -> Callable[[nn.Module, Any, Any], None]:
    def hook(part: nn.Module, _given: Any, output: Any) -> None:
        first = isinstance(part, CHANNELS_FIRST)
        tensor = output if isinstance(output, Tensor) else output[0]
        whole = isinstance(part, nn.LayerNorm | nn.RMSNorm) and len(part.normalized_shape) > 1  # of pictures: no axis
        if isinstance(tensor, Tensor) and tensor.ndim > 1 and not whole:
            seen.now.channels = (first, int(tensor.shape[1 if first else -1]))

    return hook


class _Operations(TorchFunctionMode):
    """Sees the operations that a module's `forward` calls itself, by the names that are written there."""

    def __init__(self, seen: Watch) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, in_place = _operation(func)
        if self.seen.quiet or not self.seen.now.path or not name:
            return func(*args, **kwargs)
        module = self.seen.now.path[-1]
        if not in_place:
            return self.seen.keep(module, name, func(*args, **kwargs))
        changed = args[0].clone()
        func(changed, *args[1:], **kwargs)
        # what is kept is no longer what goes on being changed
        return args[0].copy_(self.seen.keep(module, name, changed))


def _operation(func: Any) -> tuple[str, bool]:
    """Name of a function as one would write it, and whether it works in place; no name for what makes no values."""
    name = getattr(func, "__name__", "")
    if name in NO_VALUES:
        return "", False
    bare = name.strip("_")
    in_place = name.endswith("_") and not name.startswith("__")
    if name.startswith("__") and bare[:1] in "ir" and bare[1:] in ARITHMETIC:
        in_place, bare = bare[0] == "i", bare[1:]
    return {"truediv": "div"}.get(bare, bare), in_place


NO_VALUES = (  # attributes, and what changes the form of a tensor in its place
    "__get__", "__set__", "__setitem__", "requires_grad_", "detach_", "retain_grad", "t_", "transpose_", "swapaxes_",
    "swapdims_", "squeeze_", "unsqueeze_", "resize_", "resize_as_", "as_strided_", "set_", "rename_", "share_memory_",
)  # fmt: skip
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


def _fits(each: Wanted, output: Output) -> bool:
    return each.fits(output.module, output.operation, output.call, output.place)
