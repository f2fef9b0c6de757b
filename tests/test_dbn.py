"""A deep belief net small enough to know its exact distribution, and wake-sleep against autograd."""

import copy
import re

import pytest
import torch
from enumeration import bits, distance, frequencies, randomised, states
from layers import PATTERNS, two_patterns
from torch import Tensor, nn

from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.dbn import DBN, WakeSleep
from layerwise.rbm import RBM, LabelledRBM
from layerwise.stack import Stack
from layerwise.train import Training
from layerwise.units import Bernoulli, Rectified, Softmax

CHAINS = 20_000
NOISE = 5 / CHAINS**0.5  # five standard errors of a mean of zeros and ones, with room


def untied(*arguments: object, **settings: object) -> DBN:
    """A net with random weights of its own for each way."""
    dbn = DBN.build(*arguments, **settings)
    dbn.untie(len(dbn) - 1)
    return randomised(dbn)


def undecided(*arguments: object, **settings: object) -> DBN:
    """Every unit has one above that it follows, and is on about half of the time: it matters what is held on."""
    dbn = randomised(untied(*arguments, **settings), scale=0.5)
    for layer in dbn:
        for weight in (layer.weight, layer.down_weight) if isinstance(layer, Autoencoder) else (layer.weight,):
            follows = torch.arange(layer.visible)[:, None] % layer.hidden == torch.arange(layer.hidden)
            weight.data += 3 * follows
        layer.hidden_bias.data -= layer.weight.data.sum(0) / 2
        layer.visible_bias.data -= weight.data.sum(1) / 2
    return dbn


# -- the exact distribution, by sums over everything -------------------------------------------------------------------


def top_joint(top: RBM) -> Tensor:
    """p(visible, hidden) of the top RBM, shape (visible states, hidden states)."""
    v, h = states(top.below, top.visible), states(top.above, top.hidden)
    table = torch.stack([-top.energy(v, one.expand(len(v), -1)) for one in h], 1)
    return table.flatten().softmax(0).reshape(table.shape).detach()


def given_above(layer: Autoencoder) -> Tensor:
    """p(below | above) under the generative weights, shape (states above, states below)."""
    p = torch.sigmoid(layer.down(bits(layer.hidden))).detach()
    return torch.stack([(p * one + (1 - p) * (1 - one)).prod(1) for one in bits(layer.visible)], 1)


def data_distribution(dbn: DBN, penultimate: Tensor) -> Tensor:
    """p(data), given the distribution of the states that the top RBM sees."""
    for layer in reversed(dbn.below_top):
        penultimate = penultimate @ given_above(layer)
    return penultimate


def exact_log_likelihood(dbn: DBN, x: Tensor) -> float:
    p = data_distribution(dbn, top_joint(dbn.top).sum(1))
    places = (x[:, None] == bits(x.shape[1])).all(-1).double().argmax(1)
    return p[places].log().mean().item()


# -- dreaming ----------------------------------------------------------------------------------------------------------


def test_dreams_have_the_net_s_own_distribution() -> None:
    for widths in ((3,), (3, 3), (3, 3, 2)):
        dbn = untied(3, widths)
        exact = data_distribution(dbn, top_joint(dbn.top).sum(1))
        drawn = dbn.generate(CHAINS, steps=40, mean=False)
        assert distance(frequencies(drawn, bits(3)), exact) < NOISE
        assert distance(torch.full((8,), 1 / 8), exact) > 3 * NOISE  # else the test could not fail
        means = dbn.generate(CHAINS, steps=40)
        assert ((means > 0) & (means < 1)).all()
        assert (means.mean(0) - exact @ bits(3)).abs().max() < NOISE


