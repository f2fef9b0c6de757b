"""The MNIST results of Hinton et al. (2006) and Hinton & Salakhutdinov (2006), run again.

Permutation-invariant: the method never uses that pixels have neighbours; no augmentation; pixels in [0, 1]. The test set
is read once, when a model is finished. `--hold-out 10000` keeps that many training rows apart, prints the curve on them
after every epoch and never reads the test set: this is how the settings below were chosen.

Each command adds a line of JSON to OUT/results.jsonl, and takes up where it was stopped when it is called again.
"""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from torch import Tensor, nn

from layerwise import compute
from layerwise.batches import Batches
from layerwise.data import load
from layerwise.dbn import DBN
from layerwise.files import add_line
from layerwise.losses import cross_entropy
from layerwise.rbm import RBM
from layerwise.run import Run
from layerwise.stack import Stack, reconstruction_error
from layerwise.starts import initialise
from layerwise.train import History, Training, backprop, train

LOWER = Training(epochs=25, rate=0.1, weight_decay=2e-4, schedule="linear", hold=0.6)
TOP = Training(epochs=30, rate=0.05, weight_decay=1e-4, schedule="linear", hold=0.6, average=0.999)
UP_DOWN = Training(epochs=50, rate=0.05, schedule="linear", average=0.999)
TUNING = Training(epochs=40, rate=1e-3, optimizer="adam", schedule="linear")


@dataclass
class Rows:
    """Training rows, and the rows that the finished model is measured on (or, with a hold-out, is chosen by)."""

    train: Batches
    other: Batches
    held_out: bool
    precision: str = "float32"

    @classmethod
    def read(cls, hold_out: int, seed: int, precision: str = "float32") -> Rows:
        x, y = _part("train")
        if not hold_out:
            return cls(Batches(x, y, seed=seed), Batches(*_part("test")), False, precision)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(12345))  # the same rows for every seed
        kept, apart = order[hold_out:], order[:hold_out]
        return cls(Batches(x[kept], y[kept], seed=seed), Batches(x[apart], y[apart]), True, precision)

    def how(self, setting: Training, epochs: int = 0) -> Training:
        """The setting in this experiment's precision, and with other epochs if they are not 0."""
        return replace(setting, precision=self.precision, epochs=epochs or setting.epochs)


def _part(part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    data = load("mnist", part)
    assert data.y is not None
    return torch.from_numpy(data.matrix()), torch.from_numpy(data.y)


@torch.no_grad()
def error(log_probs: Callable[[Tensor], Tensor], rows: Batches) -> float:
    """Share of rows, in %, whose most probable class is wrong."""
    wrong = 0
    for x, y in rows.in_order():
        assert y is not None
        wrong += int(log_probs(x).argmax(1).ne(y).sum())
    return 100 * wrong / rows.rows


def grow(rows: Rows, run: Run) -> tuple[DBN, float]:
    """784-500-500-2000 with ten labels at the top, greedily, the start of all the classifiers; and its seconds."""
    dbn = DBN.build(784, (500, 500, 2000), classes=10)
    histories = dbn.pretrain(rows.train, [rows.how(each) for each in (LOWER, LOWER, TOP)], run=run)
    return dbn, sum(map(seconds, histories))


def seconds(history: History) -> float:
    """What a stage took, in whichever call of the command it ran."""
    return sum(epoch["seconds"] for epoch in history.epochs)


Measured = dict[str, float]


def generative(rows: Rows, run: Run, epochs: int) -> Measured:
    """Greedy training, then up-down; classified by exact free energy, never by back-propagation."""
    dbn, greedy_seconds = grow(rows, run)
    measured = {"greedy_error": error(dbn.class_log_probs, rows.other), "greedy_seconds": greedy_seconds}
    dbn.untie(len(dbn) - 1)
    validate = (lambda: error(dbn.class_log_probs, rows.other)) if rows.held_out else None
    history = dbn.up_down(rows.train, rows.how(UP_DOWN, epochs), steps=(1, 3, 5), validate=validate, run=run)
    return measured | {"up_down_error": error(dbn.class_log_probs, rows.other), "up_down_seconds": seconds(history)}


def tuned(rows: Rows, run: Run, epochs: int, *, pretrained: bool = True, dropout: bool = True) -> Measured:
    """784-500-500-2000-10 tuned by back-propagation, from the greedy net or from random (Xavier) weights."""
    dbn = grow(rows, run)[0] if pretrained else DBN.build(784, (500, 500, 2000), classes=10)
    network = dbn.feedforward(10, **({"dropout": 0.3, "input_dropout": 0.12} if dropout else {}))
    if not pretrained:
        initialise(network)
    validate = (lambda: _evaluated(network, rows)) if rows.held_out else None
    name = f"tuning{' from random' if not pretrained else ''}{' plain' if not dropout else ''}"
    history = train(
        network, cross_entropy(network), rows.train, rows.how(TUNING, epochs), name=name, validate=validate, run=run
    )
    return {"error": _evaluated(network, rows), "tuning_seconds": seconds(history)}


def _evaluated(network: nn.Module, rows: Rows) -> float:
    network.eval()
    wrong = error(network, rows.other)
    network.train()
    return wrong


def autoencoder(rows: Rows, run: Run, epochs: int, *, pretrained: bool = True) -> Measured:
    """784-1000-500-250-30, unrolled and tuned on squared error; PCA with 30 components beside it."""
    stack = Stack(RBM(784, 1000), RBM(1000, 500), RBM(500, 250), RBM(250, 30, above="gaussian"))
    if pretrained:
        how = Training(epochs=10, rate=0.1, weight_decay=2e-4, schedule="linear")
        code = Training(epochs=10, rate=0.002, weight_decay=2e-4, schedule="linear")
        stack.pretrain(rows.train, [rows.how(each) for each in (how, how, how, code)], run=run)
    stack.untie()
    if not pretrained:
        for layer in stack.layers:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.xavier_uniform_(layer.down_weight)  # type: ignore[arg-type]
    how = rows.how(Training(epochs=100, rate=1e-3, optimizer="adam", schedule="linear"), epochs)
    validate = (lambda: reconstruction_error(stack, rows.other)) if rows.held_out else None
    learn = backprop(lambda x, _: stack.reconstruction_loss(x))
    batches = Batches(rows.train.x, size=200, seed=rows.train.seed)
    train(stack, learn, batches, how, name="tuning", figure="squared error", validate=validate, run=run)
    return {
        "squared_error": reconstruction_error(stack, rows.other),
        "training_squared_error": reconstruction_error(stack, rows.train),
        "pca30_squared_error": pca_error(rows, 30),
    }


@torch.no_grad()
def pca_error(rows: Rows, components: int) -> float:
    """Squared error per row of the best linear code of that size, fitted on the training rows."""
    x, other = rows.train.x.double(), rows.other.x.double()
    mean = x.mean(0)
    vectors = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, -components:]
    rest = (other - mean) - (other - mean) @ vectors @ vectors.T
    return float(rest.square().sum(1).mean())


