"""Checks of maps: good maps pass, bad ones fail and say why, and the net is not touched."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import GPT, NETWORKS
from scipy.stats import spearmanr
from torch import Tensor, nn

from layerwise.lens import trust
from layerwise.lens.attribution import LRP, Gradient, InputXGradient, IntegratedGradients, Map, Occlusion
from layerwise.lens.question import Question
from layerwise.lens.targets import Contrast, Unit


def learned(epochs: int = 150) -> tuple[nn.Module, Tensor]:
    """A net that tells on which half of a picture a bright bar is, and some of its rows."""
    x, y = bars(200)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(epochs):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval().requires_grad_(True), x[y == 1][:6]


def bars(n: int) -> tuple[Tensor, Tensor]:
    x, y = torch.rand(n, 1, 8, 8) / 4, torch.arange(n) % 2
    for row in range(n):
        at = int(torch.randint(3, (1,))) + 4 * int(y[row])
        x[row, 0, :, at : at + 2] += 0.7
    return x, y


@pytest.fixture(scope="module")
def net_and_rows() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return learned()


def test_a_good_map_passes_and_is_printed_with_its_checks(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    found = LRP(net).attribute(x, target=1)
    assert found.checks.passed, str(found)
    assert str(found).startswith("LRP of Index(place=1), 6 rows of 1x8x8\nchecks passed")
    for word in ("deletion", "insertion", "ROAD", "rank correlation"):
        assert word in str(found)
    assert str(found.values[0, 0, 0, 0].item()) not in repr(found)  # no map without its checks


def test_the_same_map_upside_down_fails_each_way(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    found = Occlusion(net, window=(1, 2, 2), strides=1).attribute(x, target=1)
    question, base = found.question, found.base
    checks = trust.check(question, -found.values, base, found.again)
    said = "; ".join(checks.failures.values())
    assert not checks.passed
    for reason in ("undoes the answer no faster", "restores the answer no faster"):
        assert reason in said


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_what_moves_a_number_counts_be_it_up_or_down(factor: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 1, bias=False))
    net[0].weight.data = factor * net[0].weight.data.abs()
    checks = Occlusion(net, window=1).attribute(torch.rand(3, 20)).checks
    assert not {"deletion", "insertion"} & set(checks.failures), str(checks)


def test_a_map_that_does_not_look_at_the_net_fails(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    question = Question(net, x, 1)
    edges = (x - x.mean((2, 3), keepdim=True)).abs()
    checks = trust.check(question, edges, torch.zeros_like(x), lambda other: edges)
    assert checks.signed[-1] == checks.absolute[-1] == checks.beyond[-1] == pytest.approx(1)
    assert any("looks much the same for a net with shuffled weights" in reason for reason in checks.failures.values())
    assert str(checks).startswith("CHECKS FAILED")


def test_a_sum_that_misses_the_score_fails(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    found = IntegratedGradients(nn.Sequential(net, Square()), steps=1).attribute(x, target=1)
    assert any("its sum misses the score" in reason for reason in found.checks.failures.values())
    assert Gradient(net).attribute(x, target=1).checks.complete is None


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


@pytest.mark.parametrize("name", ["cnn", "keeps"])
def test_checks_leave_the_net_as_it_was_to_the_bit(name: str) -> None:
    make, shape = NETWORKS[name]
    net = nn.Sequential(make(), nn.BatchNorm1d(3)).train()
    state, identity = copy.deepcopy(net.state_dict()), [id(each) for each in net.parameters()]
    own = [dict(vars(part)) for part in net.modules()]
    x, random = torch.rand(2, *shape), torch.get_rng_state()
    with pytest.warns(UserWarning, match="training mode"):
        found = LRP(net).attribute(x, target=1)
        str(found)
    assert all(torch.equal(each, state[name]) for name, each in net.state_dict().items())
    assert [id(each) for each in net.parameters()] == identity and all(each.grad is None for each in net.parameters())
    assert [dict(vars(part)) for part in net.modules()] == own
    assert all(part.training for part in net.modules()) and torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_curves_begin_and_end_where_they_must(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    checks = InputXGradient(net).attribute(x, target=1).checks
    full, empty = net(x).softmax(1)[:, 1].mean().item(), net(torch.zeros_like(x)).softmax(1)[:, 1].mean().item()
    for curve, first, last in ((checks.deletion, full, empty), (checks.insertion, empty, full)):
        assert curve.steps[0] == 0 and curve.steps[-1] == 1 and len(curve.random) == 10
        assert [curve.scores[0], curve.scores[-1]] == pytest.approx([first, last], abs=1e-5)
        widths = np.diff(curve.steps)
        middles = (np.array(curve.scores[1:]) + np.array(curve.scores[:-1])) / 2
        assert curve.area == pytest.approx(float((widths * middles).sum()))
    of_unit = InputXGradient(net).attribute(x, target=Unit("3", 2)).checks
    assert [of_unit.deletion.scores[0], of_unit.deletion.scores[-1]] == pytest.approx([1, 0], abs=1e-4)


def test_the_input_itself_is_no_explanation(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    checks = trust.check(Question(net, x, 1), x, torch.zeros_like(x), lambda other: x)
    assert checks.beyond[-1] == 1 and not checks.passed


def test_road_tells_what_cannot_be_filled_in() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False)), torch.zeros(2, 12, 1) + 0.1
    nn.init.ones_(net[1].weight)
    x[:, [2, 6, 9]] = 1.0  # spikes, which their neighbours do not tell
    question, base, again = Question(net, x), torch.zeros_like(x), lambda other: torch.randn_like(x)
    right, wrong = (trust.check(question, values, base, again) for values in (x, -x))
    assert right.road is not None and wrong.road is not None and right.road.area < min(right.road.random)
    assert any("with the holes filled in" in reason for reason in wrong.failures.values())


@pytest.mark.parametrize("shape", [(9,), (5, 3)], ids=["table", "sequence"])
def test_additive_answers_fall_with_the_sum_of_what_is_taken(shape: tuple[int, ...]) -> None:
    """Of a sum over parts deletion in the exact order is the sum of what is left: no order is better."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 1, bias=False))
    x = torch.rand(3, *shape)
    with torch.no_grad():
        net[1].weight.uniform_(0.1, 1)
    parts = (x.flatten(1) * net[1].weight.detach()).view(3, shape[0], -1).sum(2)
    left = parts.sort(1, descending=True).values.flip(1).cumsum(1).flip(1) / parts.sum(1, keepdim=True)
    checks = InputXGradient(net).attribute(x).check(steps=shape[0])
    assert checks.deletion.scores[:-1] == pytest.approx(left.mean(0).tolist(), abs=1e-5)
    assert checks.deletion.area < min(checks.deletion.random)
    assert (checks.road is None) == (len(shape) == 1)
    assert bool(checks.notes) == (len(shape) == 1)


