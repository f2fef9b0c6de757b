"""Attribution on a digit CNN beside captum and zennit: are the maps equal, and what do they cost?

All take turns on one thread, so a machine that slows down slows all of them: read the ratios. Both sides get the same bound on
the rows in a pass. Peak memory is that of a process of its own, above what it began with (Linux).
"""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from layerwise.data import load
from layerwise.lens import trust
from layerwise.lens.attribution import (
    LRP,
    AlphaBeta,
    DeepLift,
    Epsilon,
    Gamma,
    GradCAM,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    Map,
    Occlusion,
    ZPlus,
)

ROWS, SIZE = 64, 64
CONSOLE = Console(width=120)


class DigitCNN(nn.Module):
    """Two convolutions, two dense layers; every rectifier a module of its own, as captum's LRP and DeepLift need them."""

    def __init__(self, side: int, pool: type[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), pool(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), pool(2)
        )
        self.head = nn.Sequential(nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(x).flatten(1))


class Residual(nn.Module):
    """h + relu(W h)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu1, self.second, self.relu2 = nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU()
        self.out = nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        h = self.relu1(self.first(x))
        return self.out(h + self.relu2(self.second(h)))


def learned(x: Tensor, y: Tensor, pool: type[nn.Module], epochs: int) -> DigitCNN:
    """A network that tells the digits."""
    torch.manual_seed(0)
    net = DigitCNN(x.shape[-1], pool)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(100):
            optimiser.zero_grad()
            F.cross_entropy(net(x[index]), y[index]).backward()
            optimiser.step()
    return net.eval()


Pair = tuple[Callable[[], Map], Callable[[], Tensor]]


def pairs(net: DigitCNN, x: Tensor, y: Tensor) -> dict[str, Pair]:
    """Ours and captum's, for the same question."""
    import captum.attr as captum

    zero, last = torch.zeros_like(x[:1]), net.features[4]
    window, strides = (1, 4, 4), (1, 2, 2)
    side = tuple(x.shape[2:])

    def cam() -> Tensor:
        coarse = captum.LayerGradCam(net, last).attribute(x, y, relu_attributions=True)
        return captum.LayerAttribution.interpolate(coarse, side, interpolate_mode="bilinear")

    return {
        "gradient": (lambda: Gradient(net).attribute(x, target=y), lambda: captum.Saliency(net).attribute(x, y, abs=False)),
        "input x gradient": (
            lambda: InputXGradient(net).attribute(x, target=y), lambda: captum.InputXGradient(net).attribute(x, y)),
        "integrated gradients": (
            lambda: IntegratedGradients(net).attribute(x, zero, y, internal_batch_size=SIZE),
            lambda: captum.IntegratedGradients(net).attribute(x, zero, y, internal_batch_size=SIZE)),
        "occlusion": (
            lambda: Occlusion(net, window=window, strides=strides).attribute(x, zero, y, internal_batch_size=SIZE),
            lambda: captum.Occlusion(net).attribute(x, window, strides, zero, y, perturbations_per_eval=1)),
        "Grad-CAM": (lambda: GradCAM(net, last).attribute(x, target=y), cam),
        "DeepLift": (
            lambda: DeepLift(net).attribute(x, zero, y), lambda: captum.DeepLift(net).attribute(x, zero.expand_as(x), y)),
        "LRP epsilon": (
            lambda: LRP(net, rule=Epsilon(1e-9)).attribute(x, target=y), lambda: captum.LRP(net).attribute(x, y)),
    }  # fmt: skip


def compare(net: DigitCNN, x: Tensor, y: Tensor, rounds: int, title: str) -> None:
    """Differences, ratios of time and memory, deletion and insertion."""
    table = Table("method", "largest difference", "captum's size", "ours s", "captum s", "time ratio", "ours MB", "captum MB",
                  "del / ins ours", "del / ins captum", title=title)  # fmt: skip
    for name, (ours, theirs) in pairs(net, x, y).items():
        mine, other = ours(), theirs().detach().float()
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds):
            for number, call in enumerate((ours, theirs)):
                start = time.process_time()
                call()
                seconds[number].append(time.process_time() - start)
        first, second = (statistics.median(each) for each in seconds)
        memory = [peak(call) for call in (ours, theirs)]
        areas = []
        for values in (mine.values, other):
            checks = trust.check(
                mine.question, values, mine.base, lambda asked, values=values: values[: len(asked)], draws=1
            )
            areas.append(f"{checks.deletion.area:.3f} / {checks.insertion.area:.3f}")
        table.add_row(name, f"{(mine.values - other).abs().max():.1e}", f"{other.abs().max():.2g}", f"{first:.4f}",
                      f"{second:.4f}", f"{first / second:.2f}", *(f"{each:.0f}" for each in memory), *areas)  # fmt: skip
    CONSOLE.print(table)


