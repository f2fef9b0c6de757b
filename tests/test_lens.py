"""The lens against slow and obvious second opinions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor, nn

from layerwise import lens
from layerwise.data import Dataset, Row
from layerwise.lens.material import material

RANDOM = np.random.default_rng(0)


def deep_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Linear(6, 5), nn.Sigmoid()), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 3)
    )


# -- capture -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100])
def test_capture_gives_what_each_stage_answers(size: int) -> None:
    net, x = deep_net(), torch.rand(20, 6)
    seen = lens.capture(net, ["0", "1.0", "2"], x, size=size)
    first = net[0](x)
    torch.testing.assert_close(seen["0"], first)
    torch.testing.assert_close(seen["1.0"], net[1][0](first))  # inside a stage, before its activation
    torch.testing.assert_close(seen["2"], net(x))


def test_capture_looks_in_evaluation_mode_and_leaves_the_module_as_it_was() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 5)).train()
    with pytest.warns(UserWarning, match="in training mode, in which Dropout answers otherwise"):
        seen = lens.capture(net, ["0"], torch.ones(3, 6))
    assert torch.equal(seen["0"], torch.ones(3, 6))  # no dropout
    assert net.training and not net[0]._forward_hooks and not seen["0"].requires_grad


def test_capture_flattens_what_is_no_row_of_numbers() -> None:
    assert lens.capture(nn.Conv2d(1, 2, 3), [""], torch.rand(4, 1, 5, 5))[""].shape == (4, 18)


def test_capture_names_what_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no part 'top'. It has: 0, 0.0"):
        lens.capture(deep_net(), ["top"], torch.rand(1, 6))


def test_capture_says_that_a_part_was_not_run() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(ValueError, match="'idle' gave no tensor"):
        lens.capture(Idle(), ["idle"], torch.rand(1, 6))


def test_linear_weights_want_one_map_per_stage() -> None:
    two = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="'0' holds 2 linear maps"):
        lens.linear_weights(two)


# -- projection --------------------------------------------------------------------------------------------------------


def test_projection_is_the_product_of_the_matrices() -> None:
    a, b, c = torch.randn(6, 5), torch.randn(5, 4), torch.randn(4, 3)
    explicit = torch.zeros(3, 6)
    for unit in range(3):
        for i in range(5):
            for j in range(4):
                explicit[unit] += a[:, i] * b[i, j] * c[j, unit]
    torch.testing.assert_close(lens.project([a, b, c]), explicit)
    torch.testing.assert_close(lens.project([a, b, c], [2, 0]), explicit[[2, 0]])


def test_projection_is_the_derivative_of_the_net_without_its_activations() -> None:
    net, x = deep_net(), torch.rand(6)
    linear = nn.Sequential(net[0][0], net[1][0], net[2])
    torch.testing.assert_close(
        lens.project(list(lens.linear_weights(net).values())), torch.autograd.functional.jacobian(linear, x)
    )


def test_projection_of_the_lowest_layer_is_its_weights() -> None:
    weight = torch.randn(6, 5)
    assert torch.equal(lens.project([weight]), weight.T)


def test_projection_refuses_what_does_not_meet() -> None:
    with pytest.raises(ValueError, match="Layer 1 has 5 units, but the weights above it take 4"):
        lens.project([torch.ones(6, 5), torch.ones(4, 3)])
    with pytest.raises(ValueError, match="no layer"):
        lens.project([])


def test_strongest_units_have_the_longest_weights() -> None:
    weight = torch.randn(7, 9)
    lengths = [math.sqrt(sum(float(w) ** 2 for w in weight[:, unit])) for unit in range(9)]
    assert lens.strongest_units(weight, 4) == sorted(range(9), key=lambda unit: -lengths[unit])[:4]
    assert sorted(lens.strongest_units(weight, 100)) == list(range(9))


def test_strongest_rows_are_those_of_sorting() -> None:
    codes = torch.randint(0, 4, (30, 5)).float()  # ties on purpose: the earlier row comes first
    rows, states = lens.strongest_rows(codes, [3, 1], 6)
    for at, unit in enumerate([3, 1]):
        wanted = sorted(range(30), key=lambda row: (-float(codes[row, unit]), row))[:6]
        assert rows[at].tolist() == wanted
        assert states[at].tolist() == codes[wanted, unit].tolist()
    assert lens.strongest_rows(codes, [0], 100)[0].shape == (1, 30)


# -- rebuilding and probes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
def test_rebuilding_counts_squared_errors(scaled: bool) -> None:
    x = torch.randn(25, 4) * torch.tensor([1.0, 10.0, 0.1, 5.0]) + 3
    scale = torch.tensor([1.0, 10.0, 0.1, 5.0]) if scaled else None
    found = lens.rebuild(lambda v: 0.7 * v, x, scale=scale, size=4)
    v = x.numpy().astype(np.float64) / (1 if scale is None else scale.numpy())
    assert found.error == pytest.approx(((0.3 * v) ** 2).sum(1).mean(), rel=1e-5)
    assert found.baseline == pytest.approx(v.var(0).sum(), rel=1e-5)
    np.testing.assert_allclose(found.explained, 1 - (0.09 * v**2).sum(0) / (v.var(0) * 25), rtol=1e-4)


def test_rebuilding_by_the_mean_explains_nothing_and_by_the_rows_everything() -> None:
    x = torch.randn(50, 3)
    assert lens.rebuild(lambda v: x.mean(0).expand_as(v), x).share == pytest.approx(0, abs=1e-6)
    assert lens.rebuild(lambda v: v, x).share == 1


def test_a_constant_feature_has_no_share() -> None:
    found = lens.rebuild(lambda v: v, torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    assert math.isnan(found.explained[0]) and found.explained[1] == 1
    assert math.isnan(lens.rebuild(lambda v: v, torch.ones(3, 2)).share)


def test_rebuilding_wants_rows_of_the_same_shape() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) came back as \(3, 1\)"):
        lens.rebuild(lambda v: v[:, :1], torch.rand(3, 2))


# -- mistakes ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.floats(0, 1))
def test_interval_ends_where_the_rate_is_as_far_as_chance_takes_it(rows: int, share: float) -> None:
    """Wilson's ends p solve |rate - p| = z sqrt(p (1 - p) / n)."""
    wrong = round(share * rows)
    for end in lens.interval(wrong, rows):
        assert 0 <= end <= 1
        if 0 < end < 1:
            assert abs(wrong / rows - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / rows), abs=1e-9)
    assert lens.interval(wrong, rows)[0] <= wrong / rows <= lens.interval(wrong, rows)[1]


