"""Weights as pictures of signed bytes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def scale_of(filters: Tensor) -> float:
    """The weight that the deepest colour stands for: the 99.5th percentile of the sizes; a few must not fade all others."""
    return float(np.quantile(filters.abs().numpy(), 0.995)) or 1.0


def drawn(filters: Tensor, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Filters in units of their scale as int8 pictures, colour last; low frequencies of sounds at the bottom."""
    pictures = (filters.clamp(-1, 1) * 127).round().to(torch.int8).numpy().reshape(-1, *shape)
    pictures = pictures[:, ::-1] if kind == "sound" else pictures
    return np.moveaxis(pictures, 1, -1) if len(shape) == 3 else pictures


def signed(filters: Tensor, shape: tuple[int, ...], kind: str) -> tuple[np.ndarray, float]:
    """The same, and their scale."""
    scale = scale_of(filters)
    return drawn(filters / scale, shape, kind), scale
