"""Each kind of units is an exponential family: its functions follow from one another, and from sums over its states."""

import json
import math

import pytest
import torch
from enumeration import DISCRETE, own_energy, states
from torch import Tensor

from layerwise.units import KINDS, Bernoulli, Gaussian, Joint, Rectified, Softmax, Units, as_units, coins

MIXED = Joint(((2, Bernoulli()), (1, Gaussian()), (3, Softmax())))
UNITS = [Bernoulli(), Gaussian(), Rectified(), Softmax(), Softmax(3), MIXED]
WIDTH = 6
DRAWS = 200_000


def activations(rows: int = 50) -> Tensor:
    return 3 * torch.randn(rows, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_mean_is_the_derivative_of_the_log_partition(kind: Units) -> None:
    a = activations().requires_grad_()
    (slope,) = torch.autograd.grad(kind.log_partition(a).sum(), a)
    torch.testing.assert_close(kind.mean(a), slope)


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_slope_is_the_derivative_of_the_mean(kind: Units) -> None:
    for a in activations(5):
        jacobian = torch.autograd.functional.jacobian(kind.mean, a)
        torch.testing.assert_close(kind.slope(kind.mean(a)), jacobian.diagonal())


@pytest.mark.parametrize("kind", [*DISCRETE, Joint(((2, Bernoulli()), (4, Softmax(2))))], ids=repr)
def test_log_partition_sums_over_all_states(kind: Units) -> None:
    a, every = activations(), states(kind, WIDTH)
    own = torch.tensor([own_energy(kind, s, torch.zeros(WIDTH)) for s in every])
    torch.testing.assert_close(kind.log_partition(a), (a @ every.T - own).logsumexp(1))


@pytest.mark.parametrize("kind", UNITS, ids=repr)
@pytest.mark.parametrize("size", [1, 9, 11, 40])  # on both sides of what fits a product of several units
def test_shifted_log_partitions_differ_by_a_constant_per_row(kind: Units, size: float) -> None:
    a, shifts = 10 * activations(), size * (2 * torch.rand(4, WIDTH, dtype=torch.float64) - 1)
    shifts[0, 0] = size
    found = kind.log_partitions(a, shifts)
    expected = torch.stack([kind.log_partition(a + shift) for shift in shifts], 1)
    torch.testing.assert_close(found - found[:, :1], expected - expected[:, :1])
    if isinstance(kind, Bernoulli):  # its products of several units stay in the range of float32 too
        short = kind.log_partitions(a.float(), shifts.float()).double()
        torch.testing.assert_close(short - short[:, :1], expected - expected[:, :1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_shifted_log_partitions_have_the_gradient_of_the_plain_ones(kind: Units) -> None:
    a, shifts = activations(5), torch.rand(3, WIDTH, dtype=torch.float64)
    weights = torch.rand(5, 3, dtype=torch.float64)
    weights -= weights.mean(1, keepdim=True)  # blind to the constant per row
    found, expected = [], []
    for gradients, score in (
        (found, kind.log_partitions),
        (expected, lambda a, shifts: torch.stack([kind.log_partition(a + shift) for shift in shifts], 1)),
    ):
        inputs = a.clone().requires_grad_(), shifts.clone().requires_grad_()
        gradients += torch.autograd.grad((score(*inputs) * weights).sum(), inputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coins_fall_as_often_as_they_should(dtype: torch.dtype) -> None:
    p = torch.tensor([0.0, 0.001, 0.3, 0.5, 0.999, 1.0], dtype=dtype)
    drawn = coins(p.expand(DRAWS, -1))
    assert drawn.dtype == dtype and set(drawn.unique().tolist()) == {0.0, 1.0}
    assert ((drawn.mean(0) - p).abs() <= 5 * (p * (1 - p) / DRAWS).sqrt()).all()  # 0 and 1 to the letter
    assert (torch.corrcoef(drawn[:, 1:5].T).triu(1).abs() < 5 / DRAWS**0.5).all()


def test_log_partition_of_gaussian_units_is_their_integral() -> None:
    s = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    a = activations(20)
    integrals = (a[..., None] * s - s.square() / 2).logsumexp(-1) + math.log(60 / 60_000) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(Gaussian().log_partition(a), integrals.sum(-1))


def test_rectified_units_stand_for_many_bernoulli_copies() -> None:
    """The copies' biases are 0.5 apart from the middle: a - 0.5, a - 1.5, ... (Nair & Hinton, 2010, equation 1)."""
    a = torch.linspace(-8, 30, 200, dtype=torch.float64)[:, None]
    copies = a - torch.arange(200) - 0.5
    beyond = Bernoulli().log_partition(copies) - Rectified().log_partition(a)
    assert beyond.min() > 0 and beyond.max() < math.pi**2 / 6 + 0.01  # the integral of softplus - relu
    assert ((Bernoulli().mean(copies).sum(1) - Rectified().mean(a)[:, 0]).abs() < math.log(2) + 0.01).all()


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_energy_is_linear_in_the_bias(kind: Units) -> None:
    s, b = kind.sample(activations()), torch.randn(WIDTH, dtype=torch.float64)
    torch.testing.assert_close(kind.energy(s, b), torch.tensor([own_energy(kind, row, b) for row in s]).double())


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_surprise_is_the_negative_log_likelihood_up_to_a_constant(kind: Units) -> None:
    a = activations()
    target = kind.mean(activations(1)).expand_as(a)
    gap = kind.surprise(target, a) - (kind.log_partition(a) - (target * a).sum(-1))
    torch.testing.assert_close(gap, gap[0].expand(len(a)))
    assert (kind.surprise(target, a) >= kind.surprise(target, as_activation(kind, target)) - 1e-9).all()


def as_activation(kind: Units, mean: Tensor) -> Tensor:
    """Activations with the given mean, the best ones to be surprised least by it."""
    inverse = {Bernoulli: torch.logit, Softmax: torch.log, Gaussian: torch.clone, Rectified: torch.clone}
    if isinstance(kind, Joint):
        return torch.cat([as_activation(part, m) for part, m in kind._split(mean)], -1)
    return inverse[type(kind)](mean)


@pytest.mark.parametrize("kind", [unit for unit in UNITS if unit != Rectified()], ids=repr)
def test_draws_average_to_the_mean(kind: Units) -> None:
    a = activations(1)
    drawn = kind.sample(a.expand(DRAWS, -1))
    assert ((drawn.mean(0) - kind.mean(a)[0]).abs() <= 5 * drawn.std(0) / DRAWS**0.5 + 5 / DRAWS).all()


def test_gaussian_draws_have_unit_variance() -> None:
    variance = Gaussian().sample(activations(1).expand(DRAWS, -1)).var(0)
    assert ((variance - 1).abs() < 5 * (2 / DRAWS) ** 0.5).all()


@pytest.mark.parametrize("power", [1, 2])
def test_rectified_draws_have_the_moments_of_the_noise_they_state(power: int) -> None:
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2)
    for a in (-0.5, 0.0, 0.5, 3.0):
        noise = (1 / (1 + math.exp(-a))) ** 0.5
        expected = ((a + noise * z).clamp_min(0) ** power * weight).sum() / weight.sum()
        drawn = Rectified().sample(torch.full((DRAWS, 1), a, dtype=torch.float64)) ** power
        assert (drawn.mean() - expected).abs() < 5 * drawn.std() / DRAWS**0.5


@pytest.mark.parametrize("kind", DISCRETE, ids=repr)
def test_draws_are_states_with_their_own_probability(kind: Units) -> None:
    a, every = activations(1)[:, :4], states(kind, 4)
    drawn = kind.sample(a.expand(DRAWS, -1))
    expected = (every @ a[0]).softmax(0)  # these kinds cost nothing by themselves
    seen = (drawn[:, None] == every).all(-1).double()
    assert seen.sum(1).eq(1).all()
    assert ((seen.mean(0) - expected).abs() <= 5 * (expected * (1 - expected) / DRAWS).sqrt() + 5 / DRAWS).all()


@pytest.mark.parametrize("kind", UNITS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_leading_shape_stay(kind: Units, dtype: torch.dtype) -> None:
    a = torch.randn(2, 5, WIDTH, dtype=dtype)
    for same in (kind.mean(a), kind.sample(a), kind.slope(kind.mean(a))):
        assert same.shape == a.shape and same.dtype == dtype
    for summed in (kind.log_partition(a), kind.energy(a, a[0, 0]), kind.surprise(kind.mean(a), a)):
        assert summed.shape == (2, 5) and summed.dtype == dtype


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_sampling_needs_no_gradient_and_spoils_none(kind: Units) -> None:
    a = activations(3).requires_grad_()
    before = a.detach().clone()
    kind.sample(a)
    assert torch.equal(a, before)


@pytest.mark.parametrize("kind", [Bernoulli(), Gaussian(), Rectified(), Softmax()], ids=repr)
def test_the_module_computes_the_mean(kind: Units) -> None:
    a = activations()
    torch.testing.assert_close(kind.module()(a), kind.mean(a))


@pytest.mark.parametrize("kind", [Softmax(3), MIXED], ids=repr)
def test_kinds_that_are_no_activation_function_say_so(kind: Units) -> None:
    with pytest.raises(ValueError, match=r"no plain torch module|no activation function"):
        kind.module()


@pytest.mark.parametrize("kind", UNITS, ids=repr)
def test_a_kind_survives_json(kind: Units) -> None:
    assert as_units(json.loads(json.dumps(kind.to_dict()))) == kind


def test_a_kind_has_a_name() -> None:
    assert [as_units(name) for name in KINDS] == [Bernoulli(), Gaussian(), Rectified(), Softmax()]
    assert as_units(MIXED) is MIXED
    with pytest.raises(ValueError, match="no 'gauss' units; choose one of bernoulli, gaussian"):
        as_units("gauss")


OUT_OF_RANGE = [(Bernoulli(), -0.1), (Bernoulli(), 1.1), (Rectified(), -0.1), (Softmax(), 1.1), (Softmax(3), -0.1)]


@pytest.mark.parametrize(("kind", "value"), OUT_OF_RANGE, ids=repr)
def test_values_out_of_range_are_refused_with_the_way_out(kind: Units, value: float) -> None:
    x = torch.full((2, WIDTH), 0.5)
    kind.check(x)
    x[1, 3] = value
    with pytest.raises(ValueError, match=rf"{kind.name} units hold .*the data spans .*{value:g}.*below='gaussian'"):
        kind.check(x, "the data")


@pytest.mark.parametrize("kind", UNITS, ids=repr)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(kind: Units, value: float) -> None:
    x = torch.full((2, WIDTH), 0.5)
    x[1, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinite|hold values in"):
        kind.check(x)


def test_joint_units_check_each_part_by_its_own_range() -> None:
    x = torch.full((2, WIDTH), 0.5)
    x[:, 2] = 99  # the Gaussian part
    MIXED.check(x)
    x[:, 3] = 99
    with pytest.raises(ValueError, match="Softmax units"):
        MIXED.check(x)


def test_groups_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="6 softmax units do not divide into groups of 4"):
        Softmax(4).mean(activations())


def test_groups_do_not_see_each_other() -> None:
    a = activations()
    torch.testing.assert_close(Softmax(3).mean(a), torch.cat([a[:, :3].softmax(1), a[:, 3:].softmax(1)], 1))
