"""The recurrent stage: an LSTM over packed sequences of unequal length, and what sums a sequence up."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def present(x: Tensor) -> Tensor:
    """Which steps of sequences, shape (n, steps, values), come before the padding: all up to the last that is not 0.

    Example:
        >>> present(torch.tensor([[[1.0], [0.0], [2.0], [0.0]]])).tolist()
        [[True, True, True, False]]
    """
    return (x != 0).any(-1).flip(1).cumsum(1).flip(1) > 0


class Recurrent(nn.Module):
    """An LSTM (Hochreiter & Schmidhuber, 1997; forget gates: Gers et al., 2000) over sequences of unequal length.

    Sequences come as (n, steps, inputs), or as whole numbers (n, steps), of which 0 is padding, with `vocabulary`. Padded
    steps are not computed (packed sequences).

    Arguments:
        inputs: Values per step, or the size of the embedding with `vocabulary`.
        hidden: Units, of each direction.
        layers: LSTM layers on top of each other.
        both: Read in both directions.
        vocabulary: Number of symbols; None for sequences of values.
        dropout: Between layers, and of embedded symbols.

    Returns of `forward`: (n, steps, features), 0 where padded; `summary` makes (n, features) of it: the mean over the steps
    and the largest value of each feature, side by side.
    """

    def __init__(
        self, inputs: int, hidden: int, *, layers: int = 1, both: bool = True, vocabulary: int | None = None,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, inputs, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            inputs, hidden, layers, batch_first=True, bidirectional=both, dropout=dropout if layers > 1 else 0.0
        )
        self.features = hidden * (2 if both else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of every step, (n, steps, features), and the lengths, (n,), of at least 1."""
        lengths = present(x if self.embedding is None else x[..., None]).sum(1).clamp_min(1)
        if self.embedding is not None:
            x = self.embedding(x.long())
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = self.lstm(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0], lengths


class Summary(nn.Module):
    """Of features of every step, (n, steps, f), 0 where padded: their mean and their maximum over the steps, (n, 2 f).

    Example:
        >>> Summary()(torch.tensor([[[2.0], [4.0], [0.0]]])).tolist()
        [[3.0, 4.0]]
    """

    def forward(self, h: Tensor) -> Tensor:
        known = present(h)[..., None]
        mean = h.sum(1) / known.sum(1).clamp_min(1)
        largest = h.masked_fill(~known, -torch.inf).amax(1)
        return torch.cat([mean, largest.where(known.any(1), 0.0)], 1)
