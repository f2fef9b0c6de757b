"""A small RBM has so few states that everything it claims can be summed out."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from enumeration import (
    DISCRETE,
    PAIRS,
    bits,
    distance,
    energies,
    frequencies,
    log_likelihood,
    log_z,
    product,
    randomised,
    some_states,
    states,
)
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from layerwise.batches import Batches
from layerwise.rbm import RBM, LabelledRBM
from layerwise.train import Training, train
from layerwise.units import Bernoulli, Gaussian, Rectified, Softmax, Units

every_pair = pytest.mark.parametrize(("below", "above"), PAIRS, ids=repr)
DISCRETE_PAIRS = [(below, above) for below in DISCRETE for above in DISCRETE]


# -- energies ----------------------------------------------------------------------------------------------------------


@every_pair
def test_energy_is_its_equation_term_by_term(below: Units, above: Units) -> None:
    rbm = randomised(RBM(4, 2, below=below, above=above))
    v, h = some_states(below, 5, 4), some_states(above, 5, 2)
    torch.testing.assert_close(rbm.energy(v, h), energies(rbm, v, h).diagonal())


@pytest.mark.parametrize(("below", "above"), [pair for pair in PAIRS if pair[1] in DISCRETE], ids=repr)
def test_free_energy_sums_over_all_hidden_states(below: Units, above: Units) -> None:
    rbm = randomised(RBM(4, 4, below=below, above=above))
    v = some_states(below, 6, 4)
    torch.testing.assert_close(rbm.free_energy(v), -(-energies(rbm, v, states(above, 4))).logsumexp(1))


@pytest.mark.parametrize("below", DISCRETE, ids=repr)
def test_free_energy_integrates_over_gaussian_hidden_states(below: Units) -> None:
    rbm = randomised(RBM(4, 1, below=below, above=Gaussian()))
    v, h = some_states(below, 6, 4), torch.linspace(-15, 15, 301, dtype=torch.float64)[:, None]
    integral = (-energies(rbm, v, h)).logsumexp(1) + math.log(30 / 300) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(rbm.free_energy(v), -integral)


@pytest.mark.parametrize("below", DISCRETE, ids=repr)
def test_free_energy_of_rectified_hidden_units_is_that_of_their_bernoulli_copies(below: Units) -> None:
    """But for what the rectified line leaves out of the softplus: at most pi^2 / 6 for each unit."""
    rbm, copies = randomised(RBM(4, 2, below=below, above=Rectified()), scale=3), 100
    many = randomised(RBM(4, 2 * copies, below=below))
    with torch.no_grad():
        many.weight.copy_(rbm.weight.repeat_interleave(copies, 1))
        many.visible_bias.copy_(rbm.visible_bias)
        many.hidden_bias.copy_(rbm.hidden_bias.repeat_interleave(copies) - torch.arange(copies).repeat(2) - 0.5)
    v = some_states(below, 50, 4)
    beyond = rbm.free_energy(v) - many.free_energy(v)
    assert beyond.min() > 0 and beyond.max() < 2 * (math.pi**2 / 6 + 0.01)


@pytest.mark.parametrize(("below", "above"), DISCRETE_PAIRS, ids=repr)
def test_every_way_to_sum_over_all_states_gives_the_same_log_z(below: Units, above: Units) -> None:
    rbm = randomised(RBM(4, 4, below=below, above=above))
    v, h = states(below, 4), states(above, 4)
    over_both = (-energies(rbm, v, h)).logsumexp((0, 1))
    torch.testing.assert_close((-rbm.free_energy(v)).logsumexp(0), over_both)
    torch.testing.assert_close(log_z(rbm), over_both)


@pytest.mark.parametrize(("below", "above"), DISCRETE_PAIRS, ids=repr)
def test_encode_and_decode_are_conditional_expectations(below: Units, above: Units) -> None:
    rbm = randomised(RBM(4, 2, below=below, above=above))
    v, h = states(below, 4), states(above, 2)
    boltzmann = -energies(rbm, v, h)
    torch.testing.assert_close(rbm.encode(v), boltzmann.softmax(1) @ h)
    torch.testing.assert_close(rbm.decode(h), boltzmann.softmax(0).T @ v)


# -- learning ----------------------------------------------------------------------------------------------------------

SETTINGS = {
    "cd1": {},
    "cd3": {"steps": 3},
    "drawn": {"steps": 2, "sample_visible": True},
    "pcd": {"steps": 2, "chains": 7},
    "pcd-as-many-chains-as-rows": {"chains": 5},
    "sparse": {"sparsity": 0.2, "sparsity_cost": 0.7},
}


def same_gradients(rbm: RBM, x: Tensor, y: Tensor | None = None) -> None:
    """`learn` leaves what autograd finds for `loss` from the same random state, and leaves the same state behind."""
    other = copy.deepcopy(rbm)
    for call in range(2):  # twice: chains and running averages have moved
        torch.manual_seed(call)
        rbm.learn(x, y)
        here = torch.rand(())
        torch.manual_seed(call)
        other.zero_grad()
        other.loss(x, y).backward()
        assert torch.rand(()) == here
        for (name, first), second in zip(rbm.named_parameters(), other.parameters()):
            torch.testing.assert_close(first.grad, second.grad, msg=lambda text, name=name: f"{name}: {text}")
        for first, second in zip(rbm.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(first, second)


@every_pair
@pytest.mark.parametrize("settings", SETTINGS)
def test_learn_is_the_gradient_of_the_loss(below: Units, above: Units, settings: str) -> None:
    rbm = randomised(RBM(4, 6, below=below, above=above, **SETTINGS[settings]), scale=0.5)
    same_gradients(rbm, some_states(below, 5, 4))


@pytest.mark.parametrize("below", [Bernoulli(), Gaussian(), Softmax(2)], ids=repr)
@pytest.mark.parametrize("settings", SETTINGS)
def test_learn_is_the_gradient_of_the_loss_with_labels(below: Units, settings: str) -> None:
    top = randomised(LabelledRBM(4, 3, 6, below=below, **SETTINGS[settings]), scale=0.5)
    x = some_states(below, 5, 4)
    for labels in (torch.tensor([0, 2, 1, 1, 0]), torch.tensor([-1, 2, -1, 1, 0]), None):
        same_gradients(top, x, labels)


@every_pair
def test_a_step_of_cd_is_its_textbook_formula(below: Units, above: Units) -> None:
    """<v h> of the data minus <v h> one step of mean-field reconstruction later (Hinton, 2010, equation 9)."""
    rbm = randomised(RBM(4, 6, below=below, above=above), scale=0.5)
    v = some_states(below, 5, 4)
    torch.manual_seed(1)
    rbm.learn(v)
    torch.manual_seed(1)
    h = above.sample(v @ rbm.weight + rbm.hidden_bias)
    fantasy = below.mean(h @ rbm.weight.T + rbm.visible_bias)
    weight, visible_bias, hidden_bias = 0, 0, 0
    for sign, rows in ((1, v), (-1, fantasy)):
        for row in rows:
            up = above.mean(row @ rbm.weight + rbm.hidden_bias)
            weight = weight + sign * torch.outer(row, up) / 5
            visible_bias, hidden_bias = visible_bias + sign * row / 5, hidden_bias + sign * up / 5
    torch.testing.assert_close(rbm.weight.grad, -weight.detach())
    torch.testing.assert_close(rbm.visible_bias.grad, -visible_bias.detach())
    torch.testing.assert_close(rbm.hidden_bias.grad, -hidden_bias.detach())


def test_the_figure_is_the_error_of_the_reconstruction() -> None:
    for settings in ({}, {"chains": 5}, {"chains": 9}):
        rbm = randomised(RBM(4, 3, above=Gaussian(), **settings))
        v = bits(4)[:5]
        torch.manual_seed(1)
        figure = rbm.learn(v)
        torch.manual_seed(1)
        h = rbm.encode(v) if settings else rbm.above.sample(rbm.up(v))
        torch.testing.assert_close(figure, ((v - rbm.decode(h)) ** 2).sum(1).mean().detach())


def test_the_sparsity_pull_follows_the_running_activity() -> None:
    rbm, free = RBM(4, 3, sparsity=0.2, sparsity_cost=0.7).double(), RBM(4, 3).double()
    randomised(rbm)
    free.load_state_dict(rbm.state_dict(), strict=False)
    v, activity = bits(4)[3:9], torch.full((3,), 0.2, dtype=torch.float64)
    for call in range(3):
        for each in (rbm, free):
            torch.manual_seed(call)
            each.learn(v)
        activity = 0.9 * activity + 0.1 * rbm.encode(v).mean(0).detach()
        pull = 0.7 * (activity - 0.2)
        torch.testing.assert_close(rbm.activity, activity)
        torch.testing.assert_close(rbm.hidden_bias.grad - free.hidden_bias.grad, pull)
        torch.testing.assert_close(rbm.weight.grad - free.weight.grad, torch.outer(v.mean(0), pull))


@pytest.mark.parametrize("target", [0.1, 0.9])
def test_the_sparsity_target_is_approached(target: float) -> None:
    x = torch.rand(200, 12).round()
    activity = {}
    for sparsity in (None, target):
        torch.manual_seed(0)
        rbm = RBM(12, 8, sparsity=sparsity, sparsity_cost=1.0)
        rbm.prepare([x])
        train(rbm, rbm.learn, Batches(x, size=50), Training(epochs=50, rate=0.1))
        activity[sparsity] = rbm.encode(x).mean(0)
    off = {sparsity: (mean - target).abs().max() for sparsity, mean in activity.items()}
    assert off[target] < off[None] / 2 and off[target] < 0.1


def test_learning_raises_the_exact_likelihood_of_bars_and_stripes() -> None:
    rows = torch.tensor([[a, b, c] for a in (0.0, 1) for b in (0.0, 1) for c in (0.0, 1)])
    x = torch.cat([rows.repeat_interleave(3, 1), rows.repeat(1, 3)])
    share = x.unique(dim=0, return_counts=True)[1] / len(x)
    best = (share * share.log()).sum()  # no model gives data more than their own entropy
    for settings in ({}, {"steps": 3}, {"chains": 32, "steps": 3}):
        rbm = RBM(9, 8, **settings)
        rbm.prepare([x])
        before = log_likelihood(copy.deepcopy(rbm).double(), x.double())
        train(rbm, rbm.learn, Batches(x, size=16), Training(epochs=600, rate=0.1, schedule="linear"))
        after = log_likelihood(rbm.double(), x.double())
        assert abs(before + 9 * math.log(2)) < 0.1  # pixels by themselves are fair coins
        assert (2 * before + best) / 3 < after < best


# -- sampling ----------------------------------------------------------------------------------------------------------

CHAINS = 20_000
NOISE = 5 / CHAINS**0.5  # five standard errors of a mean of values that spread by one


@pytest.mark.parametrize(("below", "above"), DISCRETE_PAIRS, ids=repr)
def test_gibbs_sampling_ends_in_the_model_s_own_distribution(below: Units, above: Units) -> None:
    rbm = randomised(RBM(4, 4, below=below, above=above, sample_visible=True), scale=1.5)
    every = states(below, 4)
    exact = (-rbm.free_energy(every)).softmax(0).detach()
    drawn = rbm.gibbs(every[:1].expand(CHAINS, -1), steps=40)
    assert distance(frequencies(drawn, every), exact) < NOISE
    assert distance(torch.full_like(exact, 1 / len(exact)), exact) > 3 * NOISE  # else the test could not fail


@pytest.mark.parametrize(("times", "steps"), [(1, 40), (40, 1)])
def test_gibbs_sampling_with_labels_ends_in_the_joint_distribution(times: int, steps: int) -> None:
    top = randomised(LabelledRBM(2, 3, 3, sample_visible=True))
    every = states(top.below, 5)
    exact = (-top.free_energy(every)).softmax(0).detach()
    drawn = every[:1].expand(CHAINS, -1)
    for _ in range(times):
        drawn = top.gibbs(drawn, steps)
    assert distance(frequencies(drawn, every), exact) < NOISE
    assert distance(torch.full_like(exact, 1 / 12), exact) > 3 * NOISE


@pytest.mark.parametrize("draw", [True, False])
def test_the_class_of_a_fantasy_is_drawn_given_its_features_alone(draw: bool) -> None:
    top = randomised(LabelledRBM(2, 3, 3), scale=3)
    fantasy = top.gibbs(torch.tensor([[1.0, 0, 0, 1, 0]]).double().expand(CHAINS, -1), draw=draw)
    for features in fantasy[:, :2].unique(dim=0):
        classes = fantasy[(fantasy[:, :2] == features).all(1), 2:]
        exact = top.class_log_probs(features[None]).exp()[0].detach()
        assert distance(frequencies(classes, torch.eye(3)), exact) < 5 / len(classes) ** 0.5


@pytest.mark.parametrize("make", [lambda: RBM(5, 3), lambda: LabelledRBM(3, 2, 3)], ids=["rbm", "labelled"])
def test_a_chain_brings_its_activation_along(make: Callable[[], RBM]) -> None:
    rbm = randomised(make())
    v, a = rbm._settled(bits(5))
    torch.testing.assert_close(a, rbm.up(v))


@pytest.mark.parametrize("settings", [{"steps": 40, "sample_visible": True}, {"chains": CHAINS}], ids=["cd40", "pcd"])
@pytest.mark.parametrize(
    ("below", "above"), [*DISCRETE_PAIRS[:4], (Gaussian(), Bernoulli()), (Bernoulli(), Gaussian())], ids=repr
)
def test_with_many_steps_the_gradient_is_that_of_the_likelihood(below: Units, above: Units, settings: dict) -> None:
    rbm = randomised(RBM(4, 2, below=below, above=above, **settings), scale=0.7)
    with torch.no_grad():
        rbm.weight.clamp_(-0.45, 0.45)  # Gaussian units need ||W|| < 1
    data = some_states(below, 3, 4)
    x = data.repeat(CHAINS // 3, 1)
    for _ in range(40 if "chains" in settings else 1):
        rbm.learn(x)
    found = parameters_to_vector(parameter.grad for parameter in rbm.parameters())
    rbm.zero_grad()
    if above == Gaussian():  # the hidden side cannot be enumerated, but the visible side can
        (-((-rbm.free_energy(data)).mean() - (-rbm.free_energy(states(below, 4))).logsumexp(0))).backward()
    else:
        (-log_likelihood(rbm, data)).backward()
    exact = parameters_to_vector(parameter.grad for parameter in rbm.parameters())
    noise = 3 * NOISE if Gaussian() in (below, above) else NOISE  # their states spread further
    assert (found - exact).abs().max() < noise
    assert exact.abs().max() > 2 * noise  # else the test could not fail


@pytest.mark.parametrize("steps", [1, 3])
def test_persistent_chains_are_draws_that_go_on(steps: int) -> None:
    rbm = randomised(RBM(4, 3, chains=6, steps=steps))
    before = rbm.particles.clone()
    assert set(before.unique().tolist()) == {0.0, 1.0}
    rbm.learn(bits(4))
    assert set(rbm.particles.unique().tolist()) == {0.0, 1.0} and not torch.equal(before, rbm.particles)
    torch.manual_seed(1)
    expected = rbm.gibbs(rbm.particles.clone(), steps)
    torch.manual_seed(1)
    rbm.learn(bits(4)[:2])
    assert torch.equal(rbm.particles, expected)


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [Bernoulli(), Gaussian(), Rectified(), Softmax(2)], ids=repr)
@pytest.mark.parametrize("above", DISCRETE, ids=repr)
def test_class_probabilities_sum_the_joint_over_the_hidden(below: Units, above: Units) -> None:
    top = randomised(LabelledRBM(4, 3, 4, below=below, above=above))
    if below == Gaussian():
        top.prepare([torch.randn(50, 4, dtype=torch.float64) * 4 - 7])
    x = top.own_units(some_states(below, 6, 4))
    joint = []
    for label in range(3):
        one = torch.eye(3, dtype=torch.float64)[label].expand(6, -1)
        joint.append((-energies(top, torch.cat([top.standardised(x), one], 1), states(above, 4))).logsumexp(1))
    torch.testing.assert_close(top.class_log_probs(x), torch.stack(joint, 1).log_softmax(1))


def test_missing_labels_are_drawn_with_their_exact_probability() -> None:
    top = randomised(LabelledRBM(4, 3, 4))
    x = bits(4)[5:6]
    drawn = top.states(x.expand(CHAINS, -1), torch.full((CHAINS,), -1))
    exact = top.class_log_probs(x).exp()[0]
    assert torch.equal(drawn[:, :4], x.expand(CHAINS, -1))
    assert distance(frequencies(drawn[:, 4:], torch.eye(3)), exact.detach()) < NOISE


def test_known_labels_are_clamped() -> None:
    top = randomised(LabelledRBM(4, 3, 4))
    y = torch.tensor([2, -1, 0, 1], dtype=torch.int32)
    clamped = top.states(bits(4)[:4], y)[:, 4:]
    assert torch.equal(clamped[[0, 2, 3]], torch.eye(3, dtype=torch.float64)[[2, 0, 1]])
    assert y.tolist() == [2, -1, 0, 1]  # the caller's labels stay missing


def test_rows_without_labels_teach_the_likelihood_of_their_features() -> None:
    top = randomised(LabelledRBM(3, 2, 2, steps=40, sample_visible=True), scale=0.7)
    data, labels = bits(3)[[1, 6, 7]], torch.tensor([-1, 1, -1])
    top.learn(data.repeat(CHAINS // 3, 1), labels.repeat(CHAINS // 3))
    found = parameters_to_vector(parameter.grad for parameter in top.parameters())
    top.zero_grad()
    scores = -top.free_energy(product(data, torch.eye(2, dtype=torch.float64))).reshape(3, 2)  # (row, class)
    data_term = (scores[0].logsumexp(0) + scores[1, 1] + scores[2].logsumexp(0)) / 3
    (log_z(top) - data_term).backward()
    exact = parameters_to_vector(parameter.grad for parameter in top.parameters())
    assert (found - exact).abs().max() < NOISE
    assert exact.abs().max() > 3 * NOISE


def test_features_go_up_with_silent_classes() -> None:
    top = randomised(LabelledRBM(4, 3, 5))
    x = bits(4)
    silent = torch.cat([x, torch.zeros(16, 3)], 1)
    torch.testing.assert_close(top.encode(x), top.above.mean(top.up(silent)))
    h = bits(5)
    torch.testing.assert_close(top.decode(h), top.below.mean(top.down(h))[:, :4])


def test_a_labelled_rbm_learns_to_classify() -> None:
    y = torch.arange(120) % 3
    x = ((torch.eye(3)[y].repeat(1, 3) + (torch.rand(120, 9) < 0.1)) % 2).float()
    top = LabelledRBM(9, 3, 12)
    top.prepare([x])
    some = torch.where(torch.arange(120) < 30, y, -1)
    train(top, top.learn, Batches(x, some, size=30), Training(epochs=100, rate=0.1))
    assert (top.class_log_probs(x).argmax(1) == y).float().mean() > 0.75  # chance is a third


# -- data in its own units ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [False, True])
def test_learning_does_not_depend_on_the_units_of_the_data(labels: bool) -> None:
    x = torch.randn(60, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    scale, shift = torch.tensor([0.01, 3.0, 100.0, 1.0]), torch.tensor([5.0, -100.0, 0.1, 0.0])
    layers = []
    for rows in (x, scale * x + shift):
        torch.manual_seed(1)
        layer = LabelledRBM(4, 2, 3, below="gaussian") if labels else RBM(4, 3, below="gaussian")
        layer.double().prepare(rows.split(25))
        batches = Batches(rows, torch.arange(60) % 2, size=20, dtype=torch.float64)
        train(layer, layer.learn, batches, Training(epochs=20, rate=0.01))
        layers.append(layer)
    for first, second in zip(layers[0].parameters(), layers[1].parameters()):
        torch.testing.assert_close(first, second)
    there = layers[1].decode(layers[1].encode(scale * x + shift))
    torch.testing.assert_close(there, scale * layers[0].decode(layers[0].encode(x)) + shift)


def test_a_constant_feature_does_no_harm() -> None:
    x = torch.randn(100, 3)
    x[:, 1] = 7e3
    rbm = RBM(3, 4, below="gaussian")
    rbm.prepare([x])
    train(rbm, rbm.learn, Batches(x, size=20), Training(epochs=30, rate=0.01))
    back = rbm.decode(rbm.encode(x))
    assert back.isfinite().all() and (back[:, 1] - 7e3).abs().max() < 0.5


def test_visible_biases_start_at_the_log_odds_of_the_data() -> None:
    x = bits(4)[:13].float()
    for rbm in (RBM(4, 3), LabelledRBM(4, 2, 3)):
        rbm.prepare(x.split(5))
        start = rbm.below.mean(rbm.visible_bias)
        torch.testing.assert_close(start[:4], x.mean(0))
        assert rbm.visible_bias[4:].eq(0).all()


def test_a_feature_that_is_always_on_starts_at_a_finite_bias() -> None:
    rbm = RBM(2, 2)
    rbm.prepare([torch.tensor([[0.0, 1.0]])])
    assert rbm.visible_bias.isfinite().all() and rbm.visible_bias[0] < 0 < rbm.visible_bias[1]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_gaussian_units_on_both_sides_are_refused() -> None:
    for build in (lambda **kinds: RBM(3, 2, **kinds), lambda **kinds: LabelledRBM(3, 2, 2, **kinds)):
        with pytest.raises(ValueError, match="Gaussian units on both sides has no normaliser"):
            build(below="gaussian", above=Gaussian())


@pytest.mark.parametrize("setting", [{"steps": 0}, {"chains": -1}, {"sparsity": 0.0}, {"sparsity": 1.0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    (name, value), *_ = setting.items()
    with pytest.raises(ValueError, match=f"steps is at least 1, chains at least 0.*{name}={value}"):
        RBM(3, 2, **setting)


def test_one_class_is_no_class() -> None:
    with pytest.raises(ValueError, match="at least two classes apart, got 1"):
        LabelledRBM(3, 1, 2)
