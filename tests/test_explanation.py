"""What an explanation says must be what the model does: checked against the estimators themselves."""

from __future__ import annotations

import functools
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from torch import nn

import layerwise
from layerwise import (
    DBNClassifier,
    DeepAutoencoder,
    IdentityEmbedder,
    NetworkClassifier,
    NetworkRegressor,
    RBMTransformer,
    StackedAutoencoderClassifier,
    explain,
)
from layerwise.data import Dataset, Row, load
from layerwise.data.tokens import TextRow
from layerwise.explanation import gather
from layerwise.findings import Explanation, unpack
from layerwise.health import HealthWarning
from layerwise.lens import Seen
from layerwise.subject import WIDEST, code_of

IMAGE = Row("image", (8, 8), low=0, high=1)
X, Y = load_digits(return_X_y=True)
X = X / 16
CANCER = load_breast_cancer()
SEEN, NEW = slice(0, 300), slice(1000, 1150)
QUICK = {"pretrain_epochs": 3, "epochs": 5, "random_state": 0}


def few_labels() -> np.ndarray:
    return np.where(np.arange(300) % 3 == 0, Y[SEEN], -1)


MAKE = {
    "dbn": lambda: DBNClassifier((20, 16), up_down_epochs=2, **QUICK).fit(X[SEEN], few_labels()),
    "generative": lambda: DBNClassifier((20, 16), up_down_epochs=1, classify="generative", **QUICK).fit(
        X[SEEN], Y[SEEN]
    ),
    "gaussian": lambda: DBNClassifier((20, 16), up_down_epochs=1, visible="gaussian", **QUICK).fit(X[SEEN], Y[SEEN]),
    "baseline": lambda: DBNClassifier((20, 16), pretrain=None, epochs=5, random_state=0).fit(X[SEEN], Y[SEEN]),
    "stacked": lambda: StackedAutoencoderClassifier((20,), hidden="rectified", patience=2, **QUICK).fit(
        X[SEEN], Y[SEEN]
    ),
    "deep": lambda: DeepAutoencoder((20, 6), **QUICK).fit(X[SEEN]),
    "deep-baseline": lambda: DeepAutoencoder((20, 6), pretrain=None, epochs=5, random_state=0).fit(X[SEEN]),
    "rbm": lambda: RBMTransformer(20, epochs=3, random_state=0).fit(X[SEEN]),
    "partial": lambda: RBMTransformer(20, random_state=0).partial_fit(X[:100]).partial_fit(X[100:200]),
    "table": lambda: DBNClassifier((12,), up_down_epochs=1, **QUICK).fit(CANCER.data[SEEN], CANCER.target[SEEN]),
    "cnn": lambda: NetworkClassifier(
        shape=(8, 8), layers=(6, 8), options={"hidden": (10,)}, epochs=3, random_state=0
    ).fit(X[SEEN], Y[SEEN]),
    "resnet": lambda: NetworkClassifier("resnet", shape=(8, 8), layers=(4, 6), epochs=2, random_state=0).fit(
        X[SEEN], Y[SEEN]
    ),
    "lstm": lambda: NetworkClassifier("lstm", shape=(8, 8), layers=(6,), epochs=2, random_state=0).fit(
        X[SEEN], Y[SEEN]
    ),
    "grown": lambda: NetworkClassifier("mlp", layers=(12, 8), pretrain="greedy", **QUICK).fit(X[SEEN], few_labels()),
    "people": lambda: IdentityEmbedder("mlp", layers=(12,), size=16, epochs=2, random_state=0).fit(X[SEEN], Y[SEEN]),
    "numbers": lambda: NetworkRegressor(layers=(8,), epochs=2, random_state=0).fit(X[SEEN], Y[SEEN] / 2),
}
NETWORKS = ["cnn", "resnet", "lstm", "grown", "people", "numbers"]
CLASSIFIERS = ["dbn", "generative", "gaussian", "baseline", "stacked", "table", "cnn", "resnet", "lstm", "grown"]
REBUILD = ["dbn", "generative", "gaussian", "stacked", "deep", "deep-baseline", "rbm"]


@functools.cache
def fitted(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)  # hardly trained, on purpose
        return MAKE[name]()


def rows(name: str) -> tuple[Any, Any]:
    return (CANCER.data[400:520], CANCER.target[400:520]) if name == "table" else (X[NEW], Y[NEW])


