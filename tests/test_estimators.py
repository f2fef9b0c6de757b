"""The scikit-learn contract, unlabelled rows, precision, sparse input, and what the estimators promise beyond it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerwise import (
    DBNClassifier,
    DeepAutoencoder,
    NetworkClassifier,
    NetworkRegressor,
    RBMTransformer,
    Run,
    StackedAutoencoderClassifier,
)
from layerwise.estimators import auto_epochs
from layerwise.health import HealthWarning

QUICK = {"pretrain_epochs": 10, "epochs": 40, "rate": 1e-2, "random_state": 0}


def dbn(**settings: Any) -> DBNClassifier:
    return DBNClassifier((16, 16), **({"up_down_epochs": 2} | QUICK | settings))


def sae(**settings: Any) -> StackedAutoencoderClassifier:
    return StackedAutoencoderClassifier((16,), **(QUICK | settings))


def autoencoder(**settings: Any) -> DeepAutoencoder:
    return DeepAutoencoder((8, 2), **({"pretrain_epochs": 5, "epochs": 5, "random_state": 0} | settings))


def rbm(**settings: Any) -> RBMTransformer:
    return RBMTransformer(4, **({"epochs": 5, "random_state": 0} | settings))


def network(**settings: Any) -> NetworkClassifier:
    return NetworkClassifier(**{"layers": (16,), "epochs": 12, "rate": 3e-2, "random_state": 0} | settings)


def regressor(**settings: Any) -> NetworkRegressor:
    return NetworkRegressor(**{"layers": (16,), "epochs": 12, "rate": 3e-2, "random_state": 0} | settings)


GREEDY = {"pretrain": "greedy", "pretrain_epochs": 2}
ESTIMATORS = [  # a new estimator adds itself here
    dbn(), sae(), autoencoder(), rbm(), network(), network(**GREEDY), regressor(**GREEDY)
]  # fmt: skip
CLASSIFIERS = [dbn, sae]
TRANSFORMERS = [autoencoder, rbm]
ALL = CLASSIFIERS + TRANSFORMERS


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)  # nets this small on data this odd are often unhealthy
        yield


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return (x / 16)[:600].astype(np.float32), y[:600]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_unlabelled_rows_take_part_but_are_no_class(make: Any, digits: Any) -> None:
    x, y = digits
    hidden = np.where(np.arange(len(y)) < 200, y, -1)
    fitted = make(epochs=200).fit(x, hidden)
    assert fitted.classes_.tolist() == list(range(10))
    assert (fitted.predict(x[200:]) == y[200:]).mean() > 0.6
    # other unlabelled rows give another stack: they were learned from
    other = np.concatenate([x[:200], x[200:][:, ::-1]])
    assert not np.allclose(make(epochs=0).fit(other, hidden).encode(x[:5]), fitted.encode(x[:5]))


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_without_pretraining_the_unlabelled_rows_do_not_matter(make: Any, digits: Any) -> None:
    x, y = digits
    hidden = np.where(np.arange(len(y)) < 200, y, -1)
    baseline = make(pretrain=None).fit(x, hidden)
    other = np.concatenate([x[:200], x[200:][:, ::-1]])
    np.testing.assert_array_equal(baseline.predict_proba(x), make(pretrain=None).fit(other, hidden).predict_proba(x))
    with pytest.raises(ValueError, match="pretrain=None"):
        baseline.encode(x)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_plus_and_minus_one_are_two_classes(make: Any, digits: Any) -> None:
    x, y = digits
    assert make().fit(x, np.where(y % 2, 1, -1)).classes_.tolist() == [-1, 1]


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_one_class_is_refused(make: Any, digits: Any) -> None:
    with pytest.raises(ValueError, match="only one class"):
        make().fit(digits[0], np.full(600, -1))


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_classes_may_be_words(make: Any, digits: Any) -> None:
    x, y = digits
    words = np.array(["even", "odd"])[y % 2]
    assert set(make().fit(x, words).predict(x)) <= {"even", "odd"}


@pytest.mark.parametrize("make", ALL)
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_one_alone(make: Any, digits: Any) -> None:
    x, y = digits
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = make().fit(x, y), make().fit(x, y)
    assert torch.rand(1) == expected
    for name, module in first._modules_.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, second._modules_[name].state_dict()[key]), key
    third = make(random_state=1).fit(x, y)
    assert any(not torch.equal(a, b) for a, b in zip(first.stack_.parameters(), third.stack_.parameters(), strict=True))


@pytest.mark.parametrize("make", ALL)
def test_sparse_rows_give_what_dense_rows_give(make: Any, digits: Any) -> None:
    x, y = digits
    dense, filled = make().fit(x, y), make().fit(sparse.csr_matrix(x), y)
    answer = "predict_proba" if hasattr(dense, "predict_proba") else "transform"
    np.testing.assert_allclose(
        getattr(dense, answer)(x), getattr(filled, answer)(sparse.csr_matrix(x)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("make", ALL)
def test_precision_is_the_input_s(make: Any, digits: Any) -> None:
    x, y = digits
    fitted = make().fit(x, y)
    answer = getattr(fitted, "predict_proba" if hasattr(fitted, "predict_proba") else "transform")
    assert answer(x).dtype == np.float32 and answer(x.astype(np.float64)).dtype == np.float64
    np.testing.assert_allclose(answer(x), answer(x.astype(np.float64)), atol=1e-4)


def test_pipeline_and_grid_search_choose_settings(digits: Any) -> None:
    x, y = digits
    pipeline = make_pipeline(MinMaxScaler(), rbm(), clone(sae()))
    search = GridSearchCV(pipeline, {"rbmtransformer__n_components": [2, 8]}, cv=2).fit(x, y)
    assert search.best_params_["rbmtransformer__n_components"] in (2, 8)


def test_auto_units_follow_the_range(digits: Any) -> None:
    x, _ = digits
    assert rbm().fit(x).visible_ == "bernoulli"
    assert rbm().fit(x * 16).visible_ == "gaussian"
    with pytest.raises(ValueError, match="Rescale the data"):
        rbm(visible="bernoulli").fit(x * 16)


@pytest.mark.parametrize("make", TRANSFORMERS)
def test_reconstructions_come_back_in_the_data_s_own_units(make: Any, digits: Any) -> None:
    x = digits[0] * 100 + 1000
    fitted = make(**({"epochs": 30})).fit(x)
    rebuilt = fitted.inverse_transform(fitted.transform(x))
    assert abs(rebuilt.mean() - x.mean()) < 5
    assert np.square(x - rebuilt).sum() < np.square(x - x.mean(0)).sum()


@pytest.mark.parametrize("make", TRANSFORMERS)
def test_codes_of_a_wrong_width_are_refused(make: Any, digits: Any) -> None:
    fitted = make().fit(digits[0])
    with pytest.raises(ValueError, match="Codes have shape"):
        fitted.inverse_transform(np.zeros((2, 77)))


def test_generate_speaks_in_classes_and_refuses_strangers(digits: Any) -> None:
    x, y = digits
    fitted = dbn().fit(x, np.array(["zero", "more"])[(y > 0).astype(int)])
    assert fitted.generate(3, label="zero", steps=2, random_state=0).shape == (3, 64)
    again = fitted.generate(3, label="zero", steps=2, random_state=0)
    np.testing.assert_array_equal(again, fitted.generate(3, label="zero", steps=2, random_state=0))
    for bad, message in (({"label": "two"}, "not one of the classes"), ({"unit": (9, 0)}, "There is no layer 9")):
        with pytest.raises(ValueError, match=message):
            fitted.generate(**bad)
    with pytest.raises(ValueError, match="pretrain=None"):
        dbn(pretrain=None).fit(x, y).generate()


def test_generative_and_network_answers_are_two_classifiers(digits: Any) -> None:
    x, y = digits
    fitted = dbn(up_down_epochs=0).fit(x, y)
    by_network = fitted.predict_proba(x)
    fitted.classify = "generative"
    by_energy = fitted.predict_proba(x)
    np.testing.assert_allclose(by_energy.sum(1), 1, atol=1e-5)
    with torch.no_grad():
        expected = fitted.stack_.class_log_probs(torch.from_numpy(x)).exp().numpy()
    np.testing.assert_allclose(by_energy, expected, rtol=1e-5)
    assert not np.allclose(by_network, by_energy)


def test_partial_fit_goes_on_learning(digits: Any) -> None:
    x, _ = digits
    model = rbm(rate=0.1)
    errors = []
    for _ in range(10):
        model.partial_fit(x)
        errors.append(np.square(x - model.inverse_transform(model.transform(x))).sum())
    assert errors[-1] < errors[0]


def test_early_stopping_holds_out_labelled_rows(digits: Any) -> None:
    x, y = digits
    fitted = dbn(patience=2, epochs=400).fit(x, y)
    history = fitted.histories_[-1]
    assert "valid" in history.epochs[0] and len(history.epochs) < 400 and "kept epoch" in history.stopped


def test_a_run_folder_resumes_the_whole_fit(digits: Any, tmp_path: Any) -> None:
    x, y = digits
    plain = dbn().fit(x, y)
    dbn().fit(x, y, run=Run(tmp_path / "run"))
    resumed = dbn().fit(x, y, run=Run(tmp_path / "run", resume=True))
    np.testing.assert_array_equal(plain.predict_proba(x), resumed.predict_proba(x))


def test_gradients_of_every_stage_are_noted(digits: Any) -> None:
    fitted = dbn().fit(*digits)
    assert list(fitted.gradients_) == ["layer1", "layer2", "output"]
    assert all(start > 0 and end > 0 for start, end in fitted.gradients_.values())


def test_bad_settings_say_what_to_do(digits: Any) -> None:
    x, y = digits
    for settings, message in (
        ({"layers": ()}, "layers lists the units"),
        ({"classify": "both"}, "classify is"),
        ({"pretrain": "yes"}, "pretrain is"),
        ({"threads": 0}, "threads is at least 1"),
        ({"device": "nonsense"}, "no device"),
        ({"precision": "half"}, "precision is auto, float32 or bfloat16; got 'half'"),
    ):
        with pytest.raises(ValueError, match=message):
            dbn().set_params(**settings).fit(x, y)
    with pytest.raises(ValueError, match="loss is"):
        autoencoder(loss="cubed").fit(x)


def test_what_is_learned_in_bfloat16_is_as_good_and_kept_in_float32(digits: Any) -> None:
    x, y = digits
    fitted = {name: dbn(precision=name, pretrain_epochs=10).fit(x, y) for name in ("float32", "bfloat16")}
    weights = [parameter for each in fitted["bfloat16"]._modules_.values() for parameter in each.parameters()]
    assert {parameter.dtype for parameter in weights} == {torch.float32}
    scores = {name: model.score(x, y) for name, model in fitted.items()}
    assert scores["bfloat16"] > scores["float32"] - 0.05 and scores["float32"] > 0.5
    assert not np.array_equal(*(model.predict_proba(x) for model in fitted.values()))


def test_auto_epochs_make_enough_updates() -> None:
    assert auto_epochs("auto", 60_000, 100) == 20
    assert auto_epochs("auto", 100, 100) * 1 >= 1500
    assert auto_epochs(3, 100, 100) == 3
