"""Attribution against closed forms: sums that must hold, linear and additive models, nets that compute the same."""

from __future__ import annotations

import copy
import gc
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import GPT, NETWORKS, Residual, ViT, cnn, lived_in, network
from torch import Tensor, nn

from layerwise import nets
from layerwise.lens import attribution
from layerwise.lens.attribution import (
    LRP,
    AlphaBeta,
    DeepLift,
    Epsilon,
    ExpectedGradients,
    Gamma,
    GradCAM,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    Map,
    Method,
    Occlusion,
    SmoothGrad,
    ZPlus,
)
from layerwise.lens.attribution.rules import RULES, only, rule
from layerwise.lens.attribution.tape import record
from layerwise.lens.running import evaluating, without_fast_path
from layerwise.lens.targets import Contrast, Direction, Unit

METHODS = {
    "gradient": Gradient, "input x gradient": InputXGradient, "integrated gradients": IntegratedGradients,
    "smoothgrad": lambda net, **settings: SmoothGrad(net, samples=4, **settings),
    "expected gradients": lambda net, **settings: ExpectedGradients(net, samples=12, **settings),
    "occlusion": lambda net, **settings: Occlusion(net, window=2, strides=1, **settings), "deeplift": DeepLift, "lrp": LRP,
    "lrp gamma": lambda net, **settings: LRP(net, rule=Gamma(), **settings),
}  # fmt: skip
RULES_OF_LRP = [Epsilon(0), Epsilon(1e-3), Gamma(), ZPlus(), AlphaBeta(), {"convolution": ZPlus(), "linear": Epsilon()}]


def ask(method: Any, net: nn.Module, x: Tensor, target: Any = None, **settings: Any) -> Map:
    baselines = settings.pop(
        "baselines", x.new_zeros((3, *x.shape[1:])) if method is METHODS["expected gradients"] else None
    )
    return method(net).attribute(x, target=target, baselines=baselines, **settings)


# -- what is handed down adds up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("how", RULES_OF_LRP, ids=str)
def test_lrp_conserves(name: str, how: Any) -> None:
    net, x, target = network(name)
    for row in x.split(2):
        found = LRP(net, rule=how).attribute(row, target=target)
        assert found.error is not None and found.absorbed is not None
        assert found.error.max() < 1e-4
        torch.testing.assert_close(
            found.scores, net(row).detach()[(slice(None), *(target if name == "gpt" else (target,)))]
        )


def test_double_precision_stays_double() -> None:
    net, x, target = network("resnet")
    for method in (LRP(net.double()), DeepLift(net), IntegratedGradients(net)):
        found = method.attribute(x.double(), target=target)
        assert found.values.dtype == torch.float64
        if found.absorbed is not None:
            assert found.error.max() < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_deeplift_is_complete(name: str) -> None:
    net, x, target = network(name)
    found = DeepLift(net).attribute(x, baselines=torch.randn_like(x), target=target)
    scale = (found.scores - found.reference).abs().clamp_min(0.1)
    assert ((found.values.flatten(1).sum(1) - (found.scores - found.reference)).abs() / scale).max() < 1e-4


def test_expected_gradients_are_integrated_gradients_from_each_baseline() -> None:
    net, base, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(5, 4), torch.randn(3, 4)
    found = ExpectedGradients(net, samples=1000).attribute(x, baselines=base, target=[0, 2, 1])
    wanted = [IntegratedGradients(net).attribute(x, baselines=each, target=[0, 2, 1]) for each in base]
    torch.testing.assert_close(
        found.values, torch.stack([each.values for each in wanted]).mean(0), atol=2e-3, rtol=1e-2
    )
    torch.testing.assert_close(found.reference, torch.stack([each.reference for each in wanted]).mean(0))  # per target


@pytest.mark.parametrize("name", ["perceptron", "probabilities", "gpt", "vision transformer", "recurrent"])
def test_integrated_gradients_of_smooth_nets_are_complete(name: str) -> None:
    net, x, target = network(name)
    found = IntegratedGradients(net, steps=200).attribute(x, target=target)
    torch.testing.assert_close(found.values.flatten(1).sum(1), found.scores - found.reference, atol=1e-3, rtol=1e-2)


