"""What networks reach on pictures, sound, text and tables, with and without learning from rows that have no label.

`python -m layerwise.experiments.networks RECIPE --seed S` learns the training part and meets the test part once;
`--hold-out SHARE` learns from the rest of the training part and measures on that share of it instead: settings were chosen
so. Each run adds a line of JSON to OUT/results.jsonl, and takes up where it was stopped when it is called again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from layerwise.data import keep_labels, load
from layerwise.data.labels import hold_out as held
from layerwise.estimators import NetworkClassifier
from layerwise.experiments.mnist import report
from layerwise.run import Run

SHIFTS = {"shift": 2, "turn": 10, "zoom": 0.1}


@dataclass(frozen=True)
class Recipe:
    """What is learned from what: a known set and how it is read, the labels kept (None: all), and the estimator's settings."""

    data: str
    settings: Mapping[str, Any]
    reading: Mapping[str, Any] = field(default_factory=dict)
    labels: int | None = None


CNN = {"net": "cnn", "layers": (32, 64), "epochs": 20, "average": 0.999,
       "options": {"kernel": 5, "hidden": (256,), "dropout": 0.5}}  # fmt: skip
DEEP = {"net": "cnn", "layers": (32, 64, 128), "average": 0.999,
        "options": {"convolutions": 2, "hidden": (256,), "dropout": 0.5, "stage_dropout": 0.1}}  # fmt: skip
RESNET = {"net": "resnet", "layers": (32, 64, 128), "options": {"blocks": 1}, "average": 0.999, "weight_decay": 0.02}
DENSE = {"net": "mlp", "layers": (1024, 1024), "options": {"batch_norm": True, "dropout": 0.5, "input_dropout": 0.2}}

RECIPES = {
    "mnist-cnn": Recipe("mnist", CNN),
    "mnist-cnn-shifts": Recipe("mnist", DEEP | {"epochs": 25, "augment": SHIFTS}),
    "fashion-cnn": Recipe("fashion_mnist", DEEP | {"epochs": 15, "augment": {"shift": 2, "flip": True}}),
    "fashion-resnet": Recipe("fashion_mnist", RESNET | {"epochs": 15, "augment": {"shift": 2, "flip": True}}),
    "cifar-resnet": Recipe("cifar10", RESNET | {"epochs": 25, "augment": "image"}),
    "cifar-cnn": Recipe("cifar10", DEEP | {"epochs": 25, "augment": "image"}),
    "cifar-dense": Recipe("cifar10", DENSE | {"epochs": 25, "augment": "image"}),
}


def matrices(recipe: Recipe, hold_out: float, seed: int) -> tuple[Any, Any, Any, Any, Any]:
    """Rows and labels to learn from, rows and labels to measure on, and what a row is."""
    train = load(recipe.data, "train", **recipe.reading)
    assert train.y is not None
    if hold_out:
        out = held(train.y, len(train), hold_out, 12345)  # the same rows for every seed
        other, train = train.take(out), train.take(~out)
    else:
        other = load(recipe.data, "test", **recipe.reading)
    assert train.y is not None and other.y is not None
    y = train.y if recipe.labels is None else keep_labels(train.y, recipe.labels, seed)
    return train.matrix(), y, other.matrix(), other.y, train.row


def shape_of(row: Any) -> tuple[int, ...]:
    """A row's shape as the networks take it."""
    return (1, *row.shape) if row.pictured and len(row.shape) == 2 else tuple(row.shape)


def measure(name: str, recipe: Recipe, seed: int, hold_out: float, threads: int, out: Path) -> dict[str, Any]:
    """Learns a recipe and measures its error, in %."""
    x, y, other, truth, row = matrices(recipe, hold_out, seed)
    folder = out / f"{name}-{seed}{f'-held-{hold_out}' if hold_out else ''}"
    net = NetworkClassifier(**{"shape": shape_of(row)} | dict(recipe.settings), random_state=seed, threads=threads)
    net.fit(x, y, run=Run(folder, resume=True, progress=True))
    began = time.perf_counter()
    wrong = float((net.predict(other) != truth).mean())
    spent = sum(entry["seconds"] for history in net.histories_ for entry in history.epochs)
    return {"error": 100 * wrong, "parameters": net.parameters_, "seconds": spent,
            "answer_seconds": time.perf_counter() - began, "rows": len(truth)}  # fmt: skip


@click.command()
@click.argument("name", metavar="RECIPE", type=click.Choice(list(RECIPES)))
@click.option("--seed", default=0, show_default=True, help="Of the net, its training, and the labels kept.")
@click.option("--hold-out", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Share of the training rows to keep apart and to measure on instead of the test set.")  # fmt: skip
@click.option("--epochs", default=0, help="Epochs of tuning; 0 takes the ones of the results page.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/networks"), show_default=True,
              help="Folder for checkpoints and results.")  # fmt: skip
def main(name: str, seed: int, hold_out: float, epochs: int, threads: int, out: Path) -> None:
    """Learn RECIPE once: python -m layerwise.experiments.networks mnist-cnn --seed 0."""
    recipe = RECIPES[name]
    if epochs:
        recipe = Recipe(recipe.data, {**recipe.settings, "epochs": epochs}, recipe.reading, recipe.labels)
    measured = measure(name, recipe, seed, hold_out, threads, out)
    report(
        out, {"experiment": name, "seed": seed, "hold_out": hold_out, "epochs": epochs, "threads": threads, **measured}
    )


if __name__ == "__main__":
    main()
