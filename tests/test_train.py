"""The loop owes every learner the same things: a resumed run ends at the same bits, and no step is lost or made up."""

import contextlib
import copy
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from layers import two_patterns
from safetensors.torch import load_file
from torch import Tensor, nn

import layerwise.files
import layerwise.run
from layerwise.batches import Batches
from layerwise.dbn import DBN
from layerwise.rbm import RBM
from layerwise.run import Run, Stopped
from layerwise.stack import Stack, reconstruction_error
from layerwise.train import LIMIT, Diverged, History, Learn, Training, backprop, limit_norms, train

# -- small problems ----------------------------------------------------------------------------------------------------


def regression(seed: int = 0) -> Batches:
    """Three batches of unequal size: 4, 4 and 2 rows."""
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(10, 3, generator=made)
    return Batches(x, x @ torch.randn(3, 2, generator=made) + 1, size=4)


def linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 2)


def squares(net: nn.Module) -> Learn:
    return backprop(lambda x, y: F.mse_loss(net(x), y))


def error(net: nn.Module) -> float:
    x, y = next(regression(seed=1).in_order())
    with torch.no_grad():
        return F.mse_loss(net(x), y).item()


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def events(histories: list[History]) -> list[tuple[str, str, list[dict[str, float]]]]:
    """Histories without the clock."""
    return [
        (each.name, each.stopped, [{k: v for k, v in entry.items() if k != "seconds"} for entry in each.epochs])
        for each in histories
    ]


# -- the same bits after any interruption ------------------------------------------------------------------------------


class Cut(Exception):
    """Something pulled the plug."""


