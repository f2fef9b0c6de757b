"""One contract for every layer: a new one adds its name to LAYERS."""

import copy
import json

import pytest
import torch
from layers import LAYERS, PATTERNS, Case, randomise, taught, two_patterns, width
from torch import Tensor

from layerwise.batches import Batches
from layerwise.layer import Layer, Standardise
from layerwise.rbm import RBM
from layerwise.saving import layer_from
from layerwise.stack import reconstruction_error
from layerwise.units import Gaussian, Softmax

every_layer = pytest.mark.parametrize("case", LAYERS, ids=repr)


def some_rows(layer: Layer) -> Tensor:
    """Rows that any units can hold, with statistics far from zero mean and unit variance for those that standardise."""
    x = PATTERNS[torch.randint(2, (32,))]
    if layer.standard is not None:
        x = 40 + 7 * x + torch.randn_like(x)
    layer.prepare([x])
    return x


@every_layer
def test_encode_and_decode_meet(case: Case) -> None:
    layer = case.make()
    randomise(layer)
    x = some_rows(layer)
    h = layer.encode(x)
    assert h.shape == (32, layer.hidden) and h.dtype == torch.float32
    assert torch.equal(layer(x), h)
    back = layer.decode(h)
    assert back.shape == x.shape == (32, width(layer)) and back.dtype == torch.float32


@every_layer
def test_codes_and_rows_are_states_of_their_units(case: Case) -> None:
    layer = case.make()
    randomise(layer)
    x = some_rows(layer)
    layer.above.check(layer.encode(x))
    if layer.standard is None:
        getattr(layer, "features_below", layer.below).check(layer.decode(layer.encode(x)))


@every_layer
def test_learn_leaves_a_finite_gradient_for_every_parameter(case: Case) -> None:
    layer = case.make()
    randomise(layer)
    x = some_rows(layer)
    figure = layer.learn(x, torch.randint(2, (32,)))
    assert figure.shape == () and figure.isfinite() and not figure.requires_grad
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape and parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_layer
def test_only_a_closed_form_writes_over_old_gradients(case: Case) -> None:
    layer = case.make()
    randomise(layer)
    x, y = some_rows(layer), torch.randint(2, (32,))
    state, found = copy.deepcopy(layer.state_dict()), []
    for old in (0.0, 5.0):
        layer.load_state_dict(state)
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, old)
        torch.manual_seed(0)
        layer.learn(x, y)
        found.append([parameter.grad for parameter in layer.parameters()])
    left = [torch.equal(a, b) for a, b in zip(*found, strict=True)]
    assert all(left) if layer.closed_form else not any(left)


@every_layer
def test_in_bfloat16_the_gradient_is_nearly_the_same(case: Case) -> None:
    layer = case.make()
    randomise(layer, scale=0.1)
    x, y = some_rows(layer), torch.randint(2, (32,))
    state, found = copy.deepcopy(layer.state_dict()), {}
    for short in (False, True):
        layer.load_state_dict(state)
        layer.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            layer.learn(x, y)
        assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in layer.parameters())
        found[short] = torch.cat([parameter.grad.flatten() for parameter in layer.parameters()])
    assert not torch.equal(found[True], found[False])
    assert (found[True] - found[False]).norm() < 0.05 * found[False].norm()


@every_layer
def test_every_layer_learns_to_rebuild_what_it_sees(case: Case) -> None:
    x, y = two_patterns(64)
    rows = Batches(x, y)
    untaught, layer = taught(case, x, y, epochs=0), taught(case, x, y, epochs=40)
    assert reconstruction_error(layer, rows) < reconstruction_error(untaught, rows) / 4
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float32}


@every_layer
def test_a_description_rebuilds_the_layer(case: Case) -> None:
    layer = case.make()
    description = layer.to_dict()
    again = layer_from(json.loads(json.dumps(description)))
    assert type(again) is type(layer) and again.to_dict() == description and repr(again) == repr(layer)
    before, after = layer.state_dict(), again.state_dict()
    assert {key: value.shape for key, value in before.items()} == {key: value.shape for key, value in after.items()}


