"""NetworkClassifier and NetworkRegressor: every kind of net learns, is saved, is resumed, and does what its settings say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from layerwise import NetworkClassifier, NetworkRegressor, Run, load
from layerwise.nets import ACTIVATIONS
from layerwise.starts import INITIALISATIONS

Rows = tuple[np.ndarray, np.ndarray]


def table(rows: int) -> Rows:
    x = np.random.RandomState(0).randn(rows, 6).astype(np.float32) * [1, 10, 0.1, 1, 1, 1] + 3
    return x.astype(np.float32), (x[:, 1] > 3).astype(int)


def pictures(rows: int) -> Rows:
    """One bright line, across (0) or upright (1), on faint noise."""
    random = np.random.RandomState(0)
    y, x = random.randint(2, size=rows), 0.1 * random.rand(rows, 8, 8)
    for picture, upright, at in zip(x, y, random.randint(8, size=rows), strict=True):
        (picture.T if upright else picture)[at] = 1
    return x.astype(np.float32), y


def sequences(rows: int) -> Rows:
    """Values that rise (1) or fall (0), of unequal length, with zeros behind."""
    random = np.random.RandomState(0)
    y, x = random.randint(2, size=rows), np.zeros((rows, 9, 2))
    for row, rises, steps in zip(x, y, random.randint(4, 10, size=rows), strict=True):
        row[:steps, 0] = np.linspace(1, 2, steps) if rises else np.linspace(2, 1, steps)
        row[:steps, 1] = random.rand(steps) + 5
    return x.astype(np.float32), y


def symbols(rows: int) -> Rows:
    """Whole numbers of 1 to 6, of unequal length, with zeros behind: is there a 3?"""
    random = np.random.RandomState(0)
    x = random.choice([1, 2, 4, 5, 6], size=(rows, 8))
    y = random.randint(2, size=rows)
    x[np.arange(rows), random.randint(3, size=rows)] = np.where(y, 3, 2)
    return np.where(np.arange(8) < random.randint(3, 9, size=rows)[:, None], x, 0).astype(np.float32), y


KINDS: dict[str, tuple[Callable[[int], Rows], dict[str, Any]]] = {  # a new kind of net adds itself here
    "mlp": (table, {"layers": (16,)}),
    "cnn": (pictures, {"layers": (8,), "options": {"hidden": (16,)}}),
    "resnet": (pictures, {"layers": (6, 8), "options": {"blocks": 1}}),
    "lstm": (sequences, {"layers": (8,)}),
    "lstm of symbols": (symbols, {"layers": (8,), "vocabulary": 7, "options": {"embedding": 6}}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def rows_of(kind: str, rows: int = 300) -> Rows:
    return KINDS[kind][0](rows)


def net(kind: str, **settings: Any) -> NetworkClassifier:
    quick = {"epochs": 12, "rate": 0.01, "pretrain_epochs": 2, "batch_size": 32, "random_state": 0}
    return NetworkClassifier(**quick | {"net": kind.split()[0]} | KINDS[kind][1] | settings)


def same_bits(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


# -- every kind of net -------------------------------------------------------------------------------------------------


@each_kind
def test_every_net_learns(kind: str) -> None:
    x, y = rows_of(kind, 400)
    fitted = net(kind).fit(x[:300], y[:300])
    assert fitted.score(x[300:], y[300:]) > 0.85
    assert fitted.net_ == kind.split()[0] and fitted.predict_proba(x[:3].reshape(3, -1)).shape == (3, 2)


@pytest.mark.parametrize(("kind", "wanted"), [("mlp", "mlp"), ("cnn", "cnn"), ("lstm of symbols", "lstm")])
def test_the_shape_of_the_rows_chooses_the_net(kind: str, wanted: str) -> None:
    assert net(kind, net="auto", epochs=1).fit(*rows_of(kind, 60)).net_ == wanted


@each_kind
def test_a_saved_net_answers_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    x, y = rows_of(kind, 100)
    fitted = net(kind, epochs=2, class_weight={0: 1.0, 1: 2.0}).fit(x, y)
    again = load(fitted.save(tmp_path / "net"))
    np.testing.assert_array_equal(again.predict_log_proba(x), fitted.predict_log_proba(x))
    assert again.get_params()["class_weight"] == {0: 1.0, 1: 2.0}
    again.fit(x, y)


class Cut(Run):
    """A run that is broken off after so many steps, of which every one was saved."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(folder, interval=0)
        self.left = steps

    def show(self, text: str) -> None:
        self.left -= 1
        if self.left < -1:  # the step before was saved
            raise KeyboardInterrupt


