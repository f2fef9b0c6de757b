"""Questions about single units: the net is what a by-hand edit makes of it, and is left as it was found."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from modules import Convolutional, Patches, Reader
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from layerwise import lens
from layerwise.lens import favourite


class Residual(nn.Module):
    """Functional, reused and in-place operations, and places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.drop, self.top = nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        h = h + F.relu(self.second(h), inplace=True)
        return self.top(self.drop(h.mean((2, 3))))


class Tokens(nn.Module):
    """A transformer block over rows of 5 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.top = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.block(x).mean(1))


class Checkpointed(nn.Module):
    """Its lower part runs again when its gradients are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.top = nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(checkpoint(self.part, x, use_reentrant=False).tanh())


class Asking(nn.Module):
    """A view of a parameter goes into a part, to ask what the tokens are; and the module takes a gradient itself."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.ask, self.lift = nn.Parameter(torch.randn(2, 8)), nn.Linear(8, 8), nn.Linear(8, 8)
        self.attention, self.top = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        h = self.attention(self.ask(self.queries.expand(len(x), -1, -1)), x, x)[0]
        with torch.enable_grad():
            h = h if h.requires_grad else h.requires_grad_()
            (slope,) = torch.autograd.grad(self.top(h.tanh()).square().sum(), h, create_graph=True)
        return self.top(slope.mean(1))


def dense() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Linear(6, 5), nn.Sigmoid()), nn.Sequential(nn.Linear(5, 4), nn.Tanh()), nn.Linear(4, 3)
    )


NETS: list[tuple[str, Callable[[], nn.Module], str, str, Tensor]] = [
    ("dense", dense, "0", "1", torch.rand(40, 6)),
    ("residual", Residual, "first", "second", torch.rand(40, 1, 7, 7)),
    ("tokens", Tokens, "block.linear1", "block.linear2", torch.randn(40, 5, 8)),
    ("checkpointed", Checkpointed, "part.0", "part.2", torch.rand(40, 6)),
]
cases = pytest.mark.parametrize(("make", "layer", "above", "x"), [case[1:] for case in NETS], ids=[c[0] for c in NETS])

QUESTIONS: list[tuple[str, Callable[[nn.Module, str, str, Tensor], Any]]] = [
    ("ablate", lambda net, layer, above, x: lens.ablate(net, layer, [1], x, above=[above])),
    ("inputs_of", lambda net, layer, above, x: lens.inputs_of(net, above, 1, layer, x)),
    ("outputs_of", lambda net, layer, above, x: lens.outputs_of(net, layer, 1, above, x)),
    ("evidence", lambda net, layer, above, x: lens.evidence(net, layer, 1, x)),
    ("favourites", lambda net, layer, above, x: lens.favourites(net, layer, 1, x.shape[1:], low=-1, high=1, starts=2)),
]
questions = pytest.mark.parametrize("ask", [each[1] for each in QUESTIONS], ids=[each[0] for each in QUESTIONS])


def hooks(net: nn.Module) -> int:
    return sum(len(p._forward_hooks) + len(p._forward_pre_hooks) + len(p._backward_hooks) for p in net.modules())


@questions
@cases
@pytest.mark.filterwarnings("ignore:The module is in training mode")
def test_nothing_is_left_of_a_question(
    make: Callable[[], nn.Module], layer: str, above: str, x: Tensor, ask: Callable[..., Any]
) -> None:
    net = make().train()
    bits, learns = copy.deepcopy(net.state_dict()), [p.requires_grad for p in net.parameters()]
    first, second = ask(net, layer, above, x), ask(net, layer, above, x)
    assert repr(first) == repr(second)  # in evaluation mode, and seeded
    assert all(torch.equal(bits[name], value) for name, value in net.state_dict().items())
    assert net.training and all(part.training for part in net.modules()) and not hooks(net)
    assert [p.requires_grad for p in net.parameters()] == learns and all(p.grad is None for p in net.parameters())
    with pytest.raises(ValueError, match="no part 'nowhere'"):
        ask(net, "nowhere", above, x)
    with pytest.raises(ValueError, match=r"NaN|NaN or infinite|no part|larges"):
        ask(net, "nowhere", above, x * float("nan"))
    assert not hooks(net) and net.training


@questions
def test_units_that_are_not_there_are_refused(ask: Callable[..., Any]) -> None:
    one = nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"has units 0 to 0, but unit 1"):
        ask(one, "0", "1", torch.rand(4, 6))


# -- ablation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_ablation_is_what_an_edit_of_the_weights_above_does(factor: float) -> None:
    net, x, labels = dense(), torch.rand(90, 6), np.arange(90) % 3
    by_hand = copy.deepcopy(net)
    by_hand[1][0].weight.data[:, [2, 4]] *= factor
    (found,) = lens.ablate(net, "0", [(2, 4)], x, labels, factors=[factor], above=["1"], size=17)
    with torch.no_grad():
        a, b, low, high = net(x), by_hand(x), net[1](net[0](x)), by_hand[1](by_hand[0](x))
    np.testing.assert_allclose(found.outputs, (b - a).mean(0), atol=1e-6)
    assert found.moved == pytest.approx(float((b - a).norm() / (a - a.mean(0)).norm()), rel=1e-4)
    assert found.layers["1"] == pytest.approx(float((high - low).norm() / (low - low.mean(0)).norm()), rel=1e-4)
    within = (high - low).square().mean(0).sqrt() / low.std(0, correction=0)
    np.testing.assert_allclose(found.within["1"], within, rtol=1e-3)
    assert found.flipped == pytest.approx(float((a.argmax(1) != b.argmax(1)).float().mean()))
    for said, per_class, all_ in zip((a, b), (found.before, found.after), found.accuracy, strict=True):
        right = (said.argmax(1).numpy() == labels).astype(float)
        np.testing.assert_allclose(per_class, [right[labels == c].mean() for c in range(3)])
        assert all_ == pytest.approx(right.mean())


def test_ablation_of_a_channel_reaches_all_its_places_and_of_a_token_unit_all_tokens() -> None:
    net, x = Residual().eval(), torch.rand(20, 1, 7, 7)
    by_hand = copy.deepcopy(net)
    by_hand.second.weight.data[2], by_hand.second.bias.data[2] = 0, 0  # off before its relu is off after it
    (found,) = lens.ablate(net, "second", [2], x, factors=[0], above=["second"])
    np.testing.assert_array_equal(np.flatnonzero(found.within["second"]), [2])
    maps = next(lens.stream(net, "second", x))["second"].values[
        :, 2
    ]  # it loses all it has: its size in its own deviations
    assert found.within["second"][2] == pytest.approx(
        float((maps.square().sum() / (maps - maps.mean(0)).square().sum()).sqrt()), rel=1e-4
    )
    np.testing.assert_allclose(found.outputs, (by_hand(x) - net(x)).mean(0).detach(), atol=1e-6)
    net, x = Tokens().eval(), torch.randn(20, 5, 8)
    by_hand = copy.deepcopy(net)
    by_hand.block.linear1.weight.data[3] *= 2
    by_hand.block.linear1.bias.data[3] *= 2
    (found,) = lens.ablate(net, "block.linear1", [3], x, factors=[2])
    np.testing.assert_allclose(found.outputs, (by_hand(x) - net(x)).mean(0).detach(), atol=1e-5)


def test_ablation_by_one_changes_nothing_and_unlabelled_rows_do_not_count() -> None:
    labels = np.array([0, -1] * 20)
    (found,) = lens.ablate(dense(), "0", [0], torch.rand(40, 6), labels, factors=[1.0])
    assert found.moved == 0 == found.flipped and not found.outputs.any()
    assert found.before is not None and np.isnan(found.before[1:]).all()


class Twice(nn.Module):
    """One rectifier runs twice, one operation is no module, and the answer is one of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.act, self.top = nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)
        self.off: dict[str, int] = {}  # which unit is off where

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.put("act#1", self.act(self.low(x)))
        h = self.put("act#2", self.act(h - 0.1))
        h = self.put(":tanh", torch.tanh(h))
        return {"hidden": h, "logits": self.top(h)}

    def put(self, name: str, h: Tensor) -> Tensor:
        return h * (torch.arange(4) != self.off.get(name, -1))


