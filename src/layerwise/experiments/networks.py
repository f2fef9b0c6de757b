"""What networks reach on pictures, sound, text and tables, with and without learning from rows that have no label.

`python -m layerwise.experiments.networks RECIPE --seed S` learns the training part and meets the test part once;
`--hold-out SHARE` learns from the rest of the training part and measures on that share of it instead: settings were chosen
so. For a speaker never heard (recipes in -unseen, whose seed is the number of the speaker left out) any share leaves out the
other speaker of the pair (0 and 1, 2 and 3, 4 and 5), too, and measures on the training clips of that one.
Each run adds a line of JSON to OUT/results.jsonl, and takes up where it was stopped when it is called again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from layerwise import baselines
from layerwise.data import Dataset, cache_folder, keep_labels, load
from layerwise.data.labels import hold_out as held
from layerwise.data.sound import fsdd_speakers
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

GROWN = {"pretrain": "greedy", "pretrain_epochs": 10}
SPEECH = {"net": "cnn", "layers": (32, 64, 128), "epochs": 60, "augment": "sound", "average": 0.99, "batch_size": 64,
          "options": {"hidden": (128,), "dropout": 0.5, "stage_dropout": 0.1}}  # fmt: skip
WORD = {"net": "cnn", "layers": (32, 64, 128), "epochs": 30, "rate": 2e-3, "average": 0.99, "batch_size": 64,
        "options": {"hidden": (128,), "dropout": 0.5, "stage_dropout": 0.1}}  # fmt: skip
LSTM = {"net": "lstm", "layers": (128,), "epochs": 30, "options": {"swap": True, "dropout": 0.3}}
STRETCHED = {"fit": "stretch", "bands": 20, "seconds": 0.32}
NEWS = {
    "net": "mlp",
    "layers": (256,),
    "epochs": 10,
    "average": 0.99,
    "options": {"dropout": 0.5, "input_dropout": 0.6},
}
FEW = NEWS | {"epochs": "auto", "options": {"dropout": 0.5, "input_dropout": 0.3}}
TABLE: dict[str, Any] = {"net": "mlp", "layers": (512, 512, 512), "options": {"batch_norm": True, "dropout": 0.1},
                         "average": 0.999}  # fmt: skip
ADULT = TABLE | {"layers": (128, 128), "epochs": 10, "rate": 5e-4}

RECIPES = {
    "mnist-cnn": Recipe("mnist", CNN),
    "mnist-cnn-shifts": Recipe("mnist", DEEP | {"epochs": 25, "augment": SHIFTS}),
    "fashion-cnn": Recipe("fashion_mnist", DEEP | {"epochs": 35, "augment": {"shift": 2, "flip": True}}),
    "fashion-resnet": Recipe("fashion_mnist", RESNET | {"epochs": 15, "augment": {"shift": 2, "flip": True}}),
    "cifar-resnet": Recipe("cifar10", RESNET | {"epochs": 25, "augment": "image"}),
    "cifar-cnn": Recipe("cifar10", DEEP | {"epochs": 25, "augment": "image"}),
    "cifar-dense": Recipe("cifar10", DENSE | {"epochs": 25, "augment": "image"}),
    "cifar-cnn-1000": Recipe("cifar10", DEEP | {"epochs": 100, "augment": "image"}, labels=1000),
    "cifar-cnn-1000-grown": Recipe("cifar10", DEEP | {"epochs": 100, "augment": "image"} | GROWN, labels=1000),
    "fsdd-cnn": Recipe("fsdd", WORD, STRETCHED),
    "fsdd-cnn-grown": Recipe("fsdd", WORD | GROWN, STRETCHED),
    "fsdd-padded": Recipe("fsdd", SPEECH),
    "fsdd-lstm": Recipe("fsdd", LSTM, STRETCHED),
    "fsdd-unseen": Recipe("fsdd", WORD, STRETCHED),  # their seed is the number of the speaker held out, 0 to 5
    "fsdd-lstm-unseen": Recipe("fsdd", LSTM, STRETCHED),
    "fsdd-padded-unseen": Recipe("fsdd", SPEECH),
    "news-dense": Recipe("ag_news", NEWS),
    "news-dense-grown": Recipe("ag_news", NEWS | GROWN),
    "news-dense-200": Recipe("ag_news", FEW, labels=200),
    "news-dense-200-grown": Recipe("ag_news", FEW | GROWN | {"pretrain_epochs": 20, "tune": "output"}, labels=200),
    "news-lstm": Recipe("ag_news", {"layers": (64,), "epochs": 8, "options": {"dropout": 0.5}}, {"form": "words"}),
    "letter-dense": Recipe("letter", TABLE | {"epochs": 60}),
    "adult-dense": Recipe("adult", ADULT),
    "adult-pieces": Recipe(
        "adult", ADULT | {"batch_size": 512, "rate": 1e-3, "epochs": 15, "options": ADULT["options"] | {"pieces": 24}}
    ),
    "adult-embedded": Recipe(
        "adult",
        ADULT
        | {
            "batch_size": 512,
            "rate": 4e-3,
            "epochs": 15,
            "options": {"batch_norm": True, "dropout": 0.3, "pieces": 200, "embedding": 8},
        },
    ),
    "covtype-dense": Recipe("covtype20k", TABLE | {"epochs": 60}),
    "covtype-pieces": Recipe("covtype20k", TABLE | {"epochs": 60, "options": TABLE["options"] | {"pieces": 32}}),
}


def by_speaker(train: Dataset, test: Dataset, number: int, inner: bool = False) -> tuple[Dataset, Dataset]:
    """The training clips of all speakers but one, and all clips of that one.

    If `inner`, the training clips of all but it and its partner, and those of the partner: settings are chosen without it.
    """
    mine, theirs = fsdd_speakers(cache_folder() / "fsdd")
    held_out, partner = (sorted(set(mine))[each] for each in (number, number ^ 1))
    if inner:
        return train.take((mine != held_out) & (mine != partner)), train.take(mine == partner)
    out = [train.take(mine == held_out), test.take(theirs == held_out)]
    y = np.concatenate([part.y for part in out if part.y is not None])
    return train.take(mine != held_out), replace(out[0], x=np.concatenate([part.x for part in out]), y=y, lengths=None)


def matrices(recipe: Recipe, hold_out: float, seed: int, unseen: bool = False) -> tuple[Any, Any, Any, Any, Any]:
    """Rows and labels to learn from, rows and labels to measure on, and what a row is."""
    train = load(recipe.data, "train", **recipe.reading)
    assert train.y is not None
    if unseen:
        train, other = by_speaker(train, load(recipe.data, "test", **recipe.reading), seed, hold_out > 0)
    elif hold_out:
        out = held(train.y, len(train), hold_out, 12345)  # the same rows for every seed
        other, train = train.take(out), train.take(~out)
    else:
        other = load(recipe.data, "test", **recipe.reading)
    assert train.y is not None and other.y is not None
    y = train.y if recipe.labels is None else keep_labels(train.y, recipe.labels, seed)
    return train.matrix(), y, other.matrix(), other.y, train.row


def shape_of(row: Any, recipe: Recipe) -> tuple[int, ...]:
    """A row's shape as the networks take it."""
    grey = row.pictured and len(row.shape) == 2 and recipe.settings.get("net") != "lstm"
    return (1, *row.shape) if grey else tuple(row.shape)


