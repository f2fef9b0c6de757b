"""A stage of any network as a `Layer`: it gets a way back down, and learns without labels to rebuild its own input.

So every network is pre-trained by the same greedy stack, and tuned by the same loop, whatever its stages are made of.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layerwise.autoencoder import NOISES, corrupt
from layerwise.batches import Batches
from layerwise.layer import Layer, Standardise
from layerwise.nets import Rows
from layerwise.recurrent import Recurrent
from layerwise.run import SILENT, Run
from layerwise.stack import Stack
from layerwise.starts import initialise
from layerwise.train import History, Training
from layerwise.units import Gaussian, Units, as_units


class Stage(Layer):
    """A module that goes up, with a learned way down: a denoising autoencoder around it (Vincent et al., 2010).

    Learning changes `module` itself, so a network whose stages are wrapped one after another is pre-trained in place.

    Arguments:
        module: Takes rows of `shape`, gives rows of another shape, with a batch in front.
        shape: Of a row below: (features,), (channels, height, width) or, where nothing else is known, any.
        below: Kind of the units below: it sets what rebuilding costs (see `Autoencoder`).
        above: Kind of the units above, for the lens: `module` computes their means.
        kernel: Of the convolution that leads down, where rows are images; odd.
        noise, amount: Corruption of the input, as for `Autoencoder`.
        standardise: Whether Gaussian units below standardise their rows; not where `module` does that.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> stage = Stage(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), (6,))
        >>> stage.decode(stage(torch.rand(2, 6))).shape
        torch.Size([2, 6])
    """

    figure: ClassVar[str] = "nats"
    two_way: ClassVar[bool] = True

    def __init__(
        self,
        module: nn.Module,
        shape: Sequence[int],
        *,
        below: Units | str = "gaussian",
        above: Units | str = "rectified",
        kernel: int = 3,
        noise: str | None = "masking",
        amount: float = 0.25,
        standardise: bool = True,
    ) -> None:
        if (noise is not None and noise not in NOISES) or amount < 0 or (noise != "gaussian" and amount >= 1):
            raise ValueError(
                f"noise is one of {', '.join(NOISES)} or None, and amount in [0, 1); got {noise!r}, {amount}."
            )
        shape, out = tuple(shape), output_shape(module, shape)
        super().__init__(math.prod(shape), math.prod(out), as_units(below), as_units(above))
        if not standardise:
            self.standard = None
        self.shape, self.out_shape, self.noise, self.amount = shape, out, noise, amount
        self.module, self.decoder = module, way_down(out, shape, kernel)

    def encode(self, x: Tensor) -> Tensor:
        return self.module(self.standardised(x).reshape(-1, *self.shape)).flatten(1)

    def learn(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        self.module.train()  # batch normalisation takes its statistics from the batches that the stage learns from alone
        try:
            return super().learn(x, y)
        finally:
            self.module.eval()

    def down(self, h: Tensor) -> Tensor:
        """Activation of the units below, shape (n, visible), given a code, shape (n, hidden)."""
        return self.decoder(h.reshape(-1, *self.out_shape)).flatten(1).to(h.dtype)

    def decode(self, h: Tensor) -> Tensor:
        return self.own_units(self.below.mean(self.down(h)))

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Nats per row to rebuild the clean input from the corrupted one."""
        v = self.standardised(x)
        h = self.module(corrupt(v, self.noise, self.amount).reshape(-1, *self.shape)).flatten(1)
        return self.below.surprise(v, self.down(h).float()).mean()

    def feedforward(self) -> nn.Sequential:
        """A copy of the way up."""
        return nn.Sequential(nn.Unflatten(1, self.shape), copy.deepcopy(self.module), nn.Flatten())

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError("A stage is saved with its network.")