class Fuse:
    """Counts the calls of what it wraps, and blows at number `at`, before the call is made."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls, self.steps = at, 0, 0

    def __call__(self, function: Callable, step: bool = True) -> Callable:
        def fused(*arguments: object) -> object:
            self.calls += 1
            if self.calls == self.at:
                self.blow()
            self.steps += step
            return function(*arguments)

        return fused

    def blow(self) -> None:
        raise Cut


Job = Callable[[Fuse, Run], tuple[nn.Module, list[History]]]


def supervised(net: nn.Module | None = None, validate: bool = False, **how: object) -> Job:
    def job(fuse: Fuse, run: Run) -> tuple[nn.Module, list[History]]:
        module = copy.deepcopy(net) or linear()
        check = fuse(lambda: error(module), step=False) if validate else None
        how_ = Training(**{"epochs": 2, "rate": 0.1} | how)
        return module, [train(module, fuse(squares(module)), regression(), how_, validate=check, run=run)]

    return job


def pretraining(cache: str = "auto", up_down: bool = False, **settings: object) -> Job:
    def job(fuse: Fuse, run: Run) -> tuple[nn.Module, list[History]]:
        x, y = two_patterns(10)
        batches = Batches(x, y, size=4)
        net = DBN.build(6, (4, 3), classes=2, **settings)
        for layer in net:
            layer.learn = fuse(layer.learn)
        with torch.random.fork_rng():
            held_out = Batches(two_patterns(5, seed=1)[0])
        histories = net.pretrain(batches, Training(epochs=2, patience=1), cache=cache, validate=held_out, run=run)
        if up_down:
            dbn_sample_up = net.sample_up
            net.sample_up = fuse(dbn_sample_up)
            histories.append(net.up_down(batches, Training(epochs=2), steps=(1, 2), run=run))
        return net, histories

    return job


JOBS = {
    "sgd": supervised(epochs=7, schedule="linear", weight_decay=0.01),  # momentum changes after the fifth epoch
    "adam": supervised(optimizer="adam", schedule="cosine"),
    "adamw": supervised(optimizer="adam", weight_decay=0.01),
    "plain": supervised(momentum=0.0, max_norm=0.5),
    "averaged": supervised(average=0.9),
    "early-stopping": supervised(validate=True, patience=2, epochs=30, rate=0.3),
    "averaged-early-stopping": supervised(validate=True, patience=1, average=0.9, epochs=30, rate=0.3),
    "dropout": supervised(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))),
    "batch-norm": supervised(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), average=0.5),
    "stack": pretraining(),
    "stack-streamed": pretraining("stream"),
    "stack-pcd": pretraining(chains=5, sparsity=0.2),
    "stack-gaussian": pretraining("disk", below="gaussian"),
    "up-down": pretraining(up_down=True),
    "up-down-pcd": pretraining(up_down=True, chains=5),
}


def start(job: Job, fuse: Fuse, run: Run) -> tuple[nn.Module, list[History]]:
    """As a program that is started again: everything is built anew from its seed."""
    torch.manual_seed(3)
    return job(fuse, run)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, so nothing needs to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_run_resumed_after_any_step_ends_at_the_same_bits(job: Job, tmp_path: Path) -> None:
    whole = Fuse()
    expected, histories = start(job, whole, Run(tmp_path / "whole", interval=0))
    draw = torch.rand(())
    log = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    for at in range(1, whole.calls + 1):
        folder = tmp_path / f"{at}"
        begun, rest = Fuse(at), Fuse()
        with pytest.raises(Cut):
            start(job, begun, Run(folder, interval=0))
        module, again = start(job, rest, Run(folder, resume=True, interval=0))
        assert same(module, expected) and events(again) == events(histories), f"cut at {at}"
        assert torch.rand(()) == draw, f"cut at {at}"
        assert begun.steps + rest.steps == whole.steps, f"cut at {at}"  # nothing is done twice
        entries = [[json.loads(line) | {"seconds": 0} for line in lines] for lines in (log, read_log(folder))]
        assert entries[0] == entries[1], f"cut at {at}"


def read_log(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text().splitlines()


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("name", ["sgd", "stack", "up-down"])
def test_checkpoints_now_and_then_are_enough(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a checkpoint only every fourth step some steps are repeated, log entries are not."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(layerwise.run.time, "monotonic", lambda: next(ticks))
    whole = Fuse()
    expected, histories = start(JOBS[name], whole, Run(tmp_path / "whole", interval=4))
    assert len(read_log(tmp_path / "whole")) == sum(len(each.epochs) for each in histories)
    for at in range(2, whole.calls + 1, 3):
        folder = tmp_path / f"{at}"
        with pytest.raises(Cut):
            start(JOBS[name], Fuse(at), Run(folder, interval=4))
        with pytest.raises(Cut):  # and once more, on the way back
            start(JOBS[name], Fuse(2), Run(folder, resume=True, interval=4))
        module, again = start(JOBS[name], Fuse(), Run(folder, resume=True, interval=4))
        assert same(module, expected) and events(again) == events(histories), f"cut at {at}"
        assert len(read_log(folder)) == len(read_log(tmp_path / "whole")), f"cut at {at}"


def test_a_run_changes_nothing_of_what_is_learned(tmp_path: Path) -> None:
    for name in ("adam", "up-down"):
        silent, _ = start(JOBS[name], Fuse(), layerwise.run.SILENT)
        kept, _ = start(JOBS[name], Fuse(), Run(tmp_path / name, interval=0))
        assert same(silent, kept)


def test_a_finished_run_is_restored_not_repeated(tmp_path: Path) -> None:
    expected, histories = start(JOBS["up-down"], Fuse(), Run(tmp_path))
    module, again = start(JOBS["up-down"], Fuse(at=1), Run(tmp_path, resume=True))
    assert same(module, expected) and events(again) == events(histories)


def test_a_torn_line_of_the_log_is_mended(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        start(JOBS["sgd"], Fuse(5), Run(tmp_path, interval=0))
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"stage": "train')
    start(JOBS["sgd"], Fuse(), Run(tmp_path, resume=True))
    assert [json.loads(line)["epoch"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


# -- real processes, really killed -------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
from safetensors.torch import save_file
from layerwise.run import Run
from test_train import Fuse, JOBS, start

class Killer(Fuse):
    def blow(self):
        os.kill(os.getpid(), {number})

resume = os.path.exists({folder!r})
net, _ = start(JOBS["up-down"], Killer({at}), Run({folder!r}, resume=resume, interval=0))
save_file(net.state_dict(), {folder!r} + "/result.safetensors")
"""


def program(folder: Path, at: int = 0, number: int = 0) -> subprocess.CompletedProcess:
    code = PROGRAM.format(tests=str(Path(__file__).parent), folder=str(folder), at=at, number=number)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("number", "at"), [(signal.SIGKILL, 2), (signal.SIGTERM, 9), (signal.SIGINT, 14)])
