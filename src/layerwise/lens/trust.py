"""Can a map be trusted? Does it add up, do its parts matter when they are taken away, and does it look at the net at all?

* Completeness: values that should add up to the score do so.
* Deletion and insertion (Petsiuk et al., 2018): taken away in the order of the map, most important first, parts lower the score
  faster, and given back raise it faster, than in random orders. Only parts that differ from the baseline are counted.
* ROAD (Rong et al., 2022): the same, with what is taken away filled in from its neighbours: the hole itself says nothing.
* Randomisation (Adebayo et al., 2018): with the net's weights shuffled from the top down the map changes. Methods that multiply
  with the input resemble it whatever the net; so what the size of the input explains is taken out of the correlation.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.lens.question import Question
from layerwise.lens.targets import Contrast, Each, Index, Target, answers, target_of

COMPLETE = 0.05  # of the score: a larger gap is no sum
SAME = 0.5  # rank correlation with the map of a shuffled net from which on the map hardly depends on what was learned
NOISE = 0.01  # deviation of what ROAD adds to what it fills in, so that it does not look too smooth


@dataclass(frozen=True)
class Curve:
    """The score while parts are taken away or given back.

    Arguments:
        steps: Shares of the parts that differ from the baseline (ROAD: of all parts), from 0 to 1.
        scores: At these, mean over the rows: the probability of the class; of a contrast of two classes, the share of the first
            in the probability of both; of other targets the score between that at the baseline (0) and that of the row (1).
        area: Under it, for these orders; low is good for deletion, high for insertion.
        random: Areas for random orders, one per draw.
    """

    steps: list[float]
    scores: list[float]
    area: float
    random: list[float]


@dataclass(frozen=True)
class Checks:
    """What was found out about a map.

    Arguments:
        complete: The largest gap of a row, as a share of the score; None where no sum is promised.
        deletion, insertion: In the order of the map, most important first.
        road: Most important first, filled in from neighbours; None where rows have none.
        layers: What was shuffled, top first: each name with all before it.
        signed, absolute: Rank correlations with the maps after that, of values and of their sizes, mean over the rows.
        beyond: Those of the sizes beyond what the size of the input explains (partial correlations), mean over the rows.
        failures: Why the map is not to be trusted, by the check that it fails: "completeness", "deletion", "insertion", "ROAD"
            or "randomisation"; empty if nothing speaks against it.
        notes: What could not be checked.
        rows: The same of each row by itself, but for the correlations, which belong to the method and the net.
    """

    complete: float | None
    deletion: Curve
    insertion: Curve
    road: Curve | None
    layers: list[str]
    signed: list[float]
    absolute: list[float]
    beyond: list[float]
    failures: dict[str, str]
    notes: list[str]
    rows: list[Checks] = field(default_factory=list, repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.failures

    def __str__(self) -> str:
        lines = ["checks passed" if self.passed else "CHECKS FAILED: " + "; ".join(self.failures.values())]
        if self.complete is not None:
            lines.append(f"completeness error {self.complete:.2g} of the score")
        curves = {"deletion (low is good)": self.deletion, "insertion (high is good)": self.insertion,
                  "ROAD (low is good)": self.road}  # fmt: skip
        lines += [
            f"{name} {curve.area:.3f}, random {np.mean(curve.random):.3f}" for name, curve in curves.items() if curve
        ]
        if self.layers:
            lines.append(f"rank correlation with the map of a shuffled net {self.signed[-1]:.2f}, of sizes "
                         f"{self.absolute[-1]:.2f}, beyond the input {self.beyond[-1]:.2f}")  # fmt: skip
        return "\n  ".join(lines + self.notes)


def check(
    question: Question,
    values: Tensor,
    base: Tensor,
    again: Callable[[Question], Tensor],
    *,
    error: Tensor | None = None,
    span: Tensor | None = None,
    trial: Trial | None = None,
    layers: int = 5,
    shuffled: int = 8,
    **settings: Any,
) -> Checks:
    """Checks a map; the net is left as it was to the bit.

    A map fails if its sum misses the score by more than 5 %; if deletion, insertion or ROAD is not better than each of `draws`
    random orders; or if the sizes of its values correlate by 0.5 or more, beyond what the input explains, with those for a net
    whose weights were all shuffled.

    Arguments:
        question: What the map answers.
        values: The map, shape (n, ...), in the shape of the points or with one channel for all.
        base: What stands for "nothing there", in the points' shape.
        again: Makes the map of the same question to another module.
        error: Completeness error per row, shape (n,), if a sum was promised.
        span: How far each part is from where the method takes it to start, in the points' shape; None means from `base`.
        trial: What the map is compared with, if it is there from the check of another map of the same question. Its own
            baseline then counts.
        layers: Shuffled in so many steps.
        shuffled: For so many rows, the first, maps of shuffled nets are made: they tell of the method and the net.
        settings: Of a new `Trial`.

    Raises:
        ValueError: If `grid` does not fit the rows.
    """
    trial = trial or Trial(question, base, **settings)
    with question.asked(), torch.no_grad():
        curves = trial.curves(values)
    span = (question.points - base).abs() if span is None else span
    names, found = _randomised(question, values[:shuffled], span[:shuffled], again, layers, trial.seed)
    signed, absolute, beyond = (list(each) for each in zip(*found)) if found else ([], [], [])
    alike = (signed, absolute, beyond)
    rows = [
        _checks(None if error is None else float(error[row]), _of(curves, [row]), names, alike)
        for row in range(len(question))
    ]  # fmt: skip
    worst = None if error is None else float(error.max())
    return replace(_checks(worst, _of(curves, range(len(question))), names, alike), rows=rows)


def _of(curves: Sequence[_Curves | None], rows: Sequence[int]) -> list[Curve | None]:
    return [None if each is None else each.of(list(rows)) for each in curves]


def _checks(
    complete: float | None,
    curves: Sequence[Curve | None],
    names: list[str],
    alike: tuple[list[float], list[float], list[float]],
) -> Checks:
    deletion, insertion, road = curves
    assert deletion is not None and insertion is not None
    signed, absolute, beyond = alike
    failures = _failures(complete, deletion, insertion, road, beyond)
    notes = (
        [] if road else ["ROAD does not apply: these rows have no neighbours to fill in from (flat pictures: grid=...)"]
    )
    return Checks(complete, deletion, insertion, road, names, signed, absolute, beyond, failures, notes)


def _failures(
    complete: float | None, deletion: Curve, insertion: Curve, road: Curve | None, beyond: Sequence[float]
) -> dict[str, str]:
    found = {}
    if complete is not None and not complete <= COMPLETE:
        found["completeness"] = f"its sum misses the score by {complete:.0%}"
    if not deletion.area < min(deletion.random):
        found["deletion"] = "taking away what it marks undoes the answer no faster than random orders do"
    if not insertion.area > max(insertion.random):
        found["insertion"] = "giving back what it marks restores the answer no faster than random orders do"
    if road and not road.area < min(road.random):
        found["ROAD"] = "with the holes filled in (ROAD), what it marks counts no more than random parts do"
    if beyond and not beyond[-1] < SAME:
        found["randomisation"] = (
            f"it looks much the same for a net with shuffled weights (rank correlation {beyond[-1]:.2f})"
        )
    return found


# -- taking parts away -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Curves:
    """Scores of every row, shape (rows, steps), and areas of every row for random orders, shape (draws, rows)."""

    steps: list[float]
    scores: np.ndarray
    random: np.ndarray

    def of(self, rows: list[int]) -> Curve:
        """The mean over some rows."""
        scores = self.scores[rows].mean(0)
        random = self.random[:, rows].mean(1).tolist()
        return Curve(self.steps, scores.tolist(), float(_areas(self.steps, scores)), random)


class Trial:
    """What maps of one question are compared with: their parts in random orders. Made once, it serves any number of maps.

    Arguments:
        question: What the maps answer.
        base: Stands for "nothing there", as for `check`.
        grid: Shape of a row, such as (1, 28, 28), where rows are flat pictures.
        steps: Parts are taken away in so many steps.
        draws: Random orders.
        seed: Of the random orders, of ROAD's noise and of the shuffling.
        size: Points in one pass.

    Raises:
        ValueError: If `grid` does not fit the rows.
    """

    def __init__(
        self, question: Question, base: Tensor, *, grid: tuple[int, ...] | None = None, steps: int = 20, draws: int = 10,
        seed: int = 0, size: int = 100,
    ) -> None:  # fmt: skip
        self.question, self.grid, self.steps, self.draws, self.seed, self.size = (
            question,
            grid,
            steps,
            draws,
            seed,
            size,
        )
        self.base = base
        self.shape = tuple(question.points.shape[1:]) if grid is None else tuple(grid)
        if question.points[0].numel() != int(np.prod(self.shape)):
            raise ValueError(f"Rows of {question.points[0].numel()} values cannot be laid out as {self.shape}.")
        self._random: dict[int | None, tuple[Parts, list[np.ndarray | None]]] = {}

    def curves(self, values: Tensor) -> list[_Curves | None]:
        """Deletion, insertion and ROAD of a map; ROAD is None where rows have no neighbours."""
        parts, random = self._against(self._together(values))
        mine = self._runs(parts, parts.order(values))
        shares = [self._shares(parts), self._shares(parts), ROAD_SHARES]
        return [
            None if run is None or areas is None else _Curves(share, run, areas)
            for share, run, areas in zip(shares, mine, random, strict=True)
        ]

    def _against(self, together: int | None) -> tuple[Parts, list[np.ndarray | None]]:
        """The parts, and the areas of random orders of them, shape (draws, rows)."""
        if together not in self._random:
            parts = Parts(self.question, self.base, self.shape, together, self.size)
            generator = torch.Generator().manual_seed(self.seed)
            shape = (len(self.question), parts.count)
            orders = [torch.rand(shape, generator=generator).argsort(1) for _ in range(self.draws)]
            drawn = [self._runs(parts, order, road=number < 3) for number, order in enumerate(orders)]
            areas = [
                np.stack([_areas(share, run) for run in runs if run is not None]) if runs[0] is not None else None
                for share, runs in zip((self._shares(parts), self._shares(parts), ROAD_SHARES), zip(*drawn), strict=True)
            ]  # fmt: skip
            self._random[together] = parts, areas
        return self._random[together]

    def _runs(self, parts: Parts, order: Tensor, road: bool = True) -> list[np.ndarray | None]:
        """Scores of every row, shape (rows, steps), in this order; ROAD costs a system of equations per row and step."""
        chosen = parts.changing(order)
        deleted = _scored(parts, (parts.deleted(parts.chosen(*chosen, share)) for share in self._shares(parts)))
        inserted = _scored(parts, (parts.inserted(parts.chosen(*chosen, share)) for share in self._shares(parts)))
        if not (road and parts.places):
            return [deleted, inserted, None]
        noise = torch.Generator().manual_seed(self.seed + 1)  # the same for every order
        filled = (_filled(parts, order, round(share * parts.count), noise) for share in ROAD_SHARES)
        return [deleted, inserted, _scored(parts, filled)]

    def _shares(self, parts: Parts) -> list[float]:
        steps = max(1, min(self.steps, int(parts.differ.sum(1).max())))
        return [step / steps for step in range(steps + 1)]

    def _together(self, values: Tensor) -> int | None:
        """The axis that a part has all of: channels come first in pictures and sound, last in sequences of features."""
        if len(self.shape) != 2:
            return None if len(self.shape) == 1 else 0
        if self.shape[0] != self.shape[1] and 1 in values.shape[1:]:  # a map with one value per step or place
            return list(values.shape[1:]).index(1)
        return 1


def _scored(parts: Parts, points: Iterable[Tensor]) -> np.ndarray:
    """Scores of the rows, changed in several ways, shape (rows, ways); of few rows, several ways go in one pass."""
    together, ways = max(1, parts.size // len(parts.full)), iter(points)
    found: list[Tensor] = []
    while some := list(itertools.islice(ways, together)):
        index = torch.arange(len(parts.full), device=some[0].device).repeat(len(some))
        found += parts.scores(torch.cat(some), index).cpu().double().chunk(len(some))
    return torch.stack(found, 1).numpy()


def _areas(shares: Sequence[float], scores: np.ndarray) -> Any:
    """Under curves, the last axis of `scores`, by the trapezoid rule."""
    return ((scores[..., 1:] + scores[..., :-1]) / 2 * np.diff(shares)).sum(-1)


class Parts:
    """The parts of a row that are taken away together: a pixel with its channels, a step with its features, or a column."""

    def __init__(
        self, question: Question, base: Tensor, shape: tuple[int, ...], together: int | None, size: int
    ) -> None:
        self.question, self.base, self.shape, self.together, self.size = question, base, shape, together, size
        self.places = () if together is None else tuple(size for axis, size in enumerate(shape) if axis != together)
        self.full, self.empty = (question.scores(points, size=size) for points in (question.points, base))
        self.probable = _probabilities(question)
        apart = (question.points != base).reshape(-1, *shape)
        self.differ = (apart if together is None else apart.any(together + 1)).flatten(1).cpu()  # (rows, parts)

    def order(self, values: Tensor) -> Tensor:
        """Numbers of the parts, most important first, shape (n, parts).

        That is what speaks most for a class; of other targets, for the change from the baseline, be it up or down.
        """
        if self.probable is None:
            down = (self.full < self.empty).view(-1, *(1,) * (values.ndim - 1))
            values = torch.where(down.to(values.device), -values, values)
        if values[0].numel() == int(np.prod(self.shape)):
            values = values.reshape(len(values), *self.shape)
        if self.together is not None:
            values = values.sum(self.together + 1)
        return torch.sort(values.flatten(1).cpu(), dim=1, descending=True, stable=True).indices

    @property
    def count(self) -> int:
        """How many parts a row has."""
        return int(np.prod(self.places)) if self.together is not None else self.shape[0]

    def changing(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """The order with parts that are at the baseline already put last, and how many others each row has.

        To take those away changes nothing: they would only make every order look the better, the more of them there are.
        """
        same = ~self.differ.gather(1, order)
        return order.gather(1, same.to(torch.uint8).argsort(dim=1, stable=True)), self.differ.sum(1)

    def chosen(self, order: Tensor, counts: Tensor, share: float) -> Tensor:
        """Where the first parts of each order lie, a share of its row's count: true or false, in the shape of the points."""
        first = torch.arange(order.shape[1]) < (share * counts).round()[:, None]
        mask = torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order, first)
        if self.together is not None:
            mask = mask.view(-1, *self.places).unsqueeze(self.together + 1).expand(-1, *self.shape)
        return mask.reshape(len(order), *self.question.points.shape[1:]).to(self.base.device)

    def deleted(self, chosen: Tensor) -> Tensor:
        """The rows with these parts taken away."""
        return torch.where(chosen, self.base, self.question.points)

    def inserted(self, chosen: Tensor) -> Tensor:
        """Nothing but these parts of the rows."""
        return torch.where(chosen, self.question.points, self.base)

    def scores(self, points: Tensor, index: Tensor) -> Tensor:
        """Of points that stand for the rows `index`: a probability, or the score on a scale from the baseline's (0) to the
        row's own (1).
        """
        if self.probable is not None:
            return self.probable(points, index, self.size)
        empty, span = self.empty[index], (self.full - self.empty)[index]
        return (self.question.scores(points, index, self.size) - empty) / torch.where(span == 0, 1, span)


