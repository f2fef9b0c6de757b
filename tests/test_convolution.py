"""Convolutional layers: against enumeration, autograd, and what pooling promises."""

import itertools

import pytest
import torch
from enumeration import bits, distance, frequencies
from layers import randomise
from torch import Tensor, nn

from layerwise.batches import Batches
from layerwise.convolution import BlockPool, ConvAutoencoder, ConvRBM
from layerwise.dbn import DBN
from layerwise.losses import cross_entropy
from layerwise.nets import cnn, lstm, mlp, resnet
from layerwise.rbm import LabelledRBM
from layerwise.saving import describe_stack, stack_from
from layerwise.stack import Stack, reconstruction_error
from layerwise.stage import Sequel, Stage, pretrain, stages_of
from layerwise.train import Training, train

SHAPES = [
    {"shape": (1, 2, 4), "filters": 2, "kernel": 1, "block": 2},
    {"shape": (2, 2, 2), "filters": 2, "kernel": 2, "block": 1, "padding": 1},
    {"shape": (1, 3, 3), "filters": 1, "kernel": 2, "block": 2, "padding": 1},
    {"shape": (1, 3, 4), "filters": 2, "kernel": 2, "block": 2, "below": "gaussian"},  # the last column fills no block
]


def machine(**settings: object) -> ConvRBM:
    return randomise(ConvRBM(**settings).double(), 0.7)  # type: ignore[arg-type,return-value]


