"""What did single answers hang on?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.explanation import questions
from layerwise.explanation.look import Look, address
from layerwise.explanation.questions import Asking, Posed
from layerwise.explanation.start import Start, start_of
from layerwise.findings import Answer, Answers, Asked, MethodNote, Near, Removal, Shown, Training
from layerwise.lens.attribution import together
from layerwise.lens.attribution.method import Map, Method
from layerwise.lens.trust import Checks, Curve
from layerwise.subject import code_of

BACKGROUND = 20  # rows that expected gradients average over
NEAR, SEARCHED = 5, 10_000  # training rows shown for an answer, and looked through
PLACELESS = "no layer keeps the places of the row: all units see the whole of it"


def of(look: Look, asked: int | Sequence[int] | None = None) -> Answers | None:
    """The pages of single answers; None where there are none.

    Arguments:
        asked: How many, or the numbers of the rows; None for about `questions.ROWS`.

    Raises:
        ValueError: If a row is asked for that is not there.
    """
    if asked is not None and not isinstance(asked, int):
        asked = _checked(asked, len(look.came))
    if not look.subject.classifies and look.numbers is None:
        look.left_out["Answers"] = look.left_out.get("Mistakes", f"{look.subject.name} does not classify")
        return None
    try:
        start = start_of(look)
        asking = questions.of(look, start, asked)
    except ValueError as error:
        look.left_out["Answers"] = str(error)
        return None
    return _told(look, start, asking)


def _checked(asked: Sequence[int], rows: int) -> list[int]:
    numbers = [int(row) for row in asked]
    if wrong := [row for row in numbers if not 0 <= row < rows]:
        raise ValueError(f"Row {wrong[0]} is asked for, but there are {rows} rows: 0 to {rows - 1}.")
    return list(dict.fromkeys(numbers))


def _told(look: Look, start: Start, asking: Asking) -> Answers:
    rows = start.rows(look.came.tensor(asking.rows))
    methods, data = together.usual(start.module, rows, layer=start.layer), start.rows(_background(look))
    attempts = [
        together.side_by_side(_some(methods, posed.methods), rows, posed.target, data=data) for posed in asking.posed
    ]
    main = [tried for posed, tried in zip(asking.posed, attempts, strict=True) if posed.methods is None]
    notes = [_note(start, each) for each in zip(*main, strict=True)]
    able = [note.name for note in notes if not note.refused]
    found = [[each for each in tried if each.map and each.name in able] for tried in attempts]
    training, near = _nearest(look, asking.rows)
    each = [_answer(look, start, at, asking, found, near[at] if near else []) for at in range(len(rows))]
    agreement = [asked.agreement for answer in each for asked in answer.asked if asked.kind != "contrast"]
    return Answers(
        each=each, gives=look.subject.gives, outputs=len(look.came.classes) if look.numbers is None else look.numbers.shape[1],
        page=_page(look), methods=notes + _placeless(methods),
        baseline=start.baseline, form=start.form, agreement=np.mean(agreement, 0).tolist(),
        layer=look.subject.labels[-1] if training else "", training=training, batch=min(8, len(rows)),
    )  # fmt: skip


def _some(methods: dict[str, Method], names: Sequence[str] | None) -> dict[str, Method]:
    return {name: method for name, method in methods.items() if names is None or name in names}


def _page(look: Look) -> str:
    """The address of the layer whose units are what the model answers; "" if it has no page."""
    if look.answers is not None and look.subject.output is not None:
        return address(look.subject.output)
    top = look.states[-1]
    code = look.numbers if look.subject.gives == "code" else None
    same = code is not None and code.shape == top.shape and torch.allclose(code, top, atol=1e-5)
    return address(look.subject.stages[-1]) if same else ""


def _background(look: Look) -> Tensor:
    """Rows evenly apart: of the training rows if they were given."""
    of = look.came if look.learned is None else look.learned
    return of.tensor(np.unique(np.linspace(0, len(of) - 1, BACKGROUND).astype(int)))


def _note(start: Start, attempts: Sequence[together.Attempt]) -> MethodNote:
    """How a method fared with all main questions."""
    name, checks = attempts[0].name, [each.map.checks for each in attempts if each.map]
    if len(checks) < len(attempts):
        return MethodNote(name, 0, 0, [], [], next(each.refused for each in attempts if each.refused))
    rows = [row.passed for each in checks for row in each.rows]
    layers = [start.called(layer) for layer in checks[0].layers]
    return MethodNote(name, sum(rows), len(rows), layers, np.mean([each.beyond for each in checks], 0).tolist(), "")


def _placeless(methods: dict[str, Method]) -> list[MethodNote]:
    return [] if "Grad-CAM" in methods else [MethodNote("Grad-CAM", 0, 0, [], [], PLACELESS)]


def _answer(
    look: Look, start: Start, at: int, asking: Asking, found: list[list[together.Attempt]], near: list[Near]
) -> Answer:
    row, why = asking.chosen[at]
    tried = [each for some in found for each in some]
    parts, values = start.laid_out(
        row, [together.by_part(each.map)[at].cpu().double().numpy() for each in tried if each.map]
    )
    shown = iter(
        [(_shown(each.name, each.map, mine, at, start), mine) for each, mine in zip(tried, values, strict=True)]
    )
    asked = [
        _asked(posed, at, list(itertools.islice(shown, len(some))))
        for posed, some in zip(asking.posed, found, strict=True)
    ]  # fmt: skip
    true, said = int(look.came.y[row]), int(look.said[row])
    return Answer(row, why, true, said, asking.sure[at], asking.others[at], asked, near, parts)


def _asked(posed: Posed, at: int, shown: list[tuple[Shown, np.ndarray]]) -> Asked:
    figures = dict.fromkeys(("value", "empty", "mean", "far", "true")) | (posed.figures[at] if posed.figures else {})
    agree = together.agreement(np.stack([values.ravel() for _, values in shown])) if shown else np.zeros((0, 0))
    return Asked(
        posed.kind, posed.numbers[at], posed.others[at], maps=[each for each, _ in shown], agreement=agree.tolist(),
        **figures,
    )  # fmt: skip


def _shown(name: str, found: Map | None, values: np.ndarray, at: int, start: Start) -> Shown:
    assert found is not None
    checks: Checks = found.checks.rows[at]
    scale = (
        float(np.quantile(np.abs(values), 0.995)) if start.form == "picture" else float(np.abs(values).max(initial=0))
    )
    scale = scale or float(np.abs(values).max(initial=0)) or 1.0
    picture = np.rint((values / scale).clip(-1, 1) * 127).astype(np.int8) if start.form == "picture" else None
    return Shown(
        method=name, scale=scale, picture=picture, values=[] if picture is not None else values.tolist(),
        complete=checks.complete, deletion=_removal(checks.deletion), insertion=_removal(checks.insertion),
        road=None if checks.road is None else _removal(checks.road),
        alike=checks.beyond[-1] if checks.beyond else None, failures=dict(checks.failures),
    )  # fmt: skip


def _removal(curve: Curve) -> Removal:
    return Removal(curve.steps, curve.scores, curve.area, curve.random)


# -- training rows nearby ----------------------------------------------------------------------------------------------


def _nearest(look: Look, numbers: list[int]) -> tuple[Training | None, list[list[Near]]]:
    """Training rows whose codes of the last hidden layer are nearest to those of the answers."""
    learned = look.learned
    if learned is None:
        return None, []
    searched = np.sort(np.random.RandomState(look.seed).permutation(len(learned))[:SEARCHED])
    mine = _top_codes(look, look.came.tensor(numbers))
    far = torch.cat([
        torch.cdist(mine, _top_codes(look, learned.tensor(searched[begin : begin + 500])))
        for begin in range(0, len(searched), 500)
    ], 1)  # fmt: skip
    distances, at = far.topk(min(NEAR, far.shape[1]), dim=1, largest=False)
    found = searched[at.numpy()]
    shown, place = np.unique(found, return_inverse=True)
    near = [
        [Near(int(p), float(d)) for p, d in zip(*each, strict=True)]
        for each in zip(place.reshape(found.shape), distances, strict=True)
    ]
    alike = learned if learned.pictured else look.came  # a matrix does not say by itself how to show a row
    pictures = alike.pictures(learned.rows(shown)) if alike.pictured else None
    return Training(
        shown.tolist(), learned.y[shown].tolist(), pictures, learned.texts(shown), len(searched), len(learned)
    ), near


def _top_codes(look: Look, rows: Tensor) -> Tensor:
    subject = look.subject
    name = subject.stages[-1]
    seen = lens.stream(subject.module, [name], subject.given(rows), size=250)
    return torch.cat([code_of(batch[name]) for batch in seen])
