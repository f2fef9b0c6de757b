from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV

from layerwise.baselines import Folds, UnitSpread, rivals, spreading

NAMES = ["logistic regression", "SVM (RBF kernel)", "gradient boosting", "nearest neighbours"]


@pytest.mark.parametrize("name", NAMES)
def test_every_rival_learns_from_a_hundred_rows(name: str) -> None:
    X, y = load_digits(return_X_y=True)
    wrong = (rivals("image")[name].fit(X[:100] / 16, y[:100]).predict(X[500:] / 16) != y[500:]).mean()
    assert wrong < 0.3  # guessing errs 90 %


@pytest.mark.parametrize("name", NAMES)
def test_rivals_for_tables_do_not_care_for_the_scale_of_a_column(name: str) -> None:
    X, y = load_iris(return_X_y=True)
    huge = X * [1.0, 1e6, 1e-6, 1.0] + [0.0, 0.0, 5.0, -1e3]
    train = np.arange(150) % 2 == 0
    plain, scaled = (
        clone(rivals("table")[name]).fit(each[train], y[train]).predict(each[~train]) for each in (X, huge)
    )
    assert (plain == scaled).mean() > 0.97
    assert (plain == y[~train]).mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_answers(name: str) -> None:
    X, y = load_iris(return_X_y=True)
    first, second = (rivals("table", seed=3)[name].fit(X[::3], y[::3]).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore::UserWarning")  # five neighbours of three rows are tried, and not chosen
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("counts", [(2, 2), (1, 3, 2), (1, 9)])
def test_rivals_manage_with_hardly_any_rows(name: str, counts: tuple[int, ...]) -> None:
    y = np.repeat(np.array(["oak", "ash", "elm"])[: len(counts)], counts)
    X = np.random.RandomState(0).randn(len(y), 3)
    assert set(rivals("table")[name].fit(X, y).predict(X)) <= set(y)


def test_what_is_chosen_is_chosen_on_the_rows_that_fit_is_given() -> None:
    found = {name for name, rival in rivals().items() if isinstance(rival, GridSearchCV)}
    assert found == set(NAMES) - {"gradient boosting"}


def test_an_unknown_kind_of_rows() -> None:
    with pytest.raises(ValueError, match="'image', 'table', 'sound' or 'text', got 'video'"):
        rivals("video")
    with pytest.raises(ValueError, match="shape"):
        rivals("sound")


def test_folds_cover_every_row_once_but_those_that_are_alone_in_their_class() -> None:
    y = np.array([0] * 7 + [1] * 3 + [2])
    seen = []
    for train, test in Folds(0).split(y, y):
        assert not set(train) & set(test)
        assert set(np.unique(y[train])) == {0, 1, 2}
        seen += test.tolist()
    assert sorted(seen) == list(range(10))


def test_folds_need_a_class_of_two_rows() -> None:
    with pytest.raises(ValueError, match="at least one class two"):
        next(Folds(0).split([0, 1, 2], [0, 1, 2]))


def test_unit_spread_keeps_proportions_and_sets_the_mean_squared_distance_to_two() -> None:
    X = np.random.RandomState(0).randn(40, 6) * [1, 2, 3, 4, 5, 0]
    Z = UnitSpread().fit_transform(X)
    np.testing.assert_allclose(Z / Z[0, 0], X / X[0, 0])
    squared = np.square(Z[:, None] - Z[None]).sum(-1)
    assert squared.mean() == pytest.approx(2)


def test_unit_spread_survives_rows_that_are_all_alike() -> None:
    np.testing.assert_array_equal(UnitSpread().fit_transform(np.ones((3, 2))), np.ones((3, 2)))


def test_spreading_learns_from_rows_without_a_label() -> None:
    random = np.random.RandomState(0)
    X = np.concatenate([random.randn(60, 2), random.randn(60, 2) + 8])
    y = np.full(120, -1)
    y[0], y[60] = 0, 1
    assert (spreading().fit(X, y).predict(X) == np.repeat([0, 1], 60)).all()
