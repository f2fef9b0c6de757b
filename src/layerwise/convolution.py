"""Convolutional layers that learn without labels: an RBM with probabilistic max-pooling, and an autoencoder.

Rows stay flat between layers, so they stack with dense ones; each layer knows the shape of its rows.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import torch.nn.grad
from torch import Tensor, nn

from layerwise.layer import Layer, leave
from layerwise.rbm import RBM
from layerwise.stage import Stage
from layerwise.units import Bernoulli, Gaussian, Units, as_units


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width), of which one channel may be left out."""
    shape = tuple(shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"A convolutional layer takes rows of shape (channels, height, width), got {shape}.")
    return shape if len(shape) == 3 else (1, *shape)  # type: ignore[return-value]


class BlockPool(nn.Module):
    """log of the sum of exp over blocks of `block` x `block`: the log odds that any unit of a block of Lee (2009) is on.

    What does not fill a block at the lower and right border is left out.

    Example:
        >>> BlockPool(2)(torch.zeros(1, 1, 2, 2)).item()  # log 4
        1.386...
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, a: Tensor) -> Tensor:
        return self.split(a).logsumexp(0)

    def split(self, a: Tensor) -> Tensor:
        """The activations of shape (n, filters, height, width) by block, shape (block^2, n, filters, rows, columns).

        The places of a block come first: sums over a leading dimension are many times faster than over a last one of four.
        """
        c = self.block
        height, width = a.shape[2] // c * c, a.shape[3] // c * c
        return torch.stack([a[:, :, i:height:c, j:width:c] for i in range(c) for j in range(c)])

    def join(self, blocks: Tensor) -> Tensor:
        """The inverse of `split`, shape (n, filters, rows * block, columns * block)."""
        _, n, filters, rows, columns = blocks.shape
        whole = blocks.new_empty(n, filters, rows * self.block, columns * self.block)
        for place, part in enumerate(blocks):
            whole[:, :, place // self.block :: self.block, place % self.block :: self.block] = part
        return whole

    def extra_repr(self) -> str:
        return str(self.block)


class ConvRBM(RBM):
    r"""A convolutional RBM with probabilistic max-pooling (Lee, Grosse, Ranganath & Ng, 2009).

    Detection units share `filters` filters over all positions. In each block of them at most one is on, and the pooling
    unit above a block is on if one is: pooling units are Bernoulli units whose log odds are those of the whole block.

    .. math:: P(h_{k,ij} = 1 | v) = e^{a_{k,ij}} / (1 + \sum_{block} e^a), \quad a_k = W_k * v + b_k

    The visible units of a channel share one bias. Detection units begin as silent as `sparsity` wants them: where they
    all begin half on, every filter gets the same gradient, and they end as copies of one.

    Arguments:
        shape: Of a row, (channels, height, width), or (height, width) for one channel.
        filters: Number of them.
        kernel: Height and width of a filter in pixels.
        block: Height and width of a pooling block; 1 pools nothing.
        padding: Zeros around the image, in pixels; at most kernel - 1.
        below: Kind of the visible units: "bernoulli" or "gaussian".
        steps: The k of CD-k.
        sparsity: Wanted mean activity of a detection unit, in (0, 1 / block^2), as at most one of a block is on; None leaves
            it free. It moves the biases only, as in the paper.
        sparsity_cost: Strength of that pull.

    Raises:
        ValueError: If the filters do not fit into the rows, or a setting is out of its range.

    References:
        Convolutional deep belief networks for scalable unsupervised learning of hierarchical representations (Lee, Grosse,
        Ranganath & Ng, 2009), sections 3.2 and 3.3.

    Example:
        >>> layer = ConvRBM((1, 28, 28), 40, kernel=11)
        >>> layer(torch.rand(2, 784)).shape, layer.out_shape
        (torch.Size([2, 3240]), (40, 9, 9))
    """

    closed_form: ClassVar[bool] = True

    def __init__(
        self,
        shape: Sequence[int],
        filters: int,
        *,
        kernel: int = 7,
        block: int = 2,
        padding: int = 0,
        below: Units | str = "bernoulli",
        steps: int = 1,
        sparsity: float | None = 0.02,
        sparsity_cost: float = 1.0,
    ) -> None:
        self.shape = channels, height, width = _image(shape)
        detection = [side + 2 * padding - kernel + 1 for side in (height, width)]
        if min(filters, kernel, block, steps) < 1 or not 0 <= padding < kernel or min(detection) < block:
            raise ValueError(
                f"Filters of {kernel} x {kernel} pixels with padding {padding} leave {detection[0]} x {detection[1]} positions "
                f"of {height} x {width} pixels, too few for blocks of {block}; kernel, block, filters and steps are at least "
                "1, and padding is below kernel."
            )
        self.out_shape = (filters, detection[0] // block, detection[1] // block)
        self.detection = (filters, *detection)
        size = filters * self.out_shape[1] * self.out_shape[2]
        Layer.__init__(self, channels * height * width, size, as_units(below), Bernoulli())
        if not isinstance(self.below, Bernoulli | Gaussian):
            raise ValueError(
                f"The visible units of a ConvRBM are bernoulli or gaussian, not {self.below.name.lower()}."
            )
        if sparsity is not None and not 0 < sparsity < 1 / block**2:
            raise ValueError(
                f"sparsity is a mean activity in (0, {1 / block**2:.3g}), as one unit of a block of {block} x {block} is on at "
                f"most, or None; got {sparsity}."
            )
        self.kernel, self.block, self.padding, self.steps = kernel, block, padding, steps
        self.sparsity, self.sparsity_cost = sparsity, sparsity_cost
        self.particles, self.sample_visible = None, False
        self.weight = nn.Parameter(0.05 * torch.randn(filters, channels, kernel, kernel))
        self.visible_bias = nn.Parameter(torch.zeros(channels))
        silent = math.log(sparsity / (1 - block**2 * sparsity)) if sparsity else 0.0  # the softmax of a block inverted
        self.hidden_bias = nn.Parameter(torch.full((filters,), silent))
        self.register_buffer("activity", torch.full((filters,), sparsity) if sparsity else None)
        self.pool = BlockPool(block)

    # -- up and down ---------------------------------------------------------------------------------------------------

    def detect(self, v: Tensor) -> Tensor:
        """Activation of the detection units, shape (n, filters, height, width), given visible states, shape (n, visible)."""
        v = v.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)
        return F.conv2d(v, self.weight, self.hidden_bias, padding=self.padding).to(self.weight.dtype)

    def up(self, v: Tensor) -> Tensor:
        """Log odds of the pooling units, shape (n, hidden), given visible states, shape (n, visible)."""
        return self.pool(self.detect(v)).flatten(1)

    def down(self, h: Tensor) -> Tensor:
        """Activation of the visible units, shape (n, visible), given pooling states, shape (n, hidden).

        A pooling unit that is on has one detection unit on, which of them is not known: each takes its share.
        """
        share = (h / self.block**2).view(-1, *self.out_shape).expand(self.block**2, -1, -1, -1, -1)
        return self._down(self.pool.join(share))

    def _down(self, detected: Tensor) -> Tensor:
        """Activation of the visible units, given detection states, shape (n, filters, height, width) or a little less."""
        missing = [whole - part for whole, part in zip(self.detection[1:], detected.shape[2:], strict=True)]
        detected = F.pad(detected, (0, missing[1], 0, missing[0]))
        a = F.conv_transpose2d(detected, self.weight, self.visible_bias, padding=self.padding)
        return a.to(self.weight.dtype).flatten(1)

    def visible_biases(self) -> Tensor:
        return self.visible_bias.repeat_interleave(self.visible // self.shape[0])

    def drawn_down(self, v: Tensor, on: int | None = None) -> Tensor:
        """As of any RBM, but detection units are drawn: with the pooling unit `on`, one of its block is on."""
        a = self.detect(v)
        drawn = self._draw(self._by_block(a))
        if on is not None:
            k, i, j = (int(each) for each in np.unravel_index(on, self.out_shape))
            blocks, choice = self.pool.split(drawn), self.pool.split(a)[:, :, k, i, j].softmax(0).T.multinomial(1)
            blocks[:, :, k, i, j] = F.one_hot(choice[:, 0], self.block**2).T.to(v)
            drawn = self.pool.join(blocks)
        return self._down(drawn)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Rows rebuilt from the detection units, the shape of x: pooling loses positions, these do not."""
        h = self._probabilities(self.detect(self.standardised(x)))
        return self.own_units(self.below.mean(self._down(h)))

    def _probabilities(self, a: Tensor) -> Tensor:
        """P(h = 1 | v) of the detection units in whole blocks, given their activation."""
        return self.pool.join(self._by_block(a))

    def _by_block(self, a: Tensor) -> Tensor:
        """The same, split by block: a softmax over a block's units and "none" (equation 5)."""
        blocks = self.pool.split(a)
        top = blocks.amax(0).clamp_(min=0)
        blocks = blocks.sub_(top).exp_()
        return blocks.div_(blocks.sum(0).add_(top.neg_().exp_()))

    def _draw(self, by_block: Tensor) -> Tensor:
        """Detection units drawn, at most one per block, given their probabilities split by block."""
        total = by_block.cumsum(0)
        under = torch.rand_like(total[0]) < total  # one number for a block falls between two of the sums, or above all
        under[1:] ^= under[:-1].clone()
        return self.pool.join(under.to(by_block.dtype))

    # -- learning ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def contrast(self, v: Tensor, steps: int, *, draw: bool) -> tuple[Tensor, Tensor]:
        """Leaves the gradient of contrastive divergence; returns E[h|v] of the detection units and the fantasy."""
        by_block = self._by_block(self.detect(v))
        h, fantasy = self.pool.join(by_block), v
        for _ in range(steps):
            visible = self._down(self._draw(by_block))
            fantasy = self.below.sample(visible) if draw else self.below.mean(visible)
            by_block = self._by_block(self.detect(fantasy))
        h_fantasy = self.pool.join(by_block)
        both, hidden = torch.cat([fantasy, v]).view(-1, *self.shape), torch.cat([h_fantasy, -h]) / len(v)
        missing = [whole - part for whole, part in zip(self.detection[1:], hidden.shape[2:], strict=True)]
        hidden = F.pad(hidden, (0, missing[1], 0, missing[0]))
        # dF/dW_k is minus the correlation of v with E[h_k|v], summed over positions
        leave(
            self.weight,
            torch.nn.grad.conv2d_weight(both, self.weight.shape, hidden, padding=self.padding).to(self.weight.dtype),
        )
        # dF/dc sums over pixels too; their mean is a slower pace, without which c runs ahead and all filters become one
        leave(self.visible_bias, (fantasy - v).view(len(v), self.shape[0], -1).mean((0, 2)))
        leave(self.hidden_bias, hidden.sum((0, 2, 3)))
        return h, fantasy

    def _chain(self, v: Tensor, a: Tensor, steps: int, draw: bool) -> tuple[Tensor, Tensor]:
        visible = self.below.sample if draw else self.below.mean
        for _ in range(steps):
            v = visible(self.drawn_down(v))
        return v, self.up(v)

    def _add_sparsity_gradient(self, v: Tensor, h: Tensor) -> None:
        assert self.sparsity is not None and self.activity is not None and self.hidden_bias.grad is not None
        self.activity.lerp_(h.mean((0, 2, 3)), 0.1)
        self.hidden_bias.grad += self._pull()

    def _sparsity_loss(self, v: Tensor) -> Tensor:
        if self.sparsity is None or self.activity is None:
            return v.new_zeros(())
        with torch.no_grad():
            self.activity.lerp_(self._probabilities(self.detect(v)).mean((0, 2, 3)), 0.1)
        return self.hidden_bias @ self._pull()

    def _pull(self) -> Tensor:
        """Pull on the biases, scaled like the rest of their gradient: by the number of positions."""
        assert self.sparsity is not None and self.activity is not None
        positions = self.detection[1] * self.detection[2]
        return self.sparsity_cost * positions * (self.activity - self.sparsity)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """Energy in nats, shape (n,), of visible states (n, visible) with detection states (n, filters, height, width)."""
        a = (self.detect(v) * h).sum((1, 2, 3))
        return self.below.energy(v, self.visible_biases()) - a

    # -- the rest ------------------------------------------------------------------------------------------------------

    def feedforward(self) -> nn.Sequential:
        conv = nn.Conv2d(self.shape[0], self.out_shape[0], self.kernel, padding=self.padding).to(self.weight)
        conv.load_state_dict({"weight": self.weight.detach().clone(), "bias": self.hidden_bias.detach().clone()})
        return _half(self, OrderedDict(conv=conv, pool=BlockPool(self.block), activation=nn.Sigmoid()))

    def to_dict(self) -> dict[str, Any]:
        names = ("kernel", "block", "padding", "steps", "sparsity", "sparsity_cost")
        own = {
            "layer": "ConvRBM",
            "shape": list(self.shape),
            "filters": self.out_shape[0],
            "below": self.below.to_dict(),
        }
        return own | {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return f"{self.shape}, {self.out_shape[0]}, kernel={self.kernel}, block={self.block}"


class ConvAutoencoder(Stage):
    r"""A convolution with max-pooling that learns to rebuild its input (Masci, Meier, Cireşan & Schmidhuber, 2011).

    .. math:: h = pool(f(W * v + b)), \quad \hat v = g(W_{down} * up(h) + c)

    Arguments:
        shape: Of a row, (channels, height, width), or (height, width) for one channel.
        filters: Number of feature maps.
        kernel: Height and width of the filters in pixels; odd.
        pool: Height and width of the pooling; 1 pools nothing.
        below: Kind of the units below: it sets what rebuilding costs, as for `Autoencoder`.
        above: "rectified" or "bernoulli".
        noise, amount: Corruption of the input, as for `Autoencoder`.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> layer = ConvAutoencoder((1, 28, 28), 16)
        >>> layer(torch.rand(2, 784)).shape, layer.decode(layer(torch.rand(2, 784))).shape
        (torch.Size([2, 3136]), torch.Size([2, 784]))
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: int,
        *,
        kernel: int = 5,
        pool: int = 2,
        below: Units | str = "bernoulli",
        above: Units | str = "rectified",
        noise: str | None = "masking",
        amount: float = 0.25,
    ) -> None:
        shape = _image(shape)
        if filters < 1 or kernel < 1 or kernel % 2 == 0 or not 1 <= pool <= min(shape[1:]):
            raise ValueError(
                "kernel is odd, filters at least 1 and pool from 1 to the height and width; got "
                f"{kernel=}, {filters=}, {pool=} for rows of shape {shape}."
            )
        self.filters, self.kernel, self.pool = filters, kernel, pool
        kind = as_units(above)
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(shape[0], filters, kernel, padding=kernel // 2), activation=kind.module()
        )
        if pool > 1:
            parts["pool"] = nn.MaxPool2d(pool)
        nn.init.xavier_uniform_(parts["conv"].weight)  # type: ignore[arg-type]
        super().__init__(
            nn.Sequential(parts), shape, below=below, above=kind, kernel=kernel, noise=noise, amount=amount
        )

    def feedforward(self) -> nn.Sequential:
        assert isinstance(self.module, nn.Sequential)
        parts = OrderedDict((name, part) for name, part in self.module.named_children())
        return _half(self, parts)

    def to_dict(self) -> dict[str, Any]:
        own = {"layer": "ConvAutoencoder", "shape": list(self.shape), "filters": self.filters, "kernel": self.kernel}
        sides = {"below": self.below.to_dict(), "above": self.above.to_dict()}
        return own | sides | {"pool": self.pool, "noise": self.noise, "amount": self.amount}


def _half(layer: Layer, parts: OrderedDict[str, nn.Module]) -> nn.Sequential:
    """The way up of a convolutional layer as plain modules, from flat rows to flat codes; a copy."""
    half = nn.Sequential()
    if layer.standard is not None:
        half.add_module("standardise", copy.deepcopy(layer.standard))
    half.add_module("unflatten", nn.Unflatten(1, layer.shape))  # type: ignore[arg-type]
    for name, part in parts.items():
        half.add_module(name, copy.deepcopy(part))
    half.add_module("flatten", nn.Flatten())
    return half
