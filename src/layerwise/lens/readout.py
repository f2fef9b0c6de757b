"""What can be read off a layer by a linear map: the label, and the input? On rows held out, beside shuffled labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from layerwise.lens.information import Information
from layerwise.lens.mistakes import interval
from layerwise.lens.rebuilding import Rebuilt, rebuild

LEAST = 10  # rows of each class, and rows for rebuilding: six to fit, two to choose the ridge, two held out
RIDGES = (1.0, 1e-2, 1e-4)  # as shares of the rows, for standardised codes, in rebuilding
DECAYS = (
    1e-1,
    1e-2,
    1e-3,
)  # of a probe's weights, for standardised codes; the largest first: each starts from the last
STEPS = 30  # of L-BFGS per decay


@dataclass(frozen=True)
class Reading:
    """How well a linear probe reads the label off a layer, on rows that neither fitted nor chose it.

    Arguments:
        accuracy: Share of the rows held out that it names rightly.
        low, high: Wilson's 95 % interval of it.
        chance: Accuracy of always naming the commonest class.
        null, null_high: Mean and highest accuracy of the same probe fitted to shuffled labels.
        cross_entropy: Nats per row held out.
        information: The lower bound on I(T; Y) that follows: H(Y) - cross_entropy.
        fitted, held: How many rows fitted it (a third as many more chose its weight decay), and were held out.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    null: float
    null_high: float
    cross_entropy: float
    information: Information
    fitted: int
    held: int


def read_labels(codes: Tensor, labels: np.ndarray, *, shuffles: int = 5, seed: int = 0) -> Reading:
    """Fits a linear probe (Alain & Bengio, 2016) to 60 % of the rows, chooses its decay on 20 %, and tests it on 20 %.

    The probe is a softmax regression on standardised codes, fitted by L-BFGS.

    Arguments:
        codes: Shape (n, ...), laid flat.
        labels: Class indices, shape (n,); rows below 0 have no label and are left out.
        shuffles: How many probes are fitted to shuffled labels, for the null.
        seed: Of the split and the shuffles.

    Raises:
        ValueError: If there are fewer than two classes, or fewer than 10 rows of one (it says how many are needed), or a state
            is not finite.

    Example:
        >>> y = np.repeat([0, 1], 50)
        >>> found = read_labels(torch.as_tensor(y)[:, None] + 0.1 * torch.randn(100, 1), y)
        >>> found.accuracy, found.chance, found.held, found.null < 0.8
        (1.0, 0.5, 20, True)
    """
    known = np.flatnonzero(np.asarray(labels) >= 0)
    names, own = np.unique(np.asarray(labels)[known], return_inverse=True)
    _check_classes(names, own)
    x, y = _finite(codes)[torch.as_tensor(known)], torch.as_tensor(own)
    fit, choose, test = _split(own, seed)
    standard = Standard(x[fit])
    parts = [standard(x[part]) for part in (fit, choose, test)]
    decay, weights = _chosen_probe(parts, y[fit], y[choose], len(names))
    chance = torch.Generator().manual_seed(seed)
    null = [y[fit][torch.randperm(len(fit), generator=chance)] for _ in range(shuffles)]
    probes = torch.cat([weights, _fit(parts[0], torch.stack(null), len(names), decay)]) if null else weights
    scores = _scores(parts[2], probes)
    right = (scores.argmax(2) == y[test][:, None]).double().mean(0)
    misses = torch.nn.functional.cross_entropy(scores[:, 0], y[test], reduction="none")
    return _reading(right, misses.double(), y[test], len(fit))


def _chosen_probe(parts: list[Tensor], fit: Tensor, choose: Tensor, classes: int) -> tuple[float, Tensor]:
    """The decay and the probe with the least cross-entropy on the rows that choose."""
    best, weights = (math.inf, 0.0, torch.empty(0)), None
    for decay in DECAYS:
        weights = _fit(parts[0], fit[None], classes, decay, weights)
        miss = float(torch.nn.functional.cross_entropy(_scores(parts[1], weights)[:, 0], choose))
        best = min(best, (miss, decay, weights), key=lambda each: each[0])
    return best[1:]