def test_lrp_of_the_bias_free_residual_is_gradient_times_input_and_deeplift_from_zero() -> None:
    net = Residual()
    for part in (net.first, net.out):
        nn.init.zeros_(part.bias)
    x = torch.randn(5, 6)
    expected = InputXGradient(net).attribute(x, target=1).values
    torch.testing.assert_close(LRP(net, rule=Epsilon(0)).attribute(x, target=1).values, expected)
    torch.testing.assert_close(DeepLift(net).attribute(x, target=1).values, expected)
    torch.testing.assert_close(expected.sum(1), net(x)[:, 1].detach())


def test_lrp_of_a_residual_by_hand() -> None:
    """h + relu(W h): each of the two summands gets its share, also where relevance goes to weights other than its own."""
    net, x = Residual(), torch.randn(1, 6)
    first, second, out = net.first, net.second.weight, net.out
    h = first(x).relu()[0]
    rose = (second @ h).relu()
    to_sum = out.weight[1]  # the multiplier of h + relu(W h)
    to_h = to_sum + second.T @ (to_sum * (rose > 0))
    expected = ((to_h * (h > 0)) @ first.weight) * x[0]
    found = LRP(net, rule=Epsilon(0)).attribute(x, target=1)
    torch.testing.assert_close(found.values[0], expected.detach())
    kept = out.bias[1] + (to_h * (h > 0)) @ first.bias
    torch.testing.assert_close(found.absorbed[0], kept.detach())


@pytest.mark.parametrize("how", [Gamma(0.5), ZPlus(), AlphaBeta(3.0), Epsilon(0.1)], ids=str)
def test_rules_of_lrp_against_their_sums(how: Any) -> None:
    layer, x = nn.Linear(5, 1), torch.randn(1, 5)
    parts = (x[0] * layer.weight[0]).detach()
    bias, y = layer.bias.detach(), layer(x)[0, 0].detach()
    up, down = parts.clamp_min(0), parts.clamp_max(0)
    if isinstance(how, Gamma):
        boosted = parts + how.gamma * (up if y > 0 else down)
        constant = bias + how.gamma * (bias.clamp_min(0) if y > 0 else bias.clamp_max(0))
        expected = boosted / (boosted.sum() + constant) * y
    elif isinstance(how, Epsilon):
        expected = parts / (y + how.epsilon * y.sign()) * y
    else:
        alpha = how.alpha if isinstance(how, AlphaBeta) else 1.0
        expected = alpha * up / (up.sum() + bias.clamp_min(0)) * y
        if alpha > 1:
            expected = expected - (alpha - 1) * down / (down.sum() + bias.clamp_max(0)) * y
    torch.testing.assert_close(LRP(layer, rule=how).attribute(x).values[0], expected)