def test_a_killed_process_is_taken_up_to_the_same_bits(number: int, at: int, tmp_path: Path) -> None:
    """In the first layer, in the second, and in the up-down stage; by another process, and by this one."""
    died = program(tmp_path / "run", at, number)
    assert died.returncode != 0 and not (tmp_path / "run" / "result.safetensors").exists()
    if number == signal.SIGKILL:
        went_on = program(tmp_path / "run")
        assert went_on.returncode == 0, went_on.stderr
        result = load_file(tmp_path / "run" / "result.safetensors")
    else:
        assert "Stopped in" in died.stderr and "resume=True" in died.stderr
        result = start(JOBS["up-down"], Fuse(), Run(tmp_path / "run", resume=True))[0].state_dict()
    expected = start(JOBS["up-down"], Fuse(), layerwise.run.SILENT)[0].state_dict()
    assert expected.keys() == result.keys() and all(torch.equal(expected[key], result[key]) for key in expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_checkpoint_and_then_the_end(number: int, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    net = linear()
    calls = []

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        calls.append(len(x))
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return squares(net)(x, y)

    with pytest.raises(Stopped, match=rf"Stopped in training; the state is saved in {tmp_path}.*resume"):
        train(net, learn, regression(), Training(), run=Run(tmp_path, interval=math.inf))
    assert len(calls) == 2  # the step under way came to its end, and no other began
    assert signal.getsignal(number) == before
    saved = Run(tmp_path, resume=True).load("training")
    assert saved is not None and saved[1]["step"] == 2
    assert torch.equal(saved[0]["module.weight"], net.weight)


def test_a_signal_after_the_last_step_is_not_lost(tmp_path: Path) -> None:
    net = linear()

    def validate() -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    with pytest.raises(Stopped):
        train(net, squares(net), regression(), Training(epochs=1), validate=validate, run=Run(tmp_path))
    assert Run(tmp_path, resume=True).finished("training")


def test_asked_twice_it_stops_at_once(tmp_path: Path) -> None:
    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on")

    with pytest.raises(KeyboardInterrupt) as caught:
        train(linear(), learn, regression(), Training(), run=Run(tmp_path))
    assert not isinstance(caught.value, Stopped)


def test_without_a_folder_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        assert signal.getsignal(signal.SIGINT) == before
        return squares(net)(x, y)

    net = linear()
    train(net, learn, regression(), Training(epochs=1))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_crash_while_writing_spares_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, writes = os.fsync, []

    def torn(number: int) -> None:
        writes.append(number)
        if len(writes) == 4:
            os.ftruncate(number, 13)
            raise Cut
        sync(number)

    monkeypatch.setattr(layerwise.files.os, "fsync", torn)
    with pytest.raises(Cut):
        start(JOBS["sgd"], Fuse(), Run(tmp_path, interval=0))
    monkeypatch.undo()
    assert Run(tmp_path, resume=True).load("training")[1]["step"] == 3
    module, _ = start(JOBS["sgd"], Fuse(), Run(tmp_path, resume=True))
    assert same(module, start(JOBS["sgd"], Fuse(), layerwise.run.SILENT)[0])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["training.safetensors"]


def test_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    start(JOBS["sgd"], Fuse(), Run(tmp_path))
    before = (tmp_path / "checkpoints" / "training.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match=r"checkpoints of an earlier run.*resume=True.*another folder"):
        Run(tmp_path)
    assert (tmp_path / "checkpoints" / "training.safetensors").read_bytes() == before


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.2}, "rate was 0.1 and is 0.2"),
        ({"epochs": 3}, "epochs was 2 and is 3"),
        ({"optimizer": "adam"}, "optimizer was sgd and is adam"),
        ({"size": 5}, "batch size was 4 and is 5"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"rows": 9}, "rows was 10 and is 9"),
        ({"width": 4}, r"shape of weight was \[2, 3\] and is \[4, 3\]; shape of bias was \[2\] and is \[4\]"),
        ({"kind": nn.Bilinear}, r"shape of weight was \[2, 3\] and is \[2, 3, 3\]"),
    ],
    ids=str,
)
def test_resuming_with_other_settings_says_which(change: dict, message: str, done: bool, tmp_path: Path) -> None:
    def job(
        fuse: Fuse, run: Run, *, size: int = 4, seed: int = 0, rows: int = 10, width: int = 2,
        kind: type[nn.Module] = nn.Linear, **how: object
    ) -> None:  # fmt: skip
        net = kind(3, width) if kind is nn.Linear else kind(3, 3, width)
        x, _ = two_patterns(rows)
        batches = Batches(x[:, :3], size=size, seed=seed)
        learn = fuse(backprop(lambda x, y: (net(x) if kind is nn.Linear else net(x, x)).square().mean()))
        train(net, learn, batches, Training(**{"epochs": 2, "rate": 0.1} | how), name="tuning", run=run)

    with contextlib.nullcontext() if done else pytest.raises(Cut):
        job(Fuse(None if done else 3), Run(tmp_path, interval=0))
    with pytest.raises(ValueError, match=rf"tuning cannot go on .*{message}.*another folder"):
        job(Fuse(), Run(tmp_path, resume=True), **change)
    job(Fuse(), Run(tmp_path, resume=True))


