"""Saved equals loaded, to the bit; and nothing is lost, unpickled or half read."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import layerwise
from layerwise import DBNClassifier, DeepAutoencoder, RBMTransformer, StackedAutoencoderClassifier

QUICK = {"pretrain_epochs": 1, "epochs": 2, "random_state": 0}
X, Y = load_digits(return_X_y=True)
X = (X / 16)[:200]
Y = Y[:200]
WORDS = np.array(["round", "not round"])[(Y % 2).astype(int)]

MODELS = {
    "dbn": lambda: DBNClassifier((8, 8), up_down_epochs=1, **QUICK).fit(X, Y),
    "dbn, words, rectified, PCD": lambda: DBNClassifier(
        (8, 8), hidden="rectified", chains=5, up_down_epochs=0, **QUICK
    ).fit(X, WORDS),
    "dbn, gaussian": lambda: DBNClassifier((8, 8), up_down_epochs=1, dropout=0.2, **QUICK).fit(X * 16, Y),
    "dbn, generative": lambda: DBNClassifier((8,), classify="generative", up_down_epochs=0, **QUICK).fit(X, Y),
    "no pre-training": lambda: DBNClassifier((8, 8), pretrain=None, **QUICK).fit(X, Y.astype(float)),
    "autoencoders": lambda: StackedAutoencoderClassifier((8, 8), sparsity=0.1, **QUICK).fit(X, Y),
    "deep autoencoder": lambda: DeepAutoencoder((8, 2), **QUICK).fit(X),
    "deep autoencoder, gaussian": lambda: DeepAutoencoder((8, 2), **QUICK).fit(X * 16),
    "rbm": lambda: RBMTransformer(8, epochs=1, sparsity=0.1, random_state=0).fit(X),
}


def answers(model: Any) -> list[np.ndarray]:
    found = [getattr(model, name)(X) for name in ("predict_proba", "predict", "transform") if hasattr(model, name)]
    if getattr(model, "pretrain", None) and isinstance(model, DBNClassifier):
        found.append(model.generate(2, label=model.classes_[0], steps=3, random_state=0))
    return found


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", MODELS)
def test_loaded_answers_to_the_bit(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    loaded = layerwise.load(model.save(tmp_path / "model"))
    assert type(loaded) is type(model)
    for before, after in zip(answers(model), answers(loaded), strict=True):
        np.testing.assert_array_equal(before, after)
    assert loaded.histories_ == model.histories_
    assert {"model.safetensors", "model.json", "log.jsonl"} == {each.name for each in (tmp_path / "model").iterdir()}


def test_both_sets_of_weights_are_saved(tmp_path: Path) -> None:
    model = MODELS["dbn"]()
    layer = layerwise.load(model.save(tmp_path / "model")).stack_.layers[0]
    assert not np.allclose(layer.weight.detach(), layer.down_weight.detach())


def test_a_loaded_model_answers_in_another_process(tmp_path: Path) -> None:
    model = MODELS["dbn"]()
    model.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", X)
    code = "import sys, numpy, layerwise; print(layerwise.load(sys.argv[1]).predict(numpy.load(sys.argv[2])).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model", tmp_path / "x.npy"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == model.predict(X).tolist()


def test_nothing_is_overwritten_by_accident(tmp_path: Path) -> None:
    model = MODELS["rbm"]()
    model.save(tmp_path / "model")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model" / "log.jsonl").write_text("of another model")
    model.save(tmp_path / "model", overwrite=True)
    assert "of another model" not in (tmp_path / "model" / "log.jsonl").read_text()
    modes = {each.stat().st_mode for each in (tmp_path / "model").iterdir()}
    assert len(modes) == 1, "the weights can be read by whoever can read the description"
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="is a file"):
        model.save(tmp_path / "model" / "notes.txt")


def test_only_fitted_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        RBMTransformer().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_damage_is_named_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.json is missing"):
        layerwise.load(tmp_path)
    path = MODELS["rbm"]().save(tmp_path / "model")
    weights, description = path / "model.safetensors", path / "model.json"
    whole, text = weights.read_bytes(), description.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        layerwise.load(path)
    weights.write_bytes(whole)
    description.write_text(text[:100])
    with pytest.raises(ValueError, match="damaged"):
        layerwise.load(path)
    description.write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="upgrade layerwise"):
        layerwise.load(path)