EXPERIMENTS: dict[str, tuple[str, Callable[[Rows, Run, int], Measured]]] = {
    "generative": ("grown", generative),
    "backprop": ("grown", tuned),
    "backprop-plain": ("grown", lambda rows, run, epochs: tuned(rows, run, epochs, dropout=False)),
    "random": ("random", lambda rows, run, epochs: tuned(rows, run, epochs, pretrained=False)),
    "random-plain": ("random", lambda rows, run, epochs: tuned(rows, run, epochs, pretrained=False, dropout=False)),
    "autoencoder": ("autoencoder", autoencoder),
    "autoencoder-random": (
        "autoencoder-random",
        lambda rows, run, epochs: autoencoder(rows, run, epochs, pretrained=False),
    ),
}


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all experiments take; precision arrives as float32 or bfloat16."""

    @click.option("--seed", default=0, show_default=True, help="Seed of the net and its training.")
    @click.option("--hold-out", default=0, show_default=True,
                  help="Training rows to keep apart and to measure on instead of the test set.")  # fmt: skip
    @click.option("--threads", default=1, show_default=True, help="CPU threads.")
    @click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
                  help="Of what goes into matrix products while learning; auto: bfloat16 where there is.")  # fmt: skip
    @click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mnist"), show_default=True,
                  help="Folder for checkpoints and results.")  # fmt: skip
    @functools.wraps(command)
    def asked(precision: str, **options: Any) -> None:
        work = 100 * 784 * 500
        command(precision=compute.choose_precision(precision, torch.device("cpu"), work), **options)

    return asked


@click.command()
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option("--epochs", default=0, help="Epochs of the last stage; 0 takes the ones of the results page.")
@shared
def main(name: str, seed: int, epochs: int, hold_out: int, threads: int, precision: str, out: Path) -> None:
    """Run the experiment NAME once: python -m layerwise.experiments.mnist backprop --seed 0."""
    start, experiment = EXPERIMENTS[name]
    held = f"-held-{hold_out}" if hold_out else ""
    folder = out / f"{start}-{seed}{held}"  # experiments with the same start share it
    with compute.session(seed, threads):
        measured = experiment(Rows.read(hold_out, seed, precision), Run(folder, resume=True, progress=True), epochs)
    asked = {"hold_out": hold_out, "epochs": epochs, "threads": threads, "precision": precision}
    report(out, {"experiment": name, "seed": seed, **asked, **measured})


def report(out: Path, entry: dict[str, Any]) -> None:
    """Prints a result and adds it to OUT/results.jsonl."""
    entry = entry | {"torch": torch.__version__, "numpy": np.__version__, "machine": platform.machine()}
    add_line(out / "results.jsonl", entry)
    click.echo(json.dumps(entry, indent=1))


if __name__ == "__main__":
    main()
