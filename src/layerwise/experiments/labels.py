"""Few labels and many rows: MNIST's error at 100, 1,000 and 10,000 labels, with and without the unlabelled rest.

One net, 784-500-500-2000-10, starts from three places: grown on all rows without a label, grown on the labelled rows
alone, and random weights. It is then tuned on the labelled rows, always in the same way. Beside it stand the shallow
rivals, which learn from the labelled rows, and label spreading, which sees all rows as the net does.

Labels are drawn evenly over the classes; draw k has the seed k, and all methods get the same draw. The test set is used for
the finished model only; `--hold-out 10000` measures on as many training rows instead, and was used to choose settings.

Each result is a line of JSON in OUT/labels.jsonl. What stands there already is not measured again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from layerwise import baselines, compute
from layerwise.batches import Batches
from layerwise.data.labels import keep_labels
from layerwise.dbn import DBN
from layerwise.experiments.mnist import LOWER, Rows, error, shared
from layerwise.files import add_line
from layerwise.losses import cross_entropy
from layerwise.run import SILENT, Run
from layerwise.starts import initialise
from layerwise.train import Training, train

WIDTHS = (500, 500, 2000)
TOP = Training(epochs=15, rate=0.05, weight_decay=1e-4, schedule="linear", hold=0.6)  # no labels to tell apart: shorter
TUNING = Training(rate=1e-3, optimizer="adam", schedule="linear")
EPOCHS, UPDATES = 40, 1500  # of tuning: whichever is more
NEIGHBOURS = 7


@dataclass
class Task:
    """The rows, of which only some have a label, and where the methods find what they share between draws."""

    rows: Rows
    folder: Path
    seed: int

    def draw(self, labels: int, number: int) -> Batches:
        """Draw `number` of `labels` labelled rows."""
        x, y = self.rows.train.x, self.rows.train.y
        assert isinstance(x, Tensor) and y is not None
        known = torch.from_numpy(np.flatnonzero(keep_labels(y.numpy(), labels, number) >= 0))
        size = min(100, max(16, labels // 20))
        return Batches(x[known], y[known], size=size, seed=number)

    @cached_property
    def grown(self) -> DBN:
        """The net grown on all rows, none of which has a label."""
        return grow(
            self.rows, self.rows.train, Run(self.folder / f"unlabelled-{self.seed}", resume=True, progress=True)
        )

    @cached_property
    def neighbours(self) -> tuple[Any, np.ndarray]:
        """The graph of all rows' nearest neighbours, and the neighbours of the rows to measure on."""
        index = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(self.rows.train.x.numpy())
        other = index.kneighbors(self.rows.other.x.numpy(), return_distance=False)
        return index.kneighbors_graph(), other