@functools.cache
def found(name: str) -> Explanation:
    return gather(fitted(name), rows(name), row=None if name == "table" else IMAGE, answers=3)


# -- it says what the model does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKE)
def test_json_holds_all_of_it(name: str) -> None:
    told = found(name).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_error_is_that_of_the_estimator(name: str) -> None:
    score, mistakes = found(name).score, found(name).mistakes
    assert score is not None and mistakes is not None
    x, y = rows(name)
    assert 1 - score.error == pytest.approx(fitted(name).score(x, y))
    assert score.low <= score.error <= score.high
    matrix = np.array(mistakes.matrix)
    assert matrix.sum() == len(y) and len(y) - np.trace(matrix) == score.wrong
    assert matrix.sum(1).tolist() == found(name).data.per_class
    assert score.baseline == pytest.approx(1 - matrix.sum(1).max() / len(y))


def test_unlabelled_rows_are_left_out_of_the_error_and_stay_on_the_map() -> None:
    hidden = np.where(np.arange(150) % 4 == 0, Y[NEW], -1)
    part = gather(fitted("dbn"), (X[NEW], hidden), row=IMAGE, answers=0)
    known = hidden >= 0
    assert part.score is not None and part.mistakes is not None and part.map is not None
    assert part.score.rows == known.sum() == np.sum(part.mistakes.matrix)
    assert 1 - part.score.error == pytest.approx(fitted("dbn").score(X[NEW][known], hidden[known]))
    assert len(part.map.rows) == 150 and part.data.labelled == known.sum()


@pytest.mark.parametrize("name", REBUILD)
def test_reconstructions_are_those_of_the_estimator(name: str) -> None:
    model, keeping = fitted(name), found(name).keeping
    x = X[NEW].astype(np.float32)
    for depth, layer in enumerate(keeping.layers[1:], start=1):
        if hasattr(model, "reconstruct"):
            back = model.reconstruct(x, depth)
        elif depth < len(keeping.layers) - 1:
            continue  # these estimators show the world their top code only
        else:
            back = model.inverse_transform(model.transform(x))
        assert layer.error == pytest.approx(np.square(x - back).sum(1).mean(), rel=1e-4)
        assert layer.share == pytest.approx(1 - layer.error / x.var(0).sum(), rel=1e-4)
        assert keeping.pictures is not None
        wanted = np.rint(255 * back[keeping.examples].clip(0, 1)).reshape(-1, 8, 8)
        assert np.abs(keeping.pictures[depth - 1].astype(int) - wanted).max() <= 1
    assert Y[NEW][keeping.examples].tolist() == list(range(10))


def test_a_network_grown_layer_by_layer_rebuilds_with_what_its_stages_learned(tmp_path: Path) -> None:
    model = NetworkClassifier("mlp", layers=(24, 12), pretrain="greedy", **(QUICK | {"pretrain_epochs": 60}))
    model.fit(X[SEEN], Y[SEEN])
    keeping = gather(
        model, (X[SEEN], Y[SEEN]), row=IMAGE, answers=0
    ).keeping  # new rows have pixels that none of these has
    x = torch.from_numpy(X[SEEN].astype(np.float32))
    entrance, stages = model.network_.get_submodule("input"), model.grown_.layers
    for depth, layer in enumerate(keeping.layers[1:], start=1):
        with torch.no_grad():
            code = entrance(x)
            for stage in stages[:depth]:
                code = stage.module(code)
            for stage in reversed(stages[:depth]):
                code = stage.down(code)
            back = code * entrance.std + entrance.mean
        assert layer.error == pytest.approx(float((x - back).square().sum(1).mean()), rel=1e-4)
    assert keeping.layers[1].share > 0 and keeping.layers[1].error < keeping.layers[2].error  # type: ignore[operator]
    assert keeping.pictures is not None and keeping.pictures.shape[:2] == (2, 10)
    again = layerwise.load(model.save(tmp_path / "net")).grown_
    assert torch.equal(again.reconstruct(x), model.grown_.reconstruct(x))