def _fit(x: Tensor, y: Tensor, classes: int, decay: float, start: Tensor | None = None) -> Tensor:
    """Softmax regressions on the same rows, shape (probes, classes, 1 + units), for labels of shape (probes, n)."""
    weights = torch.zeros(len(y), classes, 1 + x.shape[1]) if start is None else start.clone()
    weights.requires_grad_()
    solver = torch.optim.LBFGS([weights], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        miss = torch.nn.functional.cross_entropy(_scores(x, weights).permute(0, 2, 1), y.T) * len(y)
        total = miss + decay / 2 * weights[:, :, 1:].square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(loss)
    return weights.detach()


def _scores(x: Tensor, weights: Tensor) -> Tensor:
    """Logits of every probe, shape (n, probes, classes)."""
    flat = weights.flatten(0, 1)
    return torch.nn.functional.linear(x, flat[:, 1:], flat[:, 0]).view(len(x), len(weights), -1)


def _reading(right: Tensor, misses: Tensor, y: Tensor, fitted: int) -> Reading:
    """`right`: accuracy of the probe and of its nulls; `misses`: cross-entropy of each row held out."""
    count = len(y)
    shares = torch.bincount(y).double() / count
    entropy = float(-torch.special.xlogy(shares, shares).sum())
    low, high = interval(round((1 - float(right[0])) * count), count)
    null = right[1:] if len(right) > 1 else torch.full((1,), float("nan"), dtype=right.dtype)
    error = float(misses.std() / math.sqrt(count))
    found = Information(
        "T;Y", "probe", "no noise: what a linear probe reads, on rows held out", float("nan"), entropy - float(misses.mean()),
        entropy, error, count, entropy, capped=False,
    )  # fmt: skip
    return Reading(float(right[0]), 1 - high, 1 - low, float(shares.max()), float(null.mean()), float(null.max()),
                   float(misses.mean()), found, fitted, count)  # fmt: skip


@torch.no_grad()
def rebuild_linearly(codes: Tensor, inputs: Tensor, *, scale: Tensor | None = None, seed: int = 0) -> Rebuilt:
    """How well the input can be rebuilt from a layer by a linear map, on 20 % of the rows, which neither fit nor choose it.

    What a linear map cannot rebuild may still be there: a lower bound on what the layer keeps.

    Arguments:
        codes: Shape (n, ...), n >= 10, laid flat.
        inputs: Shape (n, ...), the same rows as they went in, laid flat.
        scale: Units to measure the features in, shape (features,), > 0; None for the data's own.
        seed: Of the split.

    Returns:
        Errors over the rows held out; the baseline is their own mean.

    Raises:
        ValueError: If there are fewer than 10 rows, or the two differ in number.

    Example:
        >>> x = torch.randn(100, 3)
        >>> round(rebuild_linearly(x @ torch.randn(3, 5), x).share, 3), rebuild_linearly(x[:, :1], x).share < 0.7
        (1.0, True)
    """
    if len(codes) != len(inputs):
        raise ValueError(f"{len(inputs)} rows of input came with {len(codes)} of codes.")
    if len(codes) < LEAST:
        raise ValueError(f"Rebuilding the input needs at least {LEAST} rows, got {len(codes)}.")
    x, y = _finite(codes), _finite(inputs).double()
    y = y if scale is None else y / scale.double()
    fit, choose, test = _split(np.zeros(len(x), dtype=np.int64), seed)
    standard = Standard(x[fit])
    ridge = _Ridge(standard(x[fit]), y[fit])
    best = min(RIDGES, key=lambda each: float((ridge(standard(x[choose]), each) - y[choose]).square().sum()))
    return rebuild(lambda codes: ridge(standard(codes), best), y[test], x[test])


class _Ridge:
    """Ridge regression of targets (n, t) on standardised codes (n, d), for several ridges from one sum of products."""

    def __init__(self, x: Tensor, targets: Tensor) -> None:
        self.middle, self.count = targets.mean(0), len(x)
        self.gram, self.products = (x.T @ x).double(), (x.T @ (targets - self.middle).to(x.dtype)).double()
        self.weights: dict[float, Tensor] = {}

    def __call__(self, x: Tensor, ridge: float) -> Tensor:
        if ridge not in self.weights:
            damped = self.gram.clone()
            damped.diagonal().add_(ridge * self.count)
            self.weights[ridge] = torch.cholesky_solve(self.products, torch.linalg.cholesky(damped))
        return (x @ self.weights[ridge].to(x.dtype)).double() + self.middle


class Standard:
    """Codes about the mean of those it was made from, in their standard deviations; 0 for a unit that did not vary.

    Example:
        >>> Standard(torch.tensor([[1.0, 3.0], [3.0, 3.0]]))(torch.tensor([[5.0, 4.0]])).tolist()
        [[3.0, 0.0]]
    """

    def __init__(self, codes: Tensor) -> None:
        self.mean = codes.double().mean(0)
        spread = codes.double().std(0, unbiased=False)
        self.scale = torch.where(spread > 1e-6 * codes.abs().amax(0), 1 / spread.clamp_min(1e-300), 0.0)

    def __call__(self, codes: Tensor) -> Tensor:
        """In float32, which decides how fast the products are."""
        return ((codes - self.mean) * self.scale).float()


def _finite(codes: Tensor) -> Tensor:
    x = codes.detach().flatten(1).to("cpu")
    if not x.isfinite().all():
        raise ValueError("The states of the layer hold NaN or infinite values.")
    return x


def _check_classes(names: np.ndarray, own: np.ndarray) -> None:
    if len(names) < 2:
        raise ValueError(f"A probe needs labelled rows of at least two classes, got {len(names)}.")
    counts = np.bincount(own)
    if counts.min() < LEAST:
        rare = int(counts.argmin())
        raise ValueError(f"A probe needs at least {LEAST} rows of each class, but class {names[rare]} has {counts[rare]}. Give "
                         "more rows, or leave that class out (label -1).")  # fmt: skip


def _split(own: np.ndarray, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows to fit (60 %), to choose (20 %) and to hold out (20 %), of each class alike."""
    order = np.random.default_rng(seed).permutation(len(own))
    order = order[np.argsort(own[order], kind="stable")]  # by class, in random order within each
    place = np.arange(len(own)) % 5
    return tuple(torch.as_tensor(np.sort(order[np.isin(place, each)])) for each in ((0, 1, 2), (3,), (4,)))  # type: ignore[return-value]