@each_kind
@pytest.mark.parametrize("steps", [5, 26])
def test_a_net_that_was_broken_off_goes_on_to_the_same_bits(kind: str, steps: int, tmp_path: Path) -> None:
    """In the midst of pre-training and of tuning, with everything random that a kind has."""
    x, y = rows_of(kind, 100)
    how: dict[str, Any] = {"pretrain": "greedy", "epochs": 8, "average": 0.9, "patience": 5, "optimizer": "adam"}
    how["options"] = dict(KINDS[kind][1].get("options", {})) | {"dropout": 0.3}
    if rows_of(kind, 2)[0].ndim == 3 and kind != "lstm":
        how["augment"] = {"shift": 1, "turn": 5}
    whole = net(kind, **how).fit(x, y)
    with pytest.raises(KeyboardInterrupt):
        net(kind, **how).fit(x, y, run=Cut(tmp_path / "run", steps))
    resumed = net(kind, **how).fit(x, y, run=Run(tmp_path / "run", resume=True))
    assert same_bits(resumed.network_, whole.network_)
    np.testing.assert_array_equal(resumed.predict_proba(x), whole.predict_proba(x))


@each_kind
def test_greedy_pretraining_learns_from_rows_without_a_label(kind: str) -> None:
    x, y = rows_of(kind, 200)
    hidden = np.where(np.arange(200) < 40, y, -1)
    fitted = net(kind, pretrain="greedy", epochs=1).fit(x, hidden)
    stages = [name for name, _ in fitted.network_.named_children()][1:-1]
    assert fitted.classes_.tolist() == [0, 1]
    assert len(fitted.histories_) == (2 if kind.startswith("lstm") else len(stages) + 1)
    other = np.concatenate([x[:40], x[40:][:, ::-1]])
    assert not same_bits(net(kind, pretrain="greedy", epochs=1).fit(other, hidden).network_, fitted.network_)
    assert len(fitted.encode(x, 1)) == 200


@each_kind
def test_bfloat16_learns_as_well_and_leaves_float32(kind: str) -> None:
    x, y = rows_of(kind)
    fitted = net(kind, precision="bfloat16").fit(x, y)
    assert {parameter.dtype for parameter in fitted.network_.parameters()} == {torch.float32}
    assert fitted.score(x, y) > 0.85
    short, precise = (net(kind, precision=name, epochs=1).fit(x[:50], y[:50]) for name in ("bfloat16", "float32"))
    assert not same_bits(short.network_, precise.network_)


@each_kind
@pytest.mark.parametrize("rows", [33, 65])
def test_a_last_batch_of_one_row_stops_no_batch_normalisation(kind: str, rows: int) -> None:
    x, y = rows_of(kind, rows)
    net(kind, pretrain="greedy", pretrain_epochs=1, epochs=1, batch_size=16).fit(x, y)


# -- settings ----------------------------------------------------------------------------------------------------------


def fit_table(**settings: Any) -> NetworkClassifier:
    return net("mlp", **settings).fit(*rows_of("mlp", 100))


