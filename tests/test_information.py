"""Information, probes and rebuilding: laws, known Gaussians, and slow second opinions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from layerwise import lens
from layerwise.lens import Information, readout


def gaussian(rows: int, spread: list[float]) -> Tensor:
    return torch.randn(rows, len(spread), dtype=torch.float64) * torch.tensor(spread, dtype=torch.float64)


def of(found: list[Information], about: str, method: str) -> Information:
    (one,) = (each for each in found if (each.about, each.method) == (about, method))
    return one


def groups(rows: int = 400, apart: float = 3.0) -> tuple[Tensor, np.ndarray]:
    labels = np.arange(rows) % 4
    return torch.randn(rows, 5) + apart * torch.eye(4, 5)[labels], labels


# -- noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nats", [0.3, 1.0, 3.0, 4.5])
def test_bounds_enclose_the_information_of_a_gaussian(nats: float, seed: int) -> None:
    """I = 1/2 sum log(1 + s_i^2 / noise), with unequal s_i, so that it is not `calibrate` that is tested."""
    torch.manual_seed(seed)
    spread = [0.5, 1.0, 2.0]
    low, high = 1e-9, 1e9
    for _ in range(200):  # the noise that makes it so, by bisection
        noise = math.sqrt(low * high)
        truth = sum(math.log1p(s * s / noise) for s in spread) / 2
        low, high = (noise, high) if truth > nats else (low, noise)
    found = lens.noisy_information(gaussian(600, spread), noise=[noise], seed=seed)
    sample = of(found, "X;T", "samples")
    slack = 3.5 * max(sample.error, 0.02)
    assert sample.lower - slack < nats < sample.upper + slack
    assert sample.upper - sample.lower < 1.2  # and they say something
    pairs = of(
        found, "X;T", "pairs"
    )  # of these rows: the "samples" lower bound is the same thing, by sampling the noise
    assert pairs.lower - 3 * sample.error < sample.lower < pairs.upper + 3 * sample.error


def test_pairs_are_the_bounds_of_their_definition() -> None:
    x, noise = gaussian(110, [1.0, 2.0]), 0.7
    upper = lower = 0.0
    for a in x:
        distances = [float((a - b).square().sum()) for b in x]
        upper -= math.log(sum(math.exp(-d / (2 * noise)) for d in distances) / 110) / 110
        lower -= math.log(sum(math.exp(-d / (8 * noise)) for d in distances) / 110) / 110
    found = of(lens.noisy_information(x, noise=[noise]), "X;T", "pairs")
    assert (found.lower, found.upper) == pytest.approx((lower, upper), rel=1e-4)


def test_pairs_of_layer_and_label_are_entropies_of_all_less_those_of_the_classes() -> None:
    x, labels = groups(200, apart=6)
    noise = 0.5
    whole = of(lens.noisy_information(x, noise=[noise]), "X;T", "pairs")
    parts = [of(lens.noisy_information(x[labels == c].repeat(2, 1), noise=[noise]), "X;T", "pairs") for c in range(4)]
    found = of(lens.noisy_information(x, labels, noise=[noise]), "T;Y", "pairs")
    assert found.lower == pytest.approx(max(whole.lower - np.mean([each.upper for each in parts]), 0), abs=1e-3)
    assert found.upper == pytest.approx(
        min(whole.upper - np.mean([each.lower for each in parts]), math.log(4)), abs=1e-3
    )


@pytest.mark.parametrize("method", ["samples", "pairs"])
def test_what_is_more_than_the_rows_can_tell_is_flagged_at_the_cap(method: str) -> None:
    x = gaussian(200, [1.0] * 20)
    full, little = (of(lens.noisy_information(x, noise=[noise]), "X;T", method) for noise in (1e-4, 1e2))
    assert full.capped and full.cap == pytest.approx(math.log(200)) and full.lower <= full.cap + 1e-4
    assert not little.capped and "AT ITS CAP" in str(full) and "AT ITS CAP" not in str(little)


def test_more_noise_leaves_less_information() -> None:
    found = lens.noisy_information(gaussian(400, [1.0] * 5), shares=(0.1, 1, 10, 100))
    for method in ("samples", "pairs"):
        lowers = [each.lower for each in found if each.method == method]
        assert all(a > b for a, b in zip(lowers, lowers[1:]))


@pytest.mark.parametrize("rows", [100, 200])
def test_what_drowns_in_noise_leaves_nothing_however_few_the_rows(rows: int) -> None:
    x, labels = groups(rows)
    found = lens.noisy_information(x, labels, shares=(1e9,))
    for each in found:
        assert abs(each.lower) < 1e-3 or each.about == "T;Y"
        assert each.upper < 1e-3 or each.about == "T;Y"
    of_label = of(found, "T;Y", "samples")  # the others' shares of the classes are all that is left, shuffled or not
    assert of_label.lower == pytest.approx(of_label.null, abs=1e-3)
    assert of_label.lower == pytest.approx(math.log(4) + math.log((rows / 4 - 1) / (rows - 1)), abs=1e-3)


def test_shares_of_the_variance_make_it_blind_to_scale_and_rotation() -> None:
    x, labels = groups()
    turned = 50 * x.double() @ torch.linalg.qr(torch.randn(5, 5).double())[0] - 9
    for one, other in zip(lens.noisy_information(x, labels), lens.noisy_information(turned, labels)):
        assert other.width == pytest.approx(2500 * one.width, rel=1e-4)
        if one.method == "pairs":  # the others draw noise along the axes
            assert (other.lower, other.upper) == pytest.approx((one.lower, one.upper), abs=1e-3)
        else:
            assert other.lower == pytest.approx(one.lower, abs=5 * max(one.error, 1e-3))


def test_labels_are_told_by_codes_that_lie_apart() -> None:
    x, labels = groups(apart=9)
    found = of(lens.noisy_information(x, labels, noise=[0.01]), "T;Y", "samples")
    assert found.lower == pytest.approx(math.log(4), abs=0.05) and found.cap == pytest.approx(math.log(4))
    assert found.null < 0.1


@pytest.mark.parametrize("noise", [0.01, 0.3, 10.0])
def test_shuffled_labels_are_told_by_nothing(noise: float) -> None:
    """A lower bound on 0 must not be above 0; and the real bound must say when it is no better than its null."""
    x, labels = groups()
    shuffled = np.random.default_rng(0).permutation(labels)
    found = of(lens.noisy_information(x, shuffled, noise=[noise]), "T;Y", "samples")
    assert found.lower < 3 * found.error and found.null < 0.1


def test_the_null_exposes_pairs_and_bins_that_count_rows() -> None:
    """With little noise every row is its own class: I(T; Y) = H(Y) for any labels, which only the null gives away."""
    x, labels = groups()
    for found in (lens.noisy_information(x, labels, noise=[1e-4]), lens.binned_information(x, labels, bins=200)):
        told = of(found, "T;Y", found[-1].method)
        assert told.capped
        assert (told.null_upper if math.isnan(told.estimate) else told.estimate) == pytest.approx(math.log(4), rel=0.02)
        assert told.null_upper == pytest.approx(math.log(4), rel=0.02)


def test_the_label_is_bounded_by_the_population_truth() -> None:
    """Two Gaussians one unit apart: I(T'; Y) by quadrature."""
    labels = np.arange(2000) % 2
    x = torch.randn(2000, 1) * 0.5 + torch.as_tensor(labels)[:, None]
    t = np.linspace(-8, 9, 20001)
    p = [np.exp(-((t - c) ** 2) / 2) / math.sqrt(2 * math.pi) for c in (0, 1)]  # 0.5^2 + 0.75 of noise: variance 1
    mix = (p[0] + p[1]) / 2
    truth = sum(np.trapezoid(each * np.log(each / mix), t) / 2 for each in p)
    found = of(lens.noisy_information(x, labels, noise=[0.75]), "T;Y", "samples")
    assert truth - 0.05 < found.lower < truth + 3 * found.error


def test_rows_without_labels_are_left_out_and_everything_repeats_itself() -> None:
    x, labels = groups(200)
    more = torch.cat([x, torch.full((50, 5), 1e3)])
    unknown = np.concatenate([labels, np.full(50, -1)])
    seen = lens.noisy_information(more, unknown, noise=[1.0])
    assert [each.rows for each in seen] == [200] * 4
    again = lens.noisy_information(more, unknown, noise=[1.0])
    assert [repr(each) for each in seen] == [repr(each) for each in again]


def test_a_number_without_its_noise_is_refused() -> None:
    one = lens.noisy_information(torch.randn(100, 2))[0]
    with pytest.raises(ValueError, match="needs its noise or bins"):
        dataclasses.replace(one, through="")
    assert "Gaussian noise of variance" in str(one) and "added by the estimator" in str(one)


@pytest.mark.parametrize(
    ("codes", "labels", "settings", "words"),
    [
        (torch.rand(99, 2), None, {}, "99 rows are too few.*at least 100"),
        (torch.rand(150, 2), np.arange(150) % 30, {}, "150 labelled rows of 30 classes are too few.*at least 300"),
        (torch.rand(150, 2), np.zeros(140), {}, "150 rows came with 140 labels"),
        (torch.rand(150, 2), np.zeros(150), {}, "same label"),
        (torch.ones(150, 2), None, {}, "same states"),
        (torch.full((150, 2), math.nan), None, {}, "NaN or infinite"),
        (torch.rand(150, 2), None, {"noise": [0.0]}, "above 0, got 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(codes: Tensor, labels: np.ndarray, settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lens.noisy_information(codes, labels, **settings)


# -- bins --------------------------------------------------------------------------------------------------------------


def test_bins_of_discrete_codes_are_counted_exactly() -> None:
    symbols = np.repeat([0, 1, 2, 3], [100, 50, 25, 25])
    labels = (symbols >= 2).astype(int)
    told, label = lens.binned_information(torch.as_tensor(symbols)[:, None].double(), labels, bins=4)
    assert told.lower == pytest.approx(1.75 * math.log(2))  # 1/2, 1/4, 1/8, 1/8
    assert label.estimate == pytest.approx(label.cap) and 0 < label.cap - label.lower < 0.05  # Y is a function of T


def test_bins_lie_where_they_are_asked_for() -> None:
    x = torch.linspace(-1, 1, 300)[:, None]
    assert lens.binned_information(x, bins=30, low=-1, high=1)[0].lower == pytest.approx(math.log(30))
    assert lens.binned_information(x, bins=2, low=5, high=6)[0].lower == 0
    with pytest.raises(ValueError, match="2 to 255"):
        lens.binned_information(x, bins=256)
    with pytest.raises(ValueError, match="low < high"):
        lens.binned_information(torch.ones(200, 1))


def test_the_lower_bound_of_bins_does_not_rise_above_nothing() -> None:
    x = torch.rand(400, 1)
    labels = np.random.default_rng(0).integers(0, 3, 400)
    label = lens.binned_information(x, labels, bins=100)[1]
    assert label.lower < 0.05 < 0.2 < label.estimate  # the plug-in takes luck for information
    assert label.null_upper == pytest.approx(label.estimate, abs=0.06)


# -- calibration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "units"), [(300, 2), (300, 50), (800, 10)])
def test_calibration_covers_the_truth_at_many_sizes(rows: int, units: int) -> None:
    found = [each for seed in range(3) for each in lens.calibrate(rows, units, nats=(0.5, 2.0, 4.0, 20.0), seed=seed)]
    assert sum(each.covered for each in found) >= len(found) - 2  # two standard errors leave out one in twenty
    assert all(each.found.capped for each in found if each.truth == 20)


def test_calibration_would_notice_a_wrong_estimate() -> None:
    good = lens.calibrate(300, 5, nats=(2.0,))[0]
    assert not dataclasses.replace(good, truth=2.5).covered and not dataclasses.replace(good, truth=1.5).covered


def test_growth_tells_a_count_of_rows_from_a_property() -> None:
    x = gaussian(800, [1.0] * 8)
    saturated, sound = (
        [each.lower for each in lens.growth(x, noise=noise) if each.method == "samples"] for noise in (1e-4, 4)
    )
    np.testing.assert_allclose(np.diff(saturated), math.log(2), atol=0.01)
    assert abs(saturated[0] - saturated[-1]) > 2 > 0.3 > abs(sound[0] - sound[-1])
    assert {each.rows for each in lens.growth(x, noise=1, rows=250)} == {125, 250}


def test_processing_loses_information_along_a_chain_of_noise() -> None:
    """X -> X + noise -> X + more noise is one chain, so the inequality must be seen to hold."""
    x = gaussian(500, [1.0] * 4)
    chain = [(f"{noise}", of(lens.noisy_information(x, noise=[noise]), "X;T", "samples")) for noise in (0.1, 1.0, 10.0)]
    assert [step.verdict for step in lens.processing(chain)] == ["holds", "holds"]
    steps = lens.processing(chain[::-1])  # the wrong way round
    assert [step.verdict for step in steps] == ["broken", "broken"] and all(step.excess > 0.5 for step in steps)
    assert [step.verdict for step in lens.processing([chain[0], chain[0]])] == ["open"]


def test_estimates_of_different_kinds_do_not_compare() -> None:
    found = lens.noisy_information(torch.randn(100, 2), noise=[1.0])
    with pytest.raises(ValueError, match="one kind"):
        lens.processing([("1", found[0]), ("2", found[1])])


# -- probes and rebuilding ---------------------------------------------------------------------------------------------


def test_probe_is_as_good_as_an_established_one() -> None:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    found = lens.read_labels(torch.as_tensor(x), y)
    test = np.random.default_rng(1).permutation(len(y))
    rival = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(x[test[720:]], y[test[720:]])
    assert found.accuracy > rival.score(x[test[:360]], y[test[:360]]) - 0.03
    assert found.low < found.accuracy < found.high and found.fitted + found.held < len(y)
    assert found.null_high < 0.3 < 0.9 < found.accuracy
    assert found.information.lower == pytest.approx(found.information.cap - found.cross_entropy)


def test_probe_has_the_weights_of_an_established_one_with_the_same_penalty() -> None:
    from sklearn.linear_model import LogisticRegression

    x, labels = groups(300, apart=1.0)
    weights = readout._fit(x, torch.as_tensor(labels)[None], 4, decay=0.01)[0]
    other = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-8, max_iter=1000).fit(x, labels)
    np.testing.assert_allclose(weights[:, 1:], other.coef_, atol=0.02)


def test_probe_of_nothing_says_nothing() -> None:
    """More units than rows: a probe tested on the rows that fitted it would be perfect."""
    x, y = torch.randn(300, 400), np.arange(300) % 3
    found = lens.read_labels(x, y)
    assert found.accuracy < 0.55 and found.low < 1 / 3 + 0.1 and abs(found.null - 1 / 3) < 0.1
    assert found.information.lower < 3 * found.information.error


def test_probe_does_not_care_how_loud_units_are_and_leaves_out_what_has_no_label() -> None:
    x, y = groups(200)
    loud = x * torch.tensor([1, 1e3, 1e-3, 5, 1]) + 7
    one, other = lens.read_labels(x, y), lens.read_labels(loud, y)
    assert one.accuracy == pytest.approx(other.accuracy, abs=0.03)
    assert one.cross_entropy == pytest.approx(other.cross_entropy, abs=0.02)
    more = lens.read_labels(torch.cat([x, torch.randn(9, 5)]), np.concatenate([y, np.full(9, -1)]))
    assert repr(more) == repr(one)


def test_probe_refuses_too_few_rows_and_says_how_many() -> None:
    with pytest.raises(ValueError, match="at least 10 rows of each class, but class 7 has 4"):
        lens.read_labels(torch.rand(34, 2), np.array([3] * 30 + [7] * 4))
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        lens.read_labels(torch.rand(34, 2), np.zeros(34))
    with pytest.raises(ValueError, match="NaN"):
        lens.read_labels(torch.full((40, 2), math.inf), np.arange(40) % 2)


def test_rebuilding_by_a_linear_map_finds_what_is_linear_on_rows_held_out() -> None:
    x = torch.randn(400, 6)
    assert lens.rebuild_linearly(3 * x @ torch.randn(6, 9) + 2, x).share > 0.999
    half = lens.rebuild_linearly(x[:, :3], x)
    np.testing.assert_allclose(half.explained, [1, 1, 1, 0, 0, 0], atol=0.1)
    assert lens.rebuild_linearly(torch.randn(400, 500), x).share < 0.1  # enough units to fit any rows, but not others
    np.testing.assert_allclose(lens.rebuild_linearly(x, x * 7, scale=torch.full((6,), 7.0)).baseline, 6, rtol=0.3)


def test_rebuilding_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="at least 10 rows, got 9"):
        lens.rebuild_linearly(torch.rand(9, 2), torch.rand(9, 2))
    with pytest.raises(ValueError, match="12 rows of input came with 11"):
        lens.rebuild_linearly(torch.rand(11, 2), torch.rand(12, 2))
