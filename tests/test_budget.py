"""Learning within seconds: what fits is used, whatever learns; the clock of these tests is moved by hand."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from layerwise import baselines, budget
from layerwise.budget import FIRST, Pace, evenly, learn, paced, size_of
from layerwise.estimators import DBNClassifier, NetworkClassifier

X = np.random.RandomState(0).rand(5000, 4).astype(np.float32)
Y = (X.sum(1) > 2).astype(int)


class Clock:
    """Seconds that pass only when someone says so."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    Clock.now = 0.0
    monkeypatch.setattr(budget.time, "perf_counter", lambda: Clock.now)
    return Clock


class Slow(BaseEstimator):
    """Takes `each` seconds per thousand rows, to the power `power`."""

    def __init__(self, each: float = 1.0, power: float = 1.0) -> None:
        self.each = each
        self.power = power

    def fit(self, x: Any, y: Any) -> Self:
        assert (y >= 0).all()
        self.rows_ = len(x)
        Clock.now += self.each * (len(x) / 1000) ** self.power
        return self


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=200), st.integers(0, 9))
def test_every_beginning_holds_the_classes_in_their_proportions(labels: list[int], seed: int) -> None:
    y = np.array(labels)
    order = evenly(y, np.random.RandomState(seed))
    assert sorted(order) == np.flatnonzero(y >= 0).tolist()
    for count in range(1, len(order) + 1):
        share = np.bincount(y[order[:count]], minlength=4)
        whole = np.bincount(y[order], minlength=4) * count / len(order)
        assert np.abs(share - whole).max() < 2.5


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0, 10.0, 100.0, 1e4])
def test_a_rival_learns_from_more_rows_until_the_seconds_are_spent(
    clock: type[Clock], seconds: float, power: float
) -> None:
    found = learn(Slow(1.0, power), X, Y, seconds)
    assert found.rows == found.model.rows_
    assert found.seconds == clock.now
    assert FIRST <= found.rows <= len(X)
    # More than the budget is taken only where its first rows, or a first step steeper than a square, took it.
    assert clock.now <= max((FIRST / 1000) ** power, seconds * 8 ** max(power - 2, 0))
    if seconds == 1e4:
        assert found.rows == len(X)


def test_unlabelled_rows_are_kept_from_rivals_and_given_to_those_that_learn_from_them() -> None:
    y = np.where(np.arange(len(Y)) < 300, Y, -1)
    assert learn(Slow(), X, y, 1e6).rows == 300
    for rival in baselines.rivals_of_all_rows("text").values():
        found = learn(rival, np.abs(X[:600]), y[:600], 60)
        assert found.rows == 600 and set(found.model.classes_) == set(Y)


@pytest.mark.parametrize("net", [NetworkClassifier(net="mlp", layers=(8,), pretrain="greedy"), NetworkClassifier(net="mlp"),
                                 DBNClassifier((8, 8))], ids=str)  # fmt: skip
@pytest.mark.parametrize("seconds", [1.0, 30.0, 1000.0, 1e9])
def test_a_network_gets_as_many_epochs_as_fit(monkeypatch: pytest.MonkeyPatch, net: Any, seconds: float) -> None:
    pace = Pace(tuning=1e-4, growing=2e-4)
    monkeypatch.setattr(Pace, "measure", lambda *_: pace)
    fitting = paced(net, X, Y, seconds).get_params()
    each = pace.growing * len(X)
    grown = fitting["pretrain_epochs"] * each if net.pretrain is not None else 0.0
    planned = grown + fitting["epochs"] * pace.tuning * len(X)
    assert planned <= max(seconds, each + pace.tuning * len(X)) * 1.001
    assert min(fitting["epochs"], fitting["pretrain_epochs"] if net.pretrain is not None else 1) >= 1
    if seconds == 30:  # the whole budget is used, but for the rest of an epoch
        assert planned > seconds - each
    if seconds == 1e9:
        assert fitting["epochs"] == budget.MOST


def test_few_labels_are_passed_over_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "measure", lambda *_: Pace(1e-9, 1e-9))
    y = np.where(np.arange(len(Y)) < 100, Y, -1)
    assert paced(NetworkClassifier(net="mlp"), X, y, 1e6).epochs * 100 >= budget.UPDATES * 16


def test_what_answers_by_free_energy_is_not_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "measure", lambda *_: Pace(1e-4, 1e-4))
    assert paced(DBNClassifier((8,), classify="generative"), X, Y, 1000.0).epochs == 1


@pytest.mark.parametrize("pretrain", [None, "greedy"])
@pytest.mark.parametrize("each", [1e-6, 1e-4, 1e-2])
def test_the_pace_is_that_of_epochs_and_little_of_the_budget_goes_into_measuring_it(
    clock: type[Clock], monkeypatch: pytest.MonkeyPatch, pretrain: str | None, each: float
) -> None:
    """With a fit that takes 0.1 s whatever it does, and for every row so long per epoch of tuning, twice that of growing."""

    def fit(self: Any, x: Any, y: Any) -> Any:
        Clock.now += 0.1 + each * len(x) * (self.epochs + (2 * self.pretrain_epochs if self.pretrain else 0))
        assert set(np.unique(Y)) == set(np.unique(y))
        return self

    monkeypatch.setattr(NetworkClassifier, "fit", fit)
    pace = Pace.measure(NetworkClassifier(net="mlp", pretrain=pretrain), X, Y, 60.0)
    assert pace.tuning == pytest.approx(each)
    assert pace.growing == pytest.approx(2 * each if pretrain else 0)
    fewest = budget.PROBE * 128 * each * (1 + 4 + (8 + 4 if pretrain else 0))
    assert clock.now < max(60 / 3, fewest + 1)


def test_sizes() -> None:
    x, y = X[:200], np.arange(200) % 4
    net = NetworkClassifier(net="mlp", layers=(3,), epochs=1).fit(x, y)
    assert size_of(net) == (4 * 3 + 3) + (3 * 4 + 4) == sum(p.numel() for p in net.network_.parameters())
    assert isinstance(next(net.network_.parameters()), torch.nn.Parameter)
    logistic = LogisticRegression().fit(x, y)
    assert size_of(logistic) - logistic.classes_.size - logistic.n_iter_.size == 4 * 4 + 4
    assert size_of(KNeighborsClassifier().fit(x, y)) >= x.size
    bayes = baselines.rivals_of_all_rows("text")["naive Bayes, self-training"].fit(
        np.abs(x), np.where(np.arange(200) < 99, y, -1)
    )
    assert size_of(bayes) >= 4 * 4 + 4  # a weight for every feature and class, and a share for every class
    trees = [HistGradientBoostingClassifier(max_iter=count).fit(x, y) for count in (1, 10)]
    assert size_of(trees[0]) < size_of(trees[1])
