"""A convolutional deep belief net's features, learned without labels, under a linear SVM (Lee et al., 2009, section 4.3).

`python -m layerwise.experiments.convolutional --labels N --draws D`: two convolutional RBMs learn from all of MNIST's training
pictures without a label. The features of a linear SVM are the strongest pooling unit of each filter in every part of a grid,
of both layers side by side, partly whitened by the spread of all training pictures, which needs no label either. The SVM
learns from N labelled rows; its C is chosen by cross-validation on them. The test set is met by the finished classifier only.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits
from torch import Tensor

from layerwise import compute
from layerwise.baselines import Folds
from layerwise.batches import Batches
from layerwise.convolution import ConvRBM
from layerwise.data.labels import keep_labels
from layerwise.experiments.mnist import Rows, report, seconds, shared
from layerwise.run import Run
from layerwise.stack import Stack
from layerwise.train import Training

LOWER = Training(epochs=1, rate=0.01, weight_decay=1e-3, schedule="linear")
UPPER = Training(epochs=1, rate=0.01, weight_decay=1e-3, schedule="linear")
PARTS = 3  # of a layer's height and width
RIDGE = 10.0  # added to each variance before whitening, in mean variances


def grow(rows: Rows, filters: tuple[int, int], run: Run) -> tuple[Stack, float]:
    """Two convolutional RBMs, 9 x 9 pixels and 5 x 5 pooling units, greedily and without labels; and their seconds."""
    lower = ConvRBM((1, 28, 28), filters[0], kernel=9, sparsity=0.01)
    upper = ConvRBM(lower.out_shape, filters[1], kernel=5, padding=2, sparsity=0.03)
    stack = Stack(lower, upper)
    batches = Batches(rows.train.x, size=10, seed=rows.train.seed)
    histories = stack.pretrain(batches, [rows.how(LOWER), rows.how(UPPER)], run=run)
    return stack, sum(map(seconds, histories))


@torch.no_grad()
def features(stack: Stack, batches: Batches) -> list[Tensor]:
    """The strongest pooling unit of each filter in every part of a grid, shape (n, their number), layer by layer."""
    found: list[list[Tensor]] = [[] for _ in stack]
    for x, _ in batches.in_order():
        for layer, blocks in zip(stack, found, strict=True):
            assert isinstance(layer, ConvRBM)
            x = layer.encode(x)
            blocks.append(F.adaptive_max_pool2d(x.view(-1, *layer.out_shape), PARTS).flatten(1))
    return [torch.cat(blocks) for blocks in found]


def whitened(x: Tensor, other: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both as principal components of x, each divided by sqrt(its variance + RIDGE mean variances); rows of mean length 1.

    What few directions share counts less then in the SVM's norm of the weights, and rare features count more.
    """
    mean = x.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov((x - mean).T).double())
    turn = (directions * (variances.clamp(min=0) + RIDGE * variances.mean()).rsqrt()).float()
    x, other = (x - mean) @ turn, (other - mean) @ turn
    length = x.norm(dim=1).mean()
    return (x / length).numpy(), (other / length).numpy()


def classify(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """What a linear SVM says of the other rows."""
    few = len(y) <= 10000
    # with more rows than features the primal problem is the smaller one
    svm = LinearSVC(dual=len(y) <= x.shape[1], random_state=seed)
    model = GridSearchCV(svm, {"C": [0.3, 1.0, 3.0]}, cv=Folds(seed) if few else 2)
    return model.fit(x, y).predict(other)


@click.command()
@click.option("--labels", type=click.IntRange(10), default=1000, show_default=True, help="Labelled rows.")
@click.option("--draws", type=click.IntRange(1), default=5, show_default=True, help="How often they are drawn.")
@click.option("--filters", nargs=2, type=int, default=(100, 100), show_default=True, help="Filters of the two layers.")
@click.option("--layers", type=click.Choice(["lower", "upper", "both"]), default="both", show_default=True,
              help="Whose features the SVM sees.")  # fmt: skip
@shared
def main(
    labels: int, draws: int, filters: tuple[int, int], layers: str, seed: int, hold_out: int, threads: int, precision: str,
    out: Path,
) -> None:  # fmt: skip
    """Measure the features: python -m layerwise.experiments.convolutional --labels 1000."""
    with compute.session(seed, threads), threadpool_limits(threads):
        rows = Rows.read(hold_out, seed, precision)
        held = f"-held-{hold_out}" if hold_out else ""
        run = Run(out / f"convolutional-{filters[0]}-{filters[1]}-{seed}{held}", resume=True, progress=True)
        stack, learning_seconds = grow(rows, filters, run)
        wanted = {"lower": slice(1), "upper": slice(1, 2), "both": slice(2)}[layers]
        x, other = whitened(*(torch.cat(features(stack, part)[wanted], 1) for part in (rows.train, rows.other)))
        errors, svm_seconds = measured(rows, x, other, labels, draws)
    found: dict[str, Any] = {"error": statistics.fmean(errors), "errors": errors, "features": x.shape[1]}
    if len(errors) > 1:
        found["sd"] = statistics.stdev(errors)
    took = {"learning_seconds": learning_seconds, "svm_seconds": svm_seconds}
    asked = {"labels": labels, "seed": seed, "hold_out": hold_out, "filters": list(filters), "layers": layers}
    report(out, {"experiment": "convolutional", **asked, "precision": precision, **found, **took})


def measured(rows: Rows, x: np.ndarray, other: np.ndarray, labels: int, draws: int) -> tuple[list[float], float]:
    """Errors in %, one per draw of the labels, and the seconds that the SVMs took."""
    assert rows.train.y is not None and rows.other.y is not None
    y, truth, errors = rows.train.y.numpy(), rows.other.y.numpy(), []
    began = time.perf_counter()
    for draw in range(draws if labels < len(y) else 1):
        known = np.flatnonzero(keep_labels(y, min(labels, len(y)), draw) >= 0)
        wrong = classify(x[known], y[known], other, draw) != truth
        errors.append(100 * float(wrong.mean()))
        click.echo(f"draw {draw}: {errors[-1]:.2f} %")
    return errors, time.perf_counter() - began


if __name__ == "__main__":
    main()
