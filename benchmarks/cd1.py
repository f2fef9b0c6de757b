"""One epoch of contrastive divergence (CD-1), 784-500, batches of 100: ours, bare products, and the peers.

All take turns on one thread, so a machine that slows down slows all of them: read the ratios. The lower bound is the five
matrix products that no CD-1 can do without. Rows are made up, as many and as sparse as MNIST's.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import click
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor

from layerwise import RBM, Batches, Training, compute
from layerwise.train import train

ROWS, VISIBLE, HIDDEN, SIZE = 60_000, 784, 500, 100
RATE, MOMENTUM, DECAY = 0.05, 0.9, 2e-4


@torch.no_grad()
def products(x: Tensor) -> None:
    """Up, down, up, and the statistics of data and fantasy: nothing else."""
    w, b, c, h = torch.randn(VISIBLE, HIDDEN), torch.zeros(HIDDEN), torch.zeros(VISIBLE), torch.rand(SIZE, HIDDEN)
    gradient, v = torch.empty_like(w), x[:SIZE]
    for _ in range(len(x) // SIZE):
        torch.addmm(b, v, w)
        torch.addmm(c, h, w.T)
        torch.addmm(b, v, w)
        torch.mm(v.T, h, out=gradient)
        torch.mm(v.T, h, out=gradient)


@torch.no_grad()
def plain(x: Tensor) -> None:
    """The loop that most people write by hand."""
    w, b, c = 0.01 * torch.randn(VISIBLE, HIDDEN), torch.zeros(HIDDEN), torch.zeros(VISIBLE)
    dw, db, dc = torch.zeros_like(w), torch.zeros_like(b), torch.zeros_like(c)
    for index in torch.randperm(len(x)).split(SIZE):
        v = x[index]
        h = torch.sigmoid(v @ w + b)
        v2 = torch.sigmoid(torch.bernoulli(h) @ w.t() + c)
        h2 = torch.sigmoid(v2 @ w + b)
        dw = MOMENTUM * dw + RATE * ((v.t() @ h - v2.t() @ h2) / len(v) - DECAY * w)
        db = MOMENTUM * db + RATE * (h - h2).mean(0)
        dc = MOMENTUM * dc + RATE * (v - v2).mean(0)
        w, b, c = w + dw, b + db, c + dc


def ours(x: Tensor, precision: str = "float32") -> None:
    """`layerwise.train`, with everything that it does besides: schedule, guard, snapshots, the figure."""
    rbm = RBM(VISIBLE, HIDDEN)
    how = Training(epochs=1, rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, precision=precision)
    train(rbm, rbm.learn, Batches(x, size=SIZE), how)


def scikit_learn(x: Tensor) -> None:
    """BernoulliRBM: persistent chains, one Gibbs step, neither momentum nor decay."""
    from sklearn.neural_network import BernoulliRBM

    BernoulliRBM(HIDDEN, batch_size=SIZE, n_iter=1, learning_rate=RATE).fit(x.numpy())


def learnergy(x: Tensor) -> None:
    """`RBM.fit`, as its documentation calls it."""
    from learnergy.models.bernoulli import RBM as Theirs
    from torch.utils.data import TensorDataset

    model = Theirs(VISIBLE, HIDDEN, steps=1, learning_rate=RATE, momentum=MOMENTUM, decay=DECAY)
    model.fit(TensorDataset(x, torch.zeros(len(x))), batch_size=SIZE, epochs=1)


def rbms(x: Tensor) -> None:
    """The updates of `rbms.training.pcd.train` with training_type "cd", without its files and its progress bar."""
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    weight, count = 0.01 * torch.randn(VISIBLE, HIDDEN), len(x)
    params = BBRBM(weight_matrix=weight, vbias=torch.zeros(VISIBLE), hbias=torch.zeros(HIDDEN))
    for parameter in params.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer, weights = torch.optim.SGD(params.parameters(), lr=RATE, maximize=True), torch.ones(count)
    with torch.no_grad():
        for _ in range(count // SIZE):
            index = torch.randperm(count)[:SIZE]
            batch = (x[index], weights[index])
            chains = params.init_chains(SIZE, weights=batch[1], start_v=batch[0])
            optimizer.zero_grad(set_to_none=False)
            fit_batch_pcd(batch, chains, params, gibbs_steps=1, beta=1.0)
            optimizer.step()


def contenders() -> dict[str, Callable[[Tensor], None]]:
    """What can run here: the peers that are installed, and bfloat16 where the processor multiplies in it."""
    found: dict[str, Callable[[Tensor], None]] = {"five bare products": products, "layerwise, float32": ours}
    if compute.choose_precision("auto", torch.device("cpu"), SIZE * VISIBLE * HIDDEN) == "bfloat16":
        found["layerwise, bfloat16"] = partial(ours, precision="bfloat16")
    found |= {"a plain loop by hand": plain, "scikit-learn BernoulliRBM": scikit_learn}
    for name, run in (("learnergy", learnergy), ("rbms", rbms)):
        if find_spec(name):
            found[name] = run
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each.")
@click.option("--rows", default=ROWS, show_default=True, help="Rows of an epoch.")
def main(rounds: int, rows: int) -> None:
    """Time an epoch of each in turn and print medians and ratios."""
    warnings.simplefilter("ignore")
    x = torch.rand(rows, VISIBLE) * (torch.rand(rows, VISIBLE) < 0.19)
    seconds: dict[str, list[float]] = {name: [] for name in contenders()}
    with compute.session(0, 1), threadpool_limits(1):
        for turn in range(rounds + 1):
            for name, run in contenders().items():
                began = time.perf_counter()
                run(x)
                if turn:  # the first round warms up
                    seconds[name].append(time.perf_counter() - began)
    show(seconds)


def show(seconds: dict[str, list[float]]) -> None:
    """Medians, and the median of the ratios within each round."""
    names = list(seconds)
    table = Table("", "seconds", f"/ {names[0]}", f"/ {names[1]}", box=None)
    for name, values in seconds.items():
        ratios = [
            statistics.median(value / other for value, other in zip(values, seconds[base], strict=True))
            for base in names[:2]
        ]
        table.add_row(name, f"{statistics.median(values):.2f}", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