def measure_rivals(
    name: str, recipe: Recipe, seed: int, hold_out: float, methods: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Error, in %, and seconds of each shallow rival: on a recipe's labelled rows, and of those that learn from all rows."""
    x, y, other, truth, row = matrices(recipe, hold_out, seed, name.endswith("-unseen"))
    rivals = baselines.rivals(row.kind, seed, shape=row.shape)
    if (y < 0).any():
        rivals |= baselines.rivals_of_all_rows(row.kind, seed)
    if unknown := set(methods) - set(rivals):
        raise click.BadParameter(f"There is no rival {unknown.pop()!r} here, but {', '.join(rivals)}.")
    for method in methods or rivals:
        model = rivals[method]
        rows = np.flatnonzero((y >= 0) | baselines.learns_from_all_rows(model))
        began = time.perf_counter()
        model.fit(x[rows], y[rows])
        seconds = time.perf_counter() - began
        wrong = float((model.predict(other) != truth).mean())
        yield {"method": method, "error": 100 * wrong, "seconds": seconds, "rows": len(truth)}


def measure(name: str, recipe: Recipe, seed: int, hold_out: float, threads: int, out: Path) -> dict[str, Any]:
    """Learns a recipe and measures its error, in %."""
    x, y, other, truth, row = matrices(recipe, hold_out, seed, name.endswith("-unseen"))
    folder = out / f"{name}-{seed}{f'-held-{hold_out}' if hold_out else ''}"
    symbols = len(row.vocabulary) + 2 if getattr(row, "vocabulary", ()) else None
    told = {"shape": shape_of(row, recipe), "vocabulary": symbols}
    net = NetworkClassifier(**told | dict(recipe.settings), random_state=seed, threads=threads)
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
@click.option("--rivals", is_flag=True, help="Measure the shallow rivals on the same rows instead.")
@click.option("--method", "methods", multiple=True, help="One of the rivals; may be repeated.  [default: all]")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/networks"), show_default=True,
              help="Folder for checkpoints and results.")  # fmt: skip
def main(
    name: str, seed: int, hold_out: float, epochs: int, rivals: bool, methods: tuple[str, ...], threads: int, out: Path
) -> None:
    """Learn RECIPE once: python -m layerwise.experiments.networks mnist-cnn --seed 0."""
    recipe = RECIPES[name]
    if epochs:
        recipe = Recipe(recipe.data, {**recipe.settings, "epochs": epochs}, recipe.reading, recipe.labels)
    settings = {"experiment": name, "seed": seed, "hold_out": hold_out, "epochs": epochs, "threads": threads}
    if not (rivals or methods):
        report(out, settings | measure(name, recipe, seed, hold_out, threads, out))
        return
    for found in measure_rivals(name, recipe, seed, hold_out, methods):
        report(out, settings | found)


if __name__ == "__main__":
    main()