def test_stages_of_a_run_do_not_mix(tmp_path: Path) -> None:
    run = Run(tmp_path)
    nets = {name: linear() for name in ("layer 1", "layer 2", "fine/tuning")}
    for rate, (name, net) in enumerate(nets.items(), start=1):
        train(net, squares(net), regression(), Training(epochs=1, rate=rate / 100), name=name, run=run)
    for name, net in nets.items():
        assert torch.equal(run.load(name)[0]["module.weight"], net.weight) and run.finished(name)
    assert run.load("layer 3") is None and not run.finished("layer 3")


def test_progress_is_one_line_per_epoch_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    net = linear()
    how = Training(epochs=3)
    history = train(net, squares(net), regression(), how, validate=lambda: 0.25, run=Run(progress=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for number, (line, entry) in enumerate(zip(lines, history.epochs), start=1):
        assert line.startswith(f"training  epoch   {number}  loss {entry['figure']:.4g}  held out 0.25")


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    net = linear()
    train(net, squares(net), regression(), Training(epochs=20), name="tuning", run=Run(progress=True))
    shown = capsys.readouterr().out
    assert "tuning" in shown and "100%" in shown and "epoch" not in shown


# -- learning rates, momentum and the rest, against a slow and obvious loop --------------------------------------------


def slowly(how: Training) -> nn.Linear:
    """What `train` should do to `linear` on `regression`, written out from the documentation."""
    net, batches = linear(), regression()
    steps, momenta = how.epochs * len(batches), {}
    mean = {name: value.detach().clone() for name, value in net.named_parameters()}
    for step in range(steps):
        epoch, place = divmod(step, len(batches))
        x, y = list(batches.epoch(epoch))[place]
        done = step / steps
        factor = {"constant": 1, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[how.schedule]
        momentum = min(0.5, how.momentum) if epoch < 5 and how.epochs > 5 else how.momentum
        net.zero_grad()
        F.mse_loss(net(x), y).backward()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                gradient = parameter.grad + (how.weight_decay * parameter if name == "weight" else 0)
                momenta[name] = momentum * momenta.get(name, 0) + gradient
                parameter -= how.rate * factor * momenta[name]
            if how.max_norm is not None:
                for row in net.weight:
                    row *= min(1, how.max_norm / row.norm())
            keep = min(how.average, (1 + step) / (10 + step))
            for name, parameter in net.named_parameters():
                mean[name] = keep * mean[name] + (1 - keep) * parameter
    if how.average:
        net.load_state_dict(mean)
    return net


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"schedule": "linear"},
        {"schedule": "cosine"},
        {"momentum": 0.0},
        {"momentum": 0.3},
        {"epochs": 3},
        {"weight_decay": 0.1},
        {"max_norm": 0.4},
        {"average": 0.9},
        {"average": 0.2, "schedule": "linear"},
    ],
    ids=str,
)
def test_the_loop_does_what_its_documentation_says(setting: dict) -> None:
    how = replace(Training(epochs=8, rate=0.03), **setting)
    net = linear()
    train(net, squares(net), regression(), how)
    for first, second in zip(net.parameters(), slowly(how).parameters()):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_adam_and_decays_weights_only(decay: float) -> None:
    net, other = linear(), linear()
    train(net, squares(net), regression(), Training(epochs=3, rate=0.01, optimizer="adam", weight_decay=decay))
    rest = {"lr": 0.01, "fused": False}
    bias, weight = torch.optim.Adam([other.bias], **rest), torch.optim.AdamW([other.weight], weight_decay=decay, **rest)
    for epoch in range(3):
        for x, y in regression().epoch(epoch):
            other.zero_grad()
            F.mse_loss(other(x), y).backward()
            bias.step(), weight.step()
    for first, second in zip(net.parameters(), other.parameters()):
        torch.testing.assert_close(first, second)


