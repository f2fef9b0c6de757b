"""Which answers are looked at, and what is asked of each? That depends on what the model gives: classes, values or a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from layerwise.explanation.look import Look
from layerwise.explanation.start import Start
from layerwise.lens.question import Question
from layerwise.lens.targets import Contrast, Direction, Target, Unit, answers, target_of

ROWS = 24  # answers looked at
FEWEST = 12  # the same where several questions are asked of each
UNITS = 3  # numbers of a row that are asked about, where it has more
CONTRASTED = ("Integrated gradients", "DeepLift", "LRP")  # methods whose maps add up to a difference of scores
WHOLE = ""  # the layer that is the whole module: its units are what it answers


@dataclass(frozen=True, eq=False)
class Posed:
    """One question, asked of all chosen rows.

    Arguments:
        kind: As `findings.Asked` has it.
        target: What is to be explained.
        numbers, others: Per row, of the class, output or unit, and of the class that it is contrasted with; -1 for none.
        methods: Names of those that are asked; None for all.
        figures: Per row, the figures of `findings.Asked` by name; empty for classes.
    """

    kind: str
    target: Target
    numbers: list[int]
    others: list[int]
    methods: Sequence[str] | None = None
    figures: list[dict[str, float | None]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Asking:
    """What is asked of which rows.

    Arguments:
        chosen: Numbers of the rows, and why each is there.
        posed: The questions, the main one first.
        sure: Per row, as in `findings.Answer`; empty where there are no classes.
        others: Per row, the class that its answer is contrasted with; -1 for none.
    """

    chosen: list[tuple[int, str]]
    posed: list[Posed]
    sure: list[list[tuple[int, float]]]
    others: list[int]

    @property
    def rows(self) -> list[int]:
        """Their numbers."""
        return [row for row, _ in self.chosen]


def of(look: Look, start: Start, asked: int | list[int] | None = None) -> Asking:
    """What is asked of a model's answers.

    Arguments:
        asked: How many rows, or their numbers; None for about `ROWS`.

    Raises:
        ValueError: If none was asked for, or its answers are nothing that can be asked about.
    """
    if asked in (0, []):
        raise ValueError("none was asked for")
    return _of_classes(look, start, asked) if look.subject.classifies else _of_numbers(look, start, asked)


# -- classes -----------------------------------------------------------------------------------------------------------


def _of_classes(look: Look, start: Start, asked: int | list[int] | None) -> Asking:
    """Why this class, and why not another."""
    chosen = rows_of(look, asked)
    numbers = [row for row, _ in chosen]
    said = look.said[numbers]
    with torch.no_grad():
        output = start.module(start.rows(look.came.tensor(numbers)))
    own = answers(output, len(numbers)).argmax(1).cpu().numpy()
    if (own != said).any():
        raise ValueError(f"the output of {look.subject.what} is no score of the classes that it gives")
    log_p = look.subject.log_proba(look.came.rows(np.array(numbers)))  # type: ignore[misc]
    others = [_other(scores, row, look) for scores, row in zip(log_p, numbers, strict=True)]
    none = [-1] * len(numbers)
    posed = [
        Posed("class", target_of(said.tolist()), said.tolist(), none),
        Posed("contrast", Contrast(said.tolist(), others), said.tolist(), others, CONTRASTED),
    ]
    return Asking(chosen, posed, [_sure(p, look, row) for p, row in zip(log_p, numbers, strict=True)], others)


def rows_of(look: Look, asked: int | list[int] | None = None) -> list[tuple[int, str]]:
    """Numbers of the rows to look at, and why: mistakes that are most sure, what is least sure, right rows of each class."""
    if isinstance(asked, list):
        return [(row, "asked for") for row in asked]
    count, true, said = ROWS if asked is None else asked, look.came.y, look.said
    surest = np.argsort(-look.sure, kind="stable")
    wrong = [int(row) for row in surest if -1 != true[row] != said[row]][: count // 3]
    unsure = [int(row) for row in surest[::-1] if row not in wrong][: count // 6]
    found = [(row, "wrong") for row in wrong] + [(row, "unsure") for row in unsure]
    taken = {*wrong, *unsure}
    for turn in range(2):  # the first right row of each class, and then the second: not picked by what they look like
        for code in range(len(look.came.classes)):
            mine = [int(row) for row in np.flatnonzero(said == code) if true[row] in (code, -1) and row not in taken]
            if len(mine) > turn and len(found) < count:
                found.append((mine[turn], "right" if true[mine[turn]] >= 0 else "unlabelled"))
    order = {"wrong": 0, "unsure": 1, "right": 2, "unlabelled": 3}
    return sorted(found, key=lambda each: order[each[1]])


def _other(scores: np.ndarray, row: int, look: Look) -> int:
    true, said = int(look.came.y[row]), int(look.said[row])
    return true if true not in (-1, said) else int(np.argsort(-scores, kind="stable")[1])


def _sure(log_p: np.ndarray, look: Look, row: int) -> list[tuple[int, float]]:
    order, true = np.argsort(-log_p, kind="stable")[:5].tolist(), int(look.came.y[row])
    return [(code, float(np.exp(log_p[code]))) for code in dict.fromkeys([*order, *([true] if true >= 0 else [])])]


# -- values and codes --------------------------------------------------------------------------------------------------


def _of_numbers(look: Look, start: Start, asked: int | list[int] | None) -> Asking:
    """Why these values; or what drove the units of a code that stand out, and the code as a whole."""
    if look.numbers is None:
        raise ValueError(look.left_out.get("Mistakes", f"{look.subject.name} gives nothing that can be asked about"))
    seen = look.numbers.double()
    if not seen.isfinite().all():
        raise ValueError("answers to some rows are NaN or infinite")
    mean, spread = seen.mean(0), seen.std(0, unbiased=False)
    spread = torch.where(spread > 0, spread, torch.inf)
    code, outputs = look.subject.gives == "code", seen.shape[1]
    several = min(outputs, UNITS) + (code and outputs > 1)
    count = max(FEWEST, ROWS // several) if asked is None else asked
    distance = (((seen - mean) / spread).square().mean(1).sqrt()).numpy()
    chosen = _spread_out(look, distance, count) if isinstance(count, int) else [(row, "asked for") for row in count]
    given = start.rows(look.came.tensor([row for row, _ in chosen]))
    with torch.no_grad():
        own = answers(start.module(given), len(given)).cpu().double()
    away = (own - mean) / spread
    kind = "unit" if code else "value"
    posed = [_one(look, start, given, kind, picked, mean, away, chosen) for picked in _picked(seen, away, code)]
    if code and outputs > 1:
        posed.append(_whole(start, given, own, mean, seen))
    return Asking(chosen, posed, [[] for _ in chosen], [-1] * len(chosen))


def _picked(seen: Tensor, away: Tensor, code: bool) -> list[Tensor]:
    """Which number each row is asked about, question by question: all, or those furthest from their mean.

    Of units that are never below 0 only those above their mean: what is off has no gradient.
    """
    if seen.shape[1] <= UNITS and not code:
        return [torch.full((len(away),), number) for number in range(seen.shape[1])]
    size = away if code and seen.min() >= 0 else away.abs()
    return list(size.topk(min(UNITS, seen.shape[1]), dim=1).indices.T)


def _one(
    look: Look, start: Start, given: Tensor, kind: str, picked: Tensor, mean: Tensor, away: Tensor,
    chosen: list[tuple[int, str]],
) -> Posed:  # fmt: skip
    """One number of each row."""
    same = bool((picked == picked[0]).all())
    vectors = torch.nn.functional.one_hot(picked, len(mean)).float()
    target = Unit(WHOLE, int(picked[0])) if same else Direction(WHOLE, vectors)
    value, empty = _ends(start, given, target)
    targets = look.came.targets
    figures = [
        {
            "value": float(value[at]), "empty": float(empty[at]), "mean": float(mean[number]),
            "far": float(away[at, number]), "true": None if targets is None else _known(targets[row, number]),
        }
        for at, (number, (row, _)) in enumerate(zip(picked.tolist(), chosen, strict=True))
    ]  # fmt: skip
    return Posed(kind, target, picked.tolist(), [-1] * len(picked), None, figures)


def _whole(start: Start, given: Tensor, own: Tensor, mean: Tensor, seen: Tensor) -> Posed:
    """The code: how far it lies from the mean code, in its own direction."""
    away = own - mean
    vectors = away / away.norm(dim=1, keepdim=True).clamp_min(1e-12)
    target = Direction(WHOLE, vectors.float())
    value, empty = (each - vectors @ mean for each in _ends(start, given, target))
    usual = float((seen - mean).square().sum(1).mean().sqrt()) or 1.0
    figures: list[dict[str, float | None]] = [
        {"value": float(v), "empty": float(e), "mean": 0.0, "far": float(v) / usual}
        for v, e in zip(value, empty, strict=True)
    ]
    return Posed("direction", target, [-1] * len(own), [-1] * len(own), None, figures)


def _ends(start: Start, given: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Scores of the rows, and of what stands for nothing there."""
    question = Question(start.module, given, target, layer=start.layer)
    with question.asked():
        value, empty = question.scores(), question.scores(question.baselines())
    return value.cpu().double(), empty.cpu().double()


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _spread_out(look: Look, distance: np.ndarray, count: int) -> list[tuple[int, str]]:
    """Rows furthest from their targets, furthest from the mean, the first of each class, and what lies between.

    Arguments:
        distance: Of each row of `look.numbers` from the mean.
    """
    numbers = look.chosen if look.subject.gives == "code" else np.arange(len(look.came))
    found: dict[int, str] = {}
    if look.came.targets is not None:
        off = np.nan_to_num(deviations(look), nan=-1.0)
        found |= {int(row): "off" for row in np.argsort(-off, kind="stable")[: count // 3] if off[row] >= 0}
    far = [int(row) for row in numbers[np.argsort(-distance, kind="stable")] if row not in found]
    found |= {row: "far" for row in far[: count // 4]}
    free = [int(row) for row in numbers if row not in found]
    firsts = {int(look.came.y[row]): row for row in reversed(free)}  # not picked by what they look like
    found |= {row: "class" for row in [firsts[code] for code in sorted(firsts) if code >= 0][: count // 2]}
    rest = [int(row) for row in numbers[np.argsort(distance, kind="stable")] if row not in found]
    wanted = min(count - len(found), len(rest))
    found |= {rest[at]: "between" for at in np.linspace(0, len(rest) - 1, wanted).round().astype(int)}
    order = {"off": 0, "far": 1, "class": 2, "between": 3}
    return sorted(found.items(), key=lambda each: order[each[1]])


def deviations(look: Look) -> np.ndarray:
    """How far each row's values are from its targets, shape (n,): root mean square in their deviations; NaN if not known."""
    assert look.numbers is not None and look.came.targets is not None
    spread = np.nanstd(look.came.targets, 0)
    return np.sqrt(np.square((look.numbers.numpy() - look.came.targets) / np.where(spread > 0, spread, 1)).mean(1))
