"""Autoencoders that learn alone or in a stack: bottleneck, denoising, sparse, contractive; tied or two-way weights."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layerwise.layer import Dense, Layer
from layerwise.units import Bernoulli, Joint, Softmax, Units, as_units

NOISES = ("masking", "gaussian", "salt-and-pepper")


def corrupt(v: Tensor, noise: str | None, amount: float) -> Tensor:
    """v with noise on it: one of `NOISES` or None, of `amount` as `Autoencoder` has it.

    Example:
        >>> corrupt(torch.ones(3), "masking", 0.0)
        tensor([1., 1., 1.])
    """
    if noise is None or not amount:
        return v
    if noise == "gaussian":
        return v + amount * torch.randn_like(v)
    hit = torch.rand_like(v) < amount
    filling = torch.zeros_like(v) if noise == "masking" else torch.randint_like(v, 2)
    return torch.where(hit, filling, v)


class Autoencoder(Dense):
    r"""One hidden layer that rebuilds its input: :math:`h = f(v W + b)`, :math:`\hat v = g(h W_{down}^T + c)`.

    Also what an RBM becomes when its weights are untied (`Autoencoder.from_layer`): recognition weights up, generative
    weights down, as wake-sleep and the unrolled deep autoencoder need them.

    Arguments:
        visible, hidden: Numbers of units; hidden < visible is a bottleneck.
        below, above: Kinds of units: their means are g and f, and `below` sets the reconstruction loss in nats
            (Bernoulli: cross-entropy; Gaussian and active rectified: half the squared error; softmax: log loss).
        tied: Whether the way down uses the weights of the way up.
        noise: Corrupt the input before it is rebuilt: "masking" (set to 0), "gaussian" (added) or "salt-and-pepper"
            (set to 0 or 1) (Vincent et al., 2010, 3.3); None rebuilds the input itself.
        amount: Fraction of inputs corrupted, in [0, 1); for "gaussian" the standard deviation.
        sparsity: Wanted mean activity of a sigmoid unit, by a Kullback-Leibler penalty (Ng, 2011); None leaves it free.
        sparsity_cost: Weight of that penalty.
        l1: Weight of the sum of the absolute values of h.
        contraction: Weight of the squared Frobenius norm of dh/dv (Rifai et al., 2011); not for softmax units above.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> layer = Autoencoder(784, 100, noise="masking", amount=0.25)
        >>> layer.decode(layer(torch.rand(3, 784))).shape
        torch.Size([3, 784])
    """

    figure: ClassVar[str] = "nats"

    def __init__(
        self,
        visible: int,
        hidden: int,
        *,
        below: Units | str = "bernoulli",
        above: Units | str = "bernoulli",
        tied: bool = True,
        noise: str | None = None,
        amount: float = 0.25,
        sparsity: float | None = None,
        sparsity_cost: float = 0.1,
        l1: float = 0.0,
        contraction: float = 0.0,
    ) -> None:
        super().__init__(visible, hidden, as_units(below), as_units(above))
        if noise is not None and noise not in NOISES:
            raise ValueError(f"noise is one of {', '.join(NOISES)} or None; got {noise!r}.")
        if sparsity is not None and not (0 < sparsity < 1 and isinstance(self.above, Bernoulli)):
            raise ValueError(
                f"A sparsity target in (0, 1) needs bernoulli units above; got {sparsity} for {self.above}."
            )
        if amount < 0 or (noise != "gaussian" and amount >= 1) or min(l1, contraction, sparsity_cost) < 0:
            raise ValueError(
                f"amount is in [0, 1) and penalties are at least 0; got amount={amount}, l1={l1}, {contraction=}."
            )
        if contraction and isinstance(self.above, Softmax):
            raise ValueError(
                "contraction takes units above that answer each for itself, not softmax: use bernoulli units."
            )
        self.noise, self.amount, self.l1, self.contraction = noise, amount, l1, contraction
        self.sparsity, self.sparsity_cost = sparsity, sparsity_cost
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(visible, hidden)))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.down_weight = None if tied else nn.Parameter(self.weight.detach().clone())

    @classmethod
    def from_layer(cls, layer: Layer) -> Autoencoder:
        """A two-way copy of a tied layer: the same function up and down, with weights of its own for each way."""
        if isinstance(layer.below, Joint):
            raise ValueError(
                f"Units of labels are not rebuilt, so a {type(layer).__name__} has no two-way copy: untie what is below it."
            )
        if "weight" not in (state := layer.state_dict()) or state["weight"].ndim != 2:
            raise ValueError(f"A {type(layer).__name__} has one set of filters for both ways. For two, stack ConvAutoencoders; "
                             "for a convolutional deep belief net leave untying and up-down out.")  # fmt: skip
        two_way = cls(layer.visible, layer.hidden, below=layer.below, above=layer.above, tied=False)
        two_way.to(next(layer.parameters()))
        state.setdefault("down_weight", state["weight"].clone())
        two_way.load_state_dict({key: state[key].clone() for key in two_way.state_dict()})
        return two_way

    @property
    def two_way(self) -> bool:  # type: ignore[override]
        return self.down_weight is not None

    @property
    def generative(self) -> Tensor:
        return self.weight if self.down_weight is None else self.down_weight

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Nats per row to rebuild the clean input from the corrupted one, plus the penalties."""
        v = self.standardised(x)
        h = self.above.mean(self.up(self.corrupt(v)))
        return self.below.surprise(v, self.down(h)).mean() + self.penalty(h)

    def corrupt(self, v: Tensor) -> Tensor:
        """The input with `noise` on it, the shape of v."""
        return corrupt(v, self.noise, self.amount)

    def penalty(self, h: Tensor) -> Tensor:
        """What the code h, shape (n, hidden), costs beyond its reconstruction: sparsity, L1, contraction."""
        cost = h.new_zeros(())
        if self.sparsity is not None:
            p, q = self.sparsity, h.mean(0).clamp(1e-6, 1 - 1e-6)
            cost = cost + self.sparsity_cost * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
        if self.l1:
            cost = cost + self.l1 * h.abs().sum(1).mean()
        if self.contraction:  # dh_j/dv_i = f'(a_j) W_ij
            cost = cost + self.contraction * (self.above.slope(h).square() @ self.weight.square().sum(0)).mean()
        return cost

    def to_dict(self) -> dict[str, Any]:
        names = ("noise", "amount", "sparsity", "sparsity_cost", "l1", "contraction")
        return self.describe() | {"tied": self.down_weight is None} | {name: getattr(self, name) for name in names}
