"""How alike are two layers, of one net or of two? Linear centred kernel alignment, without the bias of few rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAST = 4  # rows that the unbiased estimator of a batch needs


@dataclass(frozen=True)
class Alignment:
    """Centred kernel alignment of every layer on the left with every layer on the right.

    Arguments:
        value: Shape (left, right): 1 for layers that are alike up to rotation and scale, about 0 for unrelated ones (a little
            below is possible: the estimator is unbiased). NaN where a layer answers every row alike.
        error: Standard errors of `value` by leaving out one batch at a time, same shape; NaN for a single batch.
        rows: How many rows were compared.
        batches: In how many batches.
    """

    value: np.ndarray
    error: np.ndarray
    rows: int
    batches: int


class Alignments:
    r"""Unbiased linear CKA over a stream of batches, of which none is kept.

    .. math:: \mathrm{CKA}(K, L) = \frac{\sum_b \mathrm{HSIC}_1(K_b, L_b)}
        {\sqrt{\sum_b \mathrm{HSIC}_1(K_b, K_b)\, \sum_b \mathrm{HSIC}_1(L_b, L_b)}}

    with the linear kernels K and L of a batch b and the unbiased estimator HSIC_1 (Song et al., 2012), each batch weighed by
    its rows. The expectation of the sums does not depend on the batch size, if the batches are random samples: shuffle rows
    that come sorted. (Kornblith et al., 2019; mini-batches: Nguyen, Raghu & Kornblith, 2021, section 2.2.)

    Example:
        >>> x = torch.randn(60, 5)
        >>> seen = Alignments()
        >>> for batch in x.split(20):
        ...     seen.add([batch, 3 * batch @ torch.linalg.qr(torch.randn(5, 5))[0]])
        >>> seen.result().value.round(4).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self) -> None:
        self._products: list[np.ndarray] = []  # of the centred kernels, all by all, times the rows of the batch
        self._rows: list[int] = []
        self._left, self._square = 0, True

    @torch.no_grad()
    def add(self, left: Sequence[Tensor], right: Sequence[Tensor] | None = None) -> None:
        """Takes the states of all layers for one batch of rows.

        Arguments:
            left: One tensor of shape (n, ...) per layer, n >= 4; what is not a row of numbers is laid flat.
            right: Those of the other net for the same rows; None to compare the layers on the left with each other.

        Raises:
            ValueError: If there are fewer than 4 rows, or layers disagree about how many, or a state is not finite.
        """
        layers = [*left, *(right or [])]
        rows = {len(layer) for layer in layers}
        if len(rows) != 1:
            raise ValueError(f"All layers must answer the same rows, but they came with {sorted(rows)} of them.")
        (count,) = rows
        if count < LEAST:
            raise ValueError(f"A batch has {count} rows; unbiased CKA needs at least {LEAST}, and 100 to be of use.")
        kernels = torch.stack([_centred_kernel(layer) for layer in layers])
        self._products.append((kernels @ kernels.T).numpy() * count / (count * (count - 3)))
        self._rows.append(count)
        self._left, self._square = len(left), right is None

    def result(self) -> Alignment:
        """What the batches so far say.

        Raises:
            ValueError: If there was no batch.
        """
        if not self._products:
            raise ValueError("There are no rows to compare.")
        products, batches = np.stack(self._products), len(self._products)
        total = products.sum(0)
        value = self._ratio(total)
        if batches == 1:
            return Alignment(value, np.full_like(value, np.nan), sum(self._rows), batches)
        without = np.stack([self._ratio(total - each) for each in products])  # the jackknife
        error = np.sqrt((batches - 1) / batches * ((without - without.mean(0)) ** 2).sum(0))
        return Alignment(value, error, sum(self._rows), batches)

    def _ratio(self, products: np.ndarray) -> np.ndarray:
        own = np.sqrt(products.diagonal())
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(np.outer(own, own) > 0, products / np.outer(own, own), np.nan)
        return value if self._square else value[: self._left, self._left :]


def _centred_kernel(states: Tensor) -> Tensor:
    """The linear kernel of a batch, U-centred and laid flat, shape (n * n,), float64.

    The scalar product of two of these is n (n - 3) HSIC_1 (Székely & Rizzo, 2014).
    """
    x = states.detach().flatten(1).to("cpu", torch.float32)
    if not x.isfinite().all():
        raise ValueError("The states of a layer hold NaN or infinite values: nothing can be compared with them.")
    x = x - x.mean(0)  # changes nothing in exact arithmetic, and keeps the products small
    kernel = (x @ x.T).double().fill_diagonal_(0)
    n = len(kernel)
    rows = kernel.sum(0) / (n - 2)
    kernel += rows.sum() / (n - 1) - rows[:, None] - rows[None]
    return kernel.fill_diagonal_(0).flatten()


def cka(left: Sequence[Tensor], right: Sequence[Tensor] | None = None, *, size: int = 256, seed: int = 0) -> Alignment:
    """Unbiased linear CKA of codes at hand, in about equal batches of shuffled rows: see `Alignments`.

    Arguments:
        left, right: One tensor of shape (n, ...) per layer, n >= 4, over the same rows; None for `right`: left with left.
        size: Rows per batch at most, at least 4. All at once is the full-batch estimator.
        seed: Of the order of the rows.

    Raises:
        ValueError: As `Alignments.add`.

    Example:
        >>> x, y = torch.randn(500, 8), torch.randn(500, 3)
        >>> found = cka([x], [2 * x + 1, y])
        >>> found.value.shape, bool(found.value[0, 0] > 0.999), bool(abs(found.value[0, 1]) < 0.1)
        ((1, 2), True, True)
    """
    layers = [*left, *(right or [])]
    count = min((len(layer) for layer in layers), default=0)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    seen = Alignments()
    for rows in order.tensor_split(max(1, math.ceil(count / max(size, LEAST)))):
        seen.add([layer[rows] for layer in left], None if right is None else [layer[rows] for layer in right])
    return seen.result()
