"""Any torch module can be explained: what the report says is what the module does, and what cannot be said has a reason."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modules import Bag, Convolutional, Labelled, Logarithm, Patches, Reader, Writer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parameter import is_lazy

from layerwise import explain, lens
from layerwise.data import Dataset, Row
from layerwise.explanation import gather
from layerwise.findings import Explanation

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
NEW = slice(1000, 1150)
IMAGE = Row("image", (8, 8), low=0, high=1)


def seeded(make: Any, *args: Any) -> Any:
    torch.manual_seed(0)
    return make(*args).eval()


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 10))


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 12, (150, 16))


MAKE: dict[str, Any] = {
    "convolutional": lambda: (seeded(Convolutional), (X[NEW].reshape(-1, 1, 8, 8), Y[NEW])),
    "patches": lambda: (seeded(Patches), (torch.tensor(X[NEW]).reshape(-1, 1, 8, 8), torch.tensor(Y[NEW]))),
    "dense": lambda: (seeded(dense), (X[NEW], Y[NEW])),
    "writer": lambda: (seeded(Writer), tokens()),
    "reader": lambda: (seeded(Reader), (tokens(), np.arange(150) % 12)),
    "bag": lambda: (seeded(Bag), (tokens(), np.arange(150) % 12)),
    "labelled": lambda: (seeded(Labelled), (tokens() + 16, np.arange(150) % 12)),
    "regression": lambda: (seeded(nn.Sequential, nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 1)), X[NEW]),
    "recurrent": lambda: (seeded(nn.LSTM, 8, 5, 1, True, True), (X[NEW].reshape(-1, 8, 8), Y[NEW])),
}
CLASSIFIERS = ["convolutional", "patches", "dense", "reader", "bag", "labelled"]


@functools.cache
def made(name: str) -> tuple[nn.Module, Any]:
    return MAKE[name]()


@functools.cache
def found(name: str) -> Explanation:
    model, data = made(name)
    return gather(model, data, answers=2)


def as_tensor(data: Any) -> torch.Tensor:
    return torch.as_tensor(data[0] if isinstance(data, tuple) else data)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_error_is_that_of_the_largest_output(name: str) -> None:
    model, data = made(name)
    with torch.no_grad():
        output = model(as_tensor(data))
        said = getattr(output, "logits", output).argmax(1).numpy()
    score = found(name).score
    assert score is not None and score.wrong == int((said != np.asarray(data[1])).sum())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("convolutional", ["first", "second"]), ("patches", ["patch", "blocks.0", "blocks.1"]),
        ("dense", ["0", "1", "3", "4"]), ("writer", ["embed", "blocks.0", "blocks.1", "head"]),
        ("regression", ["0", "1"]), ("bag", ["bag", "act"]), ("recurrent", [""]),
        ("labelled", ["embed", "mix#1", "act#1", "mix#2", "act#2", "head"]),
    ],
)  # fmt: skip
def test_layers_are_the_natural_ones_without_dropout_and_output(name: str, layers: list[str]) -> None:
    assert [each.name.split("[")[0] for each in found(name).layers][: len(layers)] == layers


def test_strongest_rows_are_those_of_the_module() -> None:
    model, (x, _) = made("convolutional")
    with torch.no_grad():
        maps = model.first(torch.as_tensor(x)).flatten(2).amax(2).numpy()
    page = found("convolutional").layers[0]
    for unit in range(6):
        assert np.allclose(maps[page.strongest[unit], unit], page.states[unit, :6], rtol=1e-3)
        assert page.states[unit, 0] == pytest.approx(maps[:, unit].max(), rel=1e-3)


def test_a_chain_of_linear_maps_has_weights_and_an_activation_those_below_it() -> None:
    weights, model = found("dense").weights, made("dense")[0]
    assert [each.label for each in weights] == ["Layer 0", "Layer 1", "Layer 3", "Layer 4", "Output"]
    strongest = weights[0].unit
    linear = nn.Sequential(model[0], model[3])
    derivative = torch.autograd.functional.jacobian(linear, torch.rand(64)).numpy()
    np.testing.assert_allclose(
        weights[2].table, derivative[weights[2].unit][:, [int(c[7:]) - 1 for c in weights[2].columns]], atol=1e-6
    )
    assert weights[0].unit == weights[1].unit == strongest and np.array_equal(weights[0].table, weights[1].table)


def test_a_dataset_is_given_in_the_shape_that_the_module_takes() -> None:
    data = Dataset((16 * X[NEW]).astype(np.uint8).reshape(-1, 8, 8), Y[NEW].astype(np.int64), tuple("abcdefghij"),
                   Row("image", (8, 8), low=0, high=16), "digits")  # fmt: skip
    for name in ("convolutional", "dense"):
        told, bare = gather(made(name)[0], data, answers=0), found(name)
        assert told.score == bare.score and told.classes == list("abcdefghij")


@pytest.mark.parametrize(
    ("name", "why"),
    [("writer", "no score per class"), ("regression", "one number per row"), ("recurrent", "no score per class")],
)
def test_what_does_not_classify_is_said_plainly(name: str, why: str) -> None:
    told = found(name)
    assert told.score is None and told.mistakes is None and why in told.left_out["Mistakes"] and told.layers


@pytest.mark.parametrize("name", MAKE)
def test_a_page_is_made_of_each_and_the_module_is_left_as_it_was(name: str, tmp_path: Path) -> None:
    model, data = MAKE[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    page = explain(model, data, tmp_path, answers=1)
    assert page.stat().st_size > 10_000
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()) and not model.training


def test_layers_that_run_again_are_looked_at_like_others() -> None:
    told = found("labelled")
    assert told.ladder is not None and told.answers is not None and told.answers.baseline.startswith("a word")
    slopes = [rung.life.gradient for rung in told.ladder.rungs if rung.life]
    assert [slope is None for slope in slopes] == [False, False, True, False, True]  # an activation has no weights
    assert told.layers[-1].label == "Output"
    assert all(page.ablation is not None for page in told.layers[1:5])


class Partly(nn.Module):
    """Its first layer runs without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 6), nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            h = self.first(x).relu()
        return self.second(h)


