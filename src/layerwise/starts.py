"""How the weights of plain torch networks start: normal, Xavier, He, orthogonal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INITIALISATIONS = ("auto", "normal", "xavier", "he", "orthogonal")


@torch.no_grad()
def initialise(network: nn.Module, how: str = "auto") -> nn.Module:
    """Random weights in place; biases start at 0.

    Arguments:
        how: "normal" (standard deviation 0.01), "xavier" (Glorot & Bengio, 2010: uniform in +- sqrt(6 / (in + out))),
            "he" (He et al., 2015: normal, variance 2 / in), "orthogonal" (Saxe et al., 2014), or "auto": "he" before
            rectified units and "xavier" elsewhere, so that signals keep their size. It says how the weights of an LSTM
            upwards start; those in time are orthogonal, and the forget gates open (Jozefowicz et al., 2015).

    Raises:
        ValueError: If there is no such way.

    Example:
        >>> net = initialise(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
        >>> net[0].bias.tolist()
        [0.0, 0.0]
    """
    if how not in INITIALISATIONS:
        raise ValueError(f"Weights start {', '.join(INITIALISATIONS)}; got {how!r}.")
    parts = [part for part in network.modules() if not list(part.children())]
    parts = [
        part for part in parts if not isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.Dropout | nn.Dropout2d)
    ]
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, nn.Linear | nn.Conv2d):
            rectified = isinstance(following, nn.ReLU | nn.LeakyReLU | nn.GELU | nn.Softplus)
            _start(part.weight, how if how != "auto" else "he" if rectified else "xavier")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LSTM):
            _start_lstm(part, how)
    return network


def _start(weight: Tensor, how: str) -> None:
    if how == "normal":
        nn.init.normal_(weight, std=0.01)
    elif how == "xavier":
        nn.init.xavier_uniform_(weight)
    elif how == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        weight.copy_(nn.init.orthogonal_(torch.empty(weight.shape)))  # torch's takes no channels_last memory


def _start_lstm(part: nn.LSTM, how: str) -> None:
    """Upwards as asked (auto: Xavier), orthogonal in time, and an open forget gate (Jozefowicz et al., 2015)."""
    for name, weight in part.named_parameters():
        if "weight_hh" in name:
            for gate in weight.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            _start(weight, "xavier" if how == "auto" else how)
        else:
            nn.init.zeros_(weight)
            if "bias_ih" in name:
                weight[part.hidden_size : 2 * part.hidden_size] = 1.0
