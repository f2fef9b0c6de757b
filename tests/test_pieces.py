"""Numbers as pieces of their range: against a slow second opinion, and in a network that is saved and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import layerwise
from layerwise import NetworkClassifier, NetworkRegressor
from layerwise.explanation import gather
from layerwise.lens.attribution import LRP, DeepLift
from layerwise.nets import mlp
from layerwise.pieces import Embedding, Pieces, cuts

COLUMNS = st.lists(st.lists(st.integers(-20, 20), min_size=12, max_size=12), min_size=1, max_size=4)


def slowly(x: float, edges: list[float]) -> list[float]:
    return [min(max((x - low) / (high - low), 0.0), 1.0) for low, high in zip(edges, edges[1:], strict=False)]


def drawn(rows: int = 400, seed: int = 0) -> torch.Tensor:
    """Columns of every kind: even, mostly zero, whole numbers, two values, one."""
    random = np.random.RandomState(seed)
    gains = np.where(random.rand(rows) < 0.9, 0.0, random.lognormal(size=rows))
    some = [random.randn(rows), gains, random.randint(0, 9, rows), random.randint(0, 2, rows), np.ones(rows)]
    return torch.from_numpy(np.stack(some, 1)).float()


@given(COLUMNS, st.integers(1, 9))
def test_features_are_those_of_the_equation(columns: list[list[int]], most: int) -> None:
    x = torch.tensor(columns).T.double()
    pieces = Pieces(Pieces.suited(x, most)).double().fit(x)
    for row, features in zip((x + 0.3).tolist(), pieces.features(x + 0.3).tolist(), strict=True):
        expected = []
        for value, values in zip(row, x.T, strict=True):
            edges = cuts(values, most).tolist()
            expected += slowly(value, edges) if len(edges) > 2 else [value]
        assert features == pytest.approx(expected)


@given(COLUMNS, st.integers(1, 9))
def test_cuts_are_few_increasing_and_at_every_common_value(columns: list[list[int]], most: int) -> None:
    values = torch.tensor(columns[0]).double()
    found = cuts(values, most)
    assert 1 <= len(found) <= most + 1 and (found.diff() > 0).all()
    distinct, times = values.unique(return_counts=True)
    assert torch.isin(distinct[times * most >= len(values)], found).all() and torch.isin(found, distinct).all()


def test_a_sum_of_pieces_is_the_number_again_and_each_piece_is_empty_in_some_rows_and_full_in_others() -> None:
    x = drawn()
    counts = Pieces.suited(x, 12)
    assert counts[3:] == (1, 1) and max(counts) <= 12
    pieces = Pieces(counts).fit(x)
    features = pieces.features(x)
    assert not features[:, pieces.cut].min(0).values.any() and (features[:, pieces.cut].max(0).values == 1).all()
    for column in range(3):
        mine = pieces.column == column
        back = pieces.low[mine][0] + (features[:, mine] * pieces.width[mine]).sum(1)
        reached = (x[:, column] >= pieces.low[mine][0]) & (x[:, column] <= (pieces.low + pieces.width)[mine][-1])
        torch.testing.assert_close(back[reached], x[reached, column])
    standard = pieces(x)[:, pieces.cut]
    torch.testing.assert_close(standard.mean(0), torch.zeros(standard.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.ones(standard.shape[1]))


def test_more_pieces_than_values_leave_pieces_that_say_nothing() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0]])
    pieces = Pieces((5,)).fit(x)
    assert pieces(x).isfinite().all() and pieces.features(x)[:, 2:].eq(0).all()


def test_an_embedding_is_a_rectified_map_of_each_column_that_is_cut_and_leaves_the_others() -> None:
    x = drawn()
    pieces = Pieces(Pieces.suited(x, 12)).fit(x)
    embedding = Embedding(pieces.counts, 3)
    nn.init.normal_(embedding.bias)
    rows, bias = pieces(x), embedding.bias.reshape(-1, 3)
    one_by_one = [
        (rows[:, pieces.column == column] @ embedding.weight[embedding.place == number] + bias[number]).relu()
        for number, column in enumerate(np.flatnonzero(np.array(pieces.counts) > 1))
    ]
    expected = torch.cat([*one_by_one, rows[:, ~pieces.cut]], 1)
    torch.testing.assert_close(embedding(rows), expected)
    assert expected.shape[1] == embedding.features


def test_only_learned_numbers_of_an_embedding_count() -> None:
    with_it, without = (mlp(3, 2, (4,), pieces=(5, 1, 3), embedding=each) for each in (2, 0))
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (with_it, without)]
    assert sizes[0] - sizes[1] == (8 * 2 + 2 * 2) - 4 * (9 - 5)


def test_columns_of_one_piece_have_nothing_to_embed() -> None:
    assert not any(isinstance(part, Embedding) for part in mlp(2, 2, (4,), pieces=(1, 1), embedding=3).modules())


def bands(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A class that changes eight times along a number, which a straight cut of it says nothing of."""
    x = np.random.RandomState(seed).rand(rows, 2).astype(np.float32)
    return x, (x[:, 0] * 9).astype(int) % 2