def test_interval_needs_rows() -> None:
    with pytest.raises(ValueError, match="0 wrong of 0 rows"):
        lens.interval(0, 0)


def test_confusion_counts_every_row_once() -> None:
    true, said = RANDOM.integers(0, 5, 200), RANDOM.integers(0, 5, 200)
    matrix = lens.confusion(true, said, 5)
    pairs = Counter(zip(true.tolist(), said.tolist(), strict=True))
    assert {(t, s): int(matrix[t, s]) for t in range(5) for s in range(5) if matrix[t, s]} == dict(pairs)
    assert matrix.sum(1).tolist() == np.bincount(true, minlength=5).tolist()


def test_most_confused_are_the_largest_cells_off_the_diagonal() -> None:
    true, said, sure = RANDOM.integers(0, 4, 200), RANDOM.integers(0, 4, 200), RANDOM.random(200)
    matrix = lens.confusion(true, said, 4)
    off = sorted((int(matrix[t, s]) for t in range(4) for s in range(4) if t != s), reverse=True)
    found = lens.most_confused(true, said, sure, pairs=5, rows=3)
    assert [each.count for each in found] == off[:5]
    for each in found:
        assert len(each.rows) == min(3, each.count)
        assert all(true[row] == each.true and said[row] == each.said for row in each.rows)
        assert each.sure == sorted(sure[(true == each.true) & (said == each.said)], reverse=True)[:3]
    assert lens.most_confused(true, true, sure, pairs=5, rows=3) == []


# -- spread, maps, ranking ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=50), st.integers(1, 12))
def test_spread_counts_every_state_once(states: list[float], bins: int) -> None:
    found = lens.spread(torch.tensor(states)[:, None], bins=bins)
    assert sum(found.counts) == len(states) and len(found.edges) == bins + 1


def test_flat_by_pca_is_the_best_plane() -> None:
    codes = RANDOM.standard_normal((60, 8)) * np.arange(1, 9)
    centred = codes - codes.mean(0)
    _, s, _ = np.linalg.svd(centred, full_matrices=False)
    found = lens.flatten(codes, "pca")
    np.testing.assert_allclose((found.points**2).sum(0), s[:2] ** 2)
    assert found.shown == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())


def test_flat_trusts_what_is_flat() -> None:
    plane = RANDOM.standard_normal((80, 2))
    tilted = plane @ np.linalg.qr(RANDOM.standard_normal((6, 6)))[0][:2]
    assert lens.flatten(tilted, "pca").trust == pytest.approx(1)
    assert lens.flatten(RANDOM.standard_normal((80, 40)), "pca").trust < 0.8


def test_flat_by_tsne_keeps_groups_apart_and_repeats_itself() -> None:
    groups = np.repeat([0, 1], 20)
    codes = RANDOM.standard_normal((40, 5)) + 20 * groups[:, None]
    found = lens.flatten(codes, "tsne", seed=1)
    assert np.array_equal(found.points, lens.flatten(codes, "tsne", seed=1).points)
    a, b = found.points[groups == 0], found.points[groups == 1]
    assert np.linalg.norm(a.mean(0) - b.mean(0)) > 2 * max(a.std(), b.std())


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_flat_takes_a_single_unit(method: str) -> None:
    assert lens.flatten(RANDOM.random((12, 1)), method).points.shape == (12, 2)  # type: ignore[arg-type]


def test_flat_refuses_what_has_no_map() -> None:
    with pytest.raises(ValueError, match="at least 5 rows, got 4"):
        lens.flatten(np.eye(4), "pca")
    with pytest.raises(ValueError, match="same code"):
        lens.flatten(np.ones((9, 3)), "tsne")


