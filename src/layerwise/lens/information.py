r"""How many nats does a layer T tell about the input X and about the label Y? Never as a bare number.

A deterministic net with continuous states has I(X; T) infinite, or ln N for N different rows. What can be measured is the
information after noise was added, or after states were put in bins, and it is a property of that noise or those bins. So
each figure here is a pair of bounds that names its noise or bins, its cap, and what the same estimator says of shuffled labels.

.. math:: T' = T + \sqrt{\sigma^2}\, z, \qquad z \sim N(0, 1)

The noise is the estimator's, not the net's: the data-processing inequality need not hold for noise that is added anew to every
layer, and a violation says that the widths do not compare (Saxe et al., 2018; Goldfeld et al., 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

LEAST = 100  # rows: with fewer even ln N, the most that can be told, is below 4.6 nats
PER_CLASS = 10  # rows that each class needs on average
SHUFFLES = 5  # of the labels, for the null
SHARES = (0.01, 0.1, 1.0, 10.0, 100.0)  # noise variances of a sweep, in mean variances of the layer's units

About = Literal["X;T", "T;Y"]


@dataclass(frozen=True)
class Information:
    """A mutual information between two bounds, in nats, with all that it depends on.

    Arguments:
        about: "X;T" for the input and the layer, "T;Y" for the layer and the label.
        method: "samples", "pairs", "bins" or "probe": see `noisy_information`, `binned_information` and `read_labels`.
        through: What makes it finite: the noise, the bins, or for a probe what it reads.
        width: Variance of the noise, in squared units of the states; how wide a bin is; NaN for a probe.
        lower, upper: The bounds.
        error: Standard error of the bounds by the choice of rows, NaN if unknown.
        rows: How many rows were looked at.
        cap: The most that the estimator can say: ln(rows) for "X;T", the entropy of the labels for "T;Y".
        capped: Whether it says (nearly) that: then it tells how many rows there were, not what the layer holds.
        null: The lower bound for shuffled labels, mean over shuffles: what is not above it is nothing. NaN for "X;T".
        null_upper: As `null`, of the upper bound, where it depends on which label is whose; NaN elsewhere.
        estimate: A value between or beside the bounds without a guarantee (the plug-in of bins); NaN if there is none.

    Raises:
        ValueError: If `through` is empty: without its noise or bins the number means nothing.
    """

    about: About
    method: Literal["samples", "pairs", "bins", "probe"]
    through: str
    width: float
    lower: float
    upper: float
    error: float
    rows: int
    cap: float
    capped: bool
    null: float = float("nan")
    null_upper: float = float("nan")
    estimate: float = float("nan")

    def __post_init__(self) -> None:
        if not self.through:
            raise ValueError(
                "An information needs its noise or bins: give `through`. Without them it is infinite or ln N."
            )

    def __str__(self) -> str:
        null = "" if math.isnan(self.null) else f", shuffled labels {self.null:.2f}"
        null += "" if math.isnan(self.null_upper) else f" to {self.null_upper:.2f}"
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        cap = "; AT ITS CAP: more rows would raise it" if self.capped else ""
        return (f"I({self.about}) in {self.lower:.2f} to {self.upper:.2f}{error} nats through {self.through} "
                f"({self.method}, {self.rows} rows, cap {self.cap:.2f}{null}{cap})")  # fmt: skip


# -- noise -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def noisy_information(
    codes: Tensor,
    labels: np.ndarray | None = None,
    *,
    noise: Sequence[float] | None = None,
    shares: Sequence[float] = SHARES,
    rows: int = 2000,
    seed: int = 0,
) -> list[Information]:
    r"""Bounds on I(X; T') and I(T'; Y) where T' is the layer with Gaussian noise, for a sweep of noise widths.

    For each width and each of "X;T" and, with labels, "T;Y":

    * "samples" holds for the population that the rows were drawn from, in expectation. I(X; T'): InfoNCE with the density of
      the noise as its critic, at most ln N, and its leave-one-out counterpart (Poole et al., 2019, section 2.4). I(T'; Y): the
      leave-one-out posterior of the kernel classifier (Barber & Agakov, 2003), and the entropy of the labels or the bound on
      I(X; T'), whichever is less.
    * "pairs" holds for these N rows as if there were no others, at most ln N: the bounds by pairwise distances of Kolchinsky &
      Tracey (2017, equations 7 and 13; Bhattacharyya below, Kullback-Leibler above), as in Saxe et al. (2018).

    Time and memory go with the square of the rows: about 0.1 s per width for 2,000, beside the distances.

    Arguments:
        codes: Shape (n, units), n >= 100.
        labels: Class indices, shape (n,); below 0 for unknown ones. None leaves out "T;Y".
        noise: Variances of the noise, > 0, in squared units of the states; None for `shares`.
        shares: Variances as shares of the mean variance of the units: the figures then do not change when the layer is scaled.
        rows: How many rows, chosen at random, are looked at at most.
        seed: Of the choice, the noise and the shuffles.

    Raises:
        ValueError: If rows are too few (it says how many are needed), states are not finite or all alike, or a width is <= 0.

    Example:
        >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> found = noisy_information(x, noise=[1.0])[0]
        >>> found.method, abs(found.lower - math.log(2)) < 2 * found.error, found.capped  # log 2 is the truth
        ('samples', True, False)
    """
    x, y = _chosen(codes, labels, rows, seed)
    scale = float(x.var(0, unbiased=False).mean())
    if not scale > 0:
        raise ValueError("All rows have the same states: the layer tells nothing. See the health of the layer.")
    widths = [(variance, variance / scale) for variance in noise] if noise else [(s * scale, s) for s in shares]
    if bad := [variance for variance, _ in widths if not variance > 0]:
        raise ValueError(
            f"The variance of the noise must be above 0, got {bad[0]:g}: without noise it is infinite or ln N."
        )
    layer = _Layer(x / math.sqrt(scale), y, seed)
    return [found for variance, share in widths for found in layer.information(variance, share)]


class _Layer:
    """Distances between the states of a layer, from which the bounds for any noise follow."""

    def __init__(self, x: Tensor, y: np.ndarray | None, seed: int) -> None:
        chance = torch.Generator().manual_seed(seed)
        x = x - x.mean(0)
        self.count = len(x)
        square = x.square().sum(1)
        self.distance = (square[:, None] + square - 2 * x @ x.T).clamp_min(0).fill_diagonal_(0).float()
        products = torch.randn(x.shape, generator=chance) @ x.float().T
        self.drift = products.diagonal()[:, None] - products  # z_i (t_i - t_j)
        self.groups: Tensor | None = None
        if y is not None:
            own = torch.as_tensor(np.unique(y, return_inverse=True)[1])
            orders = [
                torch.arange(self.count),
                *(torch.randperm(self.count, generator=chance) for _ in range(SHUFFLES)),
            ]
            # Shape (n, 1 + shuffles, classes): the first is real, the others are the null.
            self.groups = torch.stack([torch.nn.functional.one_hot(own[order]) for order in orders], 1).float()
            self.entropy = _entropy(own.numpy())

    def information(self, variance: float, share: float) -> list[Information]:
        through = f"Gaussian noise of variance {variance:.3g} ({share:.3g} of the units' mean), added by the estimator"
        return [*self._by_samples(variance, share, through), *self._by_pairs(variance, share, through)]

    def _by_samples(self, variance: float, share: float, through: str) -> list[Information]:
        """With L_ij = log p(t'_i | x_j) / p(t'_i | x_i)."""
        n, log_n = self.count, math.log(self.count)
        odds = -(self.distance + 2 * math.sqrt(share) * self.drift) / (2 * share)
        odds.fill_diagonal_(-math.inf)
        peak = odds.amax(1)
        others = _exp_(odds.sub_(peak[:, None]))
        rest = peak + others.sum(1).log()
        lower, upper = log_n - torch.logaddexp(rest, torch.zeros_like(rest)), math.log(n - 1) - rest
        first = Information("X;T", "samples", through, variance, float(lower.mean()), max(float(upper.mean()), 0.0),
                            _error(lower), n, log_n, float(lower.mean()) > 0.9 * log_n)  # fmt: skip
        if self.groups is None:
            return [first]
        gains = self.entropy + self._log_posteriors(others, self.groups)
        return [first, Information(
            "T;Y", "samples", through, variance, float(gains[:, 0].mean()), min(self.entropy, first.upper),
            _error(gains[:, 0]), n, self.entropy, False, float(gains[:, 1:].mean()),
        )]  # fmt: skip

    def _log_posteriors(self, weights: Tensor, groups: Tensor) -> Tensor:
        """log q(y_i | t'_i) by the other rows' kernels, mixed with 1 % of their class shares so that it stays finite."""
        posterior = _sums(weights, groups) / weights.sum(1)[:, None, None]
        prior = (groups.sum(0) - groups) / (self.count - 1)
        return ((0.99 * posterior + 0.01 * prior) * groups).sum(2).clamp_min(1e-12).log().double()

    def _by_pairs(self, variance: float, share: float, through: str) -> list[Information]:
        far, near = (self.distance / (-factor * share) for factor in (2, 8))
        kernels = _exp_(far), _exp_(near)  # Kullback-Leibler, and Bhattacharyya divergences
        upper, lower = (-kernel.mean(1).log() for kernel in kernels)
        cap = math.log(self.count)
        capped = float(upper.mean()) > 0.9 * cap
        found = [Information("X;T", "pairs", through, variance, float(lower.mean()), float(upper.mean()),
                             _error(lower), self.count, cap, capped)]  # fmt: skip
        if self.groups is not None:
            ends = self._between_groups(kernels, self.groups, float(lower.mean()), float(upper.mean()))
            (low, high), null = ends[0].tolist(), ends[1:].mean(0).tolist()
            found.append(Information("T;Y", "pairs", through, variance, low, high, _error(lower), self.count, self.entropy,
                                     capped, *null))  # fmt: skip
        return found

    def _between_groups(self, kernels: tuple[Tensor, Tensor], groups: Tensor, lower: float, upper: float) -> Tensor:
        """Bounds of H(T') - H(T' | Y), shape (1 + shuffles, 2): one end of an entropy less the other end of the other."""
        sizes = (groups @ groups.sum(0)[0])[:, :, None]
        high, low = (
            -((_sums(each, groups) * groups).sum(2, keepdim=True) / sizes).log().mean((0, 2)) for each in kernels
        )
        return torch.stack([(lower - high).clamp_min(0), (upper - low).clamp_max(self.entropy)], 1)


def _sums(weights: Tensor, groups: Tensor) -> Tensor:
    """Each row's weights added up by group, of the shape of `groups`."""
    return (weights @ groups.flatten(1)).view_as(groups)


def _exp_(x: Tensor) -> Tensor:
    """exp in place, never below exp(-80): smaller numbers vanish in any sum with a 1, but slow arithmetic down tenfold."""
    return x.clamp_min_(-80).exp_()


def _error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))


def _chosen(codes: Tensor, labels: np.ndarray | None, rows: int, seed: int) -> tuple[Tensor, np.ndarray | None]:
    """At most `rows` rows, float64, with known labels if there are labels; refused if they are too few."""
    x = codes.detach().flatten(1).to("cpu")
    y = None if labels is None else np.asarray(labels)
    if y is not None and len(y) != len(x):
        raise ValueError(f"{len(x)} rows came with {len(y)} labels.")
    known = torch.arange(len(x)) if y is None else torch.as_tensor(np.flatnonzero(y >= 0))
    keep = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:rows]]
    x, y = x[keep].double(), None if y is None else y[keep.numpy()]
    classes = 0 if y is None else len(np.unique(y))
    needed = max(LEAST, PER_CLASS * classes)
    if len(x) < needed:
        kind = "rows" if y is None else f"labelled rows of {classes} classes"
        raise ValueError(f"{len(x)} {kind} are too few to estimate an information: at least {needed} are needed.")
    if classes == 1:
        raise ValueError("All rows have the same label: there is nothing to know about it.")
    if not x.isfinite().all():
        raise ValueError("The states of the layer hold NaN or infinite values.")
    return x, y