def peak(call: Callable[[], Any]) -> float:
    """Megabytes that a call needs at most, in a process of its own."""
    gc.collect()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that was freed before must not hide what is needed now
            with open("/proc/self/clear_refs", "w") as refs:
                refs.write("5")  # the high-water mark starts from here
            before = _resident("VmRSS")
            call()
            os.write(write, str(_resident("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return float(pipe.read())


def _resident(what: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def conservation() -> None:
    """What LRP loses of the logit on h + relu(W h)."""
    torch.manual_seed(0)
    net, x = Residual().eval(), torch.randn(100, 20)
    with torch.no_grad():
        for layer in (net.first, net.second, net.out):
            layer.bias.zero_()  # so that the values alone must add up
    scores = net(x)[:, 1].detach()

    def lost(values: Tensor) -> float:
        return float((values.sum(1) - scores).abs().sum() / scores.abs().sum())

    table = Table("LRP epsilon", "share of the logit lost", title="h + relu(W h)")
    table.add_row("ours", f"{lost(LRP(net).attribute(x, target=1).values):.1e}")
    import captum.attr as captum

    table.add_row("captum", f"{lost(captum.LRP(copy.deepcopy(net)).attribute(x, 1).detach()):.2f}")
    table.add_row(
        "zennit", f"{lost(_zennit(net, x, torch.ones(100, dtype=torch.long), _zennit_rules().Epsilon(1e-6))):.2f}"
    )
    CONSOLE.print(table)


def rules(net: DigitCNN, x: Tensor, y: Tensor) -> None:
    """The rules of LRP beside zennit's."""
    zennit = _zennit_rules()
    table = Table(
        "rule",
        "largest difference",
        "zennit's size",
        "ours s",
        "zennit s",
        "absorbed by biases",
        title="LRP beside zennit",
    )
    for mine, theirs in ((Epsilon(1e-6), zennit.Epsilon(1e-6)), (Gamma(0.25), zennit.Gamma(0.25)), (ZPlus(), zennit.ZPlus()),
                         (AlphaBeta(2.0), zennit.AlphaBeta(2.0, 1.0))):  # fmt: skip
        start = time.process_time()
        found = LRP(net, rule=mine).attribute(x, target=y)
        middle = time.process_time()
        other = _zennit(net, x, y, theirs)
        end = time.process_time()
        share = float((found.absorbed.abs() / found.scores.abs()).mean()) if found.absorbed is not None else 0.0
        table.add_row(str(mine), f"{(found.values - other).abs().max():.1e}", f"{other.abs().max():.2g}",
                      f"{middle - start:.3f}", f"{end - middle:.3f}", f"{share:.2f} of the logit")  # fmt: skip
    CONSOLE.print(table)


def _zennit(net: nn.Module, x: Tensor, y: Tensor, rule: Any) -> Tensor:
    from zennit.attribution import Gradient as Propagate
    from zennit.composites import LayerMapComposite

    zennit = _zennit_rules()
    layers = [((nn.Conv2d, nn.Linear), rule), (nn.ReLU, zennit.Pass()), (nn.AvgPool2d, zennit.Norm())]
    scores = net(x).detach()
    with Propagate(net, LayerMapComposite(layers)) as propagate:
        return propagate(x.clone(), F.one_hot(y, scores.shape[1]) * scores)[1].detach()


def _zennit_rules() -> Any:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # zennit only compares types with these
        names = {
            "torchvision.models.resnet": ("Bottleneck", "BasicBlock", "ResNet"),
            "torchvision.models.vgg": ("VGG",),
        }
        for name in ("torchvision", "torchvision.models", *names):
            sys.modules[name] = types.ModuleType(name)
            for kind in names.get(name, ()):
                setattr(sys.modules[name], kind, type(kind, (), {}))
    import zennit.rules

    return zennit.rules


def endurance(calls: int) -> None:
    """Hooks and memory after many calls on 20 modules."""
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(50, 60 + 5 * k), nn.ReLU(), nn.Linear(60 + 5 * k, 10)) for k in range(20)]
    x = torch.randn(8, 50)
    methods: list[Callable[[nn.Module], Any]] = [Gradient, lambda net: IntegratedGradients(net, steps=5), DeepLift, LRP]
    resident = []
    for number in range(calls):
        methods[number % 4](nets[number % 20]).attribute(x, target=number % 10)
        if number + 1 in (calls // 5, calls):
            gc.collect()
            with open("/proc/self/statm") as statm:
                resident.append(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for net in nets for part in net.modules())
    CONSOLE.print(f"after {calls} calls on 20 modules: {hooks} hooks; resident {resident[0]:.1f} MB after {calls // 5} calls, "
                  f"{resident[1]:.1f} MB at the end")  # fmt: skip


@click.command()
@click.option("--dataset", default="mnist", show_default=True, help="A known set of digits; 'digits' needs no files.")
@click.option("--train", default=10_000, show_default=True, help="Rows to learn from.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Turns of which the median counts.")
@click.option("--calls", default=1000, show_default=True)
def main(dataset: str, train: int, epochs: int, rounds: int, calls: int) -> None:
    """Attribution beside captum and zennit."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    endurance(calls)
    conservation()
    data = load(dataset)
    rows = np.asarray(data.matrix(slice(0, train + ROWS)), dtype=np.float32)
    labels = torch.as_tensor(np.asarray(data.y[: train + ROWS]), dtype=torch.long)
    x = torch.from_numpy(rows / max(1.0, float(rows.max()))).view(len(rows), 1, *data.row.shape[-2:])
    for pool in (nn.AvgPool2d, nn.MaxPool2d):
        net = learned(x[:-ROWS], labels[:-ROWS], pool, epochs)
        right = float((net(x[-ROWS:]).argmax(1) == labels[-ROWS:]).float().mean())
        compare(net, x[-ROWS:], labels[-ROWS:], rounds, f"digit CNN, {pool.__name__}, {right:.0%} of {ROWS} rows right")
        rules(net, x[-ROWS:], labels[-ROWS:])


if __name__ == "__main__":
    main()
