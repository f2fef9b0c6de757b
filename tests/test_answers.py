"""What the pages of single answers say must be what the lens says of the net that answers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from layerwise import DBNClassifier, NetworkClassifier, NetworkRegressor, RBMTransformer
from layerwise.data import Dataset, Row
from layerwise.data.columns import Column, ColumnsRow
from layerwise.data.text import TextRow
from layerwise.explanation import gather
from layerwise.findings import Answers
from layerwise.lens.attribution import LRP, IntegratedGradients
from layerwise.lens.targets import Contrast

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
IMAGE = Row("image", (8, 8), low=0, high=1)
NEW = slice(1000, 1060)
TEXTS = np.array(
    [f"{word} film, a {word} one for {who}" for word in ("good", "bad") for who in ("me", "you", "us")] * 10
)
METHODS = [
    "Gradient × input",
    "Integrated gradients",
    "Expected gradients",
    "SmoothGrad",
    "DeepLift",
    "LRP",
    "Occlusion",
    "Grad-CAM",
]


def convolutional() -> tuple[Any, Any, dict[str, Any]]:
    net = NetworkClassifier(shape=(8, 8), layers=(4,), options={"hidden": (8,)}, epochs=8, random_state=0)
    return net.fit(X[:300], Y[:300]), (X[NEW], Y[NEW]), {"row": IMAGE, "training": (X[:300], Y[:300]), "answers": 9}


def dense() -> tuple[Any, Any, dict[str, Any]]:
    net = DBNClassifier((12,), pretrain_epochs=2, up_down_epochs=1, epochs=8, random_state=0).fit(X[:300], Y[:300])
    return net, (X[NEW], Y[NEW]), {"row": IMAGE, "answers": [7, 3]}


def generative() -> tuple[Any, Any, dict[str, Any]]:
    net = DBNClassifier((12,), pretrain_epochs=2, up_down_epochs=1, epochs=1, classify="generative", random_state=0)
    return net.fit(X[:300], Y[:300]), (X[NEW], Y[NEW]), {"row": IMAGE, "answers": 4}


def bag() -> tuple[Any, Any, dict[str, Any]]:
    data = Dataset(TEXTS, np.arange(60) // 3 % 2, ("liked", "not"), TextRow().fitted(TEXTS), "films")
    return (
        NetworkClassifier("mlp", layers=(6,), epochs=8, random_state=0).fit(data.matrix(), data.y),
        data,
        {"answers": [0, 3]},
    )


def words() -> tuple[Any, Any, dict[str, Any]]:
    row = TextRow(form="words").fitted(TEXTS)
    data = Dataset(TEXTS, np.arange(60) // 3 % 2, ("liked", "not"), row, "films")
    net = NetworkClassifier("lstm", vocabulary=row.ids, layers=(4,), epochs=4, random_state=0)
    return net.fit(data.matrix(), data.y), data, {"answers": [0, 3]}


def table() -> tuple[Any, Any, dict[str, Any]]:
    random = np.random.RandomState(0)
    kinds, number = random.randint(3, size=90), random.randn(90)
    stored = np.stack([number, kinds], 1)
    row = ColumnsRow.of([Column("size", "number"), Column("kind", "category", ("ash", "elm", "oak"))]).fitted(stored)
    data = Dataset(stored, ((kinds == 2) ^ (number > 0)).astype(np.int64), ("no", "yes"), row, "trees")
    return (
        NetworkClassifier("mlp", layers=(8,), epochs=20, random_state=0).fit(data.matrix(), data.y),
        data,
        {"answers": [5]},
    )


def module() -> tuple[Any, Any, dict[str, Any]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)).eval()
    return net, (X[NEW].reshape(-1, 1, 8, 8), Y[NEW]), {"answers": [4]}


MAKE = {each.__name__: each for each in (convolutional, dense, generative, bag, words, table, module)}


@functools.cache
def made(name: str) -> tuple[Any, Any, dict[str, Any]]:
    return MAKE[name]()


@functools.cache
def found(name: str) -> Answers:
    model, data, how = made(name)
    answers = gather(model, data, **how).answers
    assert answers is not None
    return answers


@pytest.mark.parametrize("name", MAKE)
def test_every_method_has_maps_with_checks_or_says_why_not(name: str) -> None:
    answers = found(name)
    assert [note.name for note in answers.methods] == METHODS
    able = [note.name for note in answers.methods if not note.refused]
    assert len(able) >= 5  # softplus of free energies has no rule
    for answer in answers.each:
        assert [shown.method for shown in answer.maps] == able
        assert np.shape(answer.agreement) == (len(able), len(able))
        for shown in answer.maps + answer.contrast:
            assert shown.deletion.random and (shown.picture is not None) == (answers.form == "picture")
            assert len(shown.values) == len(answer.parts)
            random = shown.deletion.random
            assert ("deletion" in shown.failures) == (not shown.deletion.area < min(random))


def test_maps_are_those_of_the_lens() -> None:
    model, (x, _), _ = made("dense")
    for answer in found("dense").each:
        row = torch.from_numpy(x[answer.row : answer.row + 1])
        lrp = LRP(model.network_).attribute(row, target=answer.said)
        why = IntegratedGradients(model.network_).attribute(row, target=Contrast(answer.said, answer.other))
        for shown, wanted in (
            (next(each for each in answer.maps if each.method == "LRP"), lrp),
            (next(each for each in answer.contrast if each.method == "Integrated gradients"), why),
        ):
            drawn = torch.tensor(shown.picture) * shown.scale / 127
            torch.testing.assert_close(
                drawn, wanted.values[0].view(8, 8).clamp(-shown.scale, shown.scale), atol=shown.scale / 127, rtol=0
            )


def test_rows_are_mistakes_that_are_sure_answers_that_are_not_and_right_ones() -> None:
    model, (x, y), how = made("convolutional")
    said, sure = model.predict(x), model.predict_proba(x).max(1)
    each = found("convolutional").each
    assert len(each) == how["answers"] and len({answer.row for answer in each}) == len(each)
    wrong = [answer.row for answer in each if answer.why == "wrong"]
    mistakes = np.flatnonzero(said != y)
    assert wrong == mistakes[np.argsort(-sure[mistakes], kind="stable")][:3].tolist()
    assert [answer.row for answer in each if answer.why == "unsure"] == [int(np.argmin(sure))]
    right = [answer for answer in each if answer.why == "right"]
    assert right and all(answer.said == answer.true == y[answer.row] for answer in right)
    assert [answer.row for answer in found("dense").each] == [7, 3]


def test_answers_and_probabilities_are_those_of_the_estimator() -> None:
    model, (x, y), _ = made("generative")
    for answer in found("generative").each:
        chances = model.predict_proba(x[answer.row : answer.row + 1])[0]
        assert answer.said == chances.argmax() and answer.true == y[answer.row]
        assert dict(answer.sure) == pytest.approx({code: chances[code] for code, _ in answer.sure}, abs=1e-5)
        assert answer.other == (answer.true if answer.true != answer.said else chances.argsort()[-2])


def test_nearest_training_rows_are_those_of_the_last_codes() -> None:
    model, (x, _), _ = made("convolutional")
    answers = found("convolutional")
    assert answers.training is not None and answers.training.pictures is not None
    with torch.no_grad():
        mine, theirs = (model.network_[:-1](torch.from_numpy(rows)) for rows in (x, X[:300]))
    for answer in answers.each:
        far = (mine[answer.row] - theirs).norm(dim=1)
        numbers = [answers.training.numbers[near.at] for near in answer.near]
        assert numbers == far.argsort()[:5].tolist()
        assert [near.distance for near in answer.near] == pytest.approx(far.sort().values[:5].tolist(), rel=1e-3)
        assert answers.training.true[answer.near[0].at] == Y[numbers[0]]


def test_words_of_a_bag_share_the_terms_that_they_are_part_of() -> None:
    model, data, _ = made("bag")
    for answer in found("bag").each:
        assert "".join(part.name + part.join for part in answer.parts).strip() == data.x[answer.row]
        row = torch.from_numpy(data.matrix(slice(answer.row, answer.row + 1)))
        lrp = LRP(model.network_).attribute(row, target=answer.said)
        shown = next(each for each in answer.maps if each.method == "LRP")
        assert sum(shown.values) == pytest.approx(float(lrp.values.sum()), rel=1e-3, abs=1e-5)
        same = [value for part, value in zip(answer.parts, shown.values) if part.name == ","]
        assert same == [0.0]  # a mark that no term holds


def test_words_in_order_are_coloured_by_their_embedding() -> None:
    model, data, _ = made("words")
    for answer in found("words").each:
        assert " ".join(part.name for part in answer.parts).replace(" ,", ",") == data.x[answer.row]
        ids = torch.from_numpy(data.matrix([answer.row]))
        lrp = LRP(model.network_, layer="layer1.embedding").attribute(ids, target=answer.said)
        shown = next(each for each in answer.maps if each.method == "LRP")
        wanted = lrp.values[0].sum(1)[: len(answer.parts)].tolist()
        assert shown.values == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_features_of_a_column_are_added_up_from_the_mean_row() -> None:
    model, data, _ = made("table")
    (answer,) = found("table").each
    assert [part.name for part in answer.parts] == ["size", "kind"]
    assert answer.parts[1].value == ("ash", "elm", "oak")[int(data.x[5, 1])]
    rows = torch.from_numpy(data.matrix())
    wanted = (
        IntegratedGradients(model.network_).attribute(rows[5:6], baselines=rows.mean(0), target=answer.said).values[0]
    )
    shown = next(each for each in answer.maps if each.method == "Integrated gradients")
    assert shown.values == pytest.approx([float(wanted[0]), float(wanted[1:].sum())], rel=1e-3, abs=1e-5)


def test_what_gives_no_class_has_no_answers_and_says_why() -> None:
    rbm = RBMTransformer(6, epochs=1, random_state=0).fit(X[:100])
    numbers = NetworkRegressor(layers=(4,), epochs=1, random_state=0).fit(X[:100], Y[:100] / 2)
    for model in (rbm, numbers):
        told = gather(model, X[NEW], row=IMAGE)
        assert told.answers is None and "does not classify" in told.left_out["Answers"]
    model, data, _ = made("dense")
    assert "none was asked for" in gather(model, data, row=IMAGE, answers=0).left_out["Answers"]
    with pytest.raises(ValueError, match="Row 60 is asked for, but there are 60 rows: 0 to 59"):
        gather(model, data, row=IMAGE, answers=[60])
