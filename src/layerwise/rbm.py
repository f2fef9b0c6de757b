"""Restricted Boltzmann machines of any pair of unit kinds, learning by contrastive divergence in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layerwise.layer import Dense, Standardise, affine_down, checked, feedforward_half, leave, leave_product
from layerwise.units import Bernoulli, Gaussian, Joint, Softmax, Units, as_units


class RBM(Dense):
    r"""Restricted Boltzmann machine (Smolensky, 1986), learning by contrastive divergence (Hinton, 2002).

    .. math:: E(v, h) = E_v(v) + E_h(h) - v^T W h

    Arguments:
        visible, hidden: Numbers of units.
        below, above: Kinds of units on the two sides, or their names. Gaussian on both sides is refused: such a machine
            has a normaliser only while the largest singular value of W is below 1, and is PCA then.
        steps: The k of CD-k: Gibbs steps between data and fantasy.
        chains: With PCD (Tieleman, 2008), how many persistent fantasy chains there are; 0 starts every chain at the data.
        sparsity: Wanted mean activity of a hidden unit, in (0, 1); None leaves it free (Hinton, 2010, section 11).
        sparsity_cost: Strength of the pull towards `sparsity`.
        sample_visible: Draw the visible states of the chain instead of taking their means. Means learn faster
            (Hinton, 2010, 3.2); draws make a true Gibbs sampler. PCD always draws.

    Raises:
        ValueError: If a size or setting is out of its range.

    Example:
        >>> rbm = RBM(784, 500)
        >>> rbm(torch.rand(3, 784)).shape
        torch.Size([3, 500])
    """

    figure: ClassVar[str] = "squared error"
    closed_form: ClassVar[bool] = True
    particles: Tensor | None
    activity: Tensor | None

    def __init__(
        self,
        visible: int,
        hidden: int,
        *,
        below: Units | str = "bernoulli",
        above: Units | str = "bernoulli",
        steps: int = 1,
        chains: int = 0,
        sparsity: float | None = None,
        sparsity_cost: float = 0.1,
        sample_visible: bool = False,
    ) -> None:
        super().__init__(visible, hidden, as_units(below), as_units(above))
        refuse_gaussians(self.below, self.above)
        if steps < 1 or chains < 0 or (sparsity is not None and not 0 < sparsity < 1):
            raise ValueError(
                f"steps is at least 1, chains at least 0 and sparsity in (0, 1); got steps={steps}, chains={chains}, "
                f"sparsity={sparsity}."
            )
        self.steps, self.sparsity, self.sparsity_cost = steps, sparsity, sparsity_cost
        self.sample_visible = sample_visible or chains > 0
        self.weight = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        if chains:
            self.register_buffer("particles", self.below.sample(torch.zeros(chains, visible)))
        else:
            self.particles = None
        self.register_buffer("activity", torch.full((hidden,), sparsity) if sparsity else None)

    def states(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The visible states that rows of data clamp, shape (n, visible)."""
        return self.standardised(x)

    # -- learning ------------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Difference of free energies of data and fantasy, whose gradient is that of `learn`; not a likelihood.

        With `below` mean-valued states this holds to the letter, because the free energy's derivative by W is
        -v E[h|v] for every kind of unit.
        """
        v = self.states(x, y)
        return self.free_energy(v).mean() - self.free_energy(self.fantasy(v)).mean() + self._sparsity_loss(v)

    @torch.no_grad()
    def learn(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The CD-k (or PCD) gradient in closed form, without autograd; returns the squared reconstruction error per row."""
        v = self.states(x, y)
        h, v_model = self.contrast(v, self.steps, draw=self.sample_visible)
        if self.sparsity is not None:
            self._add_sparsity_gradient(v, h)
        if self.particles is not None:  # fantasies of PCD are no reconstructions
            v_model = self.below.mean(self.down(h))
        miss = (v_model - v).flatten()
        return miss.dot(miss) / len(v)

    @torch.no_grad()
    def contrast(self, v: Tensor, steps: int, *, draw: bool) -> tuple[Tensor, Tensor]:
        """Leaves the gradient that tells data v, shape (n, visible), from the model's fantasy.

        Returns:
            E[h|v], shape (n, hidden), and the fantasy: see `fantasy`.
        """
        a = self.up(v)
        h = self.above.mean(a)
        v_model, a_model = self._fantasy(v, a, steps, draw)
        # dF/dW = -v^T E[h|v], averaged over fantasies and data: one product over both, and one rounding
        fantasies, rows = len(v_model), len(v)
        lower, upper = torch.cat([v_model, v]), v.new_empty(fantasies + rows, self.hidden)
        torch.mul(self.above.mean(a_model), 1 / fantasies, out=upper[:fantasies])
        torch.mul(h, -1 / rows, out=upper[fantasies:])
        leave_product(self.weight, lower, upper)
        leave(self.visible_bias, v_model.mean(0) - v.mean(0))
        leave(self.hidden_bias, upper.sum(0))
        return h, v_model

    def fantasy(self, v: Tensor) -> Tensor:
        """Visible states that the model believes in, by `steps` of Gibbs sampling.

        They start from data v, shape (n, visible), or, with PCD, from the persistent chains, shape (chains, visible).
        """
        return self._fantasy(v, self.up(v), self.steps, self.sample_visible)[0]

    @torch.no_grad()
    def gibbs(self, v: Tensor, steps: int = 1, *, draw: bool | None = None) -> Tensor:
        """`steps` of block Gibbs sampling from visible states, shape (n, visible).

        The visible states are drawn, or taken as means without `draw` (None: as `sample_visible` says).
        """
        return self._chain(v, self.up(v), steps, self.sample_visible if draw is None else draw)[0]

    @torch.no_grad()
    def _fantasy(self, v: Tensor, a: Tensor, steps: int, draw: bool) -> tuple[Tensor, Tensor]:
        if self.particles is None:
            return self._chain(v, a, steps, draw)
        v, a = self._chain(self.particles, self.up(self.particles), steps, draw)
        self.particles.copy_(v)
        return v, a

    def _chain(self, v: Tensor, a: Tensor, steps: int, draw: bool) -> tuple[Tensor, Tensor]:
        """Where a Gibbs chain from visible states v with activation a = up(v) stands after `steps`: again (v, up(v))."""
        visible = self.below.sample if draw else self.below.mean
        for _ in range(steps):
            v, a = self._settled(visible(self.down(self.above.sample(a))))
        return v, a

    def drawn_down(self, v: Tensor, on: int | None = None) -> Tensor:
        """Activation of the visible units, shape (n, visible), given hidden states drawn given v; unit `on` is held on."""
        h = self.above.sample(self.up(v))
        if on is not None:
            h[:, on] = 1
        return self.down(h)

    def _settled(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """New visible states as the chain keeps them, and their activation of the hidden units."""
        return v, self.up(v)

    def _add_sparsity_gradient(self, v: Tensor, h: Tensor) -> None:
        assert self.sparsity is not None and self.activity is not None
        self.activity.lerp_(h.mean(0), 0.1)
        pull = self.sparsity_cost * (self.activity - self.sparsity)
        assert self.hidden_bias.grad is not None and self.weight.grad is not None
        self.hidden_bias.grad += pull
        self.weight.grad += torch.outer(v.mean(0), pull)

    def _sparsity_loss(self, v: Tensor) -> Tensor:
        if self.sparsity is None or self.activity is None:
            return v.new_zeros(())
        with torch.no_grad():
            self.activity.lerp_(self.above.mean(self.up(v)).mean(0), 0.1)
            pull = self.sparsity_cost * (self.activity - self.sparsity)
        return (self.up(v.mean(0, keepdim=True)) @ pull).sum()

    # -- energies ------------------------------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """Energy in nats, shape (n,), of visible states (n, visible) with hidden states (n, hidden)."""
        interaction = ((v @ self.weight) * h).sum(-1)
        return self.below.energy(v, self.visible_bias) + self.above.energy(h, self.hidden_bias) - interaction

    def free_energy(self, v: Tensor) -> Tensor:
        r"""Free energy :math:`F(v) = -\log \sum_h e^{-E(v, h)}` of each row (Hinton, 2010, 16.1).

        Arguments:
            v: Visible states, shape (n, visible); in [0, 1] if Bernoulli, standardised if Gaussian.

        Returns:
            Nats, shape (n,). The partition function is left out: only differences count.

        Example:
            >>> rbm = RBM(2, 1)
            >>> torch.nn.utils.vector_to_parameters(torch.zeros(5), rbm.parameters())
            >>> rbm.free_energy(torch.tensor([[0.0, 1.0]])).item()  # -log 2, one idle unit
            -0.693...
        """
        return self.below.energy(v, self.visible_biases()) - self.above.log_partition(self.up(v))

    def visible_biases(self) -> Tensor:
        """The bias of each visible unit, shape (visible,)."""
        return self.visible_bias

    # -- the rest ------------------------------------------------------------------------------------------------------

    def prepare(self, rows: Iterable[Tensor]) -> None:
        """Checks the data's range, takes statistics, and sets the visible biases to the data's log odds (8.1)."""
        self._prepare(rows, self.below, self.visible_bias.detach())

    def _prepare(self, rows: Iterable[Tensor], units: Units, bias: Tensor) -> None:
        rows = checked(rows, units)
        if self.standard is not None:
            self.standard.fit(rows)
        total, count = torch.zeros_like(bias), 0
        for batch in rows:  # where units share a bias, it is their mean that counts
            total, count = total + batch.sum(0).view(len(bias), -1).mean(1), count + len(batch)
        if isinstance(units, Bernoulli) and count:
            bias.copy_(torch.logit(total / count, eps=0.01))

    def to_dict(self) -> dict[str, Any]:
        return self.describe() | {
            "steps": self.steps,
            "chains": 0 if self.particles is None else len(self.particles),
            "sparsity": self.sparsity,
            "sparsity_cost": self.sparsity_cost,
            "sample_visible": self.sample_visible,
        }


def refuse_gaussians(below: Units, above: Units) -> None:
    """Raises a ValueError for Gaussian units on both sides."""
    if isinstance(below, Gaussian) and isinstance(above, Gaussian):
        raise ValueError(
            "An RBM with Gaussian units on both sides has no normaliser in general. Use bernoulli or rectified units "
            "on one side, or a linear Autoencoder."
        )


class LabelledRBM(RBM):
    """An RBM whose visible side holds features and, as one softmax group, the class (Hinton et al., 2006, figure 1).

    It models p(features, class) jointly, so labels can be missing (-1): such a row is completed by a draw from the
    exact p(class | features), which makes its gradient that of log p(features). `encode` and `decode` speak of
    features only; with no class clamped the class units are silent.

    Arguments:
        features, classes, hidden: Numbers of units; `visible` is features + classes.
        below: Kind of the feature units.
        settings: As for `RBM`.

    Example:
        >>> top = LabelledRBM(500, 10, 2000)
        >>> top.class_log_probs(torch.rand(3, 500)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self, features: int, classes: int, hidden: int, *, below: Units | str = "bernoulli", **settings: Any
    ) -> None:
        if classes < 2:
            raise ValueError(f"A labelled RBM tells at least two classes apart, got {classes}.")
        kind = as_units(below)
        super().__init__(features + classes, hidden, below=Joint(((features, kind), (classes, Softmax()))), **settings)
        refuse_gaussians(kind, self.above)
        self.features, self.classes, self.features_below = features, classes, kind
        self.standard = Standardise(features) if isinstance(kind, Gaussian) else None

    def states(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        v = self.standardised(x)
        return torch.cat([v, self.class_states(v, y)], 1)

    @torch.no_grad()
    def class_states(self, v: Tensor, y: Tensor | None) -> Tensor:
        """One-hot classes, shape (n, classes), given features v as states; missing ones (y == -1, or no y) are drawn."""
        y = torch.full((len(v),), -1, device=v.device) if y is None else y.to(torch.long, copy=True)
        missing = y < 0
        if missing.any():
            y[missing] = torch.multinomial(self._class_log_probs(v[missing]).exp(), 1).squeeze(1)
        return nn.functional.one_hot(y, self.classes).to(v.dtype)

    def drawn_down(self, v: Tensor, on: int | None = None) -> Tensor:
        """Activation of the visible units, shape (n, visible), given hidden states drawn given v; unit `on` is held on."""
        h = self.above.sample(self.up(v))
        if on is not None:
            h[:, on] = 1
        return self.down(h)

    def _settled(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """As for any RBM, but the class is drawn last, from the exact p(class | features) instead of p(class | hidden).

        The hidden units were drawn with the class in view, so a chain that asks them keeps its class for long, and
        contrastive divergence stops telling classes apart. The joint distribution is the same: both are Gibbs steps.
        """
        features = v[:, : self.features]
        shared = self._shared(features)
        y = torch.multinomial(self._given(shared).exp(), 1).squeeze(1)
        classes = nn.functional.one_hot(y, self.classes).to(v.dtype)
        return torch.cat([features, classes], 1), shared + self.weight[self.features :][y]

    def class_log_probs(self, x: Tensor) -> Tensor:
        """Exact log p(class | features), shape (n, classes), by free energy: the classifier of Hinton et al. (2006)."""
        return self._class_log_probs(self.standardised(x))

    def _class_log_probs(self, v: Tensor) -> Tensor:
        return self._given(self._shared(v))

    def _shared(self, v: Tensor) -> Tensor:
        """What features v, as states, give to the activation of the hidden units, shape (n, hidden)."""
        return self.up(nn.functional.pad(v, (0, self.classes)))

    def _given(self, shared: Tensor) -> Tensor:
        """log p(class | features), shape (n, classes), from what the features give to the hidden units."""
        scores = self.above.log_partitions(shared, self.weight[self.features :])
        return (scores + self.visible_bias[self.features :]).log_softmax(1)

    def encode(self, x: Tensor) -> Tensor:
        return self.above.mean(self._shared(self.standardised(x)))

    def decode(self, h: Tensor) -> Tensor:
        a = affine_down(self.visible_bias[: self.features], h, self.weight[: self.features])
        return self.own_units(self.features_below.mean(a))

    def prepare(self, rows: Iterable[Tensor]) -> None:
        self._prepare(rows, self.features_below, self.visible_bias.detach()[: self.features])

    def to_dict(self) -> dict[str, Any]:
        own = super().to_dict() | {"features": self.features, "classes": self.classes}
        return {key: value for key, value in own.items() if key != "visible"} | {"below": self.features_below.to_dict()}

    def feedforward(self) -> nn.Sequential:
        half = RBM(self.features, self.hidden, below=self.features_below, above=self.above)
        half.standard = self.standard
        return feedforward_half(half, self.weight[: self.features], self.hidden_bias)