def test_schedules_fall_from_one_to_zero() -> None:
    for schedule in ("linear", "cosine"):
        factors = [Training(schedule=schedule).factor(step, 100) for step in range(101)]
        assert factors[0] == 1 and factors[50] == pytest.approx(0.5) and factors[100] == pytest.approx(0)
        assert all(before > after for before, after in pairwise(factors))
    assert {Training().factor(step, 100) for step in range(101)} == {1.0}


def test_the_history_says_what_happened() -> None:
    net, seen = linear(), []
    how = Training(epochs=3, schedule="linear", rate=0.3)

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        seen.append(squares(net)(x, y).item())
        return torch.tensor(seen[-1])

    history = train(net, learn, regression(), how, name="tuning", validate=lambda: error(net))
    assert [entry["epoch"] for entry in history.epochs] == [1, 2, 3] and history.name == "tuning"
    assert history.figures == pytest.approx([sum(seen[at : at + 3]) / 3 for at in (0, 3, 6)])
    assert [entry["rate"] for entry in history.epochs] == pytest.approx([0.3 * (1 - at / 9) for at in (2, 5, 8)])
    assert history.epochs[-1]["valid"] == error(net) and history.stopped == ""


def test_parameters_that_want_no_gradient_stay() -> None:
    net = nn.Sequential(linear(), linear())
    net[0].weight.requires_grad_(False)
    before = copy.deepcopy(net)
    learn = backprop(lambda x, y: net[1](x[:, :2] @ net[0].weight).square().mean())
    train(net, learn, regression(), Training(epochs=1))
    assert torch.equal(net[0].weight, before[0].weight) and torch.equal(net[0].bias, before[0].bias)
    assert not torch.equal(net[1].weight, before[1].weight)


def test_no_epochs_change_nothing() -> None:
    net = linear()
    history = train(net, squares(net), regression(), Training(epochs=0, average=0.9))
    assert same(net, linear()) and history.figures == []


def test_long_rows_are_shortened_and_short_ones_left() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.tensor([0.5, 1.0, 2.0, 4.0]))[:, 1:])
    before = copy.deepcopy(net)
    limit_norms(net, 1.5)
    torch.testing.assert_close(net[0].weight.norm(dim=1), torch.tensor([0.0, 1.0, 1.5, 1.5]))
    assert torch.equal(net[0].weight > 0, before[0].weight > 0) and torch.equal(net[0].bias, before[0].bias)


