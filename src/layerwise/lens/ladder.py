"""The ladder: layer by layer, what each has become, with bands over several nets of one kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.lens.calibration import Calibrated, Step, calibrate, processing
from layerwise.lens.capture import Seen, stream
from layerwise.lens.information import LEAST, Information, noisy_information
from layerwise.lens.names import by_name, names_of, part_of
from layerwise.lens.readout import Reading, read_labels, rebuild_linearly
from layerwise.lens.rebuilding import Rebuilt
from layerwise.lens.similarity import Alignment, Alignments
from layerwise.lens.vitals import Vitals, gradients, reached, vitals

WIDTH = 2048  # numbers per row that are held of a layer: wider ones are summed up in so many random groups
BUDGET = 256 << 20  # bytes of codes held at a time; more layers take more passes
INPUT = "input"


@dataclass(frozen=True)
class Band:
    """One figure over several nets.

    Arguments:
        values: One per net, NaN where there is none.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the nets that have the figure; NaN if none has."""
        known = [value for value in self.values if not math.isnan(value)]
        return math.fsum(known) / len(known) if known else float("nan")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest."""
        known = [value for value in self.values if not math.isnan(value)]
        return (min(known), max(known)) if known else (float("nan"), float("nan"))


@dataclass(frozen=True)
class Rung:
    """One layer of one net.

    Arguments:
        layer: Its name; "input" for the rows themselves.
        width: Numbers per row that it gives.
        groups: Into how many random sums they were put before probing, rebuilding and information; None if they were not.
        vitals: Its health, with the gradient; None for the input.
        reading: Linear probe of the label; None without labels.
        rebuilt: How well a linear map rebuilds the input; None for the input.
        information: All bounds, for a sweep of noise: see `noisy_information`; empty where all rows are alike.
    """

    layer: str
    width: int
    groups: int | None
    vitals: Vitals | None
    reading: Reading | None
    rebuilt: Rebuilt | None
    information: tuple[Information, ...]


@dataclass(frozen=True)
class Ladder:
    """All layers of all nets, the input first.

    Arguments:
        layers: Names, the input first.
        nets: The rungs of each net, in that order.
        similarity: CKA of all layers with each other, one table per net, without the input.
        between: CKA of each layer of the first net with the same one of each other net; None for a single net.
        processing: For each net, whether I(X; T) and I(T; Y) fall from layer to layer, at each width of the noise.
        calibration: What the estimator of information says of Gaussians of known information, for as many rows.
        left_out: What could not be measured, and why.
    """

    layers: list[str]
    nets: list[list[Rung]]
    similarity: list[Alignment]
    between: list[Alignment] | None
    processing: list[list[Step]]
    calibration: list[Calibrated]
    left_out: dict[str, str]

    def band(self, figure: Callable[[Rung], float | None]) -> list[Band]:
        """One figure of every layer, with its spread over the nets.

        Arguments:
            figure: Reads it off a rung; None where it has none.
        """
        found = ([figure(net[at]) for net in self.nets] for at in range(len(self.layers)))
        return [Band(tuple(float("nan") if value is None else float(value) for value in values)) for values in found]

    @property
    def figures(self) -> dict[str, list[Band]]:
        """The figures that can be drawn over the layers: shares in [0, 1], and the gradient."""
        return {
            **{name: self.band(_of_vitals(name)) for name in ("gradient", "flat", "moved")},
            **{name: self.band(_of_units(name)) for name in ("dead", "saturated")},
            "rank": self.band(lambda rung: rung.vitals.rank / rung.vitals.rank_cap if rung.vitals else None),
            "probe": self.band(lambda rung: rung.reading.accuracy if rung.reading else None),
            "rebuilt": self.band(lambda rung: rung.rebuilt.share if rung.rebuilt else None),
        }


def _of_vitals(name: str) -> Callable[[Rung], float | None]:
    return lambda rung: getattr(rung.vitals, name, None)


def _of_units(name: str) -> Callable[[Rung], float | None]:
    """Share of the units; None where units cannot be so."""

    def share(rung: Rung) -> float | None:
        lives = rung.vitals
        return None if lives is None or lives.kind == "gaussian" else getattr(lives, name) / lives.units

    return share


