"""Penalties and noises against their formulas, written out plainly or left to autograd."""

import copy
import math

import pytest
import torch
from enumeration import BELOW, randomised, some_states

from layerwise.autoencoder import NOISES, Autoencoder
from layerwise.rbm import RBM, LabelledRBM
from layerwise.units import Bernoulli, Gaussian, Rectified, Softmax, Units

N = 5


def rows(kind: Units = Bernoulli()) -> torch.Tensor:
    return some_states(kind, N, 4)


@pytest.mark.parametrize("below", BELOW, ids=repr)
@pytest.mark.parametrize("above", BELOW, ids=repr)
@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_surprise_of_the_way_there_and_back(below: Units, above: Units, tied: bool) -> None:
    layer = randomised(Autoencoder(4, 6, below=below, above=above, tied=tied))
    v = rows(below)
    h = above.mean(v @ layer.weight + layer.hidden_bias)
    a = h @ (layer.weight if tied else layer.down_weight).T + layer.visible_bias
    torch.testing.assert_close(layer.loss(v), sum(below.surprise(v[i], a[i]) for i in range(N)) / N)
    torch.testing.assert_close(layer.encode(v), h)
    torch.testing.assert_close(layer.decode(h), below.mean(a))


def test_data_is_rebuilt_in_its_own_units() -> None:
    layer = randomised(Autoencoder(4, 3, below="gaussian"))
    x = 100 + 7 * rows(Gaussian())
    layer.prepare([x])
    v = (x - x.mean(0)) / x.std(0, unbiased=False)
    back = layer.down(layer.above.mean(layer.up(v)))
    torch.testing.assert_close(layer.decode(layer.encode(x)), back * x.std(0, unbiased=False) + x.mean(0))
    torch.testing.assert_close(layer.loss(x), ((back - v) ** 2).sum(1).mean() / 2)


# -- penalties: what a setting adds to the loss of the same layer without it -------------------------------------------


def added(v: torch.Tensor, above: Units = Bernoulli(), **setting: float) -> tuple[Autoencoder, torch.Tensor]:
    layer = randomised(Autoencoder(4, 3, above=above, **setting))
    plain = Autoencoder(4, 3, above=above).double()
    plain.load_state_dict(layer.state_dict())
    return layer, layer.loss(v) - plain.loss(v)


@pytest.mark.parametrize("above", [Bernoulli(), Gaussian(), Rectified()], ids=repr)
def test_contraction_is_the_jacobian_s_squared_norm(above: Units) -> None:
    v = rows()
    layer, cost = added(v, above, contraction=0.3)
    norms = [torch.autograd.functional.jacobian(layer.encode, v[i : i + 1]).square().sum() for i in range(N)]
    torch.testing.assert_close(cost, 0.3 * sum(norms) / N)


@pytest.mark.parametrize("above", [Softmax(), Softmax(3)], ids=repr)
def test_contraction_of_units_that_share_a_jacobian_is_refused(above: Units) -> None:
    with pytest.raises(ValueError, match=r"contraction.*softmax"):
        Autoencoder(4, 3, above=above, contraction=0.3)


def test_sparsity_is_the_kullback_leibler_divergence_of_two_coins() -> None:
    v = rows()
    layer, cost = added(v, sparsity=0.2, sparsity_cost=0.7)
    expected = 0.0
    for q in layer.encode(v).mean(0).tolist():
        expected += 0.2 * math.log(0.2 / q) + 0.8 * math.log(0.8 / (1 - q))
    assert cost.item() == pytest.approx(0.7 * expected)
    assert expected > 0


def test_sparsity_of_silent_and_of_busy_units_stays_finite() -> None:
    layer = Autoencoder(4, 2, sparsity=0.2)
    with torch.no_grad():
        layer.hidden_bias.copy_(torch.tensor([-1e3, 1e3]))
    assert layer.learn(rows().float()).isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_l1_is_the_length_of_the_code() -> None:
    v = rows()
    layer, cost = added(v, Gaussian(), l1=0.3)
    expected = sum(abs(value) for row in layer.encode(v).tolist() for value in row) / N
    assert cost.item() == pytest.approx(0.3 * expected)


# -- noise -------------------------------------------------------------------------------------------------------------

DRAWS = 100_000


def corrupted(noise: str, amount: float, value: float) -> torch.Tensor:
    return Autoencoder(1, 1, noise=noise, amount=amount).corrupt(torch.full((DRAWS, 1), value))


def close(share: torch.Tensor, probability: float) -> bool:
    """Whether it lies within five standard errors of what was stated."""
    return abs(share.double().mean().item() - probability) < 5 * (probability * (1 - probability) / DRAWS) ** 0.5


