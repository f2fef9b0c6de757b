"""A net that reads on and on: its fast step is its forward pass, its surprise that of one symbol at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.language import Carried, Reader, Stepper, Streams, continuation, glance, surprise
from layerwise.run import Run
from layerwise.train import Training, train

KINDS = 7
NETS = [(8,), (8, 5), (6, 6, 6)]


def net(units: tuple[int, ...] = (8, 5)) -> Reader:
    """With weights and biases large enough to show mistakes."""
    made = Reader(KINDS, units, embedding=3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def text(length: int = 60) -> Tensor:
    return torch.randint(KINDS, (length,))


@pytest.mark.parametrize("units", NETS)
def test_the_fast_step_is_the_forward_pass(units: tuple[int, ...]) -> None:
    made, ids = net(units), text()
    stepper = Stepper(made)
    stepped = np.stack([stepper(int(symbol)) for symbol in ids])
    np.testing.assert_allclose(stepped, made(ids[None])[0].detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("units", NETS)
def test_a_text_read_in_parts_is_read_as_a_whole(units: tuple[int, ...]) -> None:
    made, ids = net(units), text()[None]
    first, state = made.read(ids[:, :23])
    second, _ = made.read(ids[:, 23:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), made(ids))


@pytest.mark.parametrize("length", [2, 5, 12, 40])  # around blocks of 5
def test_surprise_is_that_of_one_symbol_at_a_time(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.language.BLOCK", 5)
    made, ids = net(), text(length)
    stepper = Stepper(made)
    slow = [
        -math.log(np.exp(logits - logits.max())[after] / np.exp(logits - logits.max()).sum())
        for logits, after in ((stepper(int(now)), int(then)) for now, then in zip(ids[:-1], ids[1:], strict=True))
    ]
    np.testing.assert_allclose(surprise(made, ids).numpy(), slow, rtol=1e-4, atol=1e-4)


def test_a_glance_by_one_reader_is_the_mean_surprise() -> None:
    made, ids = net(), text()
    assert glance(made, ids, streams=1) == pytest.approx(surprise(made, ids).mean().item(), rel=1e-5)


def test_parallel_readers_glance_at_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.language.BLOCK", 10)
    made, ids = net(), text(63)
    parts = [surprise(made, part) for part in ids.view(3, 21)]
    assert glance(made, ids, streams=3) == pytest.approx(torch.cat(parts).mean().item(), rel=1e-5)


def test_a_net_that_knows_nothing_is_surprised_by_log_of_the_vocabulary() -> None:
    made = net()
    nn.init.zeros_(made.output.weight)
    nn.init.zeros_(made.output.bias)
    torch.testing.assert_close(surprise(made, text()), torch.full((59,), math.log(KINDS)))


# -- streams -----------------------------------------------------------------------------------------------------------


def test_each_reader_reads_on_where_it_stopped_and_together_they_read_everything() -> None:
    streams = Streams(torch.arange(103), size=4, window=5, seed=3)
    rows = [x for epoch in range(3) for x, _ in streams.epoch(epoch)]
    joined = torch.cat(rows, 1)
    assert ((joined[:, 1:] - joined[:, :-1]) % 103 == 1).all()  # also from one epoch to the next, and around the end
    assert set(torch.cat(rows[: len(streams) + 2], 1).flatten().tolist()) == set(range(103))


@pytest.mark.parametrize("start", [0, 1, 4])
def test_an_epoch_can_be_taken_up_in_the_middle(start: int) -> None:
    streams = Streams(torch.arange(103), size=4, window=5)
    whole, rest = list(streams.epoch(2)), list(streams.epoch(2, start))
    assert len(whole) == len(streams) and len(rest) == len(whole) - start
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[start:], rest, strict=True))


# -- learning ----------------------------------------------------------------------------------------------------------


def test_gradients_stop_at_the_window_but_memory_goes_on() -> None:
    torch.manual_seed(1)
    made, ids = net(), torch.randint(KINDS, (2, 13))
    carried = Carried(made, 2)
    carried.learn(ids[:, :6], ids[:, 1:7])
    made.zero_grad()
    loss = carried.learn(ids[:, 6:12], ids[:, 7:13])
    gradients = [parameter.grad.clone() for parameter in made.parameters() if parameter.grad is not None]
    made.zero_grad()
    _, state = made.read(ids[:, :6])
    logits, _ = made.read(ids[:, 6:12], [(said.detach(), kept.detach()) for said, kept in state])
    second = F.cross_entropy(logits.flatten(0, 1), ids[:, 7:13].flatten())
    second.backward()
    torch.testing.assert_close(loss, second.detach())
    for parameter, gradient in zip(made.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def learned(folder: Path | None = None, stop_at: int | None = None) -> Carried:
    """Some epochs of reading; a run that stops at a step, if told to, and is taken up again."""
    torch.manual_seed(2)
    carried = Carried(Reader(KINDS, (8, 5), embedding=3, dropout=0.3), 3)
    how = Training(epochs=4, rate=0.01, optimizer="adam", schedule="cosine", warmup=0.1, average=0.9, clip=0.5)
    streams = Streams(torch.arange(100) ** 2 % KINDS, size=3, window=6)
    calls = 0

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise RuntimeError("pulled the plug")
        return carried.learn(x, y)

    run = Run(folder, resume=True, interval=0.0) if folder else Run()
    train(carried, learn, streams, how, run=run)
    return carried


@pytest.mark.parametrize("stop_at", [3, 8, 20])
def test_a_resumed_reader_ends_at_the_same_bits(stop_at: int, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="plug"):
        learned(tmp_path, stop_at)
    resumed, whole = learned(tmp_path).state_dict(), learned().state_dict()
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())
    assert whole["kept2"].abs().max() > 0  # the memory is part of what is compared


def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one() -> None:
    def moved(clip: float | None) -> Tensor:
        torch.manual_seed(0)
        module = nn.Linear(4, 1)
        before = module.weight.detach().clone()

        def learn(x: Tensor, y: Tensor | None) -> Tensor:
            (module(x) * 10).sum().backward()
            return torch.zeros(())

        from layerwise.batches import Batches

        train(module, learn, Batches(torch.ones(1, 4)), Training(epochs=1, rate=1.0, momentum=0.0, clip=clip))
        return before - module.weight.detach()

    free, short = moved(None), moved(1.0)
    torch.testing.assert_close(moved(1e6), free)
    torch.testing.assert_close(short, free / math.sqrt(500), rtol=1e-4, atol=1e-5)  # four weights and a bias, 10 each
    with pytest.raises(ValueError, match="clip"):
        Training(clip=0.0)


# -- writing -----------------------------------------------------------------------------------------------------------


def test_temperature_0_takes_the_likeliest_each_time() -> None:
    made = net()
    written = list(continuation(Stepper(made), [1, 2], 20, 0.0, seed=0))
    for end in range(20):
        logits = made(torch.tensor([[1, 2, *written[:end]]]))[0, -1]
        assert written[end] == logits.argmax()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_symbols_come_as_often_as_the_net_believes(temperature: float) -> None:
    made = net()
    nn.init.zeros_(made.output.weight)  # so that every step is drawn alike
    drawn = list(continuation(Stepper(made), [1], 4000, temperature, seed=5, never=2))
    expected = (made.output.bias[2:] / temperature).softmax(0).detach().numpy()
    found = np.bincount(drawn, minlength=KINDS)
    assert found[:2].sum() == 0
    assert np.abs(found[2:] / 4000 - expected).max() < 5 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
def test_extreme_temperatures_draw_symbols(temperature: float) -> None:
    written = list(continuation(Stepper(net()), [1], 50, temperature, seed=0))
    assert all(0 <= symbol < KINDS for symbol in written)
    if temperature < 1:
        assert written == list(continuation(Stepper(net_again()), [1], 50, 0.0, seed=0))


def net_again() -> Reader:
    torch.manual_seed(0)  # as the fixture of every test does
    return net()