# -- bins --------------------------------------------------------------------------------------------------------------


def binned_information(
    codes: Tensor,
    labels: np.ndarray | None = None,
    *,
    bins: int = 30,
    low: float | None = None,
    high: float | None = None,
    rows: int = 10_000,
    seed: int = 0,
) -> list[Information]:
    """Information of a layer whose states were put into equal bins (Shwartz-Ziv & Tishby, 2017: 30 in [-1, 1]).

    The layer's states together are one symbol. I(X; T) is the entropy of that symbol, since the net is deterministic: the
    plug-in `estimate`, which is also the lower bound in expectation (Paninski, 2003); at most units * ln(bins). I(T; Y): the
    plug-in `estimate`, which is too high by about (symbols - 1)(classes - 1) / 2 rows (so see `null`); a lower bound by
    the leave-one-out shares of the classes among the rows of the same symbol (Barber & Agakov, 2003).

    Arguments:
        codes: Shape (n, units), n >= 100.
        labels: Class indices, shape (n,); below 0 for unknown ones.
        bins: How many, 2 to 255.
        low, high: Ends of the first and last bin; None for the least and largest state. What lies outside goes to the ends.
        rows, seed: As in `noisy_information`.

    Returns:
        "X;T" and, with labels, "T;Y".

    Raises:
        ValueError: As `noisy_information`, and if bins or their ends make no sense.

    Example:
        >>> x = torch.arange(4.0).repeat(50)[:, None]
        >>> str(binned_information(x, bins=4)[0])
        'I(X;T) in 1.39 to 1.39 nats through 4 equal bins in [0, 3] (bins, 200 rows, cap 5.30)'
    """
    if not 2 <= bins <= 255:
        raise ValueError(f"There can be 2 to 255 bins, got {bins}.")
    x, y = _chosen(codes, labels, rows, seed)
    low, high = float(x.min()) if low is None else low, float(x.max()) if high is None else high
    if not low < high:
        raise ValueError(f"The bins need low < high, got [{low:g}, {high:g}].")
    symbols = _symbols(x, bins, low, high)
    count, entropy = len(x), _entropy(symbols)
    common = {"through": f"{bins} equal bins in [{low:.3g}, {high:.3g}]", "width": (high - low) / bins, "rows": count,
              "method": "bins", "error": float("nan"), "capped": entropy > 0.9 * math.log(count)}  # fmt: skip
    most = max(entropy, x.shape[1] * math.log(bins))
    found = [Information(about="X;T", lower=entropy, upper=most, cap=math.log(count), estimate=entropy, **common)]  # type: ignore[arg-type]
    if y is None:
        return found
    chance, own = np.random.default_rng(seed), np.unique(y, return_inverse=True)[1]
    real, *null = (_of_labels(symbols, each) for each in (own, *(chance.permutation(own) for _ in range(SHUFFLES))))
    lower, estimate = real
    common |= {"about": "T;Y", "cap": _entropy(own), "null": float(np.mean(null, axis=0)[0])}
    return [*found, Information(
        lower=lower, upper=_entropy(own), estimate=estimate, null_upper=float(np.mean(null, axis=0)[1]), **common,  # type: ignore[arg-type]
    )]  # fmt: skip


def _symbols(x: Tensor, bins: int, low: float, high: float) -> np.ndarray:
    """Which of the different rows of bins each row is, shape (n,)."""
    places = ((x - low) * (bins / (high - low))).floor().clamp(0, bins - 1).to(torch.uint8).contiguous().numpy()
    return np.unique(places.view(np.dtype((np.void, places.shape[1])))[:, 0], return_inverse=True)[1]


def _entropy(symbols: np.ndarray) -> float:
    shares = np.bincount(symbols) / len(symbols)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


def _of_labels(symbols: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """A lower bound and the plug-in of I(symbol; label)."""
    n, classes = len(y), int(y.max()) + 1
    joint = symbols * classes + y
    same, both = np.bincount(symbols)[symbols] - 1, np.bincount(joint)[joint] - 1  # the other rows
    prior = (np.bincount(y)[y] - 1) / (n - 1)
    lower = _entropy(y) + float(np.log(np.maximum((both + prior) / (same + 1), 1e-12)).mean())
    return lower, _entropy(symbols) + _entropy(y) - _entropy(np.unique(joint, return_inverse=True)[1])