@pytest.mark.parametrize("layer", ["act#1", "act#2", ":tanh"])
def test_one_run_of_a_module_or_an_operation_is_switched_off(layer: str) -> None:
    net, x = Twice().eval(), torch.rand(20, 5)
    net.low.bias.data.fill_(2.0)  # so that no unit is off by itself
    off = lens.ablate(net, layer, [2], x, factors=[0.0])[0]
    before = net(x)["logits"]
    net.off = {layer: 2}
    np.testing.assert_allclose(off.outputs, (net(x)["logits"] - before).mean(0).detach().numpy(), atol=1e-6)
    assert off.moved > 0 and lens.tail(net, "act", x) is None and not hooks(net)


def test_a_layer_that_is_several_cannot_be_switched_off_in_one() -> None:
    with pytest.raises(ValueError, match=r"'act' is not one layer of this pass\. Name one of: 'act#1', 'act#2'"):
        lens.ablate(Twice(), "act", [0], torch.rand(5, 5))


def test_ablation_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="5 rows and 3 outputs came with 5 labels up to 7"):
        lens.ablate(dense(), "0", [0], torch.rand(5, 6), np.array([0, 1, 2, 7, 0]))
    with pytest.raises(ValueError, match=r"\(n, outputs\) only"):
        lens.ablate(nn.Sequential(nn.Conv2d(1, 2, 3)), "0", [0], torch.rand(5, 1, 6, 6))