def test_middles_are_medians() -> None:
    points, labels = RANDOM.random((30, 2)), RANDOM.integers(-1, 2, 30)
    found = lens.middles(points, labels, 3)
    for label in (0, 1):
        np.testing.assert_array_equal(found[label], np.median(points[labels == label], axis=0))
    assert np.isnan(found[2]).all()


def test_ranking_pairs_draws_and_says_what_it_cannot() -> None:
    luck = RANDOM.normal(0.1, 0.05, 10)
    paired = lens.rank([(luck + 0.01).tolist(), luck.tolist()])
    assert [each.verdict for each in paired] == ["behind", "best"]  # the same luck on both sides cancels
    assert paired[0].behind == pytest.approx(0.01) and paired[0].doubt == pytest.approx(0, abs=1e-9)
    unpaired = lens.rank([(luck + 0.01).tolist(), luck[:9].tolist()])
    assert [each.verdict for each in unpaired] == ["close", "best"] or unpaired[0].place == 1
    assert [each.verdict for each in lens.rank([[0.2], [0.1]])] == ["unknown", "best"]


# -- material ----------------------------------------------------------------------------------------------------------

X = RANDOM.random((6, 4)).astype(np.float32)


def test_rows_are_the_same_however_they_come() -> None:
    pandas = pytest.importorskip("pandas")
    kinds = [
        X,
        X.tolist(),
        sparse.csr_matrix(X),
        sparse.coo_array(X),
        pandas.DataFrame(X),
        torch.tensor(X),
        X.astype(np.float64),
    ]
    for rows in kinds:
        came = material(rows, None, None)
        assert len(came) == 6
        np.testing.assert_allclose(came.rows([4, 1]), X[[4, 1]])
        torch.testing.assert_close(came.tensor(slice(2, 4)), torch.tensor(X[2:4]))


def test_labels_become_indices_of_the_models_classes() -> None:
    came = material((X, ["b", "a", "c", "c", "a", "b"]), None, np.array(["a", "b", "c"]))
    assert came.y.tolist() == [1, 0, 2, 2, 0, 1] and came.classes == ("a", "b", "c")
    came = material((X, [3, -1, 7, 7, -1, 3]), None, np.array([3, 7]))
    assert came.y.tolist() == [0, -1, 1, 1, -1, 0] and came.known.tolist() == [0, 2, 3, 5]
    came = material((X, [1, -1, 1, 1, -1, 1]), None, np.array([-1, 1]))  # here -1 is a class
    assert came.y.tolist() == [1, 0, 1, 1, 0, 1]
    assert material(X, None, None).known.size == 0


def test_labels_of_a_dataset_may_be_known_by_index_or_by_name() -> None:
    data = Dataset(X, np.array([0, 1, -1, 2, 1, 0]), ("ape", "bee", "cat"), Row("table", (4,)), "zoo")
    by_index = material(data, None, np.array([0, 1, 2]))
    assert by_index.y.tolist() == data.y.tolist() and by_index.classes == ("ape", "bee", "cat")  # type: ignore[union-attr]
    by_name = material(data, None, np.array(["ape", "bee", "cat"]))
    assert by_name.y.tolist() == by_index.y.tolist() and by_name.classes == by_index.classes
    assert material(data, None, None).name == "zoo"
    few = Dataset(X, np.array([0, 2, -1, 2, 2, 0]), ("ape", "bee", "cat"), Row("table", (4,)), "zoo")
    assert material(few, None, np.array([0, 2])).classes == ("ape", "cat")


def test_pictures_are_drawn_from_black_to_white() -> None:
    grey = material(np.array([[0.0, 8.0, 16.0, 99.0]]), Row("image", (2, 2), low=0, high=16), None)
    assert grey.pictures(grey.rows()).tolist() == [[[0, 128], [255, 255]]]
    colour = material(np.zeros((2, 12)), Row("image", (3, 2, 2), low=-1, high=1), None)
    assert colour.pictures(colour.rows()).shape == (2, 2, 2, 3)
    large = material(np.zeros((1, 200 * 100)), Row("image", (200, 100), low=0, high=1), None)
    assert max(large.pictures(large.rows()).shape[1:]) <= 64


@pytest.mark.parametrize(
    ("data", "row", "words"),
    [
        (X[:0], None, "0 rows"),
        ((X, [0, 1]), None, r"6 rows came with labels of shape \(2,\)"),
        ((X, [0, 1, 2, 3, 4, 9]), None, r"no classes of the model: \[3, 4, 9\]; it knows \[0, 1, 2\]"),
        ((X, [0.5, 1, 1, 1, 1, 1]), None, "fractions"),
        (np.where(X > 0.5, np.nan, X), None, "NaN or infinite"),
        (X.reshape(6, 2, 2), None, r"shape \(n, features\), but these have shape \(6, 2, 2\)"),
        (X, Row("image", (2, 3), low=0, high=1), r"4 features, but `row` describes 6"),
        (X, Row("image", (2, 2), low=0, high=255), "all pictures would be black"),
    ],
)
def test_bad_rows_are_told(data: object, row: Row | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        material(data, row, np.array([0, 1, 2]))
