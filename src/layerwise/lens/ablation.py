"""What changes when a unit is switched off, or doubled? In accuracy, in the outputs, and in the layers above."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from layerwise.lens.capture import Seen, stream
from layerwise.lens.passes import check_single, check_units, edited, resumed
from layerwise.lens.running import evaluating

OUTPUT = ""  # the name of the whole module
LOGITS = "[logits]"  # what counts, where it gives several tensors


@dataclass(frozen=True)
class Ablated:
    """A net with the states of some units of a layer multiplied by a number.

    Arguments:
        units: Which units, together.
        factor: The number: 0 switches them off, 2 doubles them.
        outputs: Mean change of each output, shape (outputs,).
        moved: Root mean square of the change over rows and outputs, as a share of that of the outputs about their mean.
        layers: The same share for each layer asked about.
        within: For each of these, root mean square of each of its units' change, in standard deviations of that unit over the
            rows (at each of its places), shape (units,); NaN for a unit that is constant.
        flipped: Share of the rows whose largest output is another one now.
        before, after: Accuracy per class, shape (classes,); NaN for a class without rows. None without labels.
        accuracy: Of all labelled rows, before and after; None without labels.
        rows: How many rows were looked at.
    """

    units: tuple[int, ...]
    factor: float
    outputs: np.ndarray
    moved: float
    layers: dict[str, float]
    within: dict[str, np.ndarray]
    flipped: float
    before: np.ndarray | None
    after: np.ndarray | None
    accuracy: tuple[float, float] | None
    rows: int


def ablate(
    module: nn.Module,
    layer: str,
    units: Sequence[int | Sequence[int]],
    rows: Tensor,
    labels: np.ndarray | None = None,
    *,
    factors: Sequence[float] = (0.0, 2.0),
    above: Sequence[str] = (),
    size: int = 500,
    together: int = 1,
) -> list[Ablated]:
    """Runs the net with units changed, one after the other, and compares with the net as it is; the net is left untouched.

    Only what comes after the layer is computed again, where the parts before it give the same once more (`resumed`).

    Arguments:
        module: Any module that answers (n, outputs) to rows.
        layer: Name of the layer that is changed: of a sub-module, of one of its runs or tensors, or of an operation. Before
            an activation that is what goes into the unit.
        units: Which; a group such as (3, 5) is changed together. A channel is changed at all places.
        rows: Shape (n, ...), held out ones if accuracy shall mean something.
        labels: Index of the right output of each row, shape (n,); below 0 for unknown.
        factors: What states are multiplied by.
        above: Names of layers whose change is wanted, such as the next one.
        size: Rows per batch.
        together: How many cases go through the net in one pass, the rows repeated.

    Returns:
        For each unit, one for each factor.

    Raises:
        ValueError: If there is no such layer or unit, labels do not match the rows or the outputs, or as `stream`.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
        >>> _ = [weight.data.fill_(1.0) for weight in net.parameters()]
        >>> off, doubled = ablate(net, "0", [0], torch.tensor([[1.0, 2.0]]))
        >>> off.outputs.tolist(), doubled.outputs.tolist()  # the unit's state is 3
        ([-3.0], [3.0])
    """
    first = _by_answer(next(stream(module, [layer, OUTPUT], rows[:size], size=size)))
    check_single(first, [layer])
    if first[OUTPUT].values.ndim != 2:
        raise ValueError(
            f"The module answers {tuple(first[OUTPUT].values.shape)}: its change is looked at for (n, outputs) only."
        )
    groups = [(each,) if isinstance(each, int) else tuple(each) for each in units]
    check_units([unit for group in groups for unit in group], first[layer].units, layer)
    right = _checked(labels, len(rows), first[OUTPUT].units)
    names = list(dict.fromkeys([*above, OUTPUT]))
    plain, cases = _Plain(), [(group, factor, _Changed()) for group in groups for factor in factors]
    for batch in rows.split(size):
        before = _by_answer(next(stream(module, names, batch, size=size)))
        plain.add(before)
        with _begun(module, layer, batch, before) if together == 1 else contextlib.nullcontext():
            for some in _batches(cases, together):
                many = batch.repeat(len(some), *[1] * (batch.ndim - 1))
                edit = _multiplied([(group, factor) for group, factor, _ in some])
                with edited(module, layer, first[layer].axis, edit):
                    found = _by_answer(next(stream(module, names, many, size=len(many))))
                for at, (_, _, answers) in enumerate(some):
                    own = slice(at * len(batch), (at + 1) * len(batch))
                    answers.add({name: Seen(seen.values[own], seen.axis) for name, seen in found.items()}, before)
    return [_compared(group, factor, plain, answers, right, list(above)) for group, factor, answers in cases]


@contextlib.contextmanager
def _begun(module: nn.Module, layer: str, batch: Tensor, before: dict[str, Seen]) -> Iterator[None]:
    """Passes of this batch begin at the layer, as far as that gives the same answers."""
    with contextlib.ExitStack() as undo:
        if layer in dict(module.named_modules()):
            undo.enter_context(resumed(module, layer, batch))
            if not _same(module, batch, before):
                undo.close()
        yield


def _same(module: nn.Module, batch: Tensor, before: dict[str, Seen]) -> bool:
    try:
        found = _by_answer(next(stream(module, list(before), batch, size=len(batch))))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        return False
    return all(torch.allclose(seen.values, before[name].values, atol=1e-6, rtol=1e-5) for name, seen in found.items())


def work(module: nn.Module, layer: str, rows: Tensor) -> float:
    """Multiplications and additions (FLOP) of matrix products and convolutions per row, from a layer on.

    Arguments:
        module, layer: As for `ablate`.
        rows: A few.

    Example:
        >>> net = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 10))
        >>> work(net, "1", torch.rand(4, 30)), work(net, "0", torch.rand(4, 30))
        (400.0, 400.0)
    """
    before = _by_answer(next(stream(module, [OUTPUT], rows, size=len(rows))))
    fused = torch.backends.mkldnn.set_flags(False)[0]  # recurrent layers are counted product by product
    try:
        with _begun(module, layer, rows, before), _Counter() as counter:
            next(stream(module, [OUTPUT], rows, size=len(rows)))
    finally:
        torch.backends.mkldnn.set_flags(fused)
    return counter.total / len(rows)


class _Counter(TorchDispatchMode):
    """Adds up what each operation costs, by torch's table.

    Torch's own `FlopCounterMode` also asks which part it is for, and does not bear parts that are given views of parameters as
    inputs (queries), nor modules that take gradients themselves.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry

        self.costs, self.total = flop_registry, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        cost = self.costs.get(func._overloadpacket)
        if cost is None:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        self.total += 0 if cost is None else cost(*args, **kwargs, out_val=made)
        return made


