"""Pages of the layers and of all their units.

What is cheap is asked of every unit; what is dear of the most selective ones: favourite inputs of six, and ablation, where the
net is no chain, of as many as a report has the time for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from layerwise import lens
from layerwise.explanation.look import Look, address
from layerwise.explanation.pictures import signed
from layerwise.findings import Ablation, Changed, Dreamed, LayerPage, Liked, Told, Wires
from layerwise.nets import ACTIVATIONS

EXAMPLES = 6  # rows of a kind shown for a unit
POOL = 6_000_000  # bytes of pictures of rows in the report
PICTURES = 12_000_000  # bytes of pictures of weights in the report
NEAR = 8  # connections and neighbours shown
WIRED = 128  # rows for connections
WIDE = 4096  # units of a layer beyond which connections are not looked for
CHANGED, FEWER = 500, 250  # rows for ablation, and where units are many
MOVED = 5  # units of the next layer that are named
DREAMT, STEPS = 6, 100  # rows per unit, and Gibbs steps before them
WORK = 1e12  # multiplications and additions (FLOP) for ablation where nets are no chain: about a minute on one core
DEAR = 6  # units of a layer that the dear questions are asked of
STARTS = 5  # of favourite inputs
PAIRS = 400  # pairs of unit and row in a pass
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d)
NUMBERS = 4_000_000  # of the layer, held at a time; a layer above it may be several times as wide


def of(look: Look) -> list[LayerPage]:
    """One page per hidden layer, bottom first, and one of the output."""
    return [_Layer(look, at).page() for at in range(len(look.pages))]


class _Layer:
    """One layer: what is asked of its units, and what could not be said."""

    def __init__(self, look: Look, at: int) -> None:
        self.look, self.at, self.subject, self.layers = look, at, look.subject, look.pages
        self.name = self.layers[at].name
        self.left_out: dict[str, str] = {}
        self.states, self.units = self.layers[at].states, int(self.layers[at].states.shape[1])
        self.labels = look.came.y[look.chosen]
        self.told = self._tried("Selectivity", self._selectivity)
        order = np.arange(self.units) if self.told is None else np.argsort(-np.abs(self.told.auc - 0.5), kind="stable")
        self.order = [int(unit) for unit in order]
        self.dear = self.order[:DEAR]

    def _tried(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ValueError as error:
            self.left_out[what] = str(error)
            return None

    def page(self) -> LayerPage:
        look = self.look
        pictured, weights, scale, columns, values = self._weights()
        pool = look.pool(POOL)
        shown = [lens.examples(self.states[pool, unit], EXAMPLES) for unit in range(self.units)]
        kinds = {
            kind: pool[np.array([getattr(each, kind) for each in shown])]
            for kind in ("strongest", "typical", "weakest")
        }
        nearest, likeness = self._nearest()
        return LayerPage(
            name=self.name, label=self.layers[self.at].label, address=address(self.name), units=self.units,
            kind=self.layers[self.at].kind, pictured=pictured, weights=weights, scale=scale, columns=columns, values=values,
            names=look.came.columns if columns is not None else [],
            **{kind: look.chosen[at] for kind, at in kinds.items()},
            states=_short(np.array([[state for kind in kinds for state in each.states[kind]] for each in shown])),
            out_of=len(pool), active=_short(np.array([each.active for each in shown])),
            boxes=self._tried("Evidence", lambda: self._boxes(np.concatenate([kinds["strongest"], kinds["typical"]], 1))),
            told=self.told, inputs=self._tried("Inputs", lambda: self._wires(self.at - 1, self.at, up=False)),
            outputs=self._tried("Outputs", lambda: self._wires(self.at, self.at + 1, up=True)),
            nearest=nearest, likeness=likeness,
            ablation=self._tried("Ablation", self._ablation), liked=self._tried("Favourite inputs", self._liked),
            dreamed=self._dreamed(),
            left_out=self.left_out,
        )  # fmt: skip

    # -- what a unit looks for

    def _weights(self) -> tuple[str, np.ndarray | None, float, np.ndarray | None, np.ndarray | None]:
        """What the pictures are of, the pictures and their scale; or columns and their weights."""
        subject, came = self.subject, self.look.came
        chain, filters = subject.chain(self.at + 1), subject.filters
        if not chain:
            fits = filters is not None and self.at == 0 and filters.shape[1] in (1, 3) and len(filters) == self.units
            if filters is None or not fits or not came.pictured:
                return "", None, 0.0, None, None
            shape = tuple(filters.shape[2:]) if filters.shape[1] == 1 else tuple(filters.shape[1:])
            return "filters", *signed(filters, shape, came.row.kind), None, None
        rows = lens.project(chain)
        if not came.pictured:
            index = rows.abs().topk(min(NEAR, rows.shape[1]), dim=1).indices
            return "", None, 0.0, index.numpy(), _short(rows.gather(1, index).numpy())
        if rows.numel() > PICTURES:
            return "", None, 0.0, None, None
        rows = rows * subject.scale if subject.scale is not None else rows
        return "weights" if len(chain) == 1 else "projected", *signed(rows, came.row.shape, came.row.kind), None, None

    def _liked(self) -> Liked:
        subject, came, look = self.subject, self.look.came, self.look
        if subject.symbols:
            raise ValueError("the input is symbols, of which none lies between two others")
        low, high = float(look.rows.min()), float(look.rows.max())
        if not low < high:
            raise ValueError("all rows are alike, so that nobody knows where an input may be")
        found = lens.favourites_of(
            subject.module, before_activation(subject.module, self.name), self.dear,
            subject.shape or (subject.features,), low=low, high=high,
            picture=came.row.shape if came.pictured else None, starts=STARTS, seed=look.seed,
        )  # fmt: skip
        inputs = torch.stack([each.inputs.flatten(1) for each in found])
        far = (inputs[:, 0] - look.rows.mean(0)) / look.rows.std(0, unbiased=False).clamp_min(1e-12)
        top = far.abs().topk(min(NEAR, far.shape[1]), dim=1).indices
        return Liked(
            unit=self.dear, starts=STARTS, pictures=came.pictures(inputs.flatten(0, 1).numpy()) if came.pictured else None,
            columns=None if came.pictured else top.numpy(),
            values=None if came.pictured else _short(inputs[:, 0].gather(1, top).numpy()),
            agreement=_short(np.array([each.agreement for each in found])),
            states=_short(np.array([float(each.states[0]) for each in found])),
            random=_short(np.array([each.random for each in found])), stuck=np.array([each.stuck for each in found]),
        )  # fmt: skip

    def _dreamed(self) -> Dreamed | None:
        """Dreams with each of the most selective units held on (as Erhan et al., 2009, sample), if the model dreams."""
        look, came, depth = self.look, self.look.came, self.at + 1
        dream_of = self.subject.dream_of
        if dream_of is None or depth > len(look.codes):
            return None
        call = f"model.generate({DREAMT}, unit=({depth}, #), steps={STEPS})"
        rows = np.concatenate([dream_of(depth, unit, DREAMT, STEPS, look.seed) for unit in self.dear])
        if came.pictured:
            return Dreamed(self.dear, DREAMT, STEPS, came.pictures(rows), None, None, call)
        means = torch.from_numpy(rows).view(len(self.dear), DREAMT, -1).mean(1)
        far = (means - look.rows.mean(0)) / look.rows.std(0, unbiased=False).clamp_min(1e-12)
        top = far.abs().topk(min(NEAR, far.shape[1]), dim=1).indices
        return Dreamed(self.dear, DREAMT, STEPS, None, top.numpy(), _short(far.gather(1, top).numpy()), call)

    # -- what excites it

    def _boxes(self, rows: np.ndarray) -> np.ndarray | None:
        """The part of each row (as positions in `chosen`) that excited each unit, in 255ths of the picture."""
        if not self.look.came.pictured:
            return None
        picture = self.look.came.row.shape
        pairs = [(unit, row) for unit, each in enumerate(rows.tolist()) for row in each]
        boxes = []
        for start in range(0, len(pairs), PAIRS):
            units, at = zip(*pairs[start : start + PAIRS], strict=True)
            found = lens.evidence(self.subject.module, self.name, units, self.look.given[list(at)], picture=picture)
            boxes.append(found.box[:, -2:])
        size = torch.tensor(picture[-2:])
        ends = torch.cat(boxes).double() + torch.tensor([0.0, 1.0])
        shares = (ends / size[:, None]).view(len(rows), -1, 4)
        if self.look.came.row.kind == "sound":  # whose low frequencies are drawn at the bottom
            shares = torch.stack([1 - shares[..., 1], 1 - shares[..., 0], shares[..., 2], shares[..., 3]], -1)
        return (255 * shares).round().numpy().astype(np.uint8)

    def _selectivity(self) -> Told:
        found = lens.selectivity(self.states, self.labels, seed=self.look.seed)
        return Told(found.best, _short(found.auc), _short(found.means.T), found.null, found.classes, found.rows)

    # -- its place among others

    def _nearest(self) -> tuple[np.ndarray, np.ndarray]:
        if self.units < 2:
            return np.zeros((self.units, 0), int), np.zeros((self.units, 0))
        alike = lens.correlations(self.states, self.states)
        alike = alike.fill_diagonal_(-2)
        values, index = alike.topk(min(NEAR, self.units - 1), dim=1)
        return index.numpy(), _short(values.numpy())

    def _wires(self, below: int, above: int, up: bool) -> Wires | None:
        """To the layer below, or (`up`) to the one above."""
        other = above if up else below
        if not 0 <= below < above < len(self.layers):
            return None
        found = self.look.connections(below, above, WIRED, WIDE)
        mean, strength = (each.T if up else each for each in (found.mean, found.strength))
        square = strength.square()
        top = square.topk(min(NEAR, square.shape[1]), dim=1).indices
        share = square.gather(1, top) / square.sum(1, keepdim=True).clamp_min(1e-300)
        return Wires(
            self.layers[other].label, address(self.layers[other].name), top.numpy(), _short(mean.gather(1, top).numpy()),
            _short(share.numpy()), found.rows,
        )  # fmt: skip

    def _ablation(self) -> Ablation:
        """Every unit switched off and doubled; where what comes after the layer is no chain, as many as there is time for."""
        look, subject = self.look, self.subject
        if not subject.gives:
            raise ValueError(look.left_out.get("Mistakes", "the model does not classify"))
        at = np.random.RandomState(look.seed).permutation(len(look.chosen))[:CHANGED]
        rest = lens.tail(subject.module, self.name, look.given[at[:8]])
        units, note = list(range(self.units)), ""
        if rest is None:
            units, at, note = self._affordable(at)
        known = subject.classifies and (self.labels[at] >= 0).any()
        rows, labels = look.given[at], self.labels[at] if known else None
        following = self.layers[self.at + 1 : self.at + 2]
        above = [each.name for each in following]
        if rest is None:
            found = lens.ablate(subject.module, self.name, units, rows, labels, above=above)
        else:
            rows = torch.cat([each[self.name].values for each in lens.stream(subject.module, [self.name], rows)])
            together = max(1, NUMBERS // rows.numel())
            found = lens.ablate(rest, self.name, units, rows, labels, above=above, size=len(rows), together=together)
        first = found[0]
        return Ablation(
            len(rows), first.accuracy[0] if first.accuracy else None,
            None if first.before is None else _short(first.before), _changed(found, labels, subject.classifies), note,
            following[0].label if following else "", address(above[0]) if above else "",
        )  # fmt: skip

    def _affordable(self, at: np.ndarray) -> tuple[list[int], np.ndarray, str]:
        """Which units there is time for, on which of the rows, and what is to be said of that."""
        look, factors = self.look, 2
        each = factors * max(lens.work(self.subject.module, self.name, look.given[at[:8]]), 1.0)
        budget = WORK / len(self.layers)
        if each * len(at) * self.units > budget:
            at = at[:FEWER]
        count = max(DEAR, int(budget / (each * len(at))))
        if count >= self.units:
            return list(range(self.units)), at, ""
        note = (f"Only the {count} most selective of the {self.units} units were changed: each takes {factors} passes of "
                f"{len(at)} rows through all that comes after the layer.")  # fmt: skip
        return sorted(self.order[:count]), at, note


def before_activation(module: nn.Module, layer: str) -> str:
    """The part whose output goes into the activation that ends a layer: it has a gradient where the activation has none.

    Example:
        >>> before_activation(nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2), nn.ReLU()), "0")
        '0.0'
        >>> before_activation(nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2), nn.ReLU()), "2")
        '1'
    """
    part = dict(module.named_modules()).get(layer)
    above, _, own = layer.rpartition(".")
    around, last = (part, None) if isinstance(part, nn.Sequential) else (module.get_submodule(above), own)
    if not isinstance(around, nn.Sequential):
        return layer
    names = [name for name, _ in around.named_children()]
    if last is not None and last not in names:  # one of several runs, or tensors
        return layer
    at = len(names) - 1 if last is None else names.index(last)
    while last is None and at > 1 and isinstance(around[at], POOLS):
        at -= 1
    if at < 1 or not isinstance(around[at], tuple(ACTIVATIONS.values())):
        return layer
    prefix = layer if last is None else above
    return f"{prefix}.{names[at - 1]}" if prefix else names[at - 1]


def _changed(found: list[lens.Ablated], labels: np.ndarray | None, classes: bool) -> list[Changed]:
    changed = []
    for factor in dict.fromkeys(each.factor for each in found):
        some = [each for each in found if each.factor == factor]
        above, most, far = _above(some)
        changed.append(Changed(
            factor, np.array([each.units[0] for each in some]),
            None if labels is None else _short(np.array([each.accuracy[1] for each in some])),  # type: ignore[index]
            None if labels is None else _short(np.array([each.after for each in some])),
            _short(np.array([each.flipped for each in some])) if classes else None,
            _short(np.array([each.moved for each in some])),
            above, most, far,
        ))  # fmt: skip
    return changed


def _above(some: list[lens.Ablated]) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """How far the next layer moves, its units that move most, and how far these do; of cases one after the other."""
    if not some[0].layers:
        return None, None, None
    (name,) = some[0].layers
    within = np.nan_to_num(np.stack([each.within[name] for each in some]))
    most = np.argsort(-within, axis=1, kind="stable")[:, :MOVED]
    return _short(np.array([each.layers[name] for each in some])), most, _short(np.take_along_axis(within, most, 1))


def _short(values: np.ndarray) -> np.ndarray:
    """With four digits: there are many of them."""
    x = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.where((x != 0) & np.isfinite(x), 10.0 ** (3 - np.floor(np.log10(np.abs(x)))), 1.0)
        return np.where(np.isfinite(places) & (places > 0), np.round(x * places) / places, x)
