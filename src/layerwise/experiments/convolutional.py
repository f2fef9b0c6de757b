"""A convolutional deep belief net's features, learned without labels, under a linear SVM (Lee et al., 2009, section 4.3).

`python -m layerwise.experiments.convolutional --labels N --draws D`: two convolutional RBMs learn from all of MNIST's training
pictures without a label; their pooling units, of both layers side by side, are the features of a linear SVM that learns
from N labelled rows. Its C is chosen by cross-validation on those rows. The test set is met by the finished classifier only.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from layerwise import compute
from layerwise.baselines import Folds
from layerwise.batches import Batches
from layerwise.convolution import ConvRBM
from layerwise.data.labels import keep_labels
from layerwise.experiments.mnist import Rows, report, shared
from layerwise.run import Run
from layerwise.stack import Stack
from layerwise.train import Training

LOWER = Training(epochs=5, rate=0.002, momentum=0.9, weight_decay=1e-3, schedule="linear")
UPPER = Training(epochs=10, rate=0.002, momentum=0.9, weight_decay=1e-3, schedule="linear")


def grow(rows: Rows, filters: tuple[int, int], run: Run) -> Stack:
    """Two convolutional RBMs, 11 x 11 and 5 x 5 pixels, greedily and without labels."""
    lower = ConvRBM((1, 28, 28), filters[0], kernel=11, block=2, sparsity=0.03, sparsity_cost=0.5)
    upper = ConvRBM(lower.out_shape, filters[1], kernel=4, block=2, sparsity=0.05, sparsity_cost=0.5)
    stack = Stack(lower, upper)
    stack.pretrain(Batches(rows.train.x, size=50, seed=rows.train.seed), [rows.how(LOWER), rows.how(UPPER)], run=run)
    return stack


@torch.no_grad()
def features(stack: Stack, batches: Batches) -> np.ndarray:
    """Pooling units of every layer side by side, shape (n, their number)."""
    blocks = []
    for x, _ in batches.in_order():
        codes = [stack.encode(x, depth) for depth in range(1, len(stack) + 1)]
        blocks.append(torch.cat(codes, 1).numpy())
    return np.concatenate(blocks)


def classify(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """What a linear SVM says of the other rows."""
    scale = x.std(0).mean() or 1.0
    grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1]} if len(y) <= 10000 else {"C": [1e-3, 3e-3]}
    model = GridSearchCV(LinearSVC(random_state=seed), grid, cv=Folds(seed) if len(y) <= 10000 else 2)
    return model.fit(x / scale, y).predict(other / scale)


@click.command()
@click.option("--labels", type=click.IntRange(10), default=1000, show_default=True, help="Labelled rows.")
@click.option("--draws", type=click.IntRange(1), default=5, show_default=True, help="How often they are drawn.")
@click.option("--filters", nargs=2, type=int, default=(40, 40), show_default=True, help="Filters of the two layers.")
@shared
def main(
    labels: int, draws: int, filters: tuple[int, int], seed: int, hold_out: int, threads: int, precision: str, out: Path
) -> None:
    """Measure the features: python -m layerwise.experiments.convolutional --labels 1000."""
    with compute.session(seed, threads), threadpool_limits(threads):
        rows = Rows.read(hold_out, seed, precision)
        held = f"-held-{hold_out}" if hold_out else ""
        run = Run(out / f"convolutional-{filters[0]}-{filters[1]}-{seed}{held}", resume=True, progress=True)
        stack = grow(rows, filters, run)
        x, other = features(stack, rows.train), features(stack, rows.other)
        errors, seconds = measured(rows, x, other, labels, draws)
    spread: dict[str, Any] = {"sd": statistics.stdev(errors)} if len(errors) > 1 else {}
    report(out, {"experiment": "convolutional", "labels": labels, "seed": seed, "hold_out": hold_out, "filters": list(filters),
                 "precision": precision, "error": statistics.fmean(errors), **spread, "errors": errors, "features": x.shape[1],
                 "svm_seconds": seconds})  # fmt: skip


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