# -- wiring ------------------------------------------------------------------------------------------------------------


def test_inputs_are_weight_times_activity_and_add_up_to_the_state() -> None:
    net, x = dense(), torch.rand(30, 6)
    found = lens.inputs_of(net, "1.0", 2, "0", x, count=5)
    carried = (net[0](x) * net[1][0].weight[2]).detach()
    for unit, mean, strength in zip(found.units, found.mean, found.strength, strict=True):
        assert mean == pytest.approx(float(carried[:, unit].mean()), abs=1e-6)
        assert strength == pytest.approx(float(carried[:, unit].square().mean().sqrt()), rel=1e-4)
    assert found.strength == sorted(found.strength, reverse=True) and sum(found.share) == pytest.approx(1)
    state = (net[1][0](net[0](x))[:, 2].mean() - net[1][0].bias[2]).detach()
    assert sum(found.mean) == pytest.approx(float(state), abs=1e-5)


@cases
def test_outputs_are_the_same_connections_seen_from_below(
    make: Callable[[], nn.Module], layer: str, above: str, x: Tensor
) -> None:
    net = make().eval()
    found = lens.outputs_of(net, layer, 1, above, x, count=100)
    for unit, mean, strength in zip(found.units, found.mean, found.strength, strict=True):
        back = lens.inputs_of(net, above, unit, layer, x, count=100)
        at = back.units.index(1)
        assert (back.mean[at], back.strength[at]) == pytest.approx((mean, strength), rel=1e-3, abs=1e-6)


def test_layers_that_do_not_lead_to_each_other_are_refused() -> None:
    net, x = dense(), torch.rand(4, 6)
    with pytest.raises(ValueError, match="No gradient leads from '0' to '1': it does not lie below it"):
        lens.inputs_of(net, "0", 0, "1", x)
    with pytest.raises(ValueError, match="No gradient leads from '0' to '1'"):
        lens.outputs_of(net, "1", 0, "0", x)


def test_nearest_units_are_those_of_numpy() -> None:
    x = torch.randn(50, 6)
    x[:, 3] = 2.5
    wanted = np.nan_to_num(np.corrcoef(np.delete(x.numpy(), 3, 1).T)[1])
    units, likeness = lens.nearest_units(x, 1, count=5)
    np.testing.assert_allclose(sorted(likeness), sorted([0.0, *np.delete(wanted, 1)]), atol=1e-6)
    assert likeness == sorted(likeness, reverse=True) and likeness[units.index(3)] == 0 and 1 not in units
    units, likeness = lens.nearest_units(x, 1, count=9, centred=False)
    cosine = F.cosine_similarity(x[:, 1:2], x, dim=0)
    np.testing.assert_allclose(likeness, cosine[units], atol=1e-6)


# -- evidence and examples ---------------------------------------------------------------------------------------------