def test_columns_of_a_table_count_alike() -> None:
    keeping, x = found("table").keeping, rows("table")[0].astype(np.float32)
    scaled = (x - fitted("table").reconstruct(x)) / x.std(0)
    assert keeping.standardised and keeping.baseline == pytest.approx(30, rel=1e-4)
    assert keeping.layers[1].error == pytest.approx(np.square(scaled).sum(1).mean(), rel=1e-3)
    np.testing.assert_allclose(keeping.explained[0], 1 - np.square(scaled).mean(0), rtol=1e-2, atol=1e-3)  # type: ignore[index]


@pytest.mark.parametrize("name", ["dbn", "baseline", "stacked", "generative", "deep", "rbm"])
def test_first_layers_pictures_are_its_weights(name: str) -> None:
    model, layer = fitted(name), found(name).weights[0]
    tuned = hasattr(model, "network_") and name != "generative"
    weight = model.network_.layer1.linear.weight if tuned else model.stack_.layers[0].weight.T
    drawn = unpack(found(name).to_dict()["weights"][0]["pictures"]).reshape(len(layer.unit), 64)
    wanted = weight.detach()[layer.unit].clamp(-layer.scale, layer.scale)
    torch.testing.assert_close(torch.tensor(drawn) * layer.scale / 127, wanted, atol=layer.scale / 127, rtol=0)
    lengths = weight.detach().norm(dim=1)
    assert layer.unit == torch.argsort(lengths, descending=True, stable=True)[: len(layer.unit)].tolist()


def test_upper_layers_are_the_derivative_of_the_net_without_its_activations() -> None:
    network = fitted("dbn").network_
    linear = nn.Sequential(network.layer1.linear, network.layer2.linear, network.output.linear)
    derivative = torch.autograd.functional.jacobian(linear, torch.rand(64))
    output = found("dbn").weights[-1]
    assert output.label == "Output" and output.names == [str(digit) for digit in range(10)]
    drawn = torch.tensor(output.pictures).reshape(10, 64) * output.scale / 127
    torch.testing.assert_close(drawn, derivative.clamp(-output.scale, output.scale), atol=output.scale / 127, rtol=0)


def test_pictures_of_standardised_pixels_are_in_the_datas_units() -> None:
    layer, network = found("gaussian").weights[0], fitted("gaussian").network_
    wanted = network.layer1.linear.weight.detach()[layer.unit] * network.layer1.standardise.std
    drawn = torch.tensor(layer.pictures).reshape(-1, 64) * layer.scale / 127
    torch.testing.assert_close(drawn, wanted.clamp(-layer.scale, layer.scale), atol=layer.scale / 127, rtol=0)


def test_tables_show_weights_per_standard_deviation() -> None:
    layer, network = found("table").weights[0], fitted("table").network_
    wanted = network.layer1.linear.weight.detach()[layer.unit]
    np.testing.assert_allclose(layer.table, wanted, rtol=1e-5)  # type: ignore[arg-type]
    assert layer.columns == [f"column {number}" for number in range(1, 31)]


def test_strongest_rows_are_those_of_the_codes() -> None:
    codes = fitted("rbm").transform(X[NEW].astype(np.float32))
    for each in found("rbm").weights[0].strongest:
        assert each.states == pytest.approx(np.sort(codes[:, each.unit])[::-1][:6].tolist(), rel=1e-5)
        assert codes[each.rows, each.unit].tolist() == pytest.approx(each.states, rel=1e-5)


def test_dreams_are_those_of_the_estimator() -> None:
    dreams, model = found("dbn").dreams, fitted("dbn")
    assert dreams is not None and dreams.pictures is not None
    again = model.generate(100, label=np.repeat(np.arange(10), 10), steps=dreams.steps, random_state=0)
    assert np.array_equal(dreams.pictures, np.rint(255 * again.astype(float)).reshape(10, 10, 8, 8))
    same = (model.predict(again) == np.repeat(np.arange(10), 10)).reshape(10, 10).sum(1)
    assert dreams.agree == same.tolist() and dreams.recognised == same.sum() and dreams.dreamed == 100


def test_dreams_of_a_unit_are_those_of_the_estimator_with_it_held_on() -> None:
    for depth, page in enumerate(found("dbn").layers[:2], start=1):
        dreamed = page.dreamed
        assert dreamed is not None and dreamed.pictures is not None and len(dreamed.unit) == 6
        how = {"unit": (depth, dreamed.unit[2]), "steps": dreamed.steps, "random_state": 0}
        again = fitted("dbn").generate(dreamed.each, **how)
        own = slice(2 * dreamed.each, 3 * dreamed.each)
        assert np.array_equal(dreamed.pictures[own], np.rint(255 * again.astype(float)).reshape(-1, 8, 8))
        assert dreamed.call == f"model.generate({dreamed.each}, unit=({depth}, #), steps={dreamed.steps})"
    of_table = found("table").layers[0].dreamed
    assert of_table is not None and of_table.columns is not None and of_table.columns.shape == (6, 8)
    assert found("dbn").layers[-1].dreamed is None and found("stacked").layers[0].dreamed is None