@pytest.mark.parametrize("units", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_units_are_an_argument(kind: str, units: str) -> None:
    options = KINDS[kind][1].get("options", {}) | {"units": units}
    network = net(kind, options=options, epochs=1).fit(*rows_of(kind, 40)).network_
    used = {type(part) for part in network.modules()} & set(ACTIVATIONS.values())
    assert used == {ACTIVATIONS[units]}


@pytest.mark.parametrize("how", INITIALISATIONS)
@each_kind
def test_the_start_is_an_argument(kind: str, how: str) -> None:
    x, y = rows_of(kind, 40)
    started = net(kind, initialisation=how, epochs=0).fit(x, y).network_
    if how != "auto":
        assert not same_bits(started, net(kind, epochs=0).fit(x, y).network_)
    top = started.get_submodule("output.linear").get_parameter("weight").detach()
    if how == "normal":
        assert top.abs().max() < 0.05
    if how == "orthogonal":
        torch.testing.assert_close(top @ top.T, torch.eye(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("cross-entropy", {}), ("cross-entropy", {"smoothing": 0.3}), ("focal", {}), ("squared error", {})],
)
def test_losses_are_arguments_and_all_of_them_learn(loss: str, settings: dict[str, Any]) -> None:
    x, y = rows_of("mlp")
    fitted = net("mlp", loss=loss, epochs=30, **settings).fit(x, y)
    assert fitted.score(x, y) > 0.9
    if settings:  # a smoothed label is never worth certainty
        assert fitted.predict_proba(x).max() < net("mlp", epochs=30).fit(x, y).predict_proba(x).max()


def test_dropout_and_batch_norm_are_arguments() -> None:
    options = {"dropout": 0.4, "input_dropout": 0.2, "batch_norm": True}
    network = fit_table(layers=(8, 8), options=options, epochs=1).network_
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout)] == [0.2, 0.4, 0.4]
    assert sum(isinstance(part, nn.BatchNorm1d) for part in network.modules()) == 2
    x, _ = rows_of("mlp", 20)
    torch.testing.assert_close(network(torch.from_numpy(x)), network(torch.from_numpy(x)))  # silent after learning


def test_weight_decay_and_max_norm_keep_weights_small() -> None:
    def size(**settings: Any) -> float:
        return float(fit_table(**settings).network_.layer1.linear.weight.detach().norm(dim=1).max())

    assert size(weight_decay=1.0) < 0.95 * size()
    assert size(max_norm=0.5) <= 0.5 + 1e-5 < size()


def test_the_rate_warms_up_and_falls() -> None:
    rates = [entry["rate"] for entry in fit_table(warmup=0.5, schedule="cosine", epochs=12).histories_[-1].epochs]
    highest = int(np.argmax(rates))
    assert 3 < highest < 8 and rates[0] < rates[highest] / 3 and rates[-1] < rates[highest] / 3
    flat = [entry["rate"] for entry in fit_table(warmup=0.0, schedule="constant").histories_[-1].epochs]
    assert set(flat) == {0.01}


def test_early_stopping_keeps_the_best_net() -> None:
    x, y = rows_of("mlp", 120)
    noisy = np.where(np.random.RandomState(1).rand(120) < 0.4, 1 - y, y)  # there is much to over-fit
    history = net("mlp", layers=(64,), patience=3, epochs=200, schedule="constant").fit(x, noisy).histories_[-1]
    valid = [entry["valid"] for entry in history.epochs]
    assert len(valid) < 200 and int(np.argmin(valid)) == len(valid) - 4 and "kept epoch" in history.stopped


