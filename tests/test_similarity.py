"""Similarity of layers: the laws of centred kernel alignment, matched units, and maps of codes."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from layerwise import lens


def song(x: Tensor, y: Tensor) -> float:
    """HSIC_1 as its definition has it (Song et al., 2012, equation 5)."""
    k, other = ((v.double() @ v.double().T) * (1 - torch.eye(len(v)).double()) for v in (x, y))
    n, one = len(x), torch.ones(len(x)).double()
    kl = k @ other
    terms = kl.trace() + one @ k @ one * (one @ other @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ kl @ one)
    return float(terms) / (n * (n - 3))


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size))[0]


def related(rows: int = 300) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, 12) * torch.linspace(0.2, 2, 12) + 3
    return x, torch.tanh(x[:, :7] @ torch.randn(7, 9)) + 0.3 * torch.randn(rows, 9)


# -- centred kernel alignment ------------------------------------------------------------------------------------------


def test_one_batch_is_the_full_estimator_of_its_definition() -> None:
    x, y = related(60)
    wanted = song(x, y) / math.sqrt(song(x, x) * song(y, y))
    assert lens.cka([x], [y], size=60).value.item() == pytest.approx(wanted, rel=1e-4)


def test_batches_sum_what_the_definition_gives_for_each() -> None:
    x, y = related(60)
    seen = lens.Alignments()
    for rows in (slice(0, 25), slice(25, 60)):
        seen.add([x[rows]], [y[rows]])
    sums = [
        25 * song(a[:25], b[:25]) + 35 * song(a[25:], b[25:]) for a, b in ((x, y), (x, x), (y, y))
    ]  # fmt: skip
    assert seen.result().value.item() == pytest.approx(sums[0] / math.sqrt(sums[1] * sums[2]), rel=1e-4)


def test_a_layer_is_itself_and_its_rotations_shifts_and_scales() -> None:
    x, _ = related()
    alike = [x, x @ rotation(12), 7 * x, x - 11, -0.01 * x @ rotation(12) + 5]
    np.testing.assert_allclose(lens.cka([x], alike, size=64).value, 1, atol=1e-4)


def test_alignment_does_not_change_when_either_side_is_rotated_and_scaled() -> None:
    x, y = related()
    plain = lens.cka([x], [y]).value
    np.testing.assert_allclose(lens.cka([3 * x @ rotation(12)], [0.1 * y @ rotation(9)]).value, plain, rtol=1e-4)
    assert 0.05 < plain.item() < 0.95  # so that the law says something


def test_it_is_not_blind_to_other_linear_maps() -> None:
    """CCA would call these the same: it is the variance of directions that CKA weighs."""
    x, _ = related()
    assert lens.cka([x], [x * torch.logspace(-2, 2, 12)]).value.item() < 0.8


def test_layers_of_one_net_give_a_symmetric_table_of_the_pairs() -> None:
    x, y = related()
    table = lens.cka([x, y]).value
    np.testing.assert_allclose(table, table.T)
    np.testing.assert_allclose(table.diagonal(), 1)
    assert table[0, 1] == pytest.approx(lens.cka([x], [y]).value.item())


@pytest.mark.parametrize("units", [5, 400])
def test_unrelated_layers_are_about_zero_however_few_the_rows(units: int) -> None:
    """The biased estimator says 0.9 here for 400 units: more units than rows make anything look alike."""
    found = [lens.cka([torch.randn(40, units)], [torch.randn(40, units)], size=40).value.item() for _ in range(60)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(60)


def test_mini_batches_estimate_the_full_batch() -> None:
    x, y = related(2000)
    full = lens.cka([x], [y], size=2000).value.item()
    small = [lens.cka([x], [y], size=16, seed=seed) for seed in range(20)]
    values = [each.value.item() for each in small]
    assert np.mean(values) == pytest.approx(full, abs=4 * np.std(values) / math.sqrt(20) + 1e-3)
    assert small[0].batches == 125 and small[0].rows == 2000


def test_the_error_says_how_far_other_rows_would_lie() -> None:
    values, errors = [], []
    maps = torch.randn(7, 9)
    for _ in range(80):
        x = torch.randn(400, 12) * torch.linspace(0.2, 2, 12)
        found = lens.cka([x], [torch.tanh(x[:, :7] @ maps) + 0.3 * torch.randn(400, 9)], size=20)
        values.append(found.value.item())
        errors.append(found.error.item())
    assert 0.6 < np.mean(errors) / np.std(values) < 1.6


def test_single_batches_have_no_error_and_constant_layers_no_value() -> None:
    x, _ = related(50)
    found = lens.cka([x, torch.ones(50, 3)], size=50)
    assert np.isnan(found.error).all()
    assert np.isnan(found.value[1]).all() and found.value[0, 0] == pytest.approx(1)


def test_alignment_does_not_touch_the_codes_and_repeats_itself() -> None:
    x, y = related()
    copy = x.clone()
    assert np.array_equal(lens.cka([x], [y], seed=3).value, lens.cka([x], [y], seed=3).value)
    assert torch.equal(x, copy)


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ([torch.rand(3, 2)], None, "3 rows; unbiased CKA needs at least 4"),
        ([torch.rand(9, 2)], [torch.rand(8, 2)], r"came with \[8, 9\]"),
        ([torch.full((9, 2), math.nan)], None, "NaN or infinite"),
    ],
)
def test_what_cannot_be_aligned_is_refused(left: list[Tensor], right: list[Tensor] | None, words: str) -> None:
    seen = lens.Alignments()
    with pytest.raises(ValueError, match=words):
        seen.add(left, right)
    with pytest.raises(ValueError, match="no rows"):
        seen.result()


# -- matched units -----------------------------------------------------------------------------------------------------


def test_correlations_are_those_of_numpy() -> None:
    x, y = related()
    np.testing.assert_allclose(
        lens.correlations(x, y).numpy(), np.corrcoef(x.numpy().T, y.numpy().T)[:12, 12:], atol=1e-5
    )


def test_matching_finds_a_hidden_permutation_through_noise_and_scale() -> None:
    x = torch.randn(500, 20)
    order = torch.randperm(20)
    found = lens.match_units(x, 4 * x[:, order] + 0.5 * torch.randn(500, 20))
    assert found.left.tolist() == list(range(20))
    assert order[found.right].tolist() == list(range(20))
    assert found.mean > 0.9 > found.chance


def test_matching_of_unrelated_units_reports_nothing_but_chance() -> None:
    """The search itself finds large correlations; on rows that did not choose they are gone."""
    found = [lens.match_units(torch.randn(60, 50), torch.randn(60, 50), seed=seed) for seed in range(5)]
    assert abs(np.mean([each.mean for each in found])) < 0.06
    assert np.mean([each.chance for each in found]) > 0.3


def test_no_unit_is_matched_twice() -> None:
    x = torch.randn(100, 4)
    found = lens.match_units(x, torch.cat([x, x, x], 1))
    assert sorted(found.left.tolist()) == [0, 1, 2, 3] and len(set(found.right.tolist())) == 4


def test_a_constant_unit_correlates_with_none() -> None:
    x = torch.randn(60, 3)
    x[:, 1] = 1e6 + 0.1  # float32 cannot hold this mean exactly
    assert (lens.correlations(x, x)[1] == 0).all()


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 rows, got 19"):
        lens.match_units(torch.rand(19, 2), torch.rand(19, 2))
    with pytest.raises(ValueError, match="one has 30 and the other 20"):
        lens.match_units(torch.rand(30, 2), torch.rand(20, 2))


# -- maps --------------------------------------------------------------------------------------------------------------

CODES = np.random.default_rng(0).standard_normal((60, 8)) * np.arange(1, 9)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_fill_the_same_square(method: str) -> None:
    found = lens.flatten(CODES, method)  # type: ignore[arg-type]
    placed = found.placed
    assert np.abs(placed).max() == pytest.approx(1)
    shape = np.ptp(found.points, axis=0)
    assert np.ptp(placed, axis=0)[0] / np.ptp(placed, axis=0)[1] == pytest.approx(shape[0] / shape[1])


def test_a_standardised_map_does_not_care_how_loud_units_are() -> None:
    loud = CODES * np.array([1, 1e3, 1, 1, 1e-2, 1, 1, 5]) + 7
    loud[:, 2] = 3.3  # and not for units that say nothing
    quiet = CODES.copy()
    quiet[:, 2] = 0
    one, other = (lens.flatten(each, "pca", standardise=True) for each in (loud, quiet))
    assert one.shown == pytest.approx(other.shown)
    np.testing.assert_allclose(np.abs(one.points), np.abs(other.points), atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_groups_apart_and_repeats_itself() -> None:
    codes = CODES + 200 * np.repeat([0, 1], 30)[:, None]
    found = lens.flatten(codes, "umap", seed=1)
    assert np.array_equal(found.points, lens.flatten(codes, "umap", seed=1).points)
    assert found.trust > 0.7 and math.isnan(found.shown)


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_that_is_missing_says_what_to_install() -> None:
    with pytest.raises(ValueError, match="pip install umap-learn"):
        lens.flatten(CODES, "umap")


def test_codes_that_are_not_finite_have_no_map() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        lens.flatten(np.full((9, 2), np.nan), "pca")