def net(**how: Any) -> NetworkClassifier:
    settings = {"layers": (16,), "epochs": 12, "rate": 0.02, "random_state": 0, "options": {"pieces": 18}}
    return NetworkClassifier("mlp", **settings | how)


EITHER = pytest.mark.parametrize(
    "options", [{"pieces": 18}, {"pieces": 18, "embedding": 6}], ids=["pieces", "embedded"]
)


@EITHER
def test_thresholds_are_learned_at_once_and_the_saved_net_answers_the_same(
    tmp_path: Path, options: dict[str, int]
) -> None:
    (x, y), (new, truth) = bands(600, 0), bands(300, 1)
    found = net(options=options).fit(x, y)
    assert found.score(new, truth) > 0.9 > 0.75 > net(options={}).fit(x, y).score(new, truth)
    again = layerwise.load(found.save(tmp_path / "net"))
    np.testing.assert_array_equal(again.predict_proba(new), found.predict_proba(new))
    assert found.encode(new).shape == (300, 16)


@EITHER
def test_stages_on_pieces_learn_without_labels_and_rebuild_rows(options: dict[str, int]) -> None:
    x, y = bands(200, 0)
    y[50:] = -1
    found = net(pretrain="greedy", pretrain_epochs=3, options=options).fit(x, y)
    assert found.grown_.reconstruct(torch.from_numpy(x)).shape == x.shape


def test_numbers_may_be_told_from_pieces() -> None:
    x, _ = bands(400, 0)
    found = NetworkRegressor("mlp", layers=(16,), epochs=30, rate=0.02, random_state=0, options={"pieces": 12})
    assert found.fit(x, np.sin(12 * x[:, 0])).score(*(lambda x: (x, np.sin(12 * x[:, 0])))(bands(200, 1)[0])) > 0.9


@EITHER
def test_nets_on_pieces_are_explained(options: dict[str, int]) -> None:
    x, y = bands(300, 0)
    told = gather(net(options=options).fit(x, y), (x, y), answers=2)
    assert told.answers is not None and len(told.answers.each) == 2
    assert [page.label for page in told.layers] == ["Layer 1", "Output"] and all(
        page.ablation for page in told.layers[:1]
    )
    assert told.layers[0].columns is None, "no single weight leads from a column to a unit"


@EITHER
@pytest.mark.parametrize("method", [LRP, DeepLift])
def test_relevance_goes_through_pieces(method: Any, options: dict[str, int]) -> None:
    x, y = bands(300, 0)
    found = net(options=options).fit(x, y).network_
    rows = torch.from_numpy(x[:8])
    assert float(method(found).attribute(rows, target=1).error.max()) < 1e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(3, 2, (4,), pieces=(1, 2)), "There are 3 columns, but pieces are given for 2"),
        (lambda: mlp(3, 2, (), pieces=4), "there is none"),
        (lambda: Pieces((0, 2)), "at least one piece"),
        (lambda: Embedding((3, 2), 0), "at least one feature, got 0"),
        (lambda: mlp(3, 2, (4,), embedding=4), "An embedding is of pieces, and none are asked for"),
        (lambda: net(options={"embedding": 4}).fit(*bands(20, 0)), "Give pieces, or leave embedding"),
        (lambda: net(options={"pieces": 2.5}).fit(*bands(20, 0)), "a whole number of 0 or more; got 2.5"),
        (lambda: net(options={"pieces": -1}).fit(*bands(20, 0)), "got -1"),
    ],
)
def test_what_does_not_fit_is_told(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