def test_dreams_of_a_table_stand_beside_its_classes() -> None:
    dreams, (x, y) = found("table").dreams, rows("table")
    assert dreams is not None and dreams.real is not None and dreams.means is not None
    scaled = (x - x.mean(0)) / x.std(0)
    for label in (0, 1):
        np.testing.assert_allclose(dreams.real[label], scaled[y == label].mean(0), atol=1e-4)
    assert dreams.means.shape == (2, 30) and dreams.scale == pytest.approx(
        max(abs(dreams.means).max(), abs(dreams.real).max())
    )


@pytest.mark.parametrize("name", MAKE)
def test_health_and_curves_are_those_of_the_model(name: str) -> None:
    told, model = found(name), fitted(name)
    epochs = [entry["figure"] for history in model.histories_ for entry in history.epochs]
    assert [value for curve in told.curves for value in curve.train] == epochs and told.model.epochs == len(epochs)
    assert told.model.seconds == pytest.approx(sum(e["seconds"] for h in model.histories_ for e in h.epochs))
    assert len({curve.name for curve in told.curves}) == len(told.curves)
    assert {g.stage: [g.start, g.end] for g in told.health.gradients} == getattr(model, "gradients_", {})
    for layer in told.health.layers:
        assert sum(layer.counts) == layer.units * told.health.rows
        assert 0 <= layer.dead <= layer.constant <= layer.units or not layer.defined or layer.kind == "bernoulli"


def test_held_out_figures_are_shown_where_there_are_some() -> None:
    assert found("stacked").curves[-1].valid is not None
    assert found("dbn").curves[-1].valid is None


def test_tuning_is_said_to_have_moved_the_weights_it_moved() -> None:
    model = fitted("stacked")
    before, after = model.stack_.layers[0].weight.detach().T, model.network_.layer1.linear.weight.detach()
    assert found("stacked").health.layers[0].moved == pytest.approx(
        float((after - before).norm() / before.norm()), rel=1e-5
    )
    assert [found(name).health.layers[0].moved for name in ("baseline", "generative", "deep", "rbm")] == [None] * 4


# -- networks ----------------------------------------------------------------------------------------------------------


def test_a_cnn_shows_the_filters_of_its_lowest_convolution() -> None:
    layer, weight = found("cnn").weights[0], fitted("cnn").network_.layer1.conv.weight.detach()
    drawn = torch.tensor(layer.pictures.copy()).float() * layer.scale / 127  # type: ignore[union-attr]
    torch.testing.assert_close(drawn, weight[layer.unit, 0], atol=layer.scale / 127, rtol=0)
    assert sorted(layer.unit) == list(range(6)) and layer.scale == pytest.approx(float(weight.abs().max()))
    assert [each.pictures is None for each in found("cnn").weights] == [False, True, True]


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_the_state_of_a_map_is_its_largest(name: str) -> None:
    model, told = fitted(name), found(name)
    x = torch.from_numpy(X[NEW].astype(np.float32))
    with torch.no_grad():
        maps = model.network_[:2](x)
    assert told.model.widths[:2] == [64, maps.shape[1]]
    largest = maps.flatten(2).amax(2)
    for each in told.weights[0].strongest:
        assert each.states == pytest.approx(largest[each.rows, each.unit].tolist(), rel=1e-5)
        assert each.states[0] == pytest.approx(float(largest[:, each.unit].max()), rel=1e-5)
    assert told.health.layers[0].dead == int((largest.amax(0) <= 0).sum()) and "relu" in told.health.layers[0].kind


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_a_network_are_its_stages(name: str) -> None:
    model, told = fitted(name), found(name)
    stages = [stage for stage, _ in model.network_.named_children()][1:-1]
    assert told.model.depth == len(stages) == len(told.keeping.layers) - 1 == len(told.health.layers)
    assert told.model.parameters == model.parameters_ and told.model.kinds[0] == "standardised"