def ladder(
    models: nn.Module | Sequence[nn.Module],
    rows: Tensor,
    labels: np.ndarray | None = None,
    *,
    layers: Sequence[str] | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    starts: Sequence[Mapping[str, Tensor]] | None = None,
    size: int = 500,
    seed: int = 0,
) -> Ladder:
    """Everything about every layer in one call: gradient, dead, saturated, rank, probe, reconstruction, information, CKA.

    Memory does not grow with the number of layers: as many as fit 256 MiB are held at a time. Of layers with places the health
    is that of as many rows as fit. Histories of the gradient through training are `GradientHistory`'s.

    Arguments:
        models: One net, or several of one kind: from several seeds, or before and after. They are left as they were.
        rows: Shape (n, ...), rows that none of the nets was fitted to; 100 at least, and 10,000 are enough.
        labels: Class indices, shape (n,); below 0 for unknown ones. None leaves out what needs them.
        layers: Names of sub-modules, bottom first; None for the parts that `reached` finds in the first net.
        loss: From a net's output and the labels of some rows to a number; with it gradients are measured, on 500 labelled rows.
        starts: The `state_dict()` of each net before training, for the distance travelled.
        size: Rows per batch.
        seed: Of all that is random.

    Raises:
        ValueError: If rows are too few (it says how many are needed), or do not match the labels; as `layerwise.lens.stream`.

    Example:
        >>> nets = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
        >>> found = ladder(nets, torch.randn(120, 4), np.arange(120) % 2)
        >>> found.layers, len(found.figures["probe"][0].values), found.similarity[0].value.shape
        (['input', '0', '1', '2'], 2, (3, 3))
    """
    nets = [models] if isinstance(models, nn.Module) else list(models)
    if not nets or len(rows) < LEAST:
        raise ValueError(f"A ladder needs a net and at least {LEAST} rows, got {len(nets)} and {len(rows)}.")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"{len(rows)} rows came with {len(labels)} labels.")
    if starts is not None and len(starts) != len(nets):
        raise ValueError(f"{len(nets)} nets came with {len(starts)} starts.")
    names = list(layers) if layers is not None else reached(nets[0], rows[:4])
    climb = _Climb(rows, None if labels is None else np.asarray(labels), names, size, seed)
    first = climb.rung(INPUT, climb.inputs, rows.flatten(1).shape[1])
    sides = [climb.net(net, loss, starts[at] if starts else None) for at, net in enumerate(nets)]
    found = [[first, *side] for side in sides]
    units = min(100, found[0][-1].width)
    return Ladder(
        [INPUT, *names], found, [climb.similarity(net) for net in nets],
        [climb.similarity(nets[0], net) for net in nets[1:]] if len(nets) > 1 else None, [_processed(net) for net in found],
        calibrate(min(2000, len(rows)), units, seed=seed), climb.left_out,
    )  # fmt: skip