def test_masking_silences_the_stated_share() -> None:
    out = corrupted("masking", 0.3, 0.7)
    assert close(out == 0, 0.3) and close(out == 0.7, 0.7)


def test_salt_and_pepper_come_in_equal_parts() -> None:
    out = corrupted("salt-and-pepper", 0.3, 0.7)
    assert close(out == 0, 0.15) and close(out == 1, 0.15) and close(out == 0.7, 0.7)


def test_gaussian_noise_has_the_stated_deviation() -> None:
    out = corrupted("gaussian", 1.3, 0.7).double() - 0.7
    assert abs(out.mean()) < 5 * 1.3 / DRAWS**0.5
    assert abs(out.square().mean() / 1.3**2 - 1) < 5 * (2 / DRAWS) ** 0.5


@pytest.mark.parametrize("noise", NOISES)
def test_the_clean_row_is_rebuilt_from_the_noisy_one(noise: str) -> None:
    layer = randomised(Autoencoder(4, 3, noise=noise, amount=0.5))
    v = rows()
    before = v.clone()
    torch.manual_seed(1)
    loss = layer.loss(v)
    torch.manual_seed(1)
    noisy = layer.corrupt(v)
    assert torch.equal(v, before) and not torch.equal(noisy, v)
    torch.testing.assert_close(loss, layer.below.surprise(v, layer.down(layer.above.mean(layer.up(noisy)))).mean())
    assert torch.equal(layer.encode(v), layer.encode(v))  # noise is for learning only


def test_no_amount_is_no_noise() -> None:
    v = rows()
    assert torch.equal(Autoencoder(4, 3, noise="gaussian", amount=0.0).corrupt(v), v)


# -- two ways ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        RBM(4, 3),
        RBM(4, 3, below="gaussian", above="rectified"),
        RBM(4, 3, chains=5, sparsity=0.2),
        RBM(4, 6, below=Softmax(2), above=Softmax(3)),
        Autoencoder(4, 3, below="gaussian", noise="masking"),
        Autoencoder(4, 3, tied=False),
    ],
    ids=repr,
)
def test_a_two_way_copy_computes_the_same(layer: RBM | Autoencoder) -> None:
    layer = randomised(copy.deepcopy(layer))
    x = 3 * rows(layer.below) if isinstance(layer.below, Gaussian) else rows(layer.below)
    layer.prepare([x])
    two_way = Autoencoder.from_layer(layer)
    assert torch.equal(two_way.encode(x), layer.encode(x))
    h = layer.encode(x)
    assert torch.equal(two_way.decode(h), layer.decode(h))
    before = h.clone(), layer.decode(h)
    randomised(two_way)  # a copy: what is tuned later leaves the layer alone
    assert torch.equal(layer.encode(x), before[0]) and torch.equal(layer.decode(h), before[1])
    assert not torch.equal(two_way.weight, two_way.down_weight)


def test_a_layer_with_labels_has_no_two_way_copy() -> None:
    with pytest.raises(ValueError, match=r"labels.*LabelledRBM"):
        Autoencoder.from_layer(LabelledRBM(4, 2, 3))


def test_untied_weights_start_alike_and_learn_apart() -> None:
    layer = Autoencoder(4, 3, tied=False)
    assert torch.equal(layer.weight, layer.down_weight) and layer.weight.data_ptr() != layer.down_weight.data_ptr()
    layer.learn(rows().float())
    assert not torch.equal(layer.weight.grad, layer.down_weight.grad)
    assert layer.generative is layer.down_weight
    assert Autoencoder(4, 3).generative is not None and "down_weight" not in Autoencoder(4, 3).state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "pink"}, "noise is one of masking, gaussian, salt-and-pepper or None; got 'pink'"),
        ({"noise": "masking", "amount": 1.0}, r"amount is in \[0, 1\)"),
        ({"noise": "gaussian", "amount": -1.0}, "amount=-1"),
        ({"l1": -0.1}, "penalties are at least 0.*l1=-0.1"),
        ({"contraction": -0.1}, "contraction=-0.1"),
        ({"sparsity": 1.0}, r"target in \(0, 1\) needs bernoulli units above; got 1.0"),
        ({"sparsity": 0.2, "above": "rectified"}, r"got 0.2 for Rectified"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Autoencoder(4, 3, **settings)


def test_gaussian_noise_may_be_wider_than_one() -> None:
    assert Autoencoder(4, 3, noise="gaussian", amount=2.0).amount == 2.0