def test_evidence_lies_inside_the_receptive_field_and_is_the_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3), nn.Tanh())  # sees 5 x 5
    x = torch.randn(6, 1, 12, 12)
    found = lens.evidence(net, "3", 1, x)
    states = net(x)[:, 1].flatten(1)
    torch.testing.assert_close(found.states, states.amax(1).detach())
    assert torch.equal(found.place, states.argmax(1))
    for row, place in enumerate(found.place.tolist()):
        corner = torch.tensor(divmod(place, 8))
        assert torch.equal(found.field[row, 1:], torch.stack([corner, corner + 4], 1))
        assert (found.box[row, :, 0] >= found.field[row, :, 0]).all() and (
            found.box[row, :, 1] <= found.field[row, :, 1]
        ).all()
        v = x[row : row + 1].clone().requires_grad_()
        torch.testing.assert_close(found.slope[row : row + 1], torch.autograd.grad(net(v)[0, 1].flatten()[place], v)[0])
        top, left = corner.tolist()
        other = torch.randn_like(x[row])
        other[:, top : top + 5, left : left + 5] = x[row, :, top : top + 5, left : left + 5]
        assert net(other[None])[0, 1].flatten()[place].item() == pytest.approx(found.states[row].item(), abs=1e-5)


def test_evidence_of_a_dense_unit_is_the_box_that_holds_its_weights() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    net[1].weight.data = (
        torch.zeros(8, 8).index_put((torch.tensor([2, 3]), torch.tensor([5, 6])), torch.ones(2)).view(1, 64)
    )
    found = lens.evidence(net, "1", 0, torch.rand(1, 1, 8, 8))
    assert found.box[0].tolist() == found.field[0].tolist() == [[0, 0], [2, 3], [5, 6]]


def test_evidence_needs_a_slope() -> None:
    net = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match="whole numbers"):
        lens.evidence(net, "2", 0, torch.tensor([[1, 2]]))


def test_examples_are_sorted_by_what_they_are_for() -> None:
    states = torch.cat([torch.zeros(50), torch.rand(49) + 1, torch.tensor([30.0])])[torch.randperm(100)]
    found = lens.examples(states, 5)
    assert states[found.strongest[0]] == 30 and found.active == 0.5
    middle = states[states > 0].median()
    assert all(abs(states[row] - middle) < 0.2 for row in found.typical)
    assert found.states["weakest"] == [0.0] * 5
    dead = lens.examples(torch.zeros(7), 3)
    assert dead.active == 0 and dead.strongest == [0, 1, 2]
    with pytest.raises(ValueError, match="no rows"):
        lens.examples(torch.zeros(0))


# -- the favourite input -----------------------------------------------------------------------------------------------


@cases
def test_ascent_beats_random_inputs_and_stays_where_it_may_be(
    make: Callable[[], nn.Module], layer: str, above: str, x: Tensor
) -> None:
    net = make().eval()
    for unit in range(3):
        found = lens.favourites(net, above, unit, x.shape[1:], low=-0.5, high=0.75, starts=4)
        many = torch.rand(2000, *x.shape[1:]) * 1.25 - 0.5
        code = lens.stream(net, above, many, size=2000)
        states = next(iter(code))[above]
        best = (
            states.values.movedim(states.axis, 1).flatten(2).mean(2)[:, unit].max()
            if states.positions
            else states.values[:, unit].max()
        )
        assert found.states[0] > best and found.states[0] > found.random
        assert found.inputs.min() >= -0.5 and found.inputs.max() <= 0.75
        assert found.states.tolist() == sorted(found.states.tolist(), reverse=True)


def test_the_favourite_of_the_first_layer_is_its_weights() -> None:
    """Erhan et al. (2009): at fixed norm the best input is w / |w|."""
    net = dense()
    for unit in range(5):
        found = lens.favourites(net, "0", unit, (6,), norm=3.0)
        weight = net[0][0].weight[unit].detach()
        for each in found.inputs:
            torch.testing.assert_close(each, 3 * weight / weight.norm(), atol=0.06, rtol=0)
        assert found.agreement > 0.99 and found.stuck == 0


def test_a_filter_likes_the_pattern_that_it_answers_to_and_no_flat_picture() -> None:
    """One that answers edges, and a flat white too, a little: the mean over all places would ask for white."""
    net = nn.Conv2d(1, 1, (1, 2))
    net.weight.data, net.bias.data = torch.tensor([[[[1.1, -1.0]]]]), torch.zeros(1)
    found = lens.favourites(net, "", 0, (1, 24, 24), low=0, high=1, picture=(1, 24, 24), starts=3)
    assert found.states.min() > 0.3  # of 1.1 at most; white has 0.1
    assert found.inputs.flatten(1).std(1).min() > 0.2


