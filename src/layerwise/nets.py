"""Plain torch networks with named stages, and how their weights start."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from layerwise.train import Learn, backprop


@torch.no_grad()
def initialise(network: nn.Module) -> nn.Module:
    """Random weights with which signals keep their size, in place: He et al. (2015) before ReLU, else Xavier.

    Xavier's (Glorot & Bengio, 2010) uniform range is sqrt(6 / (in + out)); biases start at 0.

    Example:
        >>> net = initialise(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
        >>> net[0].bias.tolist()
        [0.0, 0.0]
    """
    parts = [part for part in network.modules() if not list(part.children())]
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, nn.Linear):
            if isinstance(following, nn.ReLU):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return network


def cross_entropy(network: nn.Module) -> Learn:
    """Back-propagation of the cross-entropy in nats between the network's logits and the labels, for `train`.

    Example:
        >>> cross_entropy(nn.Linear(4, 2))(torch.zeros(3, 4), torch.tensor([0, 1, 0])).shape
        torch.Size([])
    """
    return backprop(lambda x, y: F.cross_entropy(network(x).float(), y))  # logits of shorter numbers are too coarse