class Mixed(nn.Module):
    """One part in half precision, and what it answers as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 6), nn.Linear(6, 10, dtype=torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu().bfloat16())


UNUSUAL: dict[str, Any] = {
    "bfloat16": lambda: dense().to(torch.bfloat16), "float16": lambda: dense().half(), "float64": lambda: dense().double(),
    "frozen": lambda: dense().requires_grad_(False), "partly without gradient": Partly, "mixed": Mixed,
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_precision_and_frozen_weights_do_not_matter(name: str) -> None:
    model = seeded(UNUSUAL[name])
    told = gather(model, (X[NEW], Y[NEW]), answers=1)
    said = model(torch.from_numpy(X[NEW]).to(next(model.parameters()).dtype)).argmax(1).numpy()
    assert told.score is not None and told.answers is not None and told.answers.each
    assert told.score.error == pytest.approx((said != Y[NEW]).mean())
    json.dumps(told.to_dict(), allow_nan=False)


def test_layers_can_be_named() -> None:
    model, data = made("patches")
    told = gather(model, data, answers=0, layers=["blocks.*.mlp.1", "patch"])
    assert [each.name for each in told.layers] == ["patch", "blocks.0.mlp.1", "blocks.1.mlp.1"]
    assert gather(model, data, answers=0, layers="blocks.1").layers[0].kind == "real-valued features of steps"


# -- what may not ------------------------------------------------------------------------------------------------------


def test_a_layer_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    model, data = made("convolutional")
    with pytest.raises(ValueError, match=r"no part 'frist'. Near it: 'first'"):
        explain(model, data, tmp_path, layers=["frist"])
    with pytest.raises(ValueError, match="chooses among the layers of a torch module"):
        from layerwise import RBMTransformer

        explain(RBMTransformer(4, epochs=1).fit(X[:50]), X[:50], tmp_path, layers=["rbm"])


def test_a_layer_that_is_not_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'unused' gave no tensor when the module ran"):
        explain(Logarithm().eval(), X[NEW], tmp_path, layers=["unused"])


def test_a_layer_that_answers_nan_is_left_out_and_the_rest_is_shown() -> None:
    told = gather(seeded(Logarithm), (X[NEW], Y[NEW] % 6), answers=0, layers=["first", "second"])
    assert [each.name for each in told.layers] == ["first"] and told.map is not None
    assert "NaN or infinite" in told.left_out["Layer second"] and "NaN or infinite" in told.left_out["Mistakes"]


def test_a_module_of_which_all_is_nan_is_told(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    model[0].weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"Nothing can be shown of any layer. '0': 450 of its 450 activations are NaN"):
        explain(model, X[NEW], tmp_path)


def test_symbols_that_are_added_up_when_they_are_looked_up_have_no_words_to_tell_apart() -> None:
    told = found("bag")
    assert told.answers is None and "Look words up with Embedding" in told.left_out["Answers"]


def test_a_module_without_numbers_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'0.weight' has a shape but no numbers \(device 'meta'\). Load its weights"):
        explain(dense().to("meta"), X[NEW], tmp_path)


def test_a_module_that_is_yet_to_be_made_is_told_and_left_so(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 10))
    for ask in (lambda: explain(model, X[NEW], tmp_path), lambda: next(lens.stream(model, "1", torch.tensor(X[NEW])))):
        with pytest.raises(ValueError, match=r"'0.weight' is yet to be made .* Run it on some rows"):
            ask()
    assert is_lazy(model[0].weight)


def test_a_module_in_training_mode_is_told_and_put_back() -> None:
    model = Convolutional().train()
    with pytest.warns(UserWarning, match="The module is in training mode, in which Dropout answers otherwise"):
        first = gather(model, made("convolutional")[1], answers=0)
    assert model.training and model.dropout.training and "training mode" in first.data.note
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gather(model.eval(), made("convolutional")[1], answers=0).score == first.score


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (X[:20], r"does not run on rows of shape \(64,\)"),
        ((X[:20].reshape(-1, 1, 8, 8), Y[:20] + 5), "no classes of the model"),
        ((X[:20].reshape(-1, 1, 8, 8), Y[:20] + 0.5), "Labels are classes, but these hold fractions"),
        ((X[:20].reshape(-1, 1, 8, 8), Y[:3]), "Give one label per row"),
        (X[:0].reshape(-1, 1, 8, 8), "n >= 1"),
        (np.full((20, 1, 8, 8), np.nan, dtype=np.float32), "NaN or infinite"),
    ],
)
def test_bad_rows_are_told(data: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        explain(made("convolutional")[0], data, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_few_rows_leave_out_what_needs_more() -> None:
    model, (x, y) = made("convolutional")
    told = gather(model, (x[:3], y[:3]))
    assert told.score is not None and told.map is None and told.left_out