def test_persistent_chains_are_states_after_averaging_too() -> None:
    x, _ = two_patterns(20)
    rbm = RBM(6, 4, chains=5)
    train(rbm, rbm.learn, Batches(x, size=5), Training(epochs=3, average=0.9))
    assert set(rbm.particles.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("setting", [{"epochs": -1}, {"rate": -0.1}, {"optimizer": "lion"}, {"schedule": "step"}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    (name, value), *_ = setting.items()
    with pytest.raises(ValueError, match=rf"{name}.*{value}"):
        Training(**setting)


# -- early stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize(
    ("curve", "patience", "best", "last"),
    [
        ([3.0, 2, 1, 2, 2, 0, 0, 0], 2, 3, 5),
        ([3.0, 2, 1, 2, 0, 1, 1, 9], 2, 5, 7),
        ([1.0, 1, 1, 1, 1, 1, 1, 1], 3, 1, 4),
        ([5.0, 4, 3, 2, 1, 0, -1, -2], 1, 8, 8),
        ([math.nan, 3, math.nan, 2, 4, math.nan, 1, 1], 2, 4, 6),
    ],
    ids=str,
)
def test_the_best_state_is_kept(curve: list[float], patience: int, best: int, last: int, average: float) -> None:
    """`best` and `last` count epochs from 1."""
    net, states = linear(), []

    def validate() -> float:
        states.append(copy.deepcopy(net.state_dict()))
        return curve[len(states) - 1]

    how = Training(epochs=8, patience=patience, average=average)
    history = train(net, squares(net), regression(), how, validate=validate)
    assert len(history.epochs) == len(states) == last
    assert all(torch.equal(value, states[best - 1][key]) for key, value in net.state_dict().items())
    assert bool(history.stopped) == (last < 8)
    if last < 8:
        assert f"kept epoch {best}" in history.stopped


def test_without_patience_the_last_state_stays() -> None:
    net = linear()
    worse = iter(range(100))
    train(net, squares(net), regression(), Training(epochs=4), validate=lambda: float(next(worse)))
    other = linear()
    train(other, squares(other), regression(), Training(epochs=4))
    assert same(net, other)


# -- the guard ---------------------------------------------------------------------------------------------------------


def test_a_figure_that_is_not_finite_stops_learning_at_the_last_good_state() -> None:
    net, states = linear(), []

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        states.append(copy.deepcopy(net.state_dict()))
        figure = squares(net)(x, y)
        return figure * math.nan if len(states) == 8 else figure  # in the third epoch

    with pytest.raises(Diverged, match=r"tuning diverged in epoch 3 .*loss became nan.*epoch 2.*ten times smaller"):
        train(net, learn, regression(), Training(), name="tuning")
    assert len(states) == 9
    assert all(torch.equal(value, states[6][key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 2 * LIMIT, -2 * LIMIT])
def test_a_weight_beyond_all_bounds_stops_learning(name: str, value: float) -> None:
    net = linear()

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        with torch.no_grad():
            getattr(net, name)[0] = value
        net.weight.grad, net.bias.grad = torch.zeros(2, 3), torch.zeros(2)
        return torch.zeros(())

    with pytest.raises(Diverged, match=r"training diverged in epoch 1 .*a weight grew to"):
        train(net, learn, regression(), Training())
    assert same(net, linear())


def test_a_long_epoch_is_looked_at_on_the_way() -> None:
    calls = []

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        calls.append(len(x))
        return torch.tensor(math.nan)

    with pytest.raises(Diverged):
        train(linear(), learn, Batches(torch.ones(1000, 3), size=1), Training())
    assert len(calls) <= 100


def test_real_divergence_is_caught() -> None:
    x = 1e3 * torch.randn(50, 6)
    rbm = RBM(6, 4, below="gaussian", above="rectified")  # not prepared, so not standardised
    with pytest.raises(Diverged, match=r"layer 1 diverged.*Try a learning rate ten times smaller than 1"):
        train(rbm, rbm.learn, Batches(x, size=10), Training(rate=1.0), name="layer 1")
    assert all(value.isfinite().all() for value in rbm.state_dict().values())


# -- several processes -------------------------------------------------------------------------------------------------


SIZES = (4, 5)  # batches of 4, 4 and 2 rows, which two share alike, or of 5, of which one gets three and the other two


def distributed(rank: int, folder: str) -> None:
    """One of two processes; saves what it has learned."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for size in SIZES:
        net = learned_by_all(size, Run(f"{folder}/run{size}", resume=True))
        torch.save(net.state_dict(), f"{folder}/{size}-{rank}.pt")
    dist.destroy_process_group()


def learned_by_all(size: int, run: Run = layerwise.run.SILENT) -> nn.Module:
    x, y = next(regression().in_order())
    net = linear()
    train(net, squares(net), Batches(x, y, size=size), Training(epochs=4, rate=0.1, weight_decay=0.01), run=run)
    return net


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    alone = {size: learned_by_all(size).state_dict() for size in SIZES}
    quickly = sys.platform == "linux" and not torch.cuda.is_available()  # without importing torch twice more
    how = "fork" if quickly else "spawn"
    torch.multiprocessing.start_processes(distributed, (str(tmp_path),), nprocs=2, start_method=how)
    for size in SIZES:
        first, second = (torch.load(tmp_path / f"{size}-{rank}.pt") for rank in range(2))
        for key, value in alone[size].items():
            assert torch.equal(first[key], second[key])
            torch.testing.assert_close(first[key], value)
        assert len(read_log(tmp_path / f"run{size}")) == 4  # written by one of them


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    net = linear()
    train(net, squares(net), regression(), Training(epochs=1), run=Run(tmp_path, interval=0))
    assert not list(tmp_path.glob("**/*.*"))


def test_held_out_error_is_squared_error_per_row() -> None:
    x = two_patterns(7)[0]
    stack = Stack(RBM(6, 4), RBM(4, 3))
    expected = sum(((row - stack.decode(stack.encode(row[None]))[0]) ** 2).sum().item() for row in x) / 7
    assert reconstruction_error(stack, Batches(x)) == pytest.approx(expected)