def detections(rbm: ConvRBM) -> Tensor:
    """Every state of the detection units in whole blocks, at most one on per block."""
    filters, rows, columns = rbm.out_shape
    one = torch.cat([torch.zeros(1, rbm.block**2), torch.eye(rbm.block**2)]).double()
    blocks = [torch.stack(choice) for choice in itertools.product(one, repeat=filters * rows * columns)]
    states = rbm.pool.join(torch.stack(blocks).view(len(blocks), filters, rows, columns, -1).movedim(-1, 0))
    pad = [whole - part for whole, part in zip(rbm.detection[1:], states.shape[2:], strict=True)]
    return nn.functional.pad(states, (0, pad[1], 0, pad[0]))


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_free_energy_and_detection_match_enumeration(settings: dict[str, object]) -> None:
    rbm = machine(**settings)
    v, h = torch.rand(3, rbm.visible).double(), detections(rbm)
    energy = torch.stack([rbm.energy(row.expand(len(h), -1), h) for row in v])
    torch.testing.assert_close(rbm.free_energy(v), -torch.logsumexp(-energy, 1))
    expected = torch.einsum("nk,kfij->nfij", (-energy).softmax(1), h)
    found = rbm._probabilities(rbm.detect(v))
    torch.testing.assert_close(found, expected[:, :, : found.shape[2], : found.shape[3]])


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_the_closed_form_is_the_gradient_of_the_free_energies(settings: dict[str, object]) -> None:
    rbm = machine(**settings)
    v = torch.rand(5, rbm.visible).double()
    _, fantasy = rbm.contrast(v, 2, draw=True)
    found = {name: p.grad.clone() for name, p in rbm.named_parameters() if p.grad is not None}
    rbm.zero_grad()
    (rbm.free_energy(v).mean() - rbm.free_energy(fantasy).mean()).backward()
    found["visible_bias"] *= rbm.visible / rbm.shape[0]  # left as a mean over the pixels that share it
    for name, parameter in rbm.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_draws_are_as_frequent_as_they_are_probable(settings: dict[str, object]) -> None:
    rbm = machine(**settings)
    a = rbm.detect(torch.rand(1, rbm.visible).double()).expand(20000, -1, -1, -1)
    drawn = rbm._draw(rbm._by_block(a))
    assert int(rbm.pool.split(drawn).sum(0).max()) == 1
    torch.testing.assert_close(drawn.mean(0), rbm._probabilities(a[:1])[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_a_pooling_unit_is_on_when_one_of_its_block_is(settings: dict[str, object]) -> None:
    rbm = machine(**settings)
    v = torch.rand(4, rbm.visible).double()
    total = rbm.pool.split(rbm._probabilities(rbm.detect(v))).sum(0).flatten(1)
    torch.testing.assert_close(rbm.encode(rbm.own_units(v)), total)
    torch.testing.assert_close(rbm.feedforward()(v), rbm.encode(v))


@pytest.mark.parametrize("settings", SHAPES[:3], ids=str)
def test_visible_units_given_detection_units_match_enumeration(settings: dict[str, object]) -> None:
    rbm = machine(**settings)
    h, v = detections(rbm), bits(rbm.visible)
    for state in h[:: -(-len(h) // 40)]:
        p = (-rbm.energy(v, state.expand(len(v), -1, -1, -1))).softmax(0)
        torch.testing.assert_close(rbm.below.mean(rbm._down(state[None]))[0], p @ v)


@pytest.mark.parametrize("on", [None, 0, 1])
def test_dreams_have_the_distribution_of_the_machine(on: int | None) -> None:
    """Of the whole machine, and given that a pooling unit is on, against a sum over all of its states."""
    rbm = randomise(ConvRBM((1, 2, 3), 2, kernel=2, padding=1).double(), 2.0)
    assert isinstance(rbm, ConvRBM)
    v, h = bits(rbm.visible), detections(rbm)
    joint = torch.stack([-rbm.energy(v, state.expand(len(v), -1, -1, -1)) for state in h]).flatten().softmax(0)
    joint = joint.view(len(h), len(v))
    if on is not None:
        joint = joint * rbm.pool.split(h).sum(0).flatten(1)[:, on, None]
    exact = joint.sum(0) / joint.sum()
    drawn = DBN(rbm).generate(8000, unit=None if on is None else (1, on), steps=40, mean=False)
    assert distance(frequencies(drawn, v), exact) < 0.06
    assert distance(torch.full((len(v),), 1 / len(v)), exact) > 0.2  # else the test could not fail


@pytest.mark.parametrize("block", [1, 2, 3])
def test_learning_begins_as_sparse_as_it_shall_be(block: int) -> None:
    rbm = ConvRBM((2, 9, 9), 3, kernel=4, block=block, sparsity=0.05).double()
    nn.init.zeros_(rbm.weight)
    probable = rbm._probabilities(rbm.detect(torch.rand(2, rbm.visible).double()))
    torch.testing.assert_close(probable, torch.full_like(probable, 0.05))


def test_the_bias_of_a_channel_begins_at_the_log_odds_of_its_mean() -> None:
    rbm, x = ConvRBM((2, 3, 4), 2, kernel=2), torch.rand(5, 24)
    rbm.prepare([x[:2], x[2:]])
    torch.testing.assert_close(rbm.visible_bias.sigmoid(), x.view(5, 2, 12).mean((0, 2)))
    assert rbm.visible_biases().view(2, 12).unique(dim=1).shape == (2, 1)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_come_apart_and_together(block: int) -> None:
    a = torch.rand(2, 3, 7, 8)
    pool = BlockPool(block)
    whole = pool.join(pool.split(a))
    torch.testing.assert_close(whole, a[:, :, : whole.shape[2], : whole.shape[3]])


def test_a_shift_by_a_block_moves_the_code() -> None:
    rbm = machine(shape=(1, 10, 10), filters=3, kernel=3)
    image = torch.zeros(1, 1, 10, 10).double()
    image[:, :, 3:6, 3:6] = torch.rand(3, 3).double()
    codes = [rbm.encode(each.flatten(1)).view(3, 4, 4) for each in (image, image.roll(2, 3))]
    torch.testing.assert_close(codes[0][:, :, :3], codes[1][:, :, 1:])


def stripes(n: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Pictures with one bright line, across (0) or upright (1)."""
    y = torch.randint(2, (n,), generator=torch.Generator().manual_seed(1))
    at = torch.randint(side, (n,), generator=torch.Generator().manual_seed(2))
    x = torch.zeros(n, side, side)
    for number in range(n):
        (x[number] if y[number] == 0 else x[number].T)[at[number]] = 1
    return x.flatten(1), y


def test_a_convolutional_belief_net_learns_rebuilds_dreams_and_is_saved() -> None:
    x, y = stripes(400)
    lower = ConvRBM((1, 8, 8), 8, kernel=3, padding=1, sparsity=0.1, sparsity_cost=0.1)
    dbn = DBN(lower, LabelledRBM(lower.hidden, 2, 40))
    batches = Batches(x, y, size=50)
    before = reconstruction_error(dbn, batches)
    how = Training(epochs=20, rate=0.05)
    dbn.pretrain(batches, [Training(epochs=20, rate=0.01), how])
    assert reconstruction_error(dbn, batches) < before
    assert (dbn.class_log_probs(x).argmax(1) == y).float().mean() > 0.95
    dream = dbn.generate(20, label=torch.tensor([0, 1] * 10), steps=50)
    assert dream.shape == (20, 64) and 0 <= dream.min() <= dream.max() <= 1
    again = stack_from(describe_stack(dbn))
    again.load_state_dict(dbn.state_dict())
    torch.testing.assert_close(again.encode(x), dbn.encode(x), rtol=0, atol=0)
    network = dbn.feedforward(2)
    torch.testing.assert_close(network[:-1](x), dbn.encode(x))
    with pytest.raises(ValueError, match="one set of filters"):
        dbn.up_down(batches, how)


def test_convolutional_layers_alone_make_a_belief_net_that_rebuilds_and_dreams() -> None:
    x, _ = stripes(200)
    lower = ConvRBM((1, 8, 8), 8, kernel=3, padding=1, sparsity=0.1, sparsity_cost=0.1)
    dbn = DBN(lower, ConvRBM(lower.out_shape, 12, kernel=3, padding=1))
    batches = Batches(x, size=50)
    before = reconstruction_error(dbn, batches)
    dbn.pretrain(batches, Training(epochs=20, rate=0.01))
    assert reconstruction_error(dbn, batches) < 0.8 * before
    for how in ({"n": 5}, {"start": x[:5]}, {"n": 5, "unit": (1, 3)}, {"n": 5, "unit": (2, 40)}):
        dream = dbn.generate(**how, steps=20)  # type: ignore[arg-type]
        assert dream.shape == (5, 64) and 0 <= dream.min() <= dream.max() <= 1


def conv_rbm(shape: tuple[int, ...], filters: int) -> ConvRBM:
    return ConvRBM(shape, filters, kernel=3, padding=1, sparsity=0.1, sparsity_cost=0.1)


CNNS = {
    "boltzmann machines": lambda: (lower := conv_rbm((1, 8, 8), 8), conv_rbm(lower.out_shape, 8)),
    "autoencoders": lambda: (
        lower := ConvAutoencoder((1, 8, 8), 8, kernel=3),
        ConvAutoencoder(lower.out_shape, 8, kernel=3, below="rectified"),
    ),
    "one of each": lambda: (lower := conv_rbm((1, 8, 8), 8), ConvAutoencoder(lower.out_shape, 8, kernel=3)),
}


@pytest.mark.parametrize("kind", CNNS)
def test_a_cnn_is_pretrained_by_the_stack_and_tuned_by_the_loop(kind: str) -> None:
    x, y = stripes(300)
    stack, batches = Stack(*CNNS[kind]()), Batches(x[:200], y[:200], size=20)
    rates = [
        0.01 if isinstance(layer, ConvRBM) else 0.001 for layer in stack.layers
    ]  # unbounded units want a small one
    stack.pretrain(batches, [Training(epochs=10, rate=rate) for rate in rates])
    network = stack.feedforward(2)
    torch.testing.assert_close(network[:-1](x), stack.encode(x))
    assert sum(isinstance(part, nn.Conv2d) for part in network.modules()) == 2
    train(network, cross_entropy(network), batches, Training(epochs=30, rate=0.01, optimizer="adam"))
    assert (network(x[200:]).argmax(1) == y[200:]).float().mean() > 0.95


def test_reconstruction_from_detection_units_keeps_positions() -> None:
    x, _ = stripes(300)
    rbm = ConvRBM((1, 8, 8), 8, kernel=3, padding=1)
    rbm.prepare([x])
    train(rbm, rbm.learn, Batches(x, size=30), Training(epochs=30, rate=0.01))
    miss = (rbm.reconstruct(x) - x).square().sum(1).mean()
    assert miss < (rbm.decode(rbm.encode(x)) - x).square().sum(1).mean() and miss < 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ConvRBM((1, 4, 4), 3, kernel=6), "kernel|positions"),
        (lambda: ConvRBM((1, 4, 4), 3, kernel=3, padding=3), "padding"),
        (lambda: ConvRBM((4,), 3), "channels, height, width"),
        (lambda: ConvRBM((1, 9, 9), 3, below="rectified"), "bernoulli or gaussian"),
        (lambda: ConvRBM((1, 9, 9), 3, sparsity=0.3), r"\(0, 0.25\)"),
        (lambda: ConvAutoencoder((1, 4, 4), 3, kernel=4), "odd"),
        (lambda: ConvAutoencoder((1, 4, 4), 3, pool=5), "pool"),
        (lambda: ConvAutoencoder((1, 4, 4), 3, noise="fog"), "noise"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


# -- stages ------------------------------------------------------------------------------------------------------------

NETS = {
    "mlp": lambda: mlp(64, 2, (16, 8), batch_norm=True),
    "cnn": lambda: cnn((1, 8, 8), 2, (4, 6), (8,)),
    "resnet": lambda: resnet((1, 8, 8), 2, (4, 6), 1),
    "lstm": lambda: lstm((8, 8), 2, 12),
}


@pytest.mark.parametrize("name", NETS)
def test_stages_learn_without_labels_in_place(name: str) -> None:
    x, _ = stripes(200)
    network = NETS[name]()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    histories = pretrain(network, Batches(x, size=20), Training(epochs=6, rate=3e-3, optimizer="adam"))
    hidden = [stage for stage, _ in network.named_children() if stage not in ("input", "output")]
    assert len(histories) == len(hidden)
    for history in histories:
        assert history.figures[-1] < history.figures[0]
    moved = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == set(hidden)


def test_a_stage_is_its_module_and_comes_back_down() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    stage, x = Stage(module, (6,), below="bernoulli"), torch.rand(5, 6)
    torch.testing.assert_close(stage(x), module(x))
    torch.testing.assert_close(stage.feedforward()(x), module(x))
    assert stage.decode(stage(x)).shape == x.shape
    stack = Stack(*stages_of(cnn((1, 8, 8), 2, (4, 6), (8,))).layers)
    assert stack.decode(stack(torch.rand(3, 64))).shape == (3, 64)


def test_a_recurrent_stage_tells_what_comes_next_and_never_looks_at_it() -> None:
    layer = Sequel(lstm((5,), 2, 3, vocabulary=7)[1], (5,))
    x = torch.randint(1, 7, (4, 5)).float()
    features = layer.encode(x).view(4, 5, 2, 3)
    changed = x.clone()
    changed[:, 3] = 7 - changed[:, 3]
    other = layer.encode(changed).view(4, 5, 2, 3)
    torch.testing.assert_close(features[:, :3, 0], other[:, :3, 0])  # forwards: steps before the change
    torch.testing.assert_close(features[:, 4:, 1], other[:, 4:, 1])  # backwards: steps behind it