def output_shape(module: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of what `module` makes of one row of `shape`; its state is left as it was.

    Example:
        >>> output_shape(nn.Linear(4, 2), (4,))
        (2,)
    """
    training = module.training
    try:
        with torch.no_grad():
            return tuple(module.eval()(torch.zeros(2, *shape)).shape[1:])
    finally:
        module.train(training)


def way_down(above: Sequence[int], below: Sequence[int], kernel: int = 3) -> nn.Module:
    """A module from rows of one shape to rows of another: for images enlarging and a convolution, else a linear map.

    Example:
        >>> way_down((8, 3, 3), (1, 7, 7))(torch.zeros(2, 8, 3, 3)).shape
        torch.Size([2, 1, 7, 7])
    """
    if len(above) == 3 and len(below) == 3:
        same = tuple(above[1:]) == tuple(below[1:])
        enlarge = nn.Identity() if same else nn.Upsample(tuple(below[1:]), mode="nearest")
        down = nn.Sequential(enlarge, nn.Conv2d(above[0], below[0], kernel, padding=kernel // 2))
    else:
        down = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(above), math.prod(below)), nn.Unflatten(1, tuple(below)))
    return initialise(down)


class Sequel(Layer):
    """A recurrent stage that learns to tell what comes next: from each step's features the next symbol, or values.

    Of a network that reads in both directions, one direction tells the next and the other the one before, so that
    neither sees what it has to tell (Peters et al., 2018, 3.1).

    Arguments:
        module: The recurrent stage.
        shape: Of a row: (steps,) of symbols or (steps, values).

    Example:
        >>> layer = Sequel(Recurrent(4, 8, vocabulary=5), (6,))
        >>> layer.loss(torch.ones(2, 6)).shape
        torch.Size([])
    """

    figure: ClassVar[str] = "nats"
    two_way: ClassVar[bool] = True

    def __init__(self, module: Recurrent, shape: Sequence[int]) -> None:
        steps = shape[0]
        super().__init__(math.prod(shape), steps * module.features, Gaussian(), as_units("gaussian"))
        self.standard = None
        self.module, self.shape = module, tuple(shape)
        each = module.lstm.hidden_size
        outputs = shape[1] if module.embedding is None else module.embedding.num_embeddings
        self.heads = nn.ModuleList(nn.Linear(each, outputs) for _ in range(module.features // each))

    def encode(self, x: Tensor) -> Tensor:
        return self.module(x.reshape(-1, *self.shape)).flatten(1)

    def decode(self, h: Tensor) -> Tensor:
        """What each step's features say of the next step, as rows: values, or the most probable symbols."""
        features = h.reshape(len(h), self.shape[0], self.module.features)[..., : self.module.lstm.hidden_size]
        told = self.heads[0](features)
        told = told if self.module.embedding is None else told.argmax(-1, keepdim=True).to(h.dtype)
        return torch.cat([told[:, :1], told[:, :-1]], 1).flatten(1)

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Nats per step to tell the next one (and, reading backwards, the one before), mean over steps that are not padding."""
        x = x.reshape(-1, *self.shape)
        features, lengths = self.module.run(x)
        each = self.module.lstm.hidden_size
        known = torch.arange(1, x.shape[1], device=x.device) < lengths[:, None]
        costs = []
        for number, head in enumerate(self.heads):
            mine = features[..., number * each : (number + 1) * each]
            told, came = (mine[:, :-1], x[:, 1:]) if number == 0 else (mine[:, 1:], x[:, :-1])
            costs.append(self._cost(head(told[known]).float(), came[known]))
        return torch.stack(costs).mean()

    def _cost(self, told: Tensor, came: Tensor) -> Tensor:
        if self.module.embedding is None:
            return 0.5 * (told - came).square().sum(-1).mean()
        return nn.functional.cross_entropy(told, came.long())

    def feedforward(self) -> nn.Sequential:
        """A copy of the way up."""
        return nn.Sequential(nn.Unflatten(1, self.shape), copy.deepcopy(self.module), nn.Flatten())

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError("A stage is saved with its network.")


def stages_of(network: nn.Sequential, **how: Any) -> Stack:
    """The hidden stages of a network from `nets`, each as a layer that learns on its own; `how` goes to each `Stage`.

    Learning the stack changes the network.

    Example:
        >>> from layerwise.nets import cnn
        >>> len(stages_of(cnn((1, 8, 8), 3, (4, 4), (16,))))
        3
    """
    parts = dict(network.named_children())
    entrance = parts["input"]
    assert isinstance(entrance, Rows)
    shape: tuple[int, ...] = entrance.shape
    layers: list[Layer] = []
    for name, part in parts.items():
        if name in ("input", "output"):
            continue
        if isinstance(part, Recurrent):
            return Stack(Sequel(part, shape))
        stage = Stage(part, shape, standardise=False, **how)
        layers.append(stage)
        shape = stage.out_shape
    return Stack(*layers)


def pretrain(network: nn.Sequential, batches: Batches, how: Training, run: Run = SILENT, **noise: Any) -> list[History]:
    """Greedy pre-training of a network's hidden stages, in place and without labels, bottom first; a history per stage."""
    return grow(network, batches, how, run, **noise)[0]


def grow(
    network: nn.Sequential, batches: Batches, how: Training, run: Run = SILENT, **noise: Any
) -> tuple[list[History], Stack]:
    """`pretrain`, and the stages with what they learned to lead down with; they are the network's own, not copies."""
    entrance = network.get_submodule("input")
    stack = stages_of(network, **noise).to(next(network.parameters()).device)
    network.eval()
    return stack.pretrain(batches.mapped(lambda x: entrance(x).flatten(1)), how, run=run), stack


def from_rows(network: nn.Sequential, stack: Stack) -> Stack:
    """A copy of a network's stages that takes rows as the network does, and gives them back in their own units.

    Example:
        >>> from layerwise.nets import mlp
        >>> network = mlp(4, 3, (8,))
        >>> from_rows(network, stages_of(network)).reconstruct(torch.rand(2, 4)).shape
        torch.Size([2, 4])
    """
    entrance, copied = network.get_submodule("input"), copy.deepcopy(stack)
    assert isinstance(entrance, Rows)
    standard = Standardise(math.prod(entrance.shape)).to(entrance.mean.device)
    for name in ("mean", "std"):
        getattr(standard, name).copy_(getattr(entrance, name).expand(entrance.shape).flatten())
    copied.layers[0].standard = standard
    return copied.eval()