def _by_answer(seen: dict[str, Seen]) -> dict[str, Seen]:
    """With what the module answers under the name of the whole: of several tensors the `logits`."""
    if OUTPUT in seen:
        return seen
    if LOGITS not in seen:
        several = ", ".join(name for name in seen if name.startswith("["))
        raise ValueError(f"The module answers with several tensors ({several}), of which none is called logits. Wrap it so "
                         "that it gives one.")  # fmt: skip
    return {OUTPUT if name == LOGITS else name: each for name, each in seen.items()}


def _checked(labels: np.ndarray | None, rows: int, outputs: int) -> Tensor | None:
    if labels is None:
        return None
    right = torch.as_tensor(np.asarray(labels)).long()
    if len(right) != rows or (rows and int(right.max()) >= outputs):
        raise ValueError(f"{rows} rows and {outputs} outputs came with {len(right)} labels up to {int(right.max())}.")
    return right


def _batches(cases: list[Case], count: int) -> Iterator[list[Case]]:
    return (cases[at : at + count] for at in range(0, len(cases), count))


def _multiplied(cases: Sequence[tuple[tuple[int, ...], float]]) -> Callable[[Tensor], Tensor]:
    """Each case's units multiplied in its own part of the rows, which are there once per case."""

    def edit(states: Tensor) -> Tensor:
        for part, (units, factor) in zip(states.tensor_split(len(cases)), cases, strict=True):
            part[..., list(units)] *= factor
        return states

    return edit