@every_layer
def test_a_state_dict_carries_everything(case: Case) -> None:
    layer, again = case.make(), case.make()
    randomise(layer)
    x = some_rows(layer)
    y = torch.randint(2, (32,))
    layer.learn(x, y)  # chains and running averages are part of the state
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.encode(x), layer.encode(x))
    assert torch.equal(again.decode(layer.encode(x)), layer.decode(layer.encode(x)))
    figures = []
    for each in (layer, again):
        torch.manual_seed(1)
        each.zero_grad()
        figures.append(each.learn(x, y))
    assert torch.equal(*figures)
    for first, second in zip(layer.parameters(), again.parameters()):
        assert torch.equal(first.grad, second.grad)


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_feedforward_half_encodes(case: Case, dtype: torch.dtype) -> None:
    layer = case.make().to(dtype)
    randomise(layer)
    x = some_rows(layer).to(dtype)
    if isinstance(layer.above, Softmax) and layer.above.group is not None:
        with pytest.raises(ValueError, match="no plain torch module"):
            layer.feedforward()
        return
    half, before = layer.feedforward(), layer.encode(x)
    torch.testing.assert_close(half(x), before)
    for tensor in half.state_dict().values():  # a copy: tuning it leaves the layer alone
        tensor.add_(1)
    assert torch.equal(layer.encode(x), before)


@every_layer
def test_data_out_of_range_is_refused(case: Case) -> None:
    layer = case.make()
    x, _ = two_patterns(10)
    layer.prepare([x])
    bad = [x, x.clone()]
    bad[1][3, 2] = float("nan") if layer.standard is not None else -0.5
    with pytest.raises(ValueError, match=r"the data (holds NaN|spans \[-0\.5, 1\])"):
        layer.prepare(bad)


@every_layer
def test_training_mode_changes_nothing(case: Case) -> None:
    layer = case.make()
    x = some_rows(layer)
    assert torch.equal(layer.train().encode(x), layer.eval().encode(x))


@pytest.mark.parametrize(("visible", "hidden"), [(0, 3), (3, 0), (3, 2.0)])
def test_a_layer_has_units(visible: int, hidden: int) -> None:
    with pytest.raises(ValueError, match=r"at least one (visible|hidden) unit, got (0|2\.0)"):
        RBM(visible, hidden)


# -- standardising -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, -1e3, 1e4])
def test_statistics_in_batches_are_those_of_all_rows(offset: float) -> None:
    x = offset + torch.randn(100, 3, dtype=torch.float64) * torch.tensor([0.1, 1.0, 50.0])
    standard = Standardise(3).double().fit(x.split([1, 9, 60, 30]))
    torch.testing.assert_close(standard.mean, x.mean(0))
    torch.testing.assert_close(standard.std, x.std(0, unbiased=False))
    torch.testing.assert_close(standard.inverse(standard(x)), x)
    torch.testing.assert_close(standard(x).var(0, unbiased=False), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("value", [0.0, 1e-20, 0.1, -3.7e5])
def test_a_constant_feature_is_only_centred(value: float) -> None:
    x = torch.full((10, 1), value)
    standard = Standardise(1).fit(x.split(3))
    assert standard.std == 1
    torch.testing.assert_close(standard(x), torch.zeros(10, 1))
    torch.testing.assert_close(standard(x + 2), torch.full((10, 1), 2.0))


def test_gaussian_units_see_standardised_rows_and_answer_in_the_data_s_own() -> None:
    layer = RBM(3, 2, below=Gaussian())
    x = torch.randn(50, 3) * torch.tensor([1.0, 10.0, 100.0]) - 5
    layer.prepare(x.split(20))
    torch.testing.assert_close(layer.standardised(x).mean(0), torch.zeros(3))
    torch.testing.assert_close(layer.own_units(layer.standardised(x)), x)
