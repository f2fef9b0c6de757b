"""What the pages of single answers say must be what the lens says of the net that answers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score
from torch import nn

from layerwise import (
    DBNClassifier,
    DeepAutoencoder,
    IdentityEmbedder,
    NetworkClassifier,
    NetworkRegressor,
    RBMTransformer,
)
from layerwise.data import Dataset, Row
from layerwise.data.columns import Column, ColumnsRow
from layerwise.data.spectrogram import SoundRow
from layerwise.data.tokens import TextRow
from layerwise.explanation import answers as answering
from layerwise.explanation import gather
from layerwise.explanation.look import Look
from layerwise.explanation.start import start_of
from layerwise.explanation.taking import taken
from layerwise.findings import Answers, Asked
from layerwise.lens.attribution import LRP, IntegratedGradients
from layerwise.lens.targets import Contrast, Direction, Unit

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


TARGETS = np.stack([100 + 10 * X.mean(1), X[:, 20] - X[:, 30]], 1)


def one_value() -> tuple[Any, Any, dict[str, Any]]:
    net = NetworkRegressor(layers=(8,), epochs=8, random_state=0).fit(X[:300], TARGETS[:300, 0])
    return net, (X[NEW], np.where(np.arange(60) < 50, TARGETS[NEW, 0], np.nan)), {"answers": 8}


def two_values() -> tuple[Any, Any, dict[str, Any]]:
    net = NetworkRegressor("cnn", shape=(8, 8), layers=(4,), options={"hidden": (8,)}, epochs=8, random_state=0)
    return net.fit(X[:300], TARGETS[:300]), (X[NEW], TARGETS[NEW]), {"row": IMAGE, "answers": [0, 7]}


def five_values() -> tuple[Any, Any, dict[str, Any]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 5)).eval()
    return net, X[NEW], {"row": IMAGE, "outputs": "values", "answers": [2, 9]}


def value_of_words() -> tuple[Any, Any, dict[str, Any]]:
    row = TextRow(form="words").fitted(TEXTS)
    data = Dataset(TEXTS, None, (), row, "films")
    net = NetworkRegressor("lstm", vocabulary=row.ids, layers=(4,), epochs=4, random_state=0)
    return net.fit(data.matrix(), np.arange(60) // 3 % 2), data, {"answers": [0, 3]}


def machine() -> tuple[Any, Any, dict[str, Any]]:
    return RBMTransformer(6, epochs=2, random_state=0).fit(X[:300]), (X[NEW], Y[NEW]), {"row": IMAGE, "answers": 6}


def autoencoder() -> tuple[Any, Any, dict[str, Any]]:
    net = DeepAutoencoder((12, 5), pretrain_epochs=20, epochs=5, random_state=0).fit(X[:300])
    return net, X[NEW], {"row": IMAGE, "training": X[:300], "answers": 3}


def embedder() -> tuple[Any, Any, dict[str, Any]]:
    net = IdentityEmbedder("mlp", layers=(8,), size=6, epochs=2, random_state=0).fit(X[:300], Y[:300])
    return net, (X[NEW], Y[NEW]), {"row": IMAGE, "answers": [1, 30]}


def code_of_module() -> tuple[Any, Any, dict[str, Any]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    return net, (X[NEW], Y[NEW]), {"row": IMAGE, "outputs": "code", "answers": [4, 8]}


CLASSES = (convolutional, dense, generative, bag, words, table, module)
NUMBERS = (one_value, two_values, five_values, value_of_words, machine, autoencoder, embedder, code_of_module)
MAKE = {each.__name__: each for each in CLASSES + NUMBERS}
VALUES, CODES = (
    [each.__name__ for each in some]
    for some in (NUMBERS[:4], NUMBERS[4:])
)  # fmt: skip


@functools.cache
def made(name: str) -> tuple[Any, Any, dict[str, Any]]:
    return MAKE[name]()


@functools.cache
def found(name: str) -> Answers:
    model, data, how = made(name)
    subject, came, take = taken(model, data, how.get("row"), None, how.get("outputs"))
    learned = take(how["training"], None) if "training" in how else None
    answers = answering.of(Look(subject, came, learned, seed=0), how["answers"])  # without the rest of a report
    assert answers is not None
    return answers


@pytest.mark.parametrize("name", MAKE)
def test_every_method_has_maps_with_checks_or_says_why_not(name: str) -> None:
    answers = found(name)
    assert [note.name for note in answers.methods] == METHODS
    able = [note.name for note in answers.methods if not note.refused]
    assert len(able) >= 5  # softplus of free energies has no rule
    for answer in answers.each:
        for asked in answer.asked:
            if asked.kind != "contrast":
                assert [shown.method for shown in asked.maps] == able
            assert np.shape(asked.agreement) == (len(asked.maps),) * 2
        for shown in [shown for asked in answer.asked for shown in asked.maps]:
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


def clips(seed: int, count: int) -> Dataset:
    row = SoundRow.of(4000, bands=12, seconds=0.4)
    levels = np.random.RandomState(seed).uniform(row.low or 0, row.high or 1, (count, *row.shape))
    return Dataset(levels.astype(np.float32), np.arange(count) % 2, ("high", "low"), row, "hums")


@pytest.mark.parametrize("known", [True, False])
def test_sounds_are_measured_from_the_mean_spectrogram(known: bool) -> None:
    heard, learned = clips(0, 20), clips(1, 30)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(heard.row.size, 2)).eval()
    subject, came, take = taken(net, heard, None, None)
    start = start_of(Look(subject, came, take(learned, None) if known else None, seed=0))
    mean = torch.from_numpy((learned if known else heard).matrix().mean(0))
    rows = start.rows(came.tensor([3, 7]))
    torch.testing.assert_close(rows.flatten(1), came.tensor([3, 7]) - mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(start.module(torch.zeros_like(rows[:1])), net(mean[None]), atol=1e-5, rtol=1e-4)
    assert ("training rows" in start.baseline) == known and "Silence" in start.baseline


# -- values and codes --------------------------------------------------------------------------------------------------


def outputs(name: str) -> np.ndarray:
    """What the model gives all rows, shape (n, outputs), asked in another way than the report asks."""
    model, data, _ = made(name)
    x = data.matrix() if isinstance(data, Dataset) else data[0] if isinstance(data, tuple) else data
    if isinstance(model, nn.Module):
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()
    if isinstance(model, IdentityEmbedder):
        with torch.no_grad():
            return model.network_(torch.from_numpy(x)).numpy()
    given = model.predict(x) if hasattr(model, "predict") else model.transform(x)
    return given.reshape(len(x), -1)


@pytest.mark.parametrize("name", VALUES + CODES)
def test_what_is_explained_is_what_the_model_gives(name: str) -> None:
    given, code = outputs(name), name in CODES
    mean, spread = given.mean(0), given.std(0)
    assert found(name).gives == ("code" if code else "values") and found(name).outputs == given.shape[1]
    for answer in found(name).each:
        single = [asked for asked in answer.asked if asked.number >= 0]
        own = given[answer.row]
        for asked in single:
            far = (own[asked.number] - mean[asked.number]) / spread[asked.number]
            assert asked.value == pytest.approx(own[asked.number], rel=1e-4, abs=1e-4)
            assert asked.far == pytest.approx(far, rel=1e-2, abs=1e-3)
        away = (own - mean) / spread
        size = away if code and given.min() >= 0 else np.abs(away)
        wanted = np.argsort(-size)[:3] if code or len(own) > 3 else range(len(own))
        assert [asked.number for asked in single] == list(wanted)
        assert [asked.kind for asked in answer.asked[len(single) :]] == (["direction"] if code else [])
        if code:
            assert answer.asked[-1].value == pytest.approx(np.linalg.norm(own - mean), rel=1e-3)


@pytest.mark.parametrize("name", VALUES + CODES)
def test_maps_that_add_up_share_out_what_lies_between_nothing_and_the_row(name: str) -> None:
    for answer in found(name).each:
        for asked in answer.asked:
            shown = next(each for each in asked.maps if each.method == "Integrated gradients")
            between = asked.value - asked.empty  # type: ignore[operator]
            if shown.picture is None:
                assert sum(shown.values) == pytest.approx(between, rel=0.03, abs=0.03)
            elif abs(between) > 1e-3:
                assert shown.complete is not None and shown.complete < 0.05


def asked_of(name: str, row: int, number: int) -> Asked:
    answer = next(each for each in found(name).each if each.row == row)
    return next(asked for asked in answer.asked if asked.number == number)


def test_maps_of_units_and_directions_are_those_of_the_lens() -> None:
    model, (x, _), _ = made("code_of_module")
    codes = torch.from_numpy(outputs("code_of_module"))
    for answer in found("code_of_module").each:
        row, away = torch.from_numpy(x[answer.row : answer.row + 1]), codes[answer.row] - codes.mean(0)
        for asked in answer.asked:
            target = Direction("2", away / away.norm()) if asked.kind == "direction" else Unit("2", asked.number)
            wanted = LRP(model).attribute(row, target=target).values[0].view(8, 8)
            shown = next(each for each in asked.maps if each.method == "LRP")
            drawn = torch.tensor(shown.picture) * shown.scale / 127
            torch.testing.assert_close(
                drawn, wanted.clamp(-shown.scale, shown.scale), atol=shown.scale / 127, rtol=1e-3
            )


def test_values_are_explained_in_the_targets_own_units_from_the_mean_row() -> None:
    model, (x, _), _ = made("one_value")
    rows = x.astype(np.float32)
    for answer in found("one_value").each:
        (asked,) = answer.asked
        assert asked.empty == pytest.approx(float(model.predict(rows.mean(0, keepdims=True))[0]), rel=1e-4)
        shown = next(each for each in asked.maps if each.method == "DeepLift")
        assert sum(shown.values) == pytest.approx(asked.value - asked.empty, rel=1e-2, abs=1e-2)  # type: ignore[operator]


def test_rows_are_those_furthest_off_out_of_the_ordinary_and_between() -> None:
    model, (x, y), _ = made("one_value")
    off = np.abs(model.predict(x) - y)
    each = found("one_value").each
    assert len(each) == 8 and len({answer.row for answer in each}) == 8
    assert [answer.row for answer in each if answer.why == "off"] == np.argsort(-np.nan_to_num(off, nan=-1))[
        :2
    ].tolist()
    assert all(answer.asked[0].true is None for answer in each if answer.row >= 50)
    assert all(answer.asked[0].true == pytest.approx(y[answer.row]) for answer in each if answer.row < 50)
    given = outputs("machine")
    distance = np.square((given - given.mean(0)) / given.std(0)).sum(1)
    whys = [answer.why for answer in found("machine").each]
    assert [answer.row for answer in found("machine").each if answer.why == "far"] == [distance.argmax()]
    assert whys.count("class") == 3 and whys == sorted(whys, key=["off", "far", "class", "between"].index)


def test_how_well_values_are_foretold_is_said() -> None:
    model, (x, y), _ = made("two_values")
    fit = gather(model, (x, y), row=IMAGE, answers=0).fit
    assert fit is not None and fit.rows == 60
    for at in range(2):
        assert fit.explained[at] == pytest.approx(r2_score(y[:, at], model.predict(x)[:, at]), abs=1e-4)


def test_what_answers_nothing_to_ask_about_has_no_pages_and_says_why() -> None:
    steps = gather(nn.LSTM(8, 5, batch_first=True).eval(), X[NEW].reshape(-1, 8, 8))
    assert steps.answers is None and "no score per class" in steps.left_out["Answers"]
    for name in ("dense", "machine"):
        model, data, _ = made(name)
        assert "none was asked for" in gather(model, data, row=IMAGE, answers=0).left_out["Answers"]
        with pytest.raises(ValueError, match="Row 60 is asked for, but there are 60 rows: 0 to 59"):
            gather(model, data, row=IMAGE, answers=[60])


@pytest.mark.parametrize(
    ("name", "data", "how", "words"),
    [
        ("two_values", (X[NEW], Y[NEW]), {}, r"foretells 2 values each came with targets of shape \(60,\)"),
        ("one_value", (X[NEW], ["high"] * 60), {}, "Give numbers of shape"),
        ("machine", X[NEW], {"outputs": "values"}, "a RBMTransformer gives code"),
        ("code_of_module", X[NEW], {"outputs": "numbers"}, "outputs='numbers' is none of 'classes', 'values', 'code'"),
        ("code_of_module", (X[NEW], Y[NEW]), {}, 'say outputs="values" or outputs="code"'),
    ],
)
def test_what_does_not_fit_is_told(name: str, data: Any, how: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gather(made(name)[0], data, row=IMAGE, **how)


def test_several_targets_a_row_are_values() -> None:
    model, (x, _), _ = made("code_of_module")
    told = gather(model, (x, np.random.RandomState(0).randn(60, 4)), row=IMAGE, answers=1)
    assert told.fit is not None and told.answers is not None and told.answers.gives == "values"