@torch.no_grad()
def tail(module: nn.Module, layer: str, rows: Tensor) -> nn.Sequential | None:
    """What comes after a layer, where the module is a chain of its children: from the states of the layer to the answers.

    Its parts are called as in the module. That of the layer gives the states, so that `ablate(tail(...), layer, states, ...)`
    need not compute what lies below again and again.

    Arguments:
        module, layer: Which.
        rows: A few, on which it must answer as the module does.

    Returns:
        None where it is no such chain.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> len(tail(net, "1", torch.rand(4, 3)))
        2
    """
    children = dict(module.named_children())
    if layer not in children:
        return None
    seen = next(stream(module, [layer, OUTPUT], rows, size=len(rows)))
    if not {layer, OUTPUT} <= set(seen):
        return None
    after = list(children.items())[list(children).index(layer) + 1 :]
    rest = nn.Sequential(OrderedDict([(layer, nn.Identity()), *after]))
    try:
        with evaluating(rest):
            own = next(stream(rest, [layer, OUTPUT], seen[layer].values, size=len(rows)))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        return None
    same = own[OUTPUT].values.shape == seen[OUTPUT].values.shape and own[layer].axis == seen[layer].axis
    return rest if same and torch.allclose(own[OUTPUT].values, seen[OUTPUT].values, atol=1e-5, rtol=1e-4) else None


class _Plain:
    """What the net as it is answers, over batches: sums for each number of a layer, and the largest output of each row."""

    def __init__(self) -> None:
        self.square: dict[str, Tensor] = {}
        self.total: dict[str, Tensor] = {}
        self.unit_axis: dict[str, int] = {}
        self.said: list[Tensor] = []

    def add(self, answer: dict[str, Seen]) -> None:
        for name, seen in answer.items():
            x = seen.values.double()
            self.square[name] = self.square.get(name, torch.zeros(())) + x.square().sum(0)
            self.total[name] = self.total.get(name, torch.zeros(())) + x.sum(0)
            self.unit_axis[name] = seen.axis - 1
        self.said.append(answer[OUTPUT].values.argmax(1))

    def scatter(self, name: str, rows: int) -> Tensor:
        """Of each number, the sum of squares about its mean."""
        return (self.square[name] - self.total[name].square() / rows).clamp_min(0)

    def by_unit(self, name: str, numbers: Tensor) -> Tensor:
        """Sums over the places of units, shape (units,)."""
        moved = numbers.movedim(self.unit_axis[name], 0)
        return moved.reshape(len(moved), -1).sum(1)


class _Changed:
    """What becomes of these answers with units changed: sums of squared changes for each number of a layer."""

    def __init__(self) -> None:
        self.change: dict[str, Tensor] = {}
        self.outputs: Tensor | float = 0.0
        self.said: list[Tensor] = []

    def add(self, answer: dict[str, Seen], plain: dict[str, Seen]) -> None:
        for name, seen in answer.items():
            change = torch.linalg.vector_norm(seen.values - plain[name].values, dim=0).double().square()
            self.change[name] = self.change[name] + change if name in self.change else change
        self.outputs = self.outputs + (answer[OUTPUT].values.double() - plain[OUTPUT].values.double()).sum(0)
        self.said.append(answer[OUTPUT].values.argmax(1))


Case = tuple[tuple[int, ...], float, _Changed]


def _compared(
    units: tuple[int, ...], factor: float, plain: _Plain, other: _Changed, labels: Tensor | None, above: list[str]
) -> Ablated:
    said = torch.stack([torch.cat(plain.said), torch.cat(other.said)])
    rows = said.shape[1]
    scatter = {name: plain.scatter(name, rows) for name in other.change}
    moved = {name: float(_share(other.change[name].sum(), all_.sum())) for name, all_ in scatter.items()}
    within = {
        name: _share(plain.by_unit(name, other.change[name]), plain.by_unit(name, scatter[name])).numpy()
        for name in above
    }
    before, after, accuracy = _accuracies(said, labels, len(plain.total[OUTPUT]))
    outputs = torch.as_tensor(other.outputs) / rows
    return Ablated(
        units, factor, outputs.numpy(), moved[OUTPUT], {name: moved[name] for name in above}, within,
        float((said[0] != said[1]).double().mean()), before, after, accuracy, rows,
    )  # fmt: skip


def _share(change: Tensor, scatter: Tensor) -> Tensor:
    return torch.where(scatter > 0, change / scatter, torch.nan).sqrt()


def _accuracies(
    said: Tensor, labels: Tensor | None, classes: int
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[float, float] | None]:
    if labels is None:
        return None, None, None
    known = labels >= 0
    right, own = (said[:, known] == labels[known]).double(), labels[known]
    rows = torch.bincount(own, minlength=classes)
    before, after = ((torch.bincount(own, weights=each, minlength=classes) / rows).numpy() for each in right)
    return before, after, (float(right[0].mean()), float(right[1].mean()))
