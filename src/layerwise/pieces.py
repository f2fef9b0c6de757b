"""Numbers as pieces of their range, so that a network need not build each threshold out of many units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pieces(nn.Module):
    """Each column of a table as how far it has come through each piece of its range (Gorishniy et al., 2022, section 3.2).

    A column that is cut at b_0 < b_1 < ... < b_k becomes k features, (x - b_(j-1)) / (b_j - b_(j-1)) held in [0, 1]. A linear
    map of them is any function of x that is linear between the cuts and constant beyond the outer ones. The features are
    standardised, so that what is rare is not faint. A column of one piece stays as it is.

    Arguments:
        counts: How many pieces each column has, at least 1.

    Raises:
        ValueError: If a count is below 1, or there is none.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0]])
        >>> counts = Pieces.suited(x, 10)
        >>> counts, Pieces(counts).fit(x).features(torch.tensor([[2.0, 1.0]])).tolist()
        ((2, 1), [[1.0, 0.5, 1.0]])
    """

    low: Tensor
    width: Tensor
    mean: Tensor
    std: Tensor
    column: Tensor
    cut: Tensor

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.counts = tuple(int(count) for count in counts)
        if not self.counts or min(self.counts) < 1:
            raise ValueError(f"Each column has at least one piece, got counts of {self.counts}.")
        number = torch.tensor(self.counts)
        self.register_buffer("column", torch.arange(len(number)).repeat_interleave(number), persistent=False)
        self.register_buffer("cut", (number > 1).repeat_interleave(number), persistent=False)
        self.register_buffer("low", torch.zeros(len(self.column)))
        self.register_buffer("width", torch.ones(len(self.column)))
        self.register_buffer("mean", torch.zeros(len(self.column)))
        self.register_buffer("std", torch.ones(len(self.column)))

    @staticmethod
    def suited(x: Tensor, most: int) -> tuple[int, ...]:
        """How many pieces, up to `most`, suit each column of x, shape (n, columns): of two different values one."""
        found = [len(cuts(values, most)) - 1 for values in x.T]
        return tuple(max(count, 1) for count in found)

    @torch.no_grad()
    def fit(self, x: Tensor) -> Pieces:
        """Cuts the columns of x, shape (n, columns); where there are too few different values, pieces are left that stay 0."""
        at = 0
        for values, count in zip(x.T, self.counts, strict=True):
            if count > 1:
                found = cuts(values, count)
                spare = found[-1] + torch.arange(1, count + 2 - len(found)).to(found)
                edges = torch.cat([found, spare])
                self.low[at : at + count], self.width[at : at + count] = edges[:-1], edges.diff()
            at += count
        features = self.features(x).double()
        std = features.std(0, correction=0)
        self.mean.copy_(torch.where(self.cut, features.mean(0), 0.0))
        self.std.copy_(torch.where(self.cut & (std > 0), std, 1.0))
        return self

    def features(self, x: Tensor) -> Tensor:
        """Of x, shape (n, columns), how far through each piece, before that is standardised: shape (n, sum(counts))."""
        own = x[:, self.column]
        return torch.where(self.cut, ((own - self.low) / self.width).clamp(0, 1), own)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised features of x, shape (n, columns), column by column: shape (n, sum(counts))."""
        return (self.features(x) - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"{len(self.counts)} columns, {len(self.column)} pieces"


class Embedding(nn.Module):
    """What a net learns to make of each cut column's pieces, a few features of its own: relu(W_c e + b_c) for column c.

    So a column may be bent in several ways before columns meet (Gorishniy et al., 2022, section 3.4: "PLE-LR"). Columns of one
    piece stay as they are, behind the features of the others.

    Arguments:
        counts: How many pieces each column has, as for `Pieces`.
        width: Features of each column that is cut, at least 1.

    Raises:
        ValueError: If there is no such feature.

    Example:
        >>> Embedding((5, 1, 3), 4)(torch.zeros(2, 9)).shape
        torch.Size([2, 9])
    """

    place: Tensor
    cut: Tensor

    def __init__(self, counts: Sequence[int], width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(
                f"Each column that is cut has at least one feature, got {width}. Leave the embedding out instead."
            )
        number = torch.tensor(tuple(counts))
        cut, own = number > 1, number[number > 1]
        self.columns, self.width, self.features = len(own), width, len(own) * width + int((~cut).sum())
        self.register_buffer("cut", cut.repeat_interleave(number), persistent=False)
        self.register_buffer("place", torch.arange(len(own)).repeat_interleave(own), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(self.place), width))
        self.bias = nn.Parameter(torch.empty(self.columns * width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights of variance 1 / (pieces of their column), biases of 0."""
        pieces = self.place.bincount(minlength=self.columns)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.weight.normal_().div_(pieces[self.place, None].sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Of standardised pieces, shape (n, sum(counts)): shape (n, features), those of the cut columns first."""
        # One product with a matrix that is 0 where a piece is another column's is faster than a product per column.
        apart = (F.one_hot(self.place, self.columns)[..., None] * self.weight[:, None]).flatten(1)
        return torch.cat([F.relu(F.linear(x[:, self.cut], apart.T, self.bias)), x[:, ~self.cut]], 1)

    def extra_repr(self) -> str:
        return f"{self.columns} columns, {self.width} features each"


def cuts(values: Tensor, most: int) -> Tensor:
    """At most `most` + 1 values, increasing, at which a column is cut: all, if they are no more, else those that at least one
    in `most` rows has, and quantiles of the others. (Of gains that are 0 in most rows, quantiles alone would be 0.)

    Arguments:
        values: Shape (n,), n >= 1.

    Example:
        >>> cuts(torch.tensor([0.0, 0, 0, 0, 0, 1, 2, 3, 4, 5]), 3).tolist()
        [0.0, 1.0, 3.0, 5.0]
    """
    found, times = values.unique(return_counts=True)
    if len(found) <= most + 1:
        return found
    common = found[times * most >= len(values)]
    others = values[~torch.isin(values, common)].sort().values
    at = torch.linspace(0, len(others) - 1, most + 1 - len(common)).round().long()
    return torch.cat([common, others[at]]).unique()