def test_patterns_that_repeat_may_begin_anywhere_to_agree() -> None:
    stripes = torch.sin(torch.arange(24.0) * math.pi / 4).expand(1, 24, 24)
    both = torch.stack([stripes, stripes.roll(4, 2)])
    assert favourite._agreement(both, False) == pytest.approx(-1) and favourite._agreement(both, True) == pytest.approx(
        1
    )
    noise = torch.randn(2, 1, 24, 24)
    turned = torch.stack([noise[0], noise[0].roll((5, 9), (1, 2))])
    assert favourite._agreement(turned, True) == pytest.approx(1) and favourite._agreement(noise, True) < 0.3


def test_starts_that_find_different_favourites_do_not_agree() -> None:
    class Either(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(1, keepdim=True)  # any corner is as good as its opposite

    found = lens.favourites(Either(), "", 0, (6,), low=-1, high=1, starts=12)
    assert found.agreement < 0.3 and found.states.min() > 5.9


def test_a_unit_that_is_off_everywhere_is_said_to_be_stuck() -> None:
    net = nn.Sequential(nn.Linear(4, 1), nn.ReLU())
    net[0].bias.data.fill_(-100.0)
    found = lens.favourites(net, "1", 0, (4,), low=0, high=1, starts=3)
    assert found.stuck == 3 and not found.states.any()


def high_frequencies(pictures: Tensor) -> float:
    """Share of the energy about the mean above a quarter of the highest frequency."""
    power = torch.fft.fft2(pictures - pictures.mean((-2, -1), keepdim=True)).abs().square()
    fast = torch.fft.fftfreq(power.shape[-1]).abs() > 0.125
    return float((power * (fast[:, None] | fast)).sum() / power.sum())


@pytest.mark.parametrize("size", [28, 96])
def test_pictures_stay_smooth_at_any_size(size: int) -> None:
    """A random filter is the hardest case: plain ascent gives noise. What must not depend on the size is the look."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 2))
    plain = lens.favourites(net, "1", 0, (1, size, size), low=0, high=1, starts=2)
    found = lens.favourites(net, "1", 0, (1, size, size), low=0, high=1, picture=(size, size), starts=2)
    assert high_frequencies(plain.inputs) > 0.5 > 0.15 > high_frequencies(found.inputs)
    assert found.states[0] > found.random


def test_what_a_fine_filter_likes_is_found_in_a_large_picture_too() -> None:
    """A convolution that answers edges a few pixels wide, at 224 x 224: its favourite is far above what chance finds."""
    net = nn.Sequential(nn.Conv2d(1, 1, 9, 4, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(54 * 54, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.linspace(-1, 1, 9).expand(1, 1, 9, 9))
        net[3].weight.fill_(1 / 54**2)
    found = lens.favourites(net, "3", 0, (1, 224, 224), low=0, high=1, picture=(1, 224, 224), starts=2)
    assert found.states.min() > 2 * found.random > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "low and high of the data, or its norm"),
        ({"low": 1.0}, "low and high"),
        ({"low": 1.0, "high": 1.0}, "low < high"),
        ({"norm": 0.0}, "above 0"),
        ({"norm": 1.0, "picture": (2, 2)}, "as many values as a row"),
        ({"norm": 1.0, "starts": 1}, "at least 2"),
    ],
)
def test_what_makes_no_sense_to_climb_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lens.favourites(dense(), "0", 0, (6,), **settings)


# -- selectivity -------------------------------------------------------------------------------------------------------


def test_selectivity_counts_pairs() -> None:
    labels = np.arange(120) % 3
    codes = torch.randint(0, 4, (120, 2)).float() + torch.as_tensor(labels)[:, None] * torch.tensor([1.0, 0.0])
    found = lens.selectivity(codes, labels)
    order = np.random.default_rng(0).permutation(120)
    order = order[np.argsort(labels[order], kind="stable")][1::2]
    for unit in range(2):
        ours = [codes[r, unit] for r in order if labels[r] == found.best[unit]]
        rest = [codes[r, unit] for r in order if labels[r] != found.best[unit]]
        wins = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in ours for b in rest])
        assert found.auc[unit] == pytest.approx(float(wins))
    np.testing.assert_allclose(found.means, [codes[labels == c].mean(0) for c in range(3)], rtol=1e-5)


def test_selectivity_finds_detectors_and_nothing_in_noise() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 400)
    codes = torch.randn(400, 204).abs()
    codes[:, :4] += 5 * torch.eye(4)[labels]
    found = lens.selectivity(codes, labels)
    assert found.best[:4].tolist() == [0, 1, 2, 3] and (found.auc[:4] > 0.95).all() and (found.index[:4] > 0.5).all()
    noise = np.abs(found.auc[4:] - 0.5)
    assert abs(np.mean(found.auc[4:]) - 0.5) < 0.02 and 0.01 < np.mean(noise > found.null) < 0.15


def test_selectivity_needs_rows_and_states_above_zero_for_its_index() -> None:
    assert np.isnan(lens.selectivity(torch.randn(40, 2), np.arange(40) % 2).index).all()
    with pytest.raises(ValueError, match="at least two classes of 10 rows each, got 2 of at least 9"):
        lens.selectivity(torch.rand(30, 2), np.array([0] * 21 + [1] * 9))


# -- many at once ------------------------------------------------------------------------------------------------------


def chain() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5), nn.ReLU(), nn.Linear(5, 3)
    ).eval()


def test_connections_of_all_units_are_those_of_each() -> None:
    rows = torch.rand(9, 1, 6, 6)
    found = lens.connections(chain(), "1", "3", rows)
    for unit in range(5):
        one = lens.inputs_of(chain(), "3", unit, "1", rows)
        torch.testing.assert_close(found.mean[unit, one.units].double(), torch.tensor(one.mean).double())
        torch.testing.assert_close(found.strength[unit, one.units].double(), torch.tensor(one.strength).double())


def test_cases_that_go_together_are_those_of_each_alone() -> None:
    rows, labels = torch.rand(20, 1, 6, 6), np.arange(20) % 3
    for one, other in zip(
        lens.ablate(chain(), "1", [0, (1, 3), 2], rows, labels, size=8),
        lens.ablate(chain(), "1", [0, (1, 3), 2], rows, labels, size=8, together=4), strict=True,
    ):  # fmt: skip
        assert one.units == other.units and one.factor == other.factor and one.accuracy == other.accuracy
        np.testing.assert_allclose(one.outputs, other.outputs, atol=1e-6)
        assert one.moved == pytest.approx(other.moved, abs=1e-5)


class Reusing(nn.Module):
    """A layer that runs before and after another one, in-place operations on what parts gave, and a part beside."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.inner, self.beside = (
            nn.Linear(6, 6),
            nn.Sequential(nn.Linear(6, 6), nn.ReLU()),
            nn.Linear(6, 6),
        )
        self.head = nn.Linear(6, 4)
        self.runs = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        aside = self.beside(x).relu_()
        x = self.inner(self.twice(x).tanh_()).mul_(2)
        return self.head(self.twice(x) + aside)