def grow(rows: Rows, learned_from: Batches, run: Run) -> DBN:
    """784-500-500-2000, greedily and without labels."""
    dbn = DBN.build(learned_from.x.shape[1], WIDTHS)
    batches = Batches(learned_from.x, size=learned_from.size, seed=learned_from.seed)
    longer = -(-UPDATES // len(batches))
    hows = [rows.how(each, max(each.epochs, longer)) for each in (LOWER, LOWER, TOP)]
    dbn.pretrain(batches, hows, run=run)
    return dbn


def tune(rows: Rows, network: nn.Module, labelled: Batches) -> float:
    """Error, in %, of the network after back-propagation on the labelled rows."""
    how = rows.how(TUNING, max(EPOCHS, -(-UPDATES // len(labelled))))
    train(network, cross_entropy(network), labelled, how, name="tuning")
    network.eval()
    return error(network, rows.other)


def from_all_rows(task: Task, labelled: Batches, draw: int) -> float:
    """Grown on all rows, tuned on the labelled ones."""
    return tune(task.rows, _network(task.grown), labelled)


def from_labelled_rows(task: Task, labelled: Batches, draw: int) -> float:
    """Grown and tuned on the labelled rows."""
    return tune(task.rows, _network(grow(task.rows, labelled, SILENT)), labelled)


def from_random(task: Task, labelled: Batches, draw: int, above: str = "bernoulli") -> float:
    """The same net from random weights (Xavier's; He's for rectified units)."""
    dbn = DBN.build(labelled.x.shape[1], WIDTHS, above=above)
    return tune(task.rows, initialise(_network(dbn)), labelled)


def _network(dbn: DBN) -> nn.Module:
    return dbn.feedforward(10, dropout=0.3, input_dropout=0.12)


def spreading(task: Task, labelled: Batches, draw: int) -> float:
    """Label spreading (Zhou et al., 2004) over the graph of all rows; new rows ask their neighbours."""
    y = task.rows.train.y
    assert y is not None and labelled.y is not None
    graph, other = task.neighbours
    model = LabelSpreading(kernel=lambda *_: graph, alpha=0.8, max_iter=100)
    known = keep_labels(y.numpy(), labelled.rows, draw)
    model.fit(np.arange(len(known), dtype=np.float64)[:, None], known)
    guess = model.classes_[model.label_distributions_[other].sum(1).argmax(1)]
    return _share_wrong(guess, task.rows.other)


def rival(name: str) -> Method:
    """A shallow rival on the labelled rows; what it has to choose, it chooses by cross-validation on them."""

    def measure(task: Task, labelled: Batches, draw: int) -> float:
        assert labelled.y is not None
        model = baselines.rivals("image", draw)[name].fit(labelled.x.numpy(), labelled.y.numpy())
        return _share_wrong(model.predict(task.rows.other.x.numpy()), task.rows.other)

    return measure


def _share_wrong(guess: np.ndarray, rows: Batches) -> float:
    assert rows.y is not None
    return 100 * float((guess != rows.y.numpy()).mean())


Method = Callable[[Task, Batches, int], float]
METHODS: dict[str, tuple[str, Method]] = {
    "grown on all rows": ("all", from_all_rows),
    "grown on the labelled rows": ("labelled", from_labelled_rows),
    "same net, random weights": ("labelled", from_random),
    "same widths, rectified, random weights": (
        "labelled",
        lambda task, labelled, draw: from_random(task, labelled, draw, "rectified"),
    ),
    "label spreading": ("all", spreading),
    **{name: ("labelled", rival(name)) for name in baselines.rivals()},
}


@click.command()
@click.option("--labels", type=click.IntRange(10), default=100, show_default=True, help="Labelled rows.")
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True, help="How often they are drawn.")
@click.option("--method", "methods", type=click.Choice(list(METHODS)), multiple=True, help="One of them; default: all.")
@shared
def main(
    labels: int, draws: int, methods: tuple[str, ...], seed: int, hold_out: int, threads: int, precision: str, out: Path
) -> None:
    """Measure all methods on the same draws of LABELS labels: python -m layerwise.experiments.labels --labels 1000."""
    with compute.session(seed, threads), threadpool_limits(threads):
        task = Task(Rows.read(hold_out, seed, precision), out / (f"held-{hold_out}" if hold_out else "."), seed)
    asked = {"labels": labels, "seed": seed, "hold_out": hold_out, "precision": precision}
    log = out / "labels.jsonl"
    for name in methods or METHODS:
        for draw in range(draws):
            entry = asked | {"method": name, "draw": draw}
            if any(entry.items() <= done.items() for done in results(log)):
                continue
            with compute.session(draw, threads), threadpool_limits(threads):
                entry |= measured(task, name, labels, draw)
            add_line(log, entry)
            click.echo(f"{name}, draw {draw}: {entry['error']:.2f} %  ({entry['seconds']:.0f} s)")
    show([done for done in results(log) if asked.items() <= done.items()], labels)


def measured(task: Task, name: str, labels: int, draw: int) -> dict[str, float]:
    """The error of one method on one draw, in %, and the seconds that it took."""
    began = time.perf_counter()
    return {"error": METHODS[name][1](task, task.draw(labels, draw), draw), "seconds": time.perf_counter() - began}


def results(log: Path) -> Iterator[dict[str, Any]]:
    """What was measured so far."""
    if log.exists():
        yield from map(json.loads, log.read_text().splitlines())


def show(found: list[dict[str, Any]], labels: int) -> None:
    """Prints mean and standard deviation by method, best first."""
    errors: dict[str, list[float]] = defaultdict(list)
    for entry in found:
        errors[entry["method"]].append(entry["error"])
    table = Table("method", "learned from", "error in %", "s.d.", "draws", title=f"MNIST, {labels} labels", box=None)
    for name, values in sorted(errors.items(), key=lambda item: statistics.fmean(item[1])):
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        table.add_row(name, METHODS[name][0], f"{statistics.fmean(values):.2f}", spread, str(len(values)))
    Console().print(table)


if __name__ == "__main__":
    main()