def test_a_dream_of_a_unit_is_a_dream_given_that_unit() -> None:
    for widths, (depth, index) in (((3,), (1, 2)), ((3, 3), (2, 1)), ((3, 3), (1, 0)), ((3, 3, 2), (2, 1))):
        dbn = undecided(3, widths)
        joint = top_joint(dbn.top)
        if depth == len(dbn):
            penultimate = joint[:, states(dbn.top.above, dbn.top.hidden)[:, index] == 1].sum(1)
        else:
            penultimate = joint.sum(1) * (bits(widths[depth - 1])[:, index] == 1)
        exact = data_distribution(dbn, penultimate / penultimate.sum())
        drawn = dbn.generate(CHAINS, unit=(depth, index), steps=40, mean=False)
        assert distance(frequencies(drawn, bits(3)), exact) < NOISE
        assert distance(data_distribution(dbn, joint.sum(1)), exact) > 3 * NOISE  # the unit matters


@pytest.mark.parametrize("widths", [(2,), (3, 2)])
@pytest.mark.parametrize("unit", [None, "top"])
def test_a_dream_of_a_class_is_a_dream_given_that_class(widths: tuple[int, ...], unit: str | None) -> None:
    dbn = undecided(3, widths, classes=2)
    clamped = None if unit is None else (len(dbn), 1)
    joint = top_joint(dbn.top) * (1 if unit is None else states(dbn.top.above, dbn.top.hidden)[:, 1])
    joint = joint.sum(1).reshape(-1, 2)  # (features, class)
    labels = torch.arange(CHAINS) % 2
    mixed = dbn.generate(CHAINS, label=labels, unit=clamped, steps=40, mean=False)
    conditional = [data_distribution(dbn, joint[:, label] / joint[:, label].sum()) for label in range(2)]
    assert distance(*conditional) > 3 * NOISE  # the class matters
    for label, exact in enumerate(conditional):
        drawn = dbn.generate(CHAINS, label=label, unit=clamped, steps=40, mean=False)
        assert distance(frequencies(drawn, bits(3)), exact) < NOISE
        assert distance(frequencies(mixed[labels == label], bits(3)), exact) < NOISE * 2**0.5