class Counting(nn.Linear):
    runs = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Counting.runs += 1
        return super().forward(x)


RESUMED: dict[str, tuple[Any, Any, list[str]]] = {
    "residual": (Convolutional, lambda: torch.rand(9, 1, 8, 8), ["first", "second"]),
    "patches": (Patches, lambda: torch.rand(9, 1, 8, 8), ["patch", "blocks.0", "blocks.1.mlp.0", "blocks.1"]),
    "tokens": (Reader, lambda: torch.randint(0, 12, (9, 16)), ["embed", "blocks.0", "blocks.1.mlp"]),
    "reusing": (Reusing, lambda: torch.rand(9, 6), ["inner", "inner.0", "beside"]),
}


@pytest.mark.parametrize(
    ("name", "layer"), [(name, layer) for name, (_, _, layers) in RESUMED.items() for layer in layers]
)
def test_what_lies_below_is_not_needed_to_see_what_changes(
    name: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    make, rows, _ = RESUMED[name]
    net, x, labels = make().eval(), rows(), np.arange(9) % 4
    before = {part: dict(vars(part)) for part in net.modules()}
    found = lens.ablate(net, layer, [0, (1, 2)], x, labels, size=5)
    assert {part: dict(vars(part)) for part in net.modules()} == before
    monkeypatch.setattr("layerwise.lens.ablation._begun", lambda *_: contextlib.nullcontext())
    for one, whole in zip(found, lens.ablate(net, layer, [0, (1, 2)], x, labels, size=5), strict=True):
        np.testing.assert_allclose(one.outputs, whole.outputs, atol=1e-5)
        assert one.accuracy == whole.accuracy and one.moved == pytest.approx(whole.moved, rel=1e-3, abs=1e-6)


def test_parts_that_had_finished_do_not_run_again() -> None:
    net = nn.Sequential(nn.Sequential(Counting(4, 4), nn.ReLU()), Counting(4, 4), nn.Tanh(), Counting(4, 3)).eval()
    Counting.runs = 0
    lens.ablate(net, "1", [0, 1, 2, 3], torch.rand(6, 4))
    cases = 8
    assert cases + 3 <= Counting.runs < cases + 20  # the last one once per case, all three in a few plain passes


def test_what_draws_at_random_runs_as_a_whole() -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.high(self.low(x + torch.rand_like(x)))

    (found,) = lens.ablate(Drawing().eval(), "low", [0], torch.rand(50, 4), factors=[1.0])
    assert found.moved > 0.1  # a net that does not answer the same twice is not taken for one that does


def test_work_counts_what_comes_after_a_layer() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(32, 5))
    rows = torch.rand(3, 1, 6, 6)
    assert lens.work(net, "0", rows) == 2 * 32 * 5 and lens.work(nn.Sequential(net), "0", rows) == 0
    asking, tokens = nn.Sequential(Asking(), nn.Linear(3, 4)), torch.randn(3, 5, 8)
    assert lens.work(asking, "0.lift", tokens) > lens.work(asking, "0", tokens) == 2 * 3 * 4


