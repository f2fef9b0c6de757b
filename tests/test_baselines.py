from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV

from layerwise.baselines import Folds, UnitSpread, learns_from_all_rows, rivals, rivals_of_all_rows, spreading

NAMES = ["logistic regression", "SVM (RBF kernel)", "gradient boosting", "nearest neighbours"]
TEXT = ["logistic regression", "SVM (linear)", "naive Bayes", "gradient boosting", "nearest neighbours"]


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


def texts(rows: int, words: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of 40 words in texts of two subjects, each of which has its half of the words; only those in `words` are used."""
    random = np.random.RandomState(seed)
    y = np.arange(rows) % 2
    mine = np.array([word % 2 == subject for subject in (0, 1) for word in range(40)]).reshape(2, 40)
    used = np.isin(np.arange(40), words)
    return random.poisson(np.where(mine[y], 0.8, 0.05) * used).astype(np.float32), y


@pytest.mark.parametrize("name", TEXT)
def test_every_rival_for_text_learns_and_takes_rows_without_their_zeros(name: str) -> None:
    X, y = texts(200, range(40), 0)
    new, truth = texts(100, range(40), 1)
    rival = rivals("text")[name].fit(X, y)
    assert (rival.predict(new) == truth).mean() > 0.9
    if name != "gradient boosting":  # which has no use for sparse rows
        packed = clone(rival).fit(scipy.sparse.csr_matrix(X), y)
        np.testing.assert_array_equal(packed.predict(scipy.sparse.csr_matrix(new)), rival.predict(new))


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


@pytest.mark.parametrize("partly", [False, True])
def test_of_too_many_rows_some_are_drawn_evenly_over_the_classes_and_the_rest_is_in_no_fold(partly: bool) -> None:
    y = np.random.RandomState(0).permutation(np.repeat([-1, 0, 1, 2], [50, 600, 300, 4]))
    folds = Folds(0, partly, most=90)
    splits = list(folds.split(y, y))
    assert len(splits) == folds.get_n_splits(y=y)
    tested = np.concatenate([test for _, test in splits])
    used = np.unique(np.concatenate([np.concatenate(split) for split in splits]))
    assert len(set(tested)) == len(tested)
    assert len(used) == 90 + 50 * partly
    expected = np.bincount(y[y >= 0]) / (y >= 0 if partly else y >= -1).sum() * 90
    np.testing.assert_allclose(np.bincount(y[used][y[used] >= 0], minlength=3), expected, atol=1)
    for train, test in splits:
        assert not set(train) & set(test)


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


@pytest.mark.parametrize("name", rivals_of_all_rows("text"))
def test_what_learns_from_all_texts_knows_words_that_no_labelled_text_has(name: str) -> None:
    """The labelled texts hold words 0 to 9, the new ones 20 to 39; texts without a label tell what goes together."""
    few, labels = texts(40, range(10), 0)
    many, _ = texts(600, range(40), 1)
    new, truth = texts(300, range(20, 40), 2)
    y = np.concatenate([labels, np.full(len(many), -1)])
    assert (rivals("text")["naive Bayes"].fit(few, labels).predict(new) == truth).mean() < 0.6
    rival = rivals_of_all_rows("text")[name].fit(np.concatenate([few, many]), y)
    assert (rival.predict(new) == truth).mean() > 0.8
    assert set(rival.classes_) == {0, 1}


@pytest.mark.parametrize("kind", ["image", "table", "sound", "text"])
def test_it_is_known_who_learns_from_all_rows(kind: str) -> None:
    assert all(map(learns_from_all_rows, rivals_of_all_rows(kind).values()))
    assert not any(map(learns_from_all_rows, rivals(kind, shape=(4, 5)).values()))


def test_rows_without_a_label_are_in_no_fold_but_train_in_all() -> None:
    y = np.array([-1, 0, 0, -1, 1, 1, 0, 1, 2, -1])
    folds = list(Folds(0, partly=True).split(y, y))
    assert len(folds) == Folds(0, partly=True).get_n_splits(y=y) == 2
    for train, test in folds:
        assert {0, 3, 8, 9} <= set(train.tolist()) and not set(train) & set(test)
    assert sorted(np.concatenate([test for _, test in folds])) == [1, 2, 4, 5, 6, 7]
    assert sorted(np.concatenate([test for _, test in Folds(0).split(y, y)])) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
