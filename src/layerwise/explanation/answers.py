"""What did single answers hang on?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.explanation.look import Look
from layerwise.explanation.start import Start, start_of
from layerwise.findings import Answer, Answers, MethodNote, Near, Removal, Shown, Training
from layerwise.lens.attribution import together
from layerwise.lens.attribution.method import Map, Method
from layerwise.lens.targets import Contrast
from layerwise.lens.trust import Checks, Curve
from layerwise.subject import code_of

ROWS = 24  # answers looked at
BACKGROUND = 20  # rows that expected gradients average over
NEAR, SEARCHED = 5, 10_000  # training rows shown for an answer, and looked through
CONTRASTED = ("Integrated gradients", "DeepLift", "LRP")  # methods whose maps add up to a difference of scores
PLACELESS = "no layer keeps the places of the row: all units see the whole of it"


def of(look: Look, asked: int | Sequence[int] | None = None) -> Answers | None:
    """The pages of single answers; None where there are none.

    Arguments:
        asked: How many, or the numbers of the rows; None for about `ROWS`.

    Raises:
        ValueError: If a row is asked for that is not there.
    """
    if asked is not None and not isinstance(asked, int):
        asked = _checked(asked, len(look.came))
    if not look.subject.classifies:
        look.left_out["Answers"] = look.left_out.get("Mistakes", f"{look.subject.name} does not classify")
        return None
    chosen = rows_of(look, asked)
    if not chosen:
        look.left_out["Answers"] = "none was asked for"
        return None
    start = start_of(look)
    numbers = [row for row, _ in chosen]
    said = look.said[numbers]
    with torch.no_grad():
        own = start.module(start.rows(look.came.tensor(numbers))).argmax(1).cpu().numpy()
    if (own != said).any():
        look.left_out["Answers"] = f"the output of {look.subject.what} is no score of the classes that it gives"
        return None
    return _told(look, start, chosen)


def _checked(asked: Sequence[int], rows: int) -> list[int]:
    numbers = [int(row) for row in asked]
    if wrong := [row for row in numbers if not 0 <= row < rows]:
        raise ValueError(f"Row {wrong[0]} is asked for, but there are {rows} rows: 0 to {rows - 1}.")
    return list(dict.fromkeys(numbers))


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


def _told(look: Look, start: Start, chosen: list[tuple[int, str]]) -> Answers:
    numbers = [row for row, _ in chosen]
    rows, said = start.rows(look.came.tensor(numbers)), look.said[numbers].tolist()
    log_p = look.subject.log_proba(look.came.rows(np.array(numbers)))  # type: ignore[misc]
    others = [_other(scores, row, look) for scores, row in zip(log_p, numbers, strict=True)]
    methods = together.usual(start.module, rows, layer=start.layer)
    asked = together.side_by_side(methods, rows, said, data=start.rows(_background(look)))
    some = {name: method for name, method in methods.items() if name in CONTRASTED}
    contrasts = together.side_by_side(some, rows, Contrast(said, others))
    training, near = _nearest(look, numbers)
    each = [
        _answer(look, start, at, chosen[at], log_p[at], others[at], asked, contrasts, near[at] if near else [])
        for at in range(len(chosen))
    ]
    return Answers(
        each=each, methods=[_note(start, each) for each in asked] + _placeless(methods), baseline=start.baseline,
        form=start.form, agreement=np.mean([answer.agreement for answer in each], 0).tolist(),
        layer=look.subject.labels[-1] if training else "", training=training, batch=min(8, len(rows)),
    )  # fmt: skip


def _other(scores: np.ndarray, row: int, look: Look) -> int:
    true, said = int(look.came.y[row]), int(look.said[row])
    return true if true not in (-1, said) else int(np.argsort(-scores, kind="stable")[1])


def _background(look: Look) -> Tensor:
    """Rows evenly apart: of the training rows if they were given."""
    of = look.came if look.learned is None else look.learned
    return of.tensor(np.unique(np.linspace(0, len(of) - 1, BACKGROUND).astype(int)))


def _note(start: Start, attempt: together.Attempt) -> MethodNote:
    if attempt.map is None:
        return MethodNote(attempt.name, 0, 0, [], [], attempt.refused)
    checks = attempt.map.checks
    passed = sum(each.passed for each in checks.rows)
    return MethodNote(
        attempt.name, passed, len(checks.rows), [start.called(name) for name in checks.layers], checks.beyond, ""
    )


def _placeless(methods: dict[str, Method]) -> list[MethodNote]:
    return [] if "Grad-CAM" in methods else [MethodNote("Grad-CAM", 0, 0, [], [], PLACELESS)]


def _answer(
    look: Look, start: Start, at: int, chosen: tuple[int, str], log_p: np.ndarray, other: int,
    asked: list[together.Attempt], contrasts: list[together.Attempt], near: list[Near],
) -> Answer:  # fmt: skip
    row, why = chosen
    true, said = int(look.came.y[row]), int(look.said[row])
    found = [each for each in (*asked, *contrasts) if each.map]
    parts, values = start.laid_out(
        row, [together.by_part(each.map)[at].cpu().double().numpy() for each in found if each.map]
    )
    shown = [_shown(each.name, each.map, mine, at, start) for each, mine in zip(found, values, strict=True)]
    maps = sum(each.map is not None for each in asked)
    agree = together.agreement(np.stack([each.ravel() for each in values[:maps]])) if maps else np.zeros((0, 0))
    order = np.argsort(-log_p, kind="stable")[:5].tolist()
    sure = [(code, float(np.exp(log_p[code]))) for code in dict.fromkeys([*order, *([true] if true >= 0 else [])])]
    return Answer(row, why, true, said, sure, other, shown[:maps], shown[maps:], agree.tolist(), near, parts)


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
        road=None if checks.road is None else _removal(checks.road), failures=dict(checks.failures),
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
