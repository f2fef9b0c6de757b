"""Can the estimates of information be trusted here: against known Gaussians, more rows, and from layer to layer?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from layerwise.lens.information import LEAST, Information, noisy_information


@dataclass(frozen=True)
class Calibrated:
    """What the estimator says of a Gaussian whose information is known.

    Arguments:
        truth: I(X; X + noise) in nats.
        found: What `noisy_information` says of it.
    """

    truth: float
    found: Information

    @property
    def covered(self) -> bool:
        """Whether the truth lies between the bounds, two standard errors allowed."""
        slack = 2 * self.found.error
        return self.found.lower - slack <= self.truth <= self.found.upper + slack


def calibrate(
    rows: int, units: int, nats: Sequence[float] = (0.5, 2.0, 5.0, 10.0), *, seed: int = 0
) -> list[Calibrated]:
    r"""Runs the "samples" bounds on Gaussians of known information, of as many rows and units as the layer in question.

    .. math:: I(X; X + \sqrt{\sigma^2} z) = \tfrac{d}{2} \log(1 + s^2 / \sigma^2), \qquad X \sim N(0, s^2 1_d)

    Arguments:
        rows: How many to draw, at least 100.
        units: d.
        nats: The true values wanted. Above ln(rows) the lower bound must fall short: see `Information.capped`.
        seed: Of the draws.

    Raises:
        ValueError: From `noisy_information`, if the rows are too few.

    Example:
        >>> [each.covered for each in calibrate(400, 10, nats=(1.0, 20.0))]
        [True, True]
    """
    x = torch.randn(rows, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = [1 / math.expm1(2 * value / units) for value in nats]
    found = [each for each in noisy_information(x, noise=noise, rows=rows, seed=seed + 1) if each.method == "samples"]
    return [Calibrated(truth, each) for truth, each in zip(nats, found, strict=True)]


def growth(
    codes: Tensor, labels: np.ndarray | None = None, *, noise: float, halvings: int = 3, rows: int = 2000, seed: int = 0
) -> list[Information]:
    """The estimates for ever more rows: what still grows with ln(rows) is a count of rows and not a property of the layer.

    Arguments:
        codes, labels, seed: As in `noisy_information`.
        noise: Variance of the noise.
        halvings: How often the rows are halved; stops at 100 rows.
        rows: The most rows.

    Returns:
        All estimates of `noisy_information`, for the fewest rows first.

    Example:
        >>> x = torch.randn(800, 3, generator=torch.Generator().manual_seed(0))
        >>> sorted({each.rows for each in growth(x, noise=1.0)})
        [100, 200, 400, 800]
    """
    known = len(codes) if labels is None else int((np.asarray(labels) >= 0).sum())
    most = min(rows, known)
    sizes = [most >> number for number in range(halvings, 0, -1) if most >> number >= LEAST]
    found: list[Information] = []
    for size in (*sizes, most):
        found += noisy_information(codes, labels, noise=[noise], rows=size, seed=seed)
    return found


@dataclass(frozen=True)
class Step:
    """Whether information can only have been lost from one layer to the next, as the data-processing inequality wants.

    Arguments:
        lower, upper: Names of the layer nearer to the input, and of the next one up.
        about, through: What was estimated, and through which noise or bins in the upper one.
        verdict: "holds" if the bounds show it, "broken" if they show the contrary by more than two standard errors, "open" if
            they overlap.
        excess: Nats by which the upper layer's lower bound exceeds the lower layer's upper bound; below 0 is as it should be.
    """

    lower: str
    upper: str
    about: str
    through: str
    verdict: Literal["holds", "open", "broken"]
    excess: float


def processing(layers: Sequence[tuple[str, Information]]) -> list[Step]:
    """Compares each layer's information with the one below it.

    A layer computes from the one below, so it cannot know more about X or Y. A broken step says that the estimates do not
    compare: noise that the estimator adds to each layer anew, or bins of other widths, are not steps of one chain.

    Arguments:
        layers: Name and estimate of each, in the order in which they compute; of one kind and method.

    Raises:
        ValueError: If estimates of different kinds are mixed.

    Example:
        >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
        >>> a, b = (noisy_information(code, noise=[0.5])[0] for code in (x, 0.02 * x))
        >>> [step.verdict for step in processing([("1", a), ("2", b)])]
        ['holds']
    """
    if len({(each.about, each.method) for _, each in layers}) > 1:
        raise ValueError("The data-processing inequality compares estimates of one kind and method only.")
    return [_step(*pair) for pair in zip(layers, layers[1:])]


def _step(below: tuple[str, Information], above: tuple[str, Information]) -> Step:
    (lower, first), (upper, second) = below, above
    excess = second.lower - first.upper
    slack = 2 * math.hypot(*(0 if math.isnan(each.error) else each.error for each in (first, second)))
    verdict: Literal["holds", "open", "broken"] = "broken" if excess > slack else "open"
    if second.upper <= first.lower:
        verdict = "holds"
    return Step(lower, upper, second.about, second.through, verdict, excess)