def test_class_weights_are_those_of_scikit_learn_and_help_rare_classes() -> None:
    random = np.random.RandomState(0)
    y = (np.arange(600) % 12 == 0).astype(int)
    x = (random.randn(600, 3) + 1.2 * y[:, None]).astype(np.float32)
    plain, balanced = (net("mlp", class_weight=how).fit(x, y) for how in (None, "balanced"))
    np.testing.assert_allclose(
        balanced._weights_, compute_class_weight("balanced", classes=np.array([0, 1]), y=y), rtol=1e-6
    )
    found = [model.predict(x)[y == 1].mean() for model in (plain, balanced)]
    assert found[1] > found[0] + 0.1
    names = np.array(["common", "rare"])[y]
    assert net("mlp", class_weight={"rare": 3.0}, epochs=1).fit(x, names)._weights_.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "augment"),
    [
        ("cnn", "image"),
        ("mlp", "image"),
        ("cnn", {"shift": 2, "flip": True}),
        ("resnet", "sound"),
        ("resnet", {"mask_time": 0.3, "mask_bands": 0.3}),
    ],
)
def test_rows_are_changed_while_learning_and_never_after(kind: str, augment: Any) -> None:
    x, y = pictures(60)
    how: dict[str, Any] = {"epochs": 2, "augment": augment}
    fitted = net(kind, **how).fit(x, y)
    assert not same_bits(fitted.network_, net(kind, **how | {"augment": None}).fit(x, y).network_)
    np.testing.assert_array_equal(fitted.predict_proba(x), fitted.predict_proba(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"net": "transformer"}, "net is one of auto, mlp"),
        ({"options": {"kernels": 3}}, "options are arguments of layerwise.nets.mlp"),
        ({"net": "cnn"}, "takes pictures"),
        ({"net": "lstm"}, "reads sequences"),
        ({"shape": (2, 2)}, "have 4 values, but X has 6"),
        ({"pretrain": "lazy"}, "pretrain is 'greedy' or None"),
        ({"augment": "text"}, "'image', 'sound', arguments of"),
        ({"augment": "image"}, "Leave augment out"),
        ({"augment": {"shift": 1}}, "Leave augment out"),
        ({"augment": {"rotate": 1}}, "augment holds arguments of"),
        ({"class_weight": "even"}, "class_weight is None, 'balanced'"),
        ({"loss": "hinge"}, "cross-entropy, focal or squared error"),
        ({"initialisation": "zero"}, "xavier"),
        ({"schedule": "step"}, "constant, linear, cosine"),
        ({"layers": ()}, "layers lists the units"),
        ({"precision": "half"}, "precision is auto"),
    ],
)
def test_bad_settings_say_what_to_do(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_table(**settings)


def test_rows_of_another_shape_are_refused() -> None:
    fitted = net("cnn", epochs=1).fit(*pictures(40))
    with pytest.raises(ValueError, match=r"learned rows of shape \(8, 8\)"):
        fitted.predict(np.zeros((2, 4, 16)))
    with pytest.raises(ValueError, match="There is no layer 3"):
        fitted.encode(pictures(5)[0], 3)


# -- numbers instead of classes ----------------------------------------------------------------------------------------


def regressor(**settings: Any) -> NetworkRegressor:
    return NetworkRegressor(**{"layers": (16,), "epochs": 40, "rate": 0.01, "random_state": 0} | settings)


def test_a_regressor_answers_in_the_targets_units_and_is_saved(tmp_path: Path) -> None:
    x, _ = table(300)
    y = np.stack([100 * x[:, 0] + 1000, x[:, 1] / 50], 1)
    fitted = regressor().fit(x, y)
    assert fitted.score(x, y) > 0.9
    again = load(fitted.save(tmp_path / "net"))
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    one = regressor().fit(x, y[:, 0])
    assert one.predict(x).shape == (300,) and one.score(x, y[:, 0]) > 0.9


def test_a_missing_target_serves_pretraining_only() -> None:
    x, _ = table(200)
    y = np.where(np.arange(200) < 100, x[:, 1], np.nan)
    other = np.concatenate([x[:100], x[100:, ::-1]])
    fitted = regressor(pretrain="greedy", pretrain_epochs=2).fit(x, y)
    assert fitted.score(x[:100], y[:100]) > 0.8
    assert not same_bits(regressor(pretrain="greedy", pretrain_epochs=2).fit(other, y).network_, fitted.network_)
    with pytest.raises(ValueError, match="all NaN"):
        regressor().fit(x, np.full(200, np.nan))
    with pytest.raises(ValueError, match="contains infinity"):
        regressor().fit(x, np.where(np.arange(200) == 3, np.inf, y))


def test_huber_minds_outliers_less() -> None:
    x, _ = table(300)
    y = x[:, 1].copy()
    wild = np.where(np.arange(300) % 15 == 0, 1000.0, y)
    found = [np.abs(regressor(loss=loss).fit(x, wild).predict(x) - y).mean() for loss in ("squared error", "huber")]
    assert found[1] < found[0] / 2


@pytest.mark.parametrize("batch_norm", [False, True])
def test_with_few_labels_the_output_alone_learns_from_them(batch_norm: bool) -> None:
    x, y = rows_of("mlp", 120)
    how: Any = {"pretrain": "greedy", "pretrain_epochs": 3, "options": {"batch_norm": batch_norm}}
    short, long = (net("mlp", layers=(8,), tune="output", epochs=epochs, **how).fit(x, y) for epochs in (1, 8))
    for (name, one), other in zip(
        short.network_.state_dict().items(), long.network_.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other) == (not name.startswith("output")), name
    assert all(parameter.requires_grad for parameter in long.network_.parameters())
    with pytest.raises(ValueError, match="tune is 'all' or 'output', got 'top'"):
        net("mlp", tune="top").fit(x, y)
