"""Networks: what their builders promise, how weights start, what losses are, what augmentation leaves alone."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.augment import Augment, suited
from layerwise.losses import classification_loss, regression_loss
from layerwise.nets import ACTIVATIONS, Rows, cnn, lstm, mlp, parameters, resnet, work
from layerwise.recurrent import Recurrent, Summary
from layerwise.starts import INITIALISATIONS, initialise

BUILT = {
    "mlp": ((12,), lambda **how: mlp(12, 3, (8, 5), **how)),
    "cnn": ((2, 8, 8), lambda **how: cnn((2, 8, 8), 3, (4, 6), (5,), **how)),
    "resnet": ((2, 8, 8), lambda **how: resnet((2, 8, 8), 3, (4, 6), 1, **how)),
    "lstm": ((5, 4), lambda **how: lstm((5, 4), 3, 6, **how)),
}


@pytest.mark.parametrize("name", BUILT)
def test_networks_have_named_stages_and_take_rows_flat_or_shaped(name: str) -> None:
    shape, build = BUILT[name]
    network = build().eval()
    names = [stage for stage, _ in network.named_children()]
    assert names == ["input", *(f"layer{n}" for n in range(1, len(names) - 1)), "output"]
    x = torch.rand(7, *shape)
    torch.testing.assert_close(network(x), network(x.flatten(1)))
    assert network(x).shape == (7, 3)
    assert parameters(network) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", BUILT)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    shape, build = BUILT[name]
    network = build(dropout=0.2)
    F.cross_entropy(network(torch.rand(16, *shape)), torch.randint(3, (16,))).backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not silent


@pytest.mark.parametrize("units", ACTIVATIONS)
def test_every_activation_can_be_asked_for(units: str) -> None:
    network = mlp(4, 2, (3,), units=units)
    assert isinstance(network.get_submodule("layer1.activation"), ACTIVATIONS[units])


def test_the_entrance_standardises_channels_and_features() -> None:
    x = torch.randn(50, 2, 4, 4) * torch.tensor([2.0, 5.0])[:, None, None] + 3
    entrance = cnn((2, 4, 4), 2, (3,)).get_submodule("input").fit(x.flatten(1))
    out = entrance(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(2))
    rows = torch.rand(20, 3) * torch.tensor([1.0, 10.0, 0.0])
    out = mlp(3, 2).get_submodule("input").fit(rows)(rows)
    torch.testing.assert_close(out.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_work_counts_multiply_adds() -> None:
    assert work(mlp(10, 3, (7, 5)), (10,)) == 10 * 7 + 7 * 5 + 5 * 3
    assert work(cnn((1, 8, 8), 3, (4,), (), kernel=3), (1, 8, 8)) == 8 * 8 * 9 * 4 + 4 * 16 * 3
    gates = 2 * 4 * 6  # of both directions
    for shape, swap in (((5, 3), False), ((3, 5), True)):
        assert work(lstm(shape, 2, 6, swap=swap), shape) == 5 * gates * (3 + 6) + 2 * 12 * 2


def test_convolutions_share_their_weights() -> None:
    dense, shared = mlp(28 * 28, 10, (784,)), cnn((1, 28, 28), 10, (16, 32), ())
    assert parameters(shared) < parameters(dense) / 20


@pytest.mark.parametrize("how", INITIALISATIONS)
def test_weights_start_as_the_papers_say(how: str) -> None:
    linear = initialise(nn.Sequential(nn.Linear(300, 200), nn.ReLU()), how)[0]
    weight, spread = linear.weight.detach(), linear.weight.std().item()
    wanted = {"normal": 0.01, "xavier": math.sqrt(2 / 500), "he": math.sqrt(2 / 300), "auto": math.sqrt(2 / 300)}
    if how == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, torch.eye(200), atol=1e-4, rtol=0)
    else:
        assert spread == pytest.approx(wanted[how], rel=0.05)
    assert not linear.bias.any()


@pytest.mark.parametrize("both", [False, True])
def test_padding_changes_no_answer(both: bool) -> None:
    network = lstm((9,), 2, 4, vocabulary=6, both=both).eval()
    x = torch.randint(1, 6, (3, 5)).float()
    short = lstm((5,), 2, 4, vocabulary=6, both=both).eval()
    short.load_state_dict({k: v[:5] if k.startswith("input") else v for k, v in network.state_dict().items()})
    torch.testing.assert_close(network(F.pad(x, (0, 4))), short(x))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("swap", [False, True])
def test_padding_of_values_changes_no_answer_and_no_statistics(both: bool, swap: bool) -> None:
    """Clips of 5 steps, alone and with 4 steps of nothing behind: a standardised 0 would be no padding."""
    x = torch.rand(6, 5, 3) + 4
    x[:, 2] = 0  # silence in the middle is no padding

    def turned(rows: Tensor) -> Tensor:
        return rows.transpose(1, 2) if swap else rows

    short, long = (lstm(turned(torch.ones(1, n, 3)).shape[1:], 2, 4, both=both, swap=swap).eval() for n in (5, 9))
    padded = F.pad(x, (0, 0, 0, 4))
    short[0].fit(turned(x)), long[0].fit(turned(padded))
    torch.testing.assert_close(long[0].mean, x.mean((0, 1)))
    torch.testing.assert_close(long[0].std, x.flatten(0, 1).std(0, correction=0))
    long.load_state_dict(short.state_dict())
    torch.testing.assert_close(long(turned(padded)), short(turned(x)))
    assert not torch.allclose(long(turned(padded)), long(turned(padded.roll(1, 1))))


@pytest.mark.parametrize("both", [False, True])
def test_padded_steps_are_not_computed(both: bool) -> None:
    body, seen = Recurrent(3, 4, both=both), []
    body.lstm.register_forward_hook(lambda _part, came, _out: seen.append(came[0].data.shape[0]))
    x = torch.rand(2, 6, 3)
    x[0, 2:] = 0
    body(x)
    assert seen == [2 + 6] and body.features == 4 * (2 if both else 1)
    assert not body(x)[0, 2:].any()


def test_a_recurrent_net_is_torch_s_own_on_whole_sequences() -> None:
    body, x = Recurrent(3, 4, both=True), torch.rand(2, 6, 3) + 0.1
    torch.testing.assert_close(body(x), body.lstm(x)[0])
    assert Summary()(body(x)).shape == (2, 16)


def test_losses_are_those_of_torch_where_it_has_them() -> None:
    logits, y, weights = torch.randn(9, 4), torch.randint(4, (9,)), torch.tensor([1.0, 2.0, 0.5, 1.0])
    torch.testing.assert_close(
        classification_loss(smoothing=0.1)(logits, y), F.cross_entropy(logits, y, label_smoothing=0.1)
    )
    torch.testing.assert_close(classification_loss(weights=weights)(logits, y), F.cross_entropy(logits, y, weights))
    torch.testing.assert_close(classification_loss("focal", focus=0.0)(logits, y), F.cross_entropy(logits, y))
    p = logits.softmax(1)
    torch.testing.assert_close(
        classification_loss("squared error")(logits, y), (p - F.one_hot(y, 4)).square().sum(1).mean()
    )
    mine = p[torch.arange(9), y]
    torch.testing.assert_close(
        classification_loss("focal", focus=2.0)(logits, y), (-((1 - mine) ** 2) * mine.log()).mean()
    )
    guess, target = torch.randn(5, 2), torch.randn(5, 2)
    torch.testing.assert_close(regression_loss()(guess, target), F.mse_loss(guess, target))
    torch.testing.assert_close(
        regression_loss("huber", delta=0.5)(guess, target), F.huber_loss(guess, target, delta=0.5)
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mlp(3, 2, units="rlu"), "relu, leaky relu"),
        (lambda: initialise(nn.Linear(2, 2), "random"), "xavier, he"),
        (lambda: cnn((1, 4, 4), 2, (3, 3, 3)), "halved 3 times"),
        (lambda: cnn((4,), 2), "channels, height, width"),
        (lambda: classification_loss("hinge"), "focal"),
        (lambda: classification_loss(smoothing=1.0), "smoothing"),
        (lambda: regression_loss("log"), "huber"),
        (lambda: Augment((5,), shift=1), "pictures and spectrograms"),
        (lambda: Augment((1, 4, 4), shift=-1), "at least 0"),
        (lambda: Augment((1, 4, 4), fill="noise"), "border"),
    ],
)
def test_what_is_unknown_is_refused_with_what_there_is(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# -- augmentation ------------------------------------------------------------------------------------------------------


def spot() -> Tensor:
    x = torch.zeros(200, 1, 7, 9)
    x[:, :, 3, 4] = 1
    return x


def test_shifts_move_whole_rows_by_whole_pixels_and_not_too_far() -> None:
    moved = Augment((1, 7, 9), shift=2)(spot())
    where = moved.nonzero()
    assert len(where) == 200 and set(where[:, 2].tolist()) == {1, 2, 3, 4, 5} == {n - 1 for n in where[:, 3].tolist()}
    far = Augment((1, 7, 9), shift=5)(spot())
    assert far.flatten(1).sum(1).min() == 0  # some leave the picture
    assert Augment((1, 7, 9), shift=5, fill="border")(torch.ones(20, 63)).min() == 1


def test_flips_hit_half_of_the_rows() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3).expand(400, -1, -1, -1)
    flipped = Augment((1, 2, 3), flip=True)(x)
    same = (flipped == x).flatten(1).all(1)
    assert 0.4 < same.float().mean() < 0.6
    torch.testing.assert_close(flipped[~same], x[~same].flip(3))


def test_no_change_is_no_change_and_turning_keeps_the_middle() -> None:
    x = torch.rand(5, 49)
    assert torch.equal(Augment((1, 7, 7))(x), x)
    turned = Augment((1, 7, 7), turn=30)(x)
    torch.testing.assert_close(turned.view(5, 7, 7)[:, 3, 3], x.view(5, 7, 7)[:, 3, 3], atol=1e-5, rtol=0)
    assert not torch.equal(turned, x)


def test_masks_hide_one_stretch_of_time_and_of_bands() -> None:
    x = torch.ones(300, 1, 10, 40)
    hidden = Augment((1, 10, 40), mask_time=0.25)(x) == 0
    assert (hidden.all(2) == hidden.any(2)).all()  # whole columns
    assert 0 < hidden[:, 0, 0].sum(1).max() <= 11
    assert (Augment((1, 10, 40), mask_bands=0.5)(x) == 0).all(3).any()


@pytest.mark.parametrize(("kind", "shape"), [("image", (28, 28)), ("image", (3, 32, 32)), ("sound", (40, 100))])
def test_what_suits_a_kind_can_be_done_to_it(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(4, *shape)
    assert Augment(shape, **suited(kind, shape))(x).shape == x.shape  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [resnet((1, 8, 8), 2, (4,), dropout=0.4), lstm((5, 3), 2, 4, dropout=0.4),
                                     cnn((1, 8, 8), 2, (4,), (), dropout=0.4)], ids=["resnet", "lstm", "cnn"])  # fmt: skip
def test_dropout_lies_before_the_output_where_there_is_no_hidden_layer(network: nn.Sequential) -> None:
    parts = list(network.get_submodule("output").children())
    assert [part.p for part in parts if isinstance(part, nn.Dropout)] == [0.4]


def test_rows_of_words_keep_their_zeros_and_proportions() -> None:
    words = torch.zeros(20, 100)
    words[torch.arange(20), torch.arange(20)] = torch.rand(20) + 0.1  # each occurs once
    out = Rows((100,)).fit(words)(words)
    torch.testing.assert_close(out, words * (out.max() / words.max()))
    torch.testing.assert_close(out[out != 0].square().mean(), torch.tensor(1.0))
    assert torch.equal(Rows((100,)).fit(words * 0)(words * 0), words * 0)