@pytest.mark.parametrize("positions", [(40, 40), (20, 31), (6, 6)])
def test_wide_codes_are_averaged_until_they_fit(positions: tuple[int, int]) -> None:
    values = torch.rand(2, 16, *positions)
    code = code_of(Seen(values, 1))
    assert code.shape[1] <= WIDEST and code.min() >= 0 and code.max() <= 1
    assert values[0].numel() > WIDEST or torch.equal(code, values.flatten(1))


def test_symbols_are_counted_before_a_probe_reads_them() -> None:
    texts = np.array(["good good film", "bad film", "good song", "bad bad song"] * 40)
    row = TextRow(form="words").fitted(texts)
    data = Dataset(texts, np.array([0, 1, 0, 1] * 40), ("good", "bad"), row, "films")
    model = NetworkClassifier("lstm", vocabulary=row.ids, layers=(4,), epochs=2, random_state=0).fit(
        data.matrix(), data.y
    )
    told = gather(model, data, answers=2)
    assert told.keeping.layers[0].label == "Symbol counts" and told.keeping.layers[0].probe.accuracy == 1
    assert told.gallery.texts[0] == texts[told.gallery.numbers[0]] and told.gallery.pictures is None
    assert told.weights[0].pictures is None and told.weights[0].table is None and told.weights[0].strongest


# -- what does not apply is left out, with the reason ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("dbn", set()), ("generative", set()), ("gaussian", set()), ("table", set()),
        ("baseline", {"Reconstructions", "Dreams"}), ("stacked", {"Dreams"}),
        ("deep", {"Dreams", "Mistakes", "Gradients"}), ("rbm", {"Dreams", "Mistakes", "Gradients"}),
        ("cnn", {"Reconstructions", "Dreams"}), ("lstm", {"Reconstructions", "Dreams"}),
        ("grown", {"Dreams"}), ("numbers", {"Reconstructions", "Dreams", "Mistakes", "Linear probes"}),
        ("people", {"Reconstructions", "Dreams", "Mistakes"}),
    ],
)  # fmt: skip
def test_what_is_left_out_has_a_reason(name: str, missing: set[str]) -> None:
    told = found(name)
    assert set(told.left_out) == missing and all(told.left_out.values())
    assert (told.dreams is None) == ("Dreams" in missing) and (told.mistakes is None) == ("Mistakes" in missing)


def test_without_labels_there_is_no_error() -> None:
    told = gather(fitted("dbn"), X[NEW], row=IMAGE, answers=3)
    assert told.score is None and told.mistakes is None and told.keeping.layers[0].probe is None
    assert {"Mistakes", "Linear probes"} <= set(told.left_out)
    assert told.keeping.examples == list(range(10))


def test_a_net_that_answers_all_alike_has_no_map_but_a_page() -> None:
    model = RBMTransformer(4, epochs=1, random_state=0).fit(X[:50])
    with torch.no_grad():
        model.rbm_.weight.zero_()
    told = gather(model, X[NEW], row=IMAGE, answers=0)
    assert "same code" in told.left_out["Map of the code of layer 1"]
    assert told.map is not None and {panel.space for panel in told.map.panels} == {"Input"}
    assert "constant" in told.health.layers[0].advice


def test_a_few_rows_are_enough() -> None:
    told = gather(fitted("dbn"), (X[:1], Y[:1]), row=IMAGE)
    assert told.score is not None and told.score.rows == 1 and told.map is None


# -- what may come -----------------------------------------------------------------------------------------------------


def plain(told: Explanation) -> dict[str, Any]:
    return {key: value for key, value in told.to_dict().items() if key != "made"}


def test_the_same_seed_says_the_same_and_so_does_the_saved_model(tmp_path: Path) -> None:
    fitted("dbn").save(tmp_path / "model.lw")
    loaded = layerwise.load(tmp_path / "model.lw")
    again = plain(gather(loaded, rows("dbn"), row=IMAGE, answers=3))
    assert again == plain(found("dbn"))
    assert plain(gather(loaded, rows("dbn"), row=IMAGE, answers=0, seed=1))["dreams"] != again["dreams"]


