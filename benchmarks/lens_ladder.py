"""Seconds and memory of the ladder and of questions about units, for a 784-500-500-2000-10 net and 10,000 rows.

    python benchmarks/lens_ladder.py

The net is random and so are the rows: neither time nor memory depends on what they are, except that probes of rows
without structure need the most steps.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from layerwise import lens


def made() -> nn.Sequential:
    """The net of Hinton & Salakhutdinov (2006)."""
    net = nn.Sequential()
    sizes = (784, 500, 500, 2000)
    for number, (below, above) in enumerate(zip(sizes, sizes[1:]), start=1):
        net.add_module(f"layer{number}", nn.Sequential(nn.Linear(below, above), nn.ReLU()))
    net.add_module("output", nn.Linear(2000, 10))
    return net


def timed(what: str, ask: Callable[[], object]) -> None:
    """Prints seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    ask()
    print(
        f"{what:40} {time.perf_counter() - clock:7.1f} s   {time.process_time() - processor:7.1f} s of processor time"
    )


def main() -> None:
    """Asks each question once."""
    torch.manual_seed(0)
    net, labels = made(), np.arange(10_000) % 10
    rows = (torch.rand(10, 784)[labels] + torch.rand(10_000, 784)) / 2
    start = {name: value + 0.01 * torch.randn_like(value) for name, value in net.state_dict().items()}
    few = rows[:2000]
    timed("ladder", lambda: lens.ladder(net, rows, labels, loss=F.cross_entropy, starts=[start]))
    timed("24 favourite inputs", lambda: [
        lens.favourites(net, f"layer{layer}.0", unit, (784,), low=0, high=1, picture=(28, 28))
        for layer in (1, 2, 3) for unit in range(8)
    ])  # fmt: skip
    timed("8 units off and doubled, 2,000 rows", lambda: lens.ablate(net, "layer2", range(8), few, labels[:2000]))
    timed("selectivity of 2,000 units", lambda: lens.selectivity(lens.capture(net, "layer3", rows)["layer3"], labels))
    timed("inputs and outputs of 8 units", lambda: [
        (lens.inputs_of(net, "layer2.0", unit, "layer1", few), lens.outputs_of(net, "layer2", unit, "layer3.0", few))
        for unit in range(8)
    ])  # fmt: skip
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