class _Climb:
    """What is asked of every layer of every net in the same way."""

    def __init__(self, rows: Tensor, labels: np.ndarray | None, layers: list[str], size: int, seed: int) -> None:
        self.rows, self.labels, self.layers, self.size, self.seed = rows, labels, layers, size, seed
        self.order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        self.left_out: dict[str, str] = {}
        self.inputs = in_groups(rows.flatten(1).float(), WIDTH, seed=seed)

    def net(
        self, net: nn.Module, loss: Callable[[Any, Tensor], Tensor] | None, start: Mapping[str, Tensor] | None
    ) -> Iterator[Rung]:
        slopes = self._gradients(net, loss)
        for name, held in self._held(net):
            stem = by_name(names_of(net), name).module
            own = {key[len(stem) + 1 :]: value for key, value in (start or {}).items() if key.startswith(f"{stem}.")}
            lives = replace(vitals(held.states(), part_of(net, name), start=own or None), gradient=slopes.get(name))
            yield self.rung(name, held.codes, held.width, lives)

    def rung(self, name: str, x: Tensor, width: int, lives: Vitals | None = None) -> Rung:
        """A layer by its codes, in groups if it is wide."""
        reading = rebuilt = None
        if self.labels is not None:
            reading = self._tried(f"Probe of {name}", lambda: read_labels(x, self.labels, seed=self.seed))  # type: ignore[arg-type]
        if name != INPUT:
            rebuilt = rebuild_linearly(x, self.inputs, seed=self.seed)
        told = self._tried(f"Information of {name}", lambda: noisy_information(x, self.labels, seed=self.seed))
        return Rung(name, width, WIDTH if width > WIDTH else None, lives, reading, rebuilt, tuple(told or ()))

    def _tried(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ValueError as error:
            self.left_out[what] = str(error)
            return None

    def _held(self, net: nn.Module) -> Iterator[tuple[str, _Held]]:
        """The codes of each layer, a few layers per pass."""
        first = next(stream(net, self.layers, self.rows[:2]))
        if missing := [name for name in self.layers if name not in first]:
            raise ValueError(f"{missing[0]!r} is not one layer of a pass. Name one of: {', '.join(map(repr, first))}.")
        sizes = {name: _Held.bytes(first[name], len(self.rows)) for name in self.layers}
        for group in _within(sizes, BUDGET):
            held = {name: _Held(first[name], len(self.rows), self.order, self.seed) for name in group}
            at = 0
            for batch in stream(net, group, self.rows, size=self.size):
                for name, seen in batch.items():
                    held[name].take(seen, at)
                at += len(seen.values)
            for name in group:
                yield name, held.pop(name)

    def _gradients(self, net: nn.Module, loss: Callable[[Any, Tensor], Tensor] | None) -> dict[str, float]:
        if loss is None or self.labels is None:
            return {}
        at = self.order[torch.as_tensor(self.labels >= 0)[self.order]][:500]
        place = next((p.device for p in net.parameters()), torch.device("cpu"))
        return gradients(net, self.layers, loss, self.rows[at], torch.as_tensor(self.labels).long()[at].to(place))

    def similarity(self, net: nn.Module, other: nn.Module | None = None) -> Alignment:
        """CKA over shuffled batches, of which none is kept."""
        seen = Alignments()
        for at in self.order.tensor_split(math.ceil(len(self.rows) / 256)):
            sides = []
            for each in (net,) if other is None else (net, other):
                codes = next(stream(each, self.layers, self.rows[at], size=len(at)))
                sides.append([codes[name].values for name in self.layers])
            seen.add(*sides)
        return seen.result()


class _Held:
    """What is kept of a layer: its codes, in groups if they are wide; and where that is not the same, states of some rows."""

    def __init__(self, like: Seen, rows: int, order: Tensor, seed: int) -> None:
        self.width, self.seed = like.flat().shape[1], seed
        self.codes = torch.empty(rows, min(self.width, WIDTH))
        self.axis, self.sample = like.axis, torch.zeros(rows, dtype=torch.bool)
        self.sample[order[: self.sampled(like, rows)]] = True
        self.parts: list[Tensor] = []

    @staticmethod
    def sampled(like: Seen, rows: int) -> int:
        """Of how many rows states are kept beside the codes."""
        width = like.flat().shape[1]
        return 0 if width <= WIDTH and not like.positions else min(rows, max(LEAST, BUDGET // (8 * width)))

    @classmethod
    def bytes(cls, like: Seen, rows: int) -> int:
        """How much memory it takes."""
        width = like.flat().shape[1]
        return 4 * (rows * min(width, WIDTH) + cls.sampled(like, rows) * width)

    def take(self, seen: Seen, at: int) -> None:
        end = at + len(seen.values)
        self.codes[at:end] = in_groups(seen.flat().float(), WIDTH, seed=self.seed)
        if self.sample.any():
            self.parts.append(seen.values[self.sample[at:end]].float())

    def states(self) -> Tensor:
        """A row per row of data and place, shape (states, units)."""
        return Seen(torch.cat(self.parts), self.axis).rows() if self.parts else self.codes


def in_groups(codes: Tensor, width: int, *, seed: int = 0) -> Tensor:
    """Wide codes as sums over random groups of units with random signs (the count sketch of Charikar et al., 2002).

    Scalar products of rows are kept in expectation. Codes that are no wider than `width` come back as they are.

    Arguments:
        codes: Shape (n, units).
        width: How many groups.
        seed: Of the groups and the signs.

    Returns:
        Shape (n, min(units, width)).

    Example:
        >>> in_groups(torch.rand(3, 5000), 100).shape
        torch.Size([3, 100])
    """
    if codes.shape[1] <= width:
        return codes
    chance = torch.Generator().manual_seed(seed)
    group = torch.randint(width, (codes.shape[1],), generator=chance)
    sign = torch.randint(2, (codes.shape[1],), generator=chance).to(codes.dtype) * 2 - 1
    return codes.new_zeros(len(codes), width).index_add_(1, group, codes * sign)


def _within(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Names in groups whose sizes add up to no more than `most`, or that stand alone."""
    group: list[str] = []
    for name, size in sizes.items():
        if group and sum(sizes[each] for each in group) + size > most:
            yield group
            group = []
        group.append(name)
    yield group


def _processed(rungs: list[Rung]) -> list[Step]:
    told = [rung for rung in rungs if rung.information]
    if not told:
        return []
    count = len(told[0].information)
    alike = [rung for rung in told if len(rung.information) == count]
    return [step for at in range(count) for step in processing([(rung.layer, rung.information[at]) for rung in alike])]
