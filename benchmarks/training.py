"""The same network trained by `layerwise.train` and by a plain hand-written torch loop, in turns on one thread.

Both start from the same weights, see the same rows in batches of the same size, and step with the same fused Adam; the plain
loop shuffles and steps and does nothing else. Read the ratio. `--waiting` times instead how long an epoch of known sets waits
for its rows, beside the time that it takes to learn from them.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import click
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from layerwise import Batches, Training, compute, nets
from layerwise.data import load
from layerwise.estimators import NetworkClassifier, base
from layerwise.losses import cross_entropy
from layerwise.tasks import suit
from layerwise.train import train

SIZE, RATE = 128, 1e-3
Rows = tuple[Tensor, Tensor]


def dense(rows: int) -> tuple[nn.Module, Rows]:
    """784-512-512-10, as MNIST wants it."""
    return nets.mlp(784, 10), (torch.rand(rows, 784), torch.randint(10, (rows,)))


def convolutional(rows: int) -> tuple[nn.Module, Rows]:
    """Two convolutions with batch normalisation and pooling, and a dense layer, on 28 x 28 pixels."""
    network = nets.cnn((1, 28, 28), 10).to(memory_format=torch.channels_last)
    return network, (torch.rand(rows, 784), torch.randint(10, (rows,)))


def recurrent(rows: int) -> tuple[nn.Module, Rows]:
    """A two-directional LSTM over 40 steps of 40 values, of unequal length."""
    x = torch.rand(rows, 40, 40) * (torch.arange(40) < torch.randint(20, 41, (rows, 1)))[..., None]
    return nets.lstm((40, 40), 10, 64), (x.flatten(1), torch.randint(10, (rows,)))


NETWORKS: dict[str, tuple[Callable[[int], tuple[nn.Module, Rows]], int]] = {
    "dense": (dense, 12_800), "convolutional": (convolutional, 2_560), "recurrent": (recurrent, 1_280)
}  # fmt: skip


def plain(network: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """The loop that most people write by hand."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    network.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(SIZE):
            optimizer.zero_grad()
            F.cross_entropy(network(x[index]), y[index]).backward()
            optimizer.step()


def ours(network: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """`layerwise.train`, with everything that it does besides: schedule, guard, snapshots, the figure."""
    network.train()
    train(
        network, cross_entropy(network), Batches(x, y, size=SIZE), Training(epochs=epochs, rate=RATE, optimizer="adam")
    )


def timed(run: Callable[..., None], network: nn.Module, rows: Rows, epochs: int) -> float:
    """Seconds of one epoch, on a copy of the network."""
    network = copy.deepcopy(network)
    began = time.perf_counter()
    run(network, *rows, epochs)
    return (time.perf_counter() - began) / epochs


def ratios(rounds: int, epochs: int) -> None:
    """Prints seconds per epoch and the ratio for each network."""
    table = Table(
        "network", "rows", "plain loop, s", "layerwise, s", "ratio of medians", "ratios within rounds", box=None
    )
    for name, (make, count) in NETWORKS.items():
        torch.manual_seed(0)
        network, rows = make(count)
        pairs = []
        for turn in range(rounds + 1):
            order = (plain, ours) if turn % 2 else (ours, plain)  # neither always comes first
            seconds = {run: timed(run, network, rows, epochs) for run in order}
            if turn:  # the first round warms up
                pairs.append((seconds[plain], seconds[ours]))
        hand, own = (statistics.median(side) for side in zip(*pairs, strict=True))
        each = sorted(b / a for a, b in pairs)
        table.add_row(
            name, str(count), f"{hand:.3f}", f"{own:.3f}", f"{own / hand:.3f}",
            f"{statistics.median(each):.3f} ({each[0]:.2f} to {each[-1]:.2f})",
        )  # fmt: skip
    Console(width=140).print(table)


# -- waiting for data --------------------------------------------------------------------------------------------------

SETS = {"mnist": "cnn", "fsdd": "cnn", "ag_news": "mlp", "letter": "mlp"}


class Clocked(Batches):
    """Batches that note, for all of them together, how long they take to come."""

    waited: ClassVar[float] = 0.0

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        rows = super().epoch(number, start)
        while True:
            began = time.perf_counter()
            batch = next(rows, None)
            Clocked.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def waiting(limit: int) -> None:
    """Prints, for known sets, the seconds of an epoch, and how many of them are spent waiting for rows."""
    table = Table("set", "network", "rows", "reading, s", "an epoch, s", "waiting for rows, s", "share", box=None)
    for name, kind in SETS.items():
        began = time.perf_counter()
        data = load(name, "train")
        x = data.matrix(slice(limit))
        read = time.perf_counter() - began
        assert data.y is not None
        network = NetworkClassifier(kind, epochs=1, batch_size=SIZE, threads=1, random_state=0)
        suit(network, data.row)
        before, Clocked.waited = base.Batches, 0.0
        base.Batches = Clocked  # type: ignore[misc]
        try:
            network.fit(x, data.y[:limit])
        finally:
            base.Batches = before  # type: ignore[misc]
        epoch, waited = network.histories_[-1].epochs[0]["seconds"], Clocked.waited
        figures = (f"{read:.2f}", f"{epoch:.2f}", f"{waited:.3f}", f"{100 * waited / epoch:.1f} %")
        table.add_row(name, kind, str(len(x)), *figures)
    Console(width=140).print(table)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Turns of each.")
@click.option("--epochs", default=2, show_default=True, help="Epochs of a turn.")
@click.option("--waiting", "wait", is_flag=True, help="Time the waiting for rows of known sets instead.")
@click.option("--rows", default=10_000, show_default=True, help="Rows of a known set, at most.")
def main(rounds: int, epochs: int, wait: bool, rows: int) -> None:
    """Time the loops in turn, or the waiting for data, on one thread."""
    with compute.session(0, 1), threadpool_limits(1):
        if wait:
            waiting(rows)
        else:
            ratios(rounds, epochs)


if __name__ == "__main__":
    main()