class Spy:
    """Remembers what a method of a layer was called with, and what it answered."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        self.seen, self.answers, self.method = [], [], getattr(layer, name)
        setattr(layer, name, self)

    def __call__(self, states: Tensor, *more: object, **named: object) -> Tensor:
        self.seen.append(states.clone())
        self.answers.append(self.method(states, *more, **named))
        return self.answers[-1]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("below", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_unit_held_on_is_on_wherever_it_acts(depth: int, below: str, classes: int | None) -> None:
    dbn = untied(5, (4, 3, 3, 4), classes=classes, below=below)
    down = Spy(dbn.layers[depth - 1], "down")
    up = Spy(dbn.layers[depth], "up") if depth < 4 else None
    dreams = dbn.generate(6, unit=(depth, 2), steps=5)
    assert dreams.shape == (6, 5)
    assert len(down.seen) >= 1 and all(states[:, 2].eq(1).all() for states in down.seen)
    if up is not None:  # the first look up comes before anything could be held on
        assert len(up.seen) >= 4 and all(states[:, 2].eq(1).all() for states in up.seen[depth == 3 :])


def test_gaussian_units_under_the_top_are_on_in_their_own_units() -> None:
    dbn = randomised(DBN(Autoencoder(4, 3, above="gaussian", tied=False), RBM(3, 2, below="gaussian")))
    dbn.top.prepare([5 + 2 * torch.randn(100, 3, dtype=torch.float64)])
    up = Spy(dbn.top, "up")
    dbn.generate(6, unit=(1, 2), steps=3)
    assert all(torch.allclose(dbn.top.own_units(states)[:, 2], torch.ones(6).double()) for states in up.seen[1:])


def test_dreams_start_where_they_are_told() -> None:
    dbn = untied(4, (3, 2), classes=2)
    start = bits(4)[[3, 9, 12]]
    assert dbn.generate(start=start, label=1, steps=2).shape == (3, 4)
    torch.manual_seed(1)
    dreamed = dbn.generate(3, start=start, steps=0)
    torch.manual_seed(1)
    torch.testing.assert_close(dreamed, dbn.layers[0].decode(dbn.sample_up(start)[-1]))


def test_what_cannot_be_dreamed_of_is_refused() -> None:
    dbn = DBN.build(4, (3, 2), classes=2)
    refused = [
        ({"unit": (3, 0)}, "no layer 3: the hidden layers are 1 to 2"),
        ({"unit": (0, 0)}, "no layer 0"),
        ({"unit": (2, 2)}, "Layer 2 has units 0 to 1; there is no unit 2"),
        ({"unit": (1, -1)}, "Layer 1 has units 0 to 2; there is no unit -1"),
        ({"label": 2}, "Labels to dream of are 0 to 1; got 2"),
        ({"label": -1}, "0 to 1; got -1"),
        ({"label": torch.tensor([0, 1, 1])}, "5 rows take one label, or 5; got labels of shape (3,)"),
    ]
    for settings, message in refused:
        with pytest.raises(ValueError, match=re.escape(message)):
            dbn.generate(5, steps=1, **settings)
    unlabelled = DBN.build(4, (3, 2))
    for question in (lambda: unlabelled.generate(label=0), lambda: unlabelled.class_log_probs(bits(4).float())):
        with pytest.raises(ValueError, match="built without labels; build it with classes="):
            question()


# -- building and asking -----------------------------------------------------------------------------------------------


def test_a_net_is_built_layer_by_layer() -> None:
    dbn = DBN.build(6, (5, 4, 3), classes=2, below="gaussian", above="rectified", steps=2)
    kinds = [(type(layer), layer.hidden, layer.above, layer.steps) for layer in dbn]
    assert kinds == [(RBM, 5, Rectified(), 2), (RBM, 4, Rectified(), 2), (LabelledRBM, 3, Rectified(), 2)]
    assert [layer.below.name for layer in dbn.below_top] == ["Gaussian", "Rectified"]
    assert dbn.top.features_below == Rectified() and dbn.top.classes == 2 and dbn.top is dbn.layers[-1]
    assert type(DBN.build(6, (5,)).top) is RBM


def test_the_top_is_an_rbm() -> None:
    for layers in ((), (Autoencoder(4, 3),), (RBM(4, 3), Autoencoder(3, 2))):
        with pytest.raises(ValueError, match="top of a deep belief net is an RBM"):
            DBN(*layers)


def test_class_probabilities_are_the_top_s_for_what_comes_up() -> None:
    dbn = untied(4, (3, 3, 2), classes=3)
    x = bits(4)
    for layer in dbn.below_top:
        x = layer.encode(x)
    found = dbn.class_log_probs(bits(4))
    torch.testing.assert_close(found, dbn.top.class_log_probs(x))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(16).double())
    assert torch.equal(dbn.penultimate(bits(4)), x)


def test_reconstructions_go_up_to_the_top_and_back() -> None:
    dbn = untied(4, (3, 2), classes=3)
    x, (lower, top) = bits(4), dbn.layers
    torch.testing.assert_close(dbn.reconstruct(x), lower.decode(top.decode(top.encode(lower.encode(x)))))


def test_states_on_the_way_up_are_draws_from_the_recognition_weights() -> None:
    dbn = untied(4, (3, 2, 2))
    x = bits(4)[5:6].expand(CHAINS, -1)
    drawn = dbn.sample_up(x)
    assert [states.shape[1] for states in drawn] == [4, 3, 2] and drawn[0] is x
    for lower, upper, layer in zip(drawn, drawn[1:], dbn.below_top):
        assert set(upper.unique().tolist()) == {0.0, 1.0}
        for state in lower.unique(dim=0):
            rows = upper[(lower == state).all(1)]
            assert ((rows.mean(0) - layer.encode(state[None])[0]).abs() < 5 * 0.5 / len(rows) ** 0.5).all()


# -- wake and sleep ----------------------------------------------------------------------------------------------------


def surprise_of(kind: object, states: Tensor, a: Tensor) -> Tensor:
    """-log p(states | activation) up to what does not depend on the activation, mean over rows."""
    return (kind.log_partition(a) - (states * a).sum(1)).mean()


NETS = {
    "bernoulli": lambda **settings: untied(4, (3, 5, 2), **settings),
    "gaussian": lambda **settings: untied(4, (3, 5, 2), below="gaussian", **settings),
    "rectified": lambda **settings: untied(4, (3, 5, 2), below="gaussian", above="rectified", **settings),
    "softmax": lambda **settings: untied(4, (6, 3, 3), above=Softmax(3), **settings),
    "pcd": lambda **settings: untied(4, (3, 5, 2), chains=7, **settings),
    "shallow": lambda **settings: untied(4, (3,), **settings),
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("labels", [None, (0, 2, 1, 1, 0, 2), (0, -1, 1, -1, 0, 2)], ids=["unlabelled", "all", "some"])
def test_wake_sleep_is_the_gradient_of_what_it_says(make: object, labels: tuple[int, ...] | None) -> None:
    dbn = make(classes=None if labels is None else 3)
    x = bits(4)[[1, 5, 6, 11, 12, 14]]
    if dbn.layers[0].below.name == "Gaussian":
        x = 10 + 3 * x + torch.randn(6, 4)
        dbn.layers[0].prepare([x])
    learner = WakeSleep(dbn, [2], total=10)
    wakes, sleeps, contrast, chain = [], [], Spy(dbn.top, "contrast"), Spy(dbn.top, "_chain")
    up, sleep = dbn.sample_up, learner._sleep
    dbn.sample_up = lambda x: wakes.append(up(x)) or wakes[-1]
    learner._sleep = lambda states: sleeps.append(sleep(states)) or sleeps[-1]
    chains = None if dbn.top.particles is None else dbn.top.particles.clone()

    figure = learner.learn(x, None if labels is None else torch.tensor(labels))
    found = {name: parameter.grad.clone() for name, parameter in dbn.named_parameters()}
    dbn.zero_grad()

    (wake,), (dreamed,), (v,), ((_, fantasy),) = wakes, sleeps, contrast.seen, contrast.answers
    total = dbn.top.free_energy(v).mean() - dbn.top.free_energy(fantasy).mean()
    for layer, lower, upper in zip(dbn.below_top, wake, wake[1:]):
        total = total + surprise_of(layer.below, layer.standardised(lower), layer.down(upper))
    for layer, lower, upper in zip(dbn.below_top, dreamed, dreamed[1:]):
        total = total + surprise_of(layer.above, upper, layer.up(layer.standardised(lower)))
    total.backward()
    for name, parameter in dbn.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=lambda text, name=name: f"{name}: {text}")

    width = wake[-1].shape[1]
    assert torch.equal(wake[0], x) and torch.equal(dbn.top.own_units(v[:, :width]), wake[-1])
    assert torch.equal(dbn.top.own_units(fantasy[:, :width]), dreamed[-1])
    if labels is not None:
        known = torch.tensor(labels) >= 0
        assert torch.equal(v[known, width:].argmax(1), torch.tensor(labels)[known])
        assert v[:, width:].sum(1).eq(1).all()
    if dbn.top.above == Bernoulli():  # a fantasy of draws, not of means
        assert set(dreamed[-1].unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(chain.seen[0], v if chains is None else chains)
    if chains is not None:
        assert torch.equal(dbn.top.particles, fantasy)
    if len(dbn) > 1:
        bottom = dbn.layers[0]
        gap = bottom.below.mean(bottom.down(wake[1])) - bottom.standardised(x)
        torch.testing.assert_close(figure, gap.square().sum(1).mean().detach())


def test_the_fantasy_goes_down_by_draws_and_ends_in_means() -> None:
    dbn = untied(4, (3, 5, 2))
    learner = WakeSleep(dbn, [1], total=1)
    features = bits(5)[[17]].expand(CHAINS, -1)
    data, middle, same = learner._sleep(features)
    assert same is features and set(middle.unique().tolist()) == {0.0, 1.0}
    assert (middle.mean(0) - dbn.layers[1].decode(features[:1])[0]).abs().max() < NOISE
    torch.testing.assert_close(data, dbn.layers[0].decode(middle))


def test_gibbs_steps_are_spread_evenly() -> None:
    dbn = untied(4, (3, 2))
    learner = WakeSleep(dbn, [1, 3, 2], total=9)
    counts = []
    for _ in range(12):
        down = Spy(dbn.top, "down")
        learner.learn(bits(4))
        counts.append(len(down.seen))
        dbn.top.down = down.method
    assert counts == [1, 1, 1, 3, 3, 3, 2, 2, 2, 2, 2, 2]  # beyond what was expected, the last holds
    for steps in ([], [0], [3, -1]):
        with pytest.raises(ValueError, match="steps are at least 1"):
            WakeSleep(dbn, steps, total=9)


def test_wake_sleep_wants_two_ways() -> None:
    with pytest.raises(ValueError, match=r"two-way layers: call dbn\.untie"):
        WakeSleep(DBN.build(4, (3, 2)), [1], total=1)


def test_recognition_and_generative_weights_go_apart_and_are_both_kept() -> None:
    x, y = two_patterns(20)
    dbn = DBN.build(6, (5, 4, 3), classes=2)
    dbn.pretrain(Batches(x, y), Training(epochs=1))
    before = copy.deepcopy(dbn)
    history = dbn.up_down(Batches(x, y, size=5), Training(epochs=3))
    assert history.name == "up-down" and len(history.figures) == 3
    saved = dbn.state_dict()
    for number in range(2):
        up, down = saved[f"{number}.weight"], saved[f"{number}.down_weight"]
        was = before.layers[number].weight
        assert not torch.equal(up, down) and not torch.equal(up, was) and not torch.equal(down, was)
    again = DBN.build(6, (5, 4, 3), classes=2)
    again.untie(2)
    again.load_state_dict(saved)
    assert torch.equal(again.reconstruct(x), dbn.reconstruct(x))
    assert torch.equal(again.class_log_probs(x), dbn.class_log_probs(x))


def taught(**settings: object) -> tuple[DBN, Tensor, Tensor]:
    x, y = two_patterns(200)
    x = (x + (torch.rand(200, 6) < 0.05)) % 2
    dbn = DBN.build(6, (8, 8), classes=2, **settings)
    dbn.pretrain(Batches(x, y, size=20), Training(epochs=20, rate=0.1))
    return dbn, x, y


def test_up_down_keeps_what_the_net_knows_of_the_classes() -> None:
    dbn, x, y = taught()
    dbn.up_down(Batches(x, y, size=20), Training(epochs=20, rate=0.05))
    assert (dbn.class_log_probs(x).argmax(1) == y).float().mean() > 0.95


@pytest.mark.parametrize("up_down", [False, True])
def test_a_taught_net_dreams_of_the_class_it_is_asked_for(up_down: bool) -> None:
    dbn, x, y = taught()
    if up_down:
        dbn.up_down(Batches(x, y, size=20), Training(epochs=20, rate=0.05))
    for label in range(2):
        dreams = dbn.generate(200, label=label, steps=50)
        nearest = (dreams[:, None] - PATTERNS).square().sum(2).argmin(1)
        assert (nearest == label).float().mean() > 0.9


def test_up_down_raises_the_exact_likelihood() -> None:
    """From random weights: all that is learned of p(data) is learned by wake and sleep."""
    x, _ = two_patterns(200)
    dbn = DBN.build(6, (4, 3))
    dbn.untie(1)
    before = exact_log_likelihood(copy.deepcopy(dbn).double(), x.double())
    dbn.up_down(Batches(x, size=20), Training(epochs=100, rate=0.1))
    after = exact_log_likelihood(dbn.double(), x.double())
    assert before == pytest.approx(-6 * torch.log(torch.tensor(2.0)).item(), abs=0.1)  # fair coins
    best = -torch.log(torch.tensor(2.0)).item()  # two patterns, equally often
    assert (before + best) / 2 < after < best + 0.01


def test_a_net_is_a_stack() -> None:
    assert isinstance(DBN.build(4, (3, 2)), Stack)