def test_a_dataset_says_what_its_rows_say() -> None:
    data = Dataset((X[NEW] * 16).astype(np.uint8).reshape(-1, 8, 8), Y[NEW].astype(np.int64), tuple("abcdefghij"),
                   Row("image", (8, 8), low=0, high=16), "shapes", "made up")  # fmt: skip
    told, bare = gather(fitted("dbn"), data, answers=3), found("dbn")
    assert told.classes == list("abcdefghij") and "shapes" in told.title and told.data.note == "made up"
    assert told.score == bare.score and np.array_equal(told.gallery.pictures, bare.gallery.pictures)  # type: ignore[arg-type]


def test_rows_that_were_learned_from_are_found() -> None:
    told = gather(fitted("dbn"), (X[290:320], Y[290:320]), row=IMAGE, answers=0, training=(X[SEEN], few_labels()))
    assert told.data.shared == sum(any(np.array_equal(new, old) for old in X[SEEN]) for new in X[290:320]) >= 10
    assert told.data.trained_rows == 300 and told.data.trained_labelled == 100


def test_data_frames_and_class_names() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(CANCER.data, columns=CANCER.feature_names)
    names = CANCER.target_names[CANCER.target]
    model = StackedAutoencoderClassifier((6,), **QUICK).fit(frame[:200], names[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = gather(model, (frame[200:250], names[200:250]), answers=2)
    assert told.weights[0].columns == list(CANCER.feature_names) and told.classes == ["benign", "malignant"]
    assert told.score is not None and 1 - told.score.error == pytest.approx(model.score(frame[200:250], names[200:250]))
    with pytest.raises(ValueError, match="Put them in that order"):
        gather(model, frame[frame.columns[::-1]])


def test_methods_are_ranked_as_they_fared_also_when_ours_did_not() -> None:
    methods = [
        {"method": "ours", "errors": [0.2, 0.3], "this": True, "seconds": 3.0},
        {"method": "theirs", "errors": [0.1, 0.2], "note": "shallow"},
        {"method": "once", "error": 0.5, "sd": 0.1},
    ]
    told = gather(fitted("rbm"), X[NEW], row=IMAGE, answers=0, comparison=methods).comparison
    assert [each.method for each in told] == ["theirs", "ours", "once"]
    assert [each.verdict for each in told] == ["best", "behind", "unknown"]
    assert told[1].error == 0.25 and told[1].sd == pytest.approx(math.sqrt(0.005)) and told[2].sd == 0.1


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([{"errors": [0.1]}], r"Method 1 of the comparison has the keys \['errors'\]"),
        ([{"method": "a", "errors": [0.1], "err": 1}], "'err'"),
        ([{"method": "a", "errors": [12.5]}], "Divide per cent by 100"),
        ([{"method": "a", "errors": []}], r"\[nan\]"),
    ],
)
def test_a_bad_comparison_is_told(methods: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gather(fitted("rbm"), X[NEW], comparison=methods)


# -- what may not ------------------------------------------------------------------------------------------------------


def test_an_unfitted_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="DBNClassifier instance is not fitted yet"):
        explain(DBNClassifier(), X, tmp_path)


def test_a_model_of_others_is_told(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"got LogisticRegression.*pipeline"):
        explain(LogisticRegression(), X, tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X[NEW][:, :10], Y[NEW]), "fitted on rows of 64 features, but these have 10"),
        ((X[:0], Y[:0]), "0 rows"),
        ((X[NEW], Y[:3]), "Give one label per row"),
        ((X[NEW], Y[NEW] + 5), "no classes of the model"),
    ],
)
def test_bad_rows_are_told(data: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        explain(fitted("dbn"), data, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file; a report is written into a folder"):
        explain(None, None, tmp_path / "file")
    (tmp_path / "report.html").write_text("<h1>Mine</h1>")
    with pytest.raises(FileExistsError, match="not a report of layerwise"):
        explain(None, None, tmp_path)
    assert (tmp_path / "report.html").read_text() == "<h1>Mine</h1>"


def test_an_earlier_report_is_replaced_and_other_files_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    first = explain(fitted("rbm"), X[:20], out, row=IMAGE)
    (out / "notes.txt").write_text("mine")
    again = explain(fitted("rbm"), load("digits", "test").take(slice(0, 20)), out, title="Second")
    assert first == again == out / "report.html" and "Second" in again.read_text(encoding="utf-8")
    assert sorted(each.name for each in out.iterdir()) == ["notes.txt", "report.html", "report.json"]
