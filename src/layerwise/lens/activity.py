"""How are the states of a layer spread? (Dead, saturated and constant units are `layerwise.health.Activity`'s.)"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spread:
    """A histogram: `counts[i]` states lie in [edges[i], edges[i + 1]), the last bin with its right end."""

    edges: list[float]
    counts: list[int]


def spread(codes: Tensor, low: float = -float("inf"), high: float = float("inf"), bins: int = 20) -> Spread:
    """Histogram of all states in `codes`, shape (n, units), over [low, high]; what is infinite is taken from the data.

    Example:
        >>> spread(torch.tensor([[0.1, 0.2], [0.9, 1.0]]), 0, 1, bins=2).counts
        [2, 2]
    """
    low = low if abs(low) != float("inf") else codes.min().item()
    high = high if abs(high) != float("inf") else codes.max().item()
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(codes.float(), bins, low, high)
    return Spread(torch.linspace(low, high, bins + 1).tolist(), counts.long().tolist())