@pytest.mark.parametrize("layer", ["0", "1", "3", "4"])
def test_the_tail_of_a_chain_answers_as_the_whole(layer: str) -> None:
    rows = torch.rand(5, 1, 6, 6)
    rest = lens.tail(chain(), layer, rows)
    assert rest is not None
    states = next(lens.stream(chain(), layer, rows))[layer].values
    torch.testing.assert_close(rest(states), chain()(rows))
    assert [name for name, _ in rest.named_children()] == [str(number) for number in range(int(layer), len(chain()))]


def test_what_is_no_chain_has_no_tail() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)) + x

    assert (
        lens.tail(Residual(), "a", torch.rand(5, 4)) is None
        and lens.tail(chain(), "0.weight", torch.rand(5, 1, 6, 6)) is None
    )


def test_favourites_of_several_are_those_of_each() -> None:
    several = lens.favourites_of(chain(), "3", [1, 4], (1, 6, 6), low=0, high=1, picture=(6, 6), starts=3)
    for unit, found in zip([1, 4], several, strict=True):
        alone = lens.favourites(chain(), "3", unit, (1, 6, 6), low=0, high=1, picture=(6, 6), starts=3)
        torch.testing.assert_close(found.inputs, alone.inputs, atol=1e-4, rtol=1e-3)
        assert found.agreement == pytest.approx(alone.agreement, abs=1e-3) and found.stuck == alone.stuck


def test_evidence_for_a_unit_per_row_is_that_of_each() -> None:
    rows, units = torch.rand(4, 1, 6, 6), [0, 3, 1, 0]
    found = lens.evidence(chain(), "1", units, rows)
    for at, unit in enumerate(units):
        one = lens.evidence(chain(), "1", unit, rows[at : at + 1])
        torch.testing.assert_close(found.slope[at], one.slope[0])
        assert found.box[at].tolist() == one.box[0].tolist()
    flat = nn.Sequential(nn.Unflatten(1, (1, 6, 6)), *chain())
    laid = lens.evidence(flat, "2", units, rows.flatten(1), picture=(6, 6))
    assert laid.box.tolist() == found.box[:, 1:].tolist()
    with pytest.raises(ValueError, match="4 rows came with 2 units"):
        lens.evidence(chain(), "1", [0, 1], rows)
