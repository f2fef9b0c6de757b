"""Slow and obvious second opinions: sums over every state of a small model, in float64."""

import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn

from layerwise.rbm import RBM
from layerwise.units import Bernoulli, Gaussian, Joint, Rectified, Softmax, Units

M = TypeVar("M", bound=nn.Module)
BELOW = (Bernoulli(), Gaussian(), Rectified(), Softmax(), Softmax(2))
ABOVE = BELOW
DISCRETE = (Bernoulli(), Softmax(), Softmax(2))
PAIRS = [(below, above) for below in BELOW for above in ABOVE if not below == above == Gaussian()]


def bits(width: int) -> Tensor:
    """All 2**width rows of zeros and ones."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=width)), dtype=torch.float64)


def product(first: Tensor, second: Tensor) -> Tensor:
    """Every row of the first beside every row of the second."""
    return torch.stack([torch.cat(pair) for pair in itertools.product(first, second)])


def states(kind: Units, width: int) -> Tensor:
    """All states of `width` discrete units, shape (states, width)."""
    if isinstance(kind, Joint):
        parts = [states(part, size) for size, part in kind.parts]
    elif isinstance(kind, Softmax):
        size = kind.group or width
        parts = [torch.eye(size, dtype=torch.float64)] * (width // size)
    else:
        return bits(width)
    whole = parts[0]
    for part in parts[1:]:
        whole = product(whole, part)
    return whole


def some_states(kind: Units, rows: int, width: int) -> Tensor:
    """Random states that such units can be in, shape (rows, width)."""
    return kind.sample(torch.randn(rows, width, dtype=torch.float64))


def randomised(module: M, scale: float = 1.0) -> M:
    """The module in float64 with random parameters: zero biases would hide mistakes."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=scale)
    return module


def own_energy(kind: Units, s: Tensor, bias: Tensor) -> float:
    """What one row of units costs by itself: -s b, and s^2 / 2 where states are real."""
    if isinstance(kind, Joint):
        widths = [width for width, _ in kind.parts]
        parts = zip(kind.parts, s.split(widths), bias.split(widths))
        return sum(own_energy(part, a, b) for (_, part), a, b in parts)
    cost = 0.0
    for state, b in zip(s.tolist(), bias.tolist()):
        cost -= state * b
        if isinstance(kind, Gaussian | Rectified):
            cost += state * state / 2
    return cost


def energies(rbm: RBM, v: Tensor, h: Tensor) -> Tensor:
    """E(v, h) of every row of v with every row of h, shape (len(v), len(h)), term by term."""
    table = torch.zeros(len(v), len(h), dtype=torch.float64)
    for i, j in itertools.product(range(len(v)), range(len(h))):
        table[i, j] = own_energy(rbm.below, v[i], rbm.visible_bias) + own_energy(rbm.above, h[j], rbm.hidden_bias)
        table[i, j] -= sum(v[i, a] * rbm.weight[a, b] * h[j, b] for a in range(rbm.visible) for b in range(rbm.hidden))
    return table


def log_z(rbm: RBM) -> Tensor:
    """Log of the sum of exp(-E) over all states of the hidden side, the visible side summed out; differentiable."""
    h = states(rbm.above, rbm.hidden)
    return (rbm.below.log_partition(rbm.down(h)) - rbm.above.energy(h, rbm.hidden_bias)).logsumexp(0)


def log_likelihood(rbm: RBM, v: Tensor) -> Tensor:
    """Exact mean log p(v) of visible states, nats; differentiable."""
    return (-rbm.free_energy(v)).mean() - log_z(rbm)


def distance(first: Tensor, second: Tensor) -> float:
    """Total variation between two distributions over the same states."""
    return (first - second).abs().sum().item() / 2


def frequencies(rows: Tensor, among: Tensor) -> Tensor:
    """How often each state of `among` occurs in the rows; every row must be one of them."""
    same = (rows[:, None] == among.to(rows.dtype)).all(-1)
    assert same.any(1).all(), "a row is in no state that these units have"
    return same.double().mean(0)