def _probabilities(question: Question) -> Callable[[Tensor, Tensor, int], Tensor] | None:
    """Scores as probabilities, where the target is one of several classes, or one of them and not another."""
    target: Target = question.target
    if isinstance(target, Contrast):
        this, that = target_of(target.this), target_of(target.that)
        if not (_is_class(this) and _is_class(that)):
            return None
        target = _Preference(this, that)
    elif _is_class(target):
        target = _Probability(target)
    else:
        return None
    softened = Question.__new__(Question)
    softened.__dict__.update(question.__dict__, target=target)
    return softened.scores


def _is_class(target: Target) -> bool:
    return isinstance(target, Each) or (isinstance(target, Index) and target.place != ())


@dataclass(frozen=True)
class _Probability(Target):
    """Of a class, from logits (or from probabilities, which are left as they are)."""

    place: Target

    def pick(self, index: Tensor) -> Target:
        return type(self)(self.place.pick(index))

    def scores(self, output: object, seen: object, rows: int) -> Tensor:
        answer = answers(output, rows)
        sums = answer.sum(-1)
        if not bool((answer >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
            answer = answer.softmax(-1)
        return self.place.scores(answer, None, rows)


@dataclass(frozen=True)
class _Preference(Target):
    """Of one class to another: its share of the probability that the two have together."""

    this: Target
    that: Target

    def pick(self, index: Tensor) -> Target:
        return _Preference(self.this.pick(index), self.that.pick(index))

    def scores(self, output: object, seen: object, rows: int) -> Tensor:
        this, that = (_Probability(each).scores(output, seen, rows) for each in (self.this, self.that))
        return this / (this + that).clamp_min(1e-30)


# -- ROAD --------------------------------------------------------------------------------------------------------------

ROAD_SHARES = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9]


def _filled(parts: Parts, order: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The rows, with the first `count` parts filled in from their neighbours, and a little noise."""
    points = parts.question.points
    if not count:
        return points
    assert parts.together is not None
    rows = points.reshape(len(points), *parts.shape).movedim(parts.together + 1, -1).flatten(1, -2).cpu().double()
    channels = rows.shape[-1]
    for row, gone in zip(rows, order[:, :count].numpy(), strict=True):
        row[gone] = torch.from_numpy(fill_in(row.numpy(), gone, parts.places))
        span = float(row.max() - row.min())
        row[gone] += NOISE * span * torch.randn(len(gone), channels, generator=generator, dtype=torch.float64)
    filled = rows.unflatten(1, parts.places).movedim(-1, parts.together + 1)
    return filled.reshape(points.shape).to(points)


def fill_in(row: np.ndarray, gone: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """Noiseless linear imputation: each missing place is the weighted mean of its neighbours, missing ones included.

    Direct neighbours count 1/6, diagonal ones 1/12 (Rong et al., 2022, section 4.1); on a line the two neighbours count alike.

    Arguments:
        row: Shape (product of places, channels).
        gone: Numbers of the missing places.
        places: (height, width), or (length,).

    Returns:
        Values for the missing places, shape (len(gone), channels).

    Example:
        >>> fill_in(np.array([[1.0], [0.0], [0.0], [4.0]]), np.array([1, 2]), (4,)).round(6).tolist()
        [[2.0], [3.0]]
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    if len(gone) == len(row):  # nothing is left to fill in from
        return np.tile(row.mean(0), (len(row), 1))
    weights = _neighbours(places)
    there = np.ones(len(row), dtype=bool)
    there[gone] = False
    mine = weights[gone]
    system = sparse.diags(np.asarray(mine.sum(1)).ravel()) - mine[:, gone]
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    return np.asarray(splu(system.tocsc(), **symmetric).solve(mine[:, there] @ row[there]))


@functools.lru_cache(4)
def _neighbours(places: tuple[int, ...]) -> Any:
    """How much each place counts for each other, a sparse matrix, shape (places, places)."""
    from scipy import sparse

    numbers, rows, columns, weights = np.arange(int(np.prod(places))).reshape(places), [], [], []
    for step in np.ndindex(*(3,) * len(places)):
        away = [each - 1 for each in step]
        if any(away):
            here = tuple(slice(max(0, -by), size - max(0, by)) for by, size in zip(away, places, strict=True))
            there = tuple(slice(max(0, by), size - max(0, -by)) for by, size in zip(away, places, strict=True))
            rows.append(numbers[here].ravel())
            columns.append(numbers[there].ravel())
            weights.append(np.full(rows[-1].size, 1 / 6 if sum(map(abs, away)) == 1 else 1 / 12))
    each = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(each, (numbers.size, numbers.size))


# -- another net's map -------------------------------------------------------------------------------------------------


def _randomised(
    question: Question, values: Tensor, size: Tensor, again: Callable[[Question], Tensor], layers: int, seed: int
) -> tuple[list[str], list[tuple[float, float, float]]]:
    """Shuffles the net from the top down (cascading), and compares the map after each step with the first."""
    module = question.module
    asked = question.of(module, len(values))
    names = [name for name, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))]
    generator, parts = torch.Generator().manual_seed(seed), dict(module.named_modules())
    steps = np.array_split(np.array(names[::-1], dtype=object), min(layers, len(names))) if names else []
    if values.shape != size.shape:  # one channel for all
        axis = next(axis for axis, (mine, theirs) in enumerate(zip(values.shape, size.shape)) if mine != theirs)
        size = size.sum(axis, keepdim=True)
    done, found = [], []
    with _weights_kept(module):
        for step in steps:
            for name in step:
                shuffle(parts[name], generator)
            other = again(asked)
            done.append(str(step[-1]))
            sizes = values.abs(), other.abs()
            found.append(
                (rank_correlation(values, other), rank_correlation(*sizes), rank_correlation(*sizes, beyond=size))
            )
    return done, found