def test_flat_rows_may_be_laid_out_as_pictures(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    flat = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), net)
    found = InputXGradient(flat).attribute(x.flatten(1), target=1)
    checks, same = found.check(grid=(1, 8, 8)), InputXGradient(net).attribute(x, target=1).checks
    assert checks.road is not None and same.road is not None
    assert checks.road.scores == pytest.approx(same.road.scores, abs=1e-5)
    with pytest.raises(ValueError, match="64 values cannot be laid out as"):
        found.check(grid=(1, 7, 8))


def test_tokens_are_taken_away_whole() -> None:
    net = GPT().eval()
    found = InputXGradient(net, layer="embed").attribute(torch.randint(9, (2, 5)), target=(-1, 2))
    checks = found.check(steps=5, draws=3)
    assert len(checks.deletion.steps) == 6 and checks.road is not None


def test_contrasts_are_checked_by_the_share_of_the_first_class(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    shares = [net(each).softmax(1)[:, 1].mean().item() for each in (x, torch.zeros_like(x))]  # of two classes
    for other in (net, nn.Sequential(net, nn.Softmax(1))):
        curve = InputXGradient(other).attribute(x, target=Contrast(1, [0] * len(x))).checks.deletion
        assert [curve.scores[0], curve.scores[-1]] == pytest.approx(shares, abs=1e-5)


def test_what_is_at_the_baseline_already_is_no_part_to_take_away(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    """A frame of nothing around the rows, which the net does not look at, changes no figure of deletion and insertion."""
    net, x = net_and_rows
    framed = nn.Sequential(nn.ZeroPad2d(-3), net)
    plain = InputXGradient(net).attribute(x, target=1).check(draws=2)
    padded = InputXGradient(framed).attribute(nn.functional.pad(x, (3, 3, 3, 3)), target=1).check(draws=2)
    for one, other in ((plain.deletion, padded.deletion), (plain.insertion, padded.insertion)):
        assert one.steps == other.steps
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_each_row_has_checks_of_its_own(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    found = IntegratedGradients(net, steps=3).attribute(x, target=1)
    for row, own in enumerate(found.checks.rows):
        alone = IntegratedGradients(net, steps=3).attribute(x[row : row + 1], target=1)
        assert own.complete == pytest.approx(alone.checks.complete, rel=1e-3)
        for mine, other in ((own.deletion, alone.checks.deletion), (own.insertion, alone.checks.insertion)):
            assert mine.scores == pytest.approx(other.scores, abs=1e-5)
        assert own.beyond == found.checks.beyond  # this is of the method and the net
    for curve in ("deletion", "insertion", "road"):
        rows = [getattr(own, curve) for own in found.checks.rows]
        assert getattr(found.checks, curve).area == pytest.approx(np.mean([each.area for each in rows]))
        assert getattr(found.checks, curve).random == pytest.approx(np.mean([each.random for each in rows], 0))
    assert found.checks.complete == max(own.complete for own in found.checks.rows)


def test_maps_of_one_question_share_their_random_orders(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    maps = [method.attribute(x, target=1) for method in (Gradient(net), LRP(net))]
    alone = [each.checks for each in maps]
    trial = trust.Trial(maps[0].question, maps[0].base)
    assert [each.check(trial=trial) for each in maps] == alone


def test_the_checks_of_a_map_are_worked_out_once(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    found: Map = Gradient(net).attribute(x, target=1)
    assert found.checks is found.checks
    again = Gradient(net).attribute(x, target=1)
    assert again.checks == found.checks  # the same seed, the same figures


# -- the parts of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [(7,), (5, 6)], ids=str)
def test_filling_in_solves_the_equations_of_its_neighbours(places: tuple[int, ...]) -> None:
    count = int(np.prod(places))
    random = np.random.default_rng(0)
    row, gone = random.normal(size=(count, 2)), random.permutation(count)[: count // 2]
    full = row.copy()
    full[gone] = trust.fill_in(row, gone, places)
    for number in gone:
        at = np.array(np.unravel_index(number, places))
        near, weights = [], []
        for other in range(count):
            step = np.abs(np.array(np.unravel_index(other, places)) - at)
            if 0 < step.max() <= 1:
                near.append(full[other])
                weights.append(1 / 6 if step.sum() == 1 else 1 / 12)
        np.testing.assert_allclose(full[number], np.average(near, axis=0, weights=weights))


def test_filling_in_everything_leaves_the_mean() -> None:
    row = np.arange(6.0).reshape(6, 1)
    np.testing.assert_allclose(trust.fill_in(row, np.arange(6), (2, 3)), np.full((6, 1), 2.5))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30))
def test_rank_correlation_is_spearmans_where_either_map_is_not_zero(pairs: list[tuple[int, int]]) -> None:
    used = [pair for pair in pairs if pair != (0, 0)]
    a, b = torch.tensor(pairs, dtype=torch.float).T
    found = trust.rank_correlation(a[None], b[None])
    if len({x for x, _ in used}) < 2 or len({y for _, y in used}) < 2:
        assert found == 0
    else:
        assert found == pytest.approx(spearmanr(*zip(*used)).statistic, abs=1e-9)


def test_what_the_input_explains_is_taken_out_of_the_correlation() -> None:
    """Both maps are the input times something of their own: the partial correlation is that of what is their own."""
    size = torch.rand(1, 4000)
    own, other = torch.rand(1, 4000), torch.rand(1, 4000)
    assert trust.rank_correlation(size + 0.3 * own, size + 0.3 * other) > 0.8
    assert abs(trust.rank_correlation(size + 0.3 * own, size + 0.3 * other, beyond=size)) < 0.1
    assert trust.rank_correlation(size + 0.3 * own, size + 0.3 * own, beyond=size) == pytest.approx(1)


def test_shuffling_keeps_the_numbers_of_a_layer_and_their_order_not() -> None:
    layer = nn.Sequential(nn.Linear(20, 20), nn.Linear(3, 3))
    before = copy.deepcopy(layer)
    trust.shuffle(layer[0], torch.Generator().manual_seed(0))
    assert torch.equal(layer[0].weight.flatten().sort().values, before[0].weight.flatten().sort().values)
    assert not torch.equal(layer[0].weight, before[0].weight)
    trust.shuffle(layer, torch.Generator().manual_seed(0))  # its own parameters only: it has none
    assert torch.equal(layer[1].weight, before[1].weight)


def test_the_net_is_shuffled_from_the_top_down(net_and_rows: tuple[nn.Module, Tensor]) -> None:
    net, x = net_and_rows
    checks = InputXGradient(net).attribute(x, target=1).check(layers=3)
    assert checks.layers == ["5", "3", "0"]
    assert len(checks.signed) == len(checks.absolute) == 3
