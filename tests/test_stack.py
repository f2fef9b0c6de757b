"""A stack is its layers, one after the other; where their activations are kept makes no difference."""

import copy
from pathlib import Path

import pytest
import torch
from enumeration import randomised
from layers import randomise, two_patterns
from torch import Tensor, nn

import layerwise.stack
from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.layer import Layer
from layerwise.rbm import RBM, LabelledRBM
from layerwise.stack import Stack, hold, reconstruction_error
from layerwise.train import Training, train

STACKS = {
    "rbms": lambda: Stack(RBM(6, 5), RBM(5, 4), RBM(4, 3)),
    "gaussian": lambda: Stack(RBM(6, 5, below="gaussian", above="rectified"), RBM(5, 4, below="rectified"), RBM(4, 3)),
    "autoencoders": lambda: Stack(Autoencoder(6, 5, below="gaussian"), Autoencoder(5, 4, tied=False), RBM(4, 3)),
    "mixed": lambda: Stack(RBM(6, 5), Autoencoder(5, 4, noise="masking"), RBM(4, 3, above="gaussian")),
}


@pytest.fixture(params=STACKS.values(), ids=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    torch.manual_seed(1)
    built = randomised(request.param())
    built.layers[0].prepare([data()])
    return built


def data() -> Tensor:
    return two_patterns(20)[0].double()


# -- up and down -------------------------------------------------------------------------------------------------------


def test_a_stack_encodes_and_decodes_layer_by_layer(stack: Stack) -> None:
    codes = [data()]
    for layer in stack:
        codes.append(layer.encode(codes[-1]))
    assert torch.equal(stack(data()), codes[3]) and torch.equal(stack.encode(data()), codes[3])
    for depth in range(4):
        assert torch.equal(stack.encode(data(), depth), codes[depth])
        back = codes[depth]
        for layer in reversed(stack.layers[:depth]):
            back = layer.decode(back)
        assert torch.equal(stack.decode(codes[depth], depth), back)
        assert torch.equal(stack.reconstruct(data(), depth), back)
    assert torch.equal(stack.reconstruct(data()), stack.reconstruct(data(), 3))


def test_layers_must_meet() -> None:
    with pytest.raises(ValueError, match="Layer 2 sends up 4 units but layer 3 takes 5: make them equal"):
        Stack(RBM(6, 5), RBM(5, 4), RBM(5, 3))
    Stack(RBM(6, 5), LabelledRBM(5, 2, 4))  # classes stand beside the features
    with pytest.raises(ValueError, match="Layer 1 sends up 7 units but layer 2 takes 5"):
        Stack(RBM(6, 7), LabelledRBM(5, 2, 4))


def test_the_reconstruction_loss_is_that_of_the_lowest_units(stack: Stack) -> None:
    bottom = stack.layers[0]
    back = stack.reconstruct(data())
    gap = bottom.standardised(data()) - bottom.standardised(back)
    torch.testing.assert_close(stack.reconstruction_loss(data()), (gap**2).sum(1).mean())
    h = stack(data())
    for layer in reversed(stack.layers[1:]):
        h = layer.decode(h)
    a = bottom.down(h)
    nats = bottom.below.surprise(bottom.standardised(data()), a).mean()
    torch.testing.assert_close(stack.reconstruction_loss(data(), squared=False), nats)


def test_a_copy_has_a_life_of_its_own(stack: Stack) -> None:
    before = stack(data())
    randomised(stack.copied())
    assert torch.equal(stack(data()), before)
    assert torch.equal(stack.copied()(data()), before)


# -- greedy pre-training -----------------------------------------------------------------------------------------------


def pretrained(cache: str, batches: Batches, make: str = "rbms", **settings: object) -> Stack:
    torch.manual_seed(2)
    stack = STACKS[make]()
    stack.pretrain(batches, Training(epochs=3), cache=cache, **settings)
    return stack


@pytest.mark.parametrize("make", STACKS)
def test_pretraining_is_every_layer_on_what_the_layers_below_send_up(make: str) -> None:
    x, y = two_patterns(20)
    stack = pretrained("stream", Batches(x, y, size=8, seed=3), make)
    torch.manual_seed(2)
    by_hand = STACKS[make]()
    for depth, layer in enumerate(by_hand):
        below = by_hand.layers[:depth]
        batches = Batches(x, y, size=8, seed=3)
        for lower in below:
            batches = batches.mapped(lower.encode)
        layer.prepare(rows for rows, _ in batches.in_order())
        train(layer, layer.learn, batches, Training(epochs=3))
    for (name, first), second in zip(stack.state_dict().items(), by_hand.state_dict().values()):
        assert torch.equal(first, second), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_held_in_memory_or_on_disk_the_bits_are_the_same(dtype: torch.dtype) -> None:
    x, y = two_patterns(50)
    stacks = []
    for cache, memory in (("memory", 0), ("disk", 2**30), ("auto", 2**30), ("auto", 0)):
        torch.manual_seed(2)
        stacks.append(STACKS["gaussian"]().to(dtype))
        stacks[-1].pretrain(Batches(x, y, size=8, dtype=dtype), Training(epochs=3), cache=cache, memory=memory)
    for other in stacks[1:]:
        for (name, first), second in zip(stacks[0].state_dict().items(), other.state_dict().values()):
            assert first.dtype == second.dtype == dtype and torch.equal(first, second), name


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wherever_held_a_batch_is_what_the_layer_sends_up(cache: str, dtype: torch.dtype, tmp_path: Path) -> None:
    layer = randomise(RBM(6, 5)).to(dtype)
    x = torch.rand(2300, 6)  # encoded in three goes
    batches = Batches(x, torch.arange(2300), size=100, seed=4, dtype=dtype)
    held = hold(batches, layer.encode, 5, cache, 0, tmp_path / "1")
    assert len(held) == len(batches) and held.seed == 4
    for (x, y), (code, same) in zip(batches.epoch(1), held.epoch(1), strict=True):
        assert torch.equal(y, same) and code.dtype == dtype and not code.requires_grad
        torch.testing.assert_close(code, layer.encode(x))


def test_auto_holds_in_memory_what_fits(tmp_path: Path) -> None:
    batches = Batches(torch.rand(10, 6))
    for memory, on_disk in ((10 * 5 * 4, False), (10 * 5 * 4 - 1, True)):
        folder = tmp_path / f"{memory}"
        folder.mkdir()
        hold(batches, RBM(6, 5).encode, 5, "auto", memory, folder / "1")
        assert [path.stat().st_size for path in folder.iterdir()] == [200] * on_disk


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_deeper_code_is_written_over_the_one_it_comes_from(cache: str, tmp_path: Path) -> None:
    rows = Batches(torch.rand(2300, 6))
    before, ours, exact = rows.x.clone(), None, rows
    places, widths = [], (5, 5, 4, 9, 3)
    for number, (below, width) in enumerate(zip((6, *widths), widths)):
        layer = randomise(RBM(below, width))
        exact = exact.mapped(layer.encode)
        rows = hold(rows, layer.encode, width, cache, 0, tmp_path / f"{number}", ours)
        ours = rows.x
        places.append(ours.data_ptr())
        for (code, _), (expected, _) in zip(rows.in_order(), exact.in_order(), strict=True):
            torch.testing.assert_close(code, expected)
    assert places[0] == places[1] == places[2] != places[3] == places[4]  # nine units do not fit where five were
    assert torch.equal(exact.x, before)  # the data itself is not ours


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Whatever the number of rows, no more than a thousand of them are looked at, encoded or held at a time."""
    sizes = []

    class Spy(RBM):
        def encode(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().encode(x)

        def prepare(self, rows: object) -> None:
            def seen() -> object:
                for batch in rows:
                    sizes.append(len(batch))
                    yield batch

            super().prepare(seen())

    stack = Stack(Spy(6, 5), Spy(5, 4))
    stack.pretrain(Batches(two_patterns(3500)[0], size=50), Training(epochs=1), cache="disk")
    assert max(sizes) == 1000 and sum(sizes) == 3 * 3500  # layer 1 looks and encodes, layer 2 looks


def test_the_files_of_the_activations_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layerwise.stack.tempfile, "tempdir", str(tmp_path))
    seen = []
    x, y = two_patterns(20)
    stack = STACKS["rbms"]()
    learn = stack.layers[2].learn
    stack.layers[2].learn = lambda x, y: (seen.extend(tmp_path.glob("*/*")), learn(x, y))[1]
    stack.pretrain(Batches(x, y), Training(epochs=1), cache="disk")
    assert set(seen) and not list(tmp_path.iterdir())


def test_labels_reach_the_layers_that_look_at_them() -> None:
    x, y = two_patterns(40)
    for cache in ("memory", "disk", "stream"):
        torch.manual_seed(0)
        stack = Stack(RBM(6, 5), LabelledRBM(5, 2, 4))
        stack.pretrain(Batches(x, y, size=10), Training(epochs=60, rate=0.2), cache=cache)
        assert torch.equal(stack.layers[1].class_log_probs(stack.layers[0](x)).argmax(1), y)


def test_each_layer_may_learn_in_its_own_way() -> None:
    x, _ = two_patterns(20)
    histories = STACKS["rbms"]().pretrain(Batches(x), [Training(epochs=epochs) for epochs in (1, 0, 3)])
    assert [len(history.epochs) for history in histories] == [1, 0, 3]
    assert [history.name for history in histories] == ["layer 1", "layer 2", "layer 3"]
    with pytest.raises(ValueError, match="3 layers need 3 settings, got 2"):
        STACKS["rbms"]().pretrain(Batches(x), [Training()] * 2)


def test_each_layer_stops_by_what_it_rebuilds_of_held_out_rows() -> None:
    x, _ = two_patterns(20)
    held_out = two_patterns(7, seed=1)[0]
    stack = STACKS["rbms"]()
    how = Training(epochs=40, rate=0.3, patience=2)
    histories = stack.pretrain(Batches(x, size=5), how, validate=Batches(held_out))
    for depth, history in enumerate(histories):
        layer, rows = stack.layers[depth], stack.encode(held_out, depth)
        left = (rows - layer.decode(layer.encode(rows))).square().sum(1).mean().item()
        assert min(entry["valid"] for entry in history.epochs) == pytest.approx(left)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Bernoulli units hold values in \[0, 1\], but the data spans"):
        STACKS["rbms"]().pretrain(Batches(2 * two_patterns(9)[0]), Training())
    with pytest.raises(ValueError, match="cache is auto, memory, disk or stream; got 'ram'"):
        STACKS["rbms"]().pretrain(Batches(two_patterns(9)[0]), Training(epochs=1), cache="ram")


def test_reconstruction_error_counts_every_row_once(stack: Stack) -> None:
    x = two_patterns(2500)[0].double()
    expected = sum(((row - stack.reconstruct(row[None])[0]) ** 2).sum().item() for row in x[:20])
    found = reconstruction_error(stack, Batches(x[:20], dtype=torch.float64))
    assert found == pytest.approx(expected / 20)
    whole = reconstruction_error(stack, Batches(x, dtype=torch.float64))
    assert whole == pytest.approx((x - stack.reconstruct(x)).square().sum(1).mean().item())


# -- what a stack becomes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upto", [None, 0, 1, 3])
def test_untying_computes_the_same(stack: Stack, upto: int | None) -> None:
    tied = copy.deepcopy(stack)
    stack.untie(upto)
    h = tied(data())
    assert torch.equal(stack(data()), h) and torch.equal(stack.decode(h), tied.decode(h))
    for layer in stack.layers[:upto]:
        assert isinstance(layer, Autoencoder) and layer.down_weight is not None
    for layer, before in zip(stack.layers, tied.layers):
        if upto is not None and layer not in stack.layers[:upto]:
            assert type(layer) is type(before)
    again = stack.layers
    stack.untie(upto)  # what is untied stays as it is
    assert all(first is second for first, second in zip(stack.layers, again))


def test_untied_ways_are_tuned_apart(stack: Stack) -> None:
    stack.untie()
    stack.reconstruction_loss(data()).backward()
    for layer in stack:
        assert not torch.equal(layer.weight.grad, layer.down_weight.grad)


def test_a_network_to_tune_is_the_way_up_and_a_linear_map(stack: Stack) -> None:
    net = stack.feedforward(outputs=2)
    head = net.output.linear
    assert head.weight.shape == (2, 3) and head.bias.eq(0).all() and head.weight.any()
    torch.testing.assert_close(net(data()), stack(data()) @ head.weight.T + head.bias)
    torch.testing.assert_close(stack.feedforward()(data()), stack(data()))
    before = stack(data())
    randomised(net)
    assert torch.equal(stack(data()), before)


def kinds(stage: nn.Module) -> list[tuple[str, float]]:
    return [(type(part).__name__, getattr(part, "p", 0.0)) for part in stage.children()]


def test_dropout_stands_before_every_linear_map_but_after_standardising() -> None:
    stack = STACKS["gaussian"]()
    net = stack.feedforward(2, dropout=0.5, input_dropout=0.2)
    assert {name: kinds(stage) for name, stage in net.named_children()} == {
        "layer1": [("Standardise", 0.0), ("Dropout", 0.2), ("Linear", 0.0), ("ReLU", 0.0)],
        "layer2": [("Dropout", 0.5), ("Linear", 0.0), ("Sigmoid", 0.0)],
        "layer3": [("Dropout", 0.5), ("Linear", 0.0), ("Sigmoid", 0.0)],
        "output": [("Dropout", 0.5), ("Linear", 0.0)],
    }
    x = two_patterns(5)[0]
    torch.testing.assert_close(net[:3].eval()(x), stack(x))
    only = stack.feedforward(2, input_dropout=0.2)
    assert [module.p for module in only.modules() if isinstance(module, nn.Dropout)] == [0.2]


def test_every_layer_is_a_layer(stack: Stack) -> None:
    assert all(isinstance(layer, Layer) for layer in stack.layers) and len(stack.layers) == len(stack) == 3