@contextlib.contextmanager
def _weights_kept(module: nn.Module) -> Iterator[None]:
    """Parameters get back the very numbers that they had: not every module can be copied."""
    kept = [(parameter, parameter.data) for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def shuffle(part: nn.Module, generator: torch.Generator) -> None:
    """Puts the numbers of each of a layer's own parameters into another order: nothing learned is left but their spread.

    They are written into memory of their own, so that what refers to the former numbers still has them.
    """
    for parameter in part.parameters(recurse=False):
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.data = parameter.data.flatten()[order].view_as(parameter)


def rank_correlation(first: Tensor, second: Tensor, beyond: Tensor | None = None) -> float:
    """Spearman's, of each row with its counterpart, mean over the rows; 0 for a row that is constant in one of them.

    Places where both maps are zero are left out: a map that is multiplied with the input is zero there whatever the net.

    Arguments:
        first, second: Maps of the same shape, (n, ...).
        beyond: If given, the partial correlation, with what this explains of both taken out: 1 if it explains all.

    Example:
        >>> round(rank_correlation(torch.tensor([[1.0, 2.0, 9.0, 0.0]]), torch.tensor([[2.0, 3.0, 4.0, 0.0]])), 6)
        1.0
    """
    maps = [each.flatten(1).double().cpu().numpy() for each in (first, second, *([] if beyond is None else [beyond]))]
    return float(np.mean([_one_rank_correlation(*rows) for rows in zip(*maps, strict=True)]))


def _one_rank_correlation(a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> float:
    from scipy.stats import rankdata

    used = (a != 0) | (b != 0)
    ranks = np.stack([rankdata(each[used]) for each in (a, b, *([] if c is None else [c]))])
    ranks = ranks - ranks.mean(1, keepdims=True) if used.any() else np.zeros((len(ranks), 1))
    spread = np.sqrt(np.square(ranks).sum(1))
    if min(spread[:2]) == 0:
        return 0.0
    ranks = ranks / np.where(spread == 0, 1, spread)[:, None]
    ab = float(ranks[0] @ ranks[1])
    if c is not None:
        ac, bc = float(ranks[0] @ ranks[2]), float(ranks[1] @ ranks[2])
        left = (1 - ac * ac) * (1 - bc * bc)
        ab = (ab - ac * bc) / left**0.5 if left > 1e-9 else 1.0
    return float(np.clip(ab, -1, 1))