def test_a_batch_norm_belongs_to_the_layer_below() -> None:
    net, x, _ = network("resnet")
    conv, norm = net[0], net[1]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    one = copy.deepcopy(conv)
    with torch.no_grad():
        one.weight.mul_(factor[:, None, None, None])
        one.bias.copy_((conv.bias - norm.running_mean) * factor + norm.bias)
    for how in (Gamma(), ZPlus()):
        two = LRP(nn.Sequential(conv, norm, nn.Flatten()).eval(), rule=how).attribute(x, target=7)
        merged = LRP(nn.Sequential(one, nn.Flatten()), rule=how).attribute(x, target=7)
        torch.testing.assert_close(two.values, merged.values)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_norm_belongs_to_a_transposed_convolution_below_too(groups: int) -> None:
    conv, norm = nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6)
    lived_in(nn.Sequential(conv, norm), torch.randn(64, 4, 5, 5))
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    one, x = copy.deepcopy(conv), torch.randn(4, 4, 5, 5)
    with torch.no_grad():
        one.weight.mul_(factor.view(groups, -1).repeat_interleave(4 // groups, 0)[..., None, None])
        one.bias.copy_((conv.bias - norm.running_mean) * factor + norm.bias)
    two, merged = (
        LRP(nn.Sequential(*parts, nn.Flatten()).eval(), rule=Gamma()).attribute(x, target=7)
        for parts in ((conv, norm), (one,))
    )
    torch.testing.assert_close(two.values, merged.values)


def test_deeplift_sees_what_the_gradient_does_not() -> None:
    """1 - relu(1 - x) is flat at 2 (Shrikumar et al., 2017, figure 1)."""
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    nn.utils.vector_to_parameters(torch.tensor([-1.0, 1.0, -1.0, 1.0]), net.parameters())
    x = torch.tensor([[2.0]])
    assert Gradient(net).attribute(x).values.item() == 0
    assert DeepLift(net).attribute(x).values.item() == pytest.approx(1)


def by_root(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-12)


def by_power(x: Tensor) -> Tensor:
    return (x.pow(2).mean(-1, keepdim=True) + 1e-12).pow(-0.5) * x


def by_spread(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm(6, 1e-12), nn.RMSNorm(6, 1e-12), nn.GroupNorm(2, 6, 1e-12), by_root, by_power, by_spread],
    ids=lambda norm: getattr(norm, "__name__", type(norm).__name__),
)
def test_deeplift_through_norms_stays_small_where_one_of_the_two_has_no_contrast(norm: Any, turned: bool) -> None:
    """Its divisor is a millionth there: what is multiplied by its inverse loses all digits."""
    net = nn.Sequential(*(Wrapped(norm) for _ in range(3)), nn.Linear(6, 2)).eval()
    rows = torch.randn(4, 6)
    points, base = (torch.zeros_like(rows), rows) if turned else (rows, torch.zeros_like(rows))
    found = DeepLift(net).attribute(points, baselines=base, target=1)
    assert found.values.abs().sum(1).max() < 100 and found.error.max() < 1e-4


def test_deeplift_of_a_maximum_gives_each_winner_what_it_brought() -> None:
    net = nn.Sequential(nn.MaxPool1d(3, 1), nn.Flatten())
    x, base = torch.tensor([[[5.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 3.0, 1.0]]])
    torch.testing.assert_close(DeepLift(net).attribute(x, baselines=base).values, torch.tensor([[[2.0, 0.0, 0.0]]]))


# -- laws of all methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["residual", "resnet", "vision transformer"])
def test_a_row_does_not_depend_on_its_batch(name: str, kind: str) -> None:
    net, x, target = network(kind)
    together = ask(METHODS[name], net, x, target)
    alone = ask(METHODS[name], net, x[2:3], target)
    one_by_one = ask(METHODS[name], net, x, target, internal_batch_size=1)
    torch.testing.assert_close(together.values[2:3], alone.values, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(together.values, one_by_one.values, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_linear_models_are_explained_by_their_weights(name: str) -> None:
    net, x = nn.Linear(6, 3, bias=False), torch.randn(4, 6)
    weight = net.weight[2].detach()
    method = METHODS[name] if name != "occlusion" else lambda net: Occlusion(net, window=1)
    expected = weight.expand(4, 6) if name in ("gradient", "smoothgrad") else x * weight
    if name == "lrp gamma":
        parts = x * weight
        boosted = parts + 0.25 * torch.where(parts.sum(1, keepdim=True) > 0, parts.clamp_min(0), parts.clamp_max(0))
        expected = boosted / boosted.sum(1, keepdim=True) * parts.sum(1, keepdim=True)
    torch.testing.assert_close(ask(method, net, x, 2).values, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_what_has_no_influence_gets_nothing(name: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[:, 4] = 0
    method = METHODS[name] if name != "occlusion" else lambda net: Occlusion(net, window=1)
    assert not ask(method, net, torch.randn(5, 6), 1).values[:, 4].any()


class ByAbs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + x.abs()) / 2


@pytest.mark.parametrize(
    "name", ["gradient", "input x gradient", "integrated gradients", "expected gradients", "occlusion"]
)
def test_nets_that_compute_the_same_are_explained_alike(name: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    other = nn.Sequential(net[0], ByAbs(), net[2])
    x = torch.randn(5, 6)
    torch.testing.assert_close(ask(METHODS[name], net, x, 1).values, ask(METHODS[name], other, x, 1).values)


@pytest.mark.parametrize("name", METHODS)
def test_the_module_is_left_as_it_was(name: str) -> None:
    net = cnn()
    net.append(nn.Dropout())
    net[3].eval()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = copy.deepcopy(net.state_dict())
    modes = [part.training for part in net.modules()]
    x = torch.randn(3, 1, 14, 14)
    with pytest.warns(UserWarning, match="training mode, in which Dropout answers otherwise"):
        found = ask(METHODS[name], net, x, 1)
    torch.testing.assert_close(found.values, ask(METHODS[name], net.eval(), x, 1).values)  # without dropout
    net.train()
    net[3].eval()
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(each, before[key]) for key, each in net.state_dict().items())
    assert net[0].weight.grad.eq(1).all() and net[3].weight.grad is None
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_no_hook_and_no_memory_is_left_after_many_calls() -> None:
    nets = [network(name) for name in ("residual", "cnn", "gpt")]

    def living() -> int:
        gc.collect()
        return sum(type(each) is Tensor for each in gc.get_objects())

    counts = []
    for _ in range(3):
        for net, x, target in nets:
            for name, method in METHODS.items():
                if name != "occlusion":
                    ask(method, net, x, target)
        counts.append(living())
    assert counts[1] == counts[2]
    for net, _, _ in nets:
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


# -- Occlusion and Grad-CAM --------------------------------------------------------------------------------------------


def test_occlusion_averages_over_the_windows_that_hold_a_part() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(15, 1, bias=False)), torch.randn(1, 1, 3, 5)
    parts = x[0, 0] * net[1].weight.detach().view(3, 5)
    lost, count = torch.zeros(3, 5), torch.zeros(3, 5)
    for top in (0, 2):
        for left in (0, 3):  # both cut where they would reach over the end
            window = (slice(top, top + 2), slice(left, left + 3))
            lost[window] += parts[window].sum()
            count[window] += 1
    found = Occlusion(net, window=(1, 2, 3), strides=(1, 2, 3)).attribute(x).values[0, 0]
    torch.testing.assert_close(found, lost / count.clamp_min(1))


def test_grad_cam_weighs_channels_by_their_mean_gradient() -> None:
    net, x = cnn().eval(), torch.randn(2, 1, 14, 14)
    state = net[:2](x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(net[2:](state)[:, 1].sum(), state)
    coarse = (slope.mean((2, 3), keepdim=True) * state).sum(1, keepdim=True).relu()
    expected = F.interpolate(coarse, (14, 14), mode="bilinear", align_corners=False).detach()
    torch.testing.assert_close(GradCAM(net, net[1]).attribute(x, target=1).values, expected)


def test_grad_cam_lays_the_tokens_of_a_picture_out_as_a_grid() -> None:
    net, x = ViT().eval(), torch.randn(2, 3, 12, 12)
    found = GradCAM(net, "encoder.layers.0", positive=False, stretch="nearest").attribute(x, target=1).values
    assert found.shape == (2, 1, 12, 12)
    assert torch.equal(found[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3), found)  # 3 x 3 tokens
    named = (
        GradCAM(net, "encoder.layers.0", positive=False, stretch="nearest", grid=(3, 3)).attribute(x, target=1).values
    )
    assert torch.equal(found, named)
    net = nn.Sequential(nn.Flatten(2), nn.Linear(144, 10), Swap(), nn.Linear(3, 4), nn.Flatten(), nn.Linear(40, 2))
    with pytest.raises(ValueError, match="10 tokens are no grid with the proportions of a 16 x 9 picture"):
        GradCAM(net, "3").attribute(torch.randn(2, 3, 16, 9), target=1)


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_grad_cam_keeps_the_steps_of_a_sequence() -> None:
    net, x = GPT().eval(), torch.randn(2, 5, 8)
    assert GradCAM(net, "mlps.1").attribute(x, target=(-1, 2)).values.shape == (2, 5, 1)


# -- what is explained, and from where ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gradient", "integrated gradients", "deeplift", "lrp", "occlusion"])
def test_units_directions_and_contrasts(name: str) -> None:
    net, x = cnn().eval(), torch.randn(3, 1, 14, 14)
    method = METHODS[name]
    below = nn.Sequential(*net[:5])
    of_unit = ask(method, net, x, Unit("4", 3, position=(2, 1)))
    torch.testing.assert_close(of_unit.scores, below(x)[:, 3, 2, 1].detach())
    torch.testing.assert_close(of_unit.values, ask(method, below, x, (3, 2, 1)).values, atol=1e-6, rtol=1e-5)
    mean = ask(method, net, x, Unit(net[4], 3))
    torch.testing.assert_close(mean.scores, below(x)[:, 3].mean((1, 2)).detach())
    one_hot = ask(method, net, x, Direction("4", torch.eye(6)[3]))
    torch.testing.assert_close(one_hot.values, mean.values, atol=1e-6, rtol=1e-4)
    whole = ask(method, net, x, Direction("", torch.eye(3)[1]))  # of an output
    torch.testing.assert_close(whole.values, ask(method, net, x, 1).values, atol=1e-6, rtol=1e-4)
    why = ask(method, net, x, Contrast(2, 0)).values
    apart = ask(method, net, x, 2).values - ask(method, net, x, 0).values
    torch.testing.assert_close(why, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["integrated gradients", "deeplift", "lrp"])
def test_each_row_may_have_its_own_direction(name: str) -> None:
    net, x = cnn().eval(), torch.randn(3, 1, 14, 14)
    vectors = torch.randn(3, 6)
    each = ask(METHODS[name], net, x, Direction("4", vectors))
    for row, vector in enumerate(vectors):
        alone = ask(METHODS[name], net, x[row : row + 1], Direction("4", vector))
        torch.testing.assert_close(each.values[row], alone.values[0], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(each.scores[row], alone.scores[0], atol=1e-6, rtol=1e-4)


def test_each_row_may_have_its_own_target() -> None:
    net, x, _ = network("residual")
    each = IntegratedGradients(net).attribute(x, target=[2, 0, 1, 0], internal_batch_size=7).values
    for row, target in enumerate([2, 0, 1, 0]):
        torch.testing.assert_close(each[row], IntegratedGradients(net).attribute(x, target=target).values[row])
    assert torch.equal(
        IntegratedGradients(net).attribute(x, target=torch.tensor([2, 0, 1, 0]), internal_batch_size=7).values, each
    )


@pytest.mark.parametrize(
    "name", ["input x gradient", "integrated gradients", "deeplift", "lrp", "occlusion", "expected gradients"]
)
def test_tokens_are_explained_from_their_embedding(name: str) -> None:
    net = GPT().eval()
    ids = torch.randint(9, (3, 5))
    method = METHODS[name]
    base = ids.new_zeros(4, 5) if name == "expected gradients" else ids.new_zeros(5)
    found = method(net, layer="embed").attribute(ids, baselines=base, target=(-1, 2))
    same = method(net).attribute(net.embed(ids).detach(), baselines=net.embed(base).detach(), target=(-1, 2))
    torch.testing.assert_close(found.values, same.values)
    with pytest.raises(ValueError, match=r"whole numbers \(torch.int64\)"):
        method(net).attribute(ids, baselines=base, target=(-1, 2))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor, scale: float = 1.0) -> Any:
        return {"logits": self.out(x * mask) * scale, "hidden": x}


@pytest.mark.parametrize("named", [False, True], ids=["in order", "by name"])
@pytest.mark.parametrize("name", METHODS)
def test_other_arguments_go_along_with_their_rows(name: str, named: bool) -> None:
    net, x, mask = Masked(), torch.randn(3, 6), torch.randint(0, 2, (3, 6)).float()
    more = {"scale": 2.0, "mask": mask} if named else (mask, 2.0)
    found = ask(METHODS[name], net, x, 1, additional_forward_args=more, internal_batch_size=2)
    torch.testing.assert_close(found.scores, net(x, mask, 2.0)["logits"][:, 1].detach())
    if name != "occlusion":
        assert not found.values[mask == 0].any()


@pytest.mark.parametrize("vocabulary", [None, 9], ids=["values", "symbols"])
def test_packed_sequences_are_explained_as_if_each_came_alone(vocabulary: int | None) -> None:
    """Steps behind the end of a sequence have no part in it, and the others get what they get in a sequence without padding."""
    net = nets.lstm((6, 4) if vocabulary is None else (6,), 3, 5, layers=2, vocabulary=vocabulary).eval()
    for each in net.parameters():
        nn.init.normal_(each, std=0.5)
    lengths = [6, 2, 4]
    x = torch.rand(3, 6, 4) + 0.1 if vocabulary is None else torch.randint(2, 9, (3, 6)).float()
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    layer = None if vocabulary is None else "layer1.embedding"
    found = LRP(net, layer=layer).attribute(x, target=[0, 1, 2])
    assert found.error is not None and found.error.max() < 1e-4
    for row, length in enumerate(lengths):
        short = nets.lstm(
            (length, 4) if vocabulary is None else (length,), 3, 5, layers=2, vocabulary=vocabulary
        ).eval()
        short.load_state_dict(
            {name: each for name, each in net.state_dict().items() if "input." not in name}, strict=False
        )
        alone = LRP(short, layer=layer).attribute(x[row : row + 1, :length], target=row).values[0]
        torch.testing.assert_close(found.values[row, :length], alone, atol=1e-6, rtol=1e-4)
        assert not found.values[row, length:].any()


# -- operations --------------------------------------------------------------------------------------------------------


def test_an_operation_without_a_rule_is_named_and_may_be_given_one() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumprod(1)

    net, x = nn.Sequential(nn.Linear(4, 4), Odd()), torch.randn(2, 4)
    for method in (LRP, DeepLift):
        with pytest.raises(ValueError, match=rf"{method.__name__} has no rule for aten.cumprod of \(2, 4\)"):
            method(net).attribute(x, target=0)
    try:
        rule("aten.cumprod")(lambda operation, above, way: {(0,): torch.zeros_like(only(above))})
        assert not LRP(net).attribute(x, target=0).values.any()
    finally:
        del RULES["aten.cumprod"]


def test_complex_numbers_do_not_lose_relevance_in_silence() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).real

    with pytest.raises(ValueError, match="no rule for aten"):
        LRP(Spectrum()).attribute(torch.randn(2, 4), target=0)


def test_a_baseline_that_goes_another_way_is_refused() -> None:
    class Forks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.exp() if x.sum() > 0 else x

    class Chooses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0.5, x.exp(), x)

    with pytest.raises(ValueError, match="other operations at the baseline"):
        DeepLift(Forks()).attribute(torch.ones(2, 3), target=0)
    with pytest.raises(ValueError, match=r"aten.where.*chooses otherwise at the baseline"):
        DeepLift(Chooses()).attribute(torch.ones(2, 3), target=0)
    for choose in (
        lambda x: x * (x > 0.5),
        lambda x: x + (x > 0.5).float(),
        lambda x: x / float(x.max().clamp_min(0.5)),
    ):
        with pytest.raises(ValueError, match=r"aten.*chooses otherwise at the baseline"):
            DeepLift(Wrapped(choose)).attribute(torch.rand(2, 3) + 0.6, target=0)


class Wrapped(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Straight(torch.autograd.Function):
    """As one writes them: without what functorch needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope


def slope_of(x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(x.square().sum(), x)[0]


UNFOLLOWED = {
    "runs an autograd.Function of its own": Straight.apply,
    "makes a tensor that is to have a gradient": slope_of,
    "runs under torch.inference_mode": torch.inference_mode()(lambda x: x * 2),
    r"does what torch cannot take apart \(tolist": lambda x: torch.tensor(x.tolist()) * x,
}


@pytest.mark.parametrize("method", [LRP, DeepLift])
@pytest.mark.parametrize("why", UNFOLLOWED)
def test_what_cannot_be_followed_is_refused(why: str, method: Any) -> None:
    with pytest.raises(ValueError, match=why):
        method(Wrapped(UNFOLLOWED[why])).attribute(torch.randn(2, 3), target=0)


def test_what_is_wrong_with_the_rows_is_said_by_the_module() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        LRP(nn.Linear(3, 2)).attribute(torch.rand(2, 5))


@pytest.mark.parametrize("method", [Gradient, InputXGradient, IntegratedGradients, SmoothGrad])
@pytest.mark.parametrize(
    "hide", [lambda x: x.detach(), lambda x: torch.no_grad()(torch.tanh)(x)], ids=["detached", "no_grad"]
)
def test_no_map_of_zeros_is_made_where_no_gradient_comes(method: Any, hide: Any) -> None:
    net = nn.Sequential(Wrapped(hide), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="No gradient leads from what was asked for to 'the rows'"):
        method(net).attribute(torch.randn(2, 3), target=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tape_computes_what_the_module_does(name: str) -> None:
    net, x, _ = network(name)
    with evaluating(net), without_fast_path(net):
        tape = record(lambda rows: net(rows).flatten(1)[:, -1], x)
    torch.testing.assert_close(tape.scores, net(x).flatten(1)[:, -1].detach())
    value = dict.fromkeys([0], x)
    for operation in tape.operations:  # played again from what was written down
        made = operation.run({path: value[number] for path, number in operation.inputs.items()})
        value |= {number: each for number, each in zip(operation.outputs, made) if number is not None}
    torch.testing.assert_close(value[tape.end], tape.scores)


# -- bad input ---------------------------------------------------------------------------------------------------------


class Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1).float()


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


BAD = {
    "target out of range": (
        nn.Linear(6, 3),
        {"target": 3},
        "Target 3 is out of range. The output has 3 of them: 0 to 2",
    ),
    "no target": (
        nn.Linear(6, 3),
        {},
        r"answers with \(3,\) per row, but the target names 0 places. Give target=0 to 2",
    ),
    "no class": (nn.Linear(6, 3), {"target": "cat"}, "'cat' is no target"),
    "too few targets": (nn.Linear(6, 3), {"target": [0, 1]}, "2 targets were given"),
    "unknown layer": (nn.Linear(6, 3), {"target": Unit("laier", 1)}, "no part 'laier'"),
    "unit out of range": (
        nn.Sequential(nn.Linear(6, 3)),
        {"target": Unit("0", 5)},
        "Unit 5 is out of range. The layer has 3",
    ),
    "direction": (nn.Sequential(nn.Linear(6, 3)), {"target": Direction("0", torch.ones(2))}, r"3 units, but.* \(2,\)"),
    "too few directions": (
        nn.Linear(6, 3),
        {"target": Direction("", torch.ones(1, 3))},
        "1 targets were given for more rows",
    ),
    "position": (
        nn.Sequential(nn.Linear(6, 3)),
        {"target": Unit("0", 1, (2,))},
        r"has places \(\), but position \(2,\)",
    ),
    "several outputs": (Two(), {"target": 1}, "answers with 2 tensors"),
    "not by row": (Whole(), {"target": 1}, r"answers \(6,\) to \d+ rows: it does not answer row by row"),
    "argmax": (Argmax(), {}, "No gradient comes from|does not depend on the rows"),
    "baseline": (
        nn.Linear(6, 3),
        {"target": 1, "baselines": torch.zeros(3, 6)},
        r"Baselines of shape \(3, 6\) do not fit",
    ),
    "batch size": (nn.Linear(6, 3), {"target": 1, "internal_batch_size": 0}, "internal_batch_size is 0"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ["gradient", "integrated gradients", "deeplift", "lrp"])
def test_bad_input_is_refused(case: str, name: str) -> None:
    net, settings, says = BAD[case]
    with pytest.raises(ValueError, match=says):
        ask(METHODS[name], net, torch.randn(4, 6), **settings)


def test_no_rows_and_nan_are_refused() -> None:
    net = nn.Linear(6, 3)
    with pytest.raises(ValueError, match="There are no rows"):
        Gradient(net).attribute(torch.zeros(0, 6), target=1)
    with pytest.raises(ValueError, match="1 of 12 activations of 'the rows' are NaN"):
        Gradient(net).attribute(torch.tensor([[0.0] * 5 + [float("nan")], [0.0] * 6]), target=1)


@pytest.mark.parametrize("name", METHODS)
def test_nan_is_refused_where_it_begins(name: str) -> None:
    net = nn.Sequential(nn.Linear(6, 3), nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 3))
    with torch.no_grad():
        net[1][0].weight[0] = float("nan")
    with pytest.raises(ValueError, match=r"activations of '1.0' are NaN"):
        ask(METHODS[name], net, torch.randn(4, 6), 1)


def test_wrong_settings_are_refused() -> None:
    net = cnn()
    wrong: list[tuple[Any, str]] = [
        (lambda: IntegratedGradients(net, steps=0), "steps is 0"),
        (lambda: LRP(net, rule={"dense": ZPlus()}), "but not for ['dense']"),
        (lambda: Occlusion(net, window=(2, 2)).attribute(torch.zeros(1, 1, 14, 14), target=0), "window (2, 2)"),
        (lambda: ExpectedGradients(net).attribute(torch.zeros(1, 1, 14, 14), target=0), "Give rows"),
        (lambda: GradCAM(net, "7").attribute(torch.zeros(1, 1, 14, 14), target=0), "has no places"),
        (lambda: Gradient(net, layer="convv"), "no part 'convv'"),
    ]
    for call, says in wrong:
        with pytest.raises(ValueError, match=re.escape(says)):
            call()


# -- a second opinion, where it is installed ---------------------------------------------------------------------------


class Flattened(nn.Module):
    """The network `cnn` without a module that flattens, for which captum's LRP has no rule."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.maps, self.head = copy.deepcopy(net[:6]), copy.deepcopy(net[7:])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).flatten(1))


def test_captum_finds_the_same() -> None:
    captum = pytest.importorskip("captum.attr")
    net, x, target = cnn().eval(), torch.rand(5, 1, 14, 14), torch.tensor([0, 1, 2, 1, 0])
    net[2] = nn.AvgPool2d(2)  # its DeepLift loses the sum over max-pooling
    base = torch.rand(1, 1, 14, 14) / 5

    def cam() -> Tensor:
        coarse = captum.LayerGradCam(net, net[4]).attribute(x, target, relu_attributions=True)
        return captum.LayerAttribution.interpolate(coarse, (14, 14), interpolate_mode="bilinear")

    pairs = {
        "gradient": (Gradient(net), lambda: captum.Saliency(net).attribute(x, target=target, abs=False), None),
        "input x gradient": (InputXGradient(net), lambda: captum.InputXGradient(net).attribute(x, target), None),
        "ig": (IntegratedGradients(net), lambda: captum.IntegratedGradients(net).attribute(x, base, target), base),
        "deeplift": (DeepLift(net),
                     lambda: captum.DeepLift(copy.deepcopy(net)).attribute(x, base.expand_as(x), target), base),
        "occlusion": (Occlusion(net, window=(1, 4, 4)),
                      lambda: captum.Occlusion(net).attribute(x, (1, 4, 4), (1, 2, 2), baselines=base, target=target), base),
        "grad-cam": (GradCAM(net, "4"), cam, None),
        "lrp": (LRP(net, rule=Epsilon(1e-9)), lambda: captum.LRP(Flattened(net)).attribute(x, target), None),
    }  # fmt: skip
    for name, (method, theirs, baselines) in pairs.items():
        mine = method.attribute(x, baselines=baselines, target=target).values
        torch.testing.assert_close(
            mine, theirs().detach().float(), atol=1e-5, rtol=1e-5, msg=lambda why, n=name: f"{n}: {why}"
        )


def test_every_method_of_the_package_is_tested() -> None:
    methods = {each for name in attribution.__all__ if isinstance(each := getattr(attribution, name), type)}
    tested = {type(make(nn.Linear(2, 2))) for make in METHODS.values()} | {GradCAM}
    assert {each for each in methods if issubclass(each, Method) and each is not Method} == tested
