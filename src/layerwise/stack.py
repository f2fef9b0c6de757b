"""Greedy pre-training: every layer learns on what the layers below it send up (Hinton et al., 2006; Bengio et al., 2007)."""

from __future__ import annotations

import copy
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.layer import Layer
from layerwise.rows import MEMORY
from layerwise.run import SILENT, Run
from layerwise.train import History, Training, train


class Stack(nn.Sequential):
    """Layers on top of each other, bottom first. Calling it encodes; `decode` brings a code back down.

    Example:
        >>> from layerwise.rbm import RBM
        >>> stack = Stack(RBM(784, 500), RBM(500, 30))
        >>> stack.decode(stack(torch.rand(2, 784))).shape
        torch.Size([2, 784])
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        for number, (lower, upper) in enumerate(pairwise(layers), start=1):
            width = getattr(upper, "features", upper.visible)
            if lower.hidden != width:
                raise ValueError(
                    f"Layer {number} sends up {lower.hidden} units but layer {number + 1} takes {width}: make them equal."
                )

    @property
    def layers(self) -> list[Layer]:
        """The layers, bottom first."""
        return list(self)  # type: ignore[arg-type]

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Code of layer `depth` (1 = bottom; None = top), shape (n, its hidden units), given rows of data."""
        for layer in self.layers[:depth]:
            x = layer.encode(x)
        return x

    def decode(self, h: Tensor, depth: int | None = None) -> Tensor:
        """Rows of data, in their own units, that the code h of layer `depth` (None = top) stands for."""
        for layer in reversed(self.layers[:depth]):
            h = layer.decode(h)
        return h

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """x as rebuilt from its code in layer `depth` (None = top), the shape of x."""
        return self.decode(self.encode(x, depth), depth)

    def reconstruction_loss(self, x: Tensor, *, squared: bool = True) -> Tensor:
        """Mean per row of what it costs to rebuild x from its code.

        This is the squared error of the standardised values, summed over the inputs, or the surprise of the lowest units
        in nats.
        """
        bottom = self.layers[0]
        h = self.encode(x)
        for layer in reversed(self.layers[1:]):
            h = layer.decode(h)
        v, a = bottom.standardised(x), bottom.down(h)  # type: ignore[operator]
        if squared:
            return (v - bottom.below.mean(a)).square().sum(-1).mean()
        return bottom.below.surprise(v, a).mean()

    def pretrain(
        self,
        batches: Batches,
        how: Training | Sequence[Training],
        *,
        cache: str = "auto",
        memory: int = MEMORY,
        validate: Batches | None = None,
        run: Run = SILENT,
    ) -> list[History]:
        """Trains the layers one at a time, bottom first.

        Arguments:
            batches: The data; labels are passed on to layers that look at them.
            how: One setting for all layers, or one per layer.
            cache: What happens to the activations of the layers below: "memory" and "disk" hold them, "stream" makes
                them anew for every batch, "auto" holds them in memory while they fit `memory`, else on disk. Held or
                made anew they differ by rounding, because matrix products of more rows add up in another order.
            memory: Bytes that "auto" may hold in memory.
            validate: Held-out rows: with `Training.patience` a layer stops when it rebuilds them no better.
            run: Where progress is shown and checkpoints lie.

        Returns:
            A history per layer.

        Raises:
            ValueError: If the data does not fit the bottom layer's units, or a setting is unknown.
            Diverged: If a layer diverges.
        """
        each = [how] * len(self) if isinstance(how, Training) else list(how)
        if len(each) != len(self):
            raise ValueError(f"{len(self)} layers need {len(self)} settings, got {len(each)}.")
        histories, held_out, ours = [], validate, None
        with tempfile.TemporaryDirectory(prefix="layerwise-") as folder:
            for number, (layer, setting) in enumerate(zip(self.layers, each, strict=True), start=1):
                histories.append(self._pretrain_layer(number, layer, batches, setting, held_out, run))
                if number < len(self):
                    batches = hold(batches, layer.encode, layer.hidden, cache, memory, Path(folder) / f"{number}", ours)
                    ours = None if cache == "stream" else batches.x
                    held_out = held_out and held_out.mapped(layer.encode)
        return histories

    def _pretrain_layer(
        self, number: int, layer: Layer, batches: Batches, how: Training, held_out: Batches | None, run: Run
    ) -> History:
        name = f"layer {number}"
        if not run.finished(name):
            layer.prepare(x for x, _ in batches.in_order())
        validate: Callable[[], float] | None = None
        if held_out is not None:
            rows = held_out
            validate = lambda: reconstruction_error(layer, rows)  # noqa: E731
        return train(layer, layer.learn, batches, how, name=name, validate=validate, figure=layer.figure, run=run)

    def untie(self, upto: int | None = None) -> None:
        """Gives the layers (all, or the lowest `upto`) weights of their own for the way down, in place.

        What comes out is the unrolled deep autoencoder of Hinton & Salakhutdinov (2006), or the two-way lower layers of
        a deep belief net before wake-sleep. It computes the same functions as before.
        """
        for number, layer in enumerate(self.layers[:upto]):
            if not layer.two_way:
                self[number] = Autoencoder.from_layer(layer)

    def feedforward(
        self, outputs: int | None = None, *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> nn.Sequential:
        """A copy of the way up as a plain torch network to tune, with a new linear `output` layer on top.

        Its stages are named `layer1`, `layer2`, ..., `output`. Dropout stands before each of them: `input_dropout` at
        the data, `dropout` at hidden units, both the probability that a unit is silent.
        """
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for number, layer in enumerate(self.layers, start=1):
            stage = layer.feedforward()
            rate = input_dropout if number == 1 else dropout
            stages[f"layer{number}"] = with_dropout(stage, rate)
        if outputs is not None:
            like = next(self.parameters())
            head = nn.Linear(self.layers[-1].hidden, outputs, device=like.device, dtype=like.dtype)
            nn.init.zeros_(head.bias)
            nn.init.normal_(head.weight, std=0.1 / max(self.layers[-1].hidden, 1) ** 0.5)
            stages["output"] = with_dropout(nn.Sequential(OrderedDict(linear=head)), dropout)
        return nn.Sequential(stages)

    def copied(self) -> Stack:
        """A deep copy."""
        return copy.deepcopy(self)


def with_dropout(stage: nn.Sequential, rate: float) -> nn.Sequential:
    """The stage with dropout just before its linear map or convolution."""
    if not rate:
        return stage
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in stage.named_children():
        if name in ("linear", "conv"):
            parts["dropout"] = nn.Dropout(rate)
        parts[name] = part
    return nn.Sequential(parts)


def hold(
    batches: Batches, through: Callable[[Tensor], Tensor], width: int, cache: str, memory: int, file: Path,
    ours: Tensor | None = None,
) -> Batches:  # fmt: skip
    """`batches` sent through one more layer, its output held in memory, in `file`, or made anew for every batch.

    `ours` is what an earlier call held for `batches`: rows that fit are written over the rows that they came from, so
    that a deep stack takes no more memory than a shallow one.
    """
    if cache not in ("auto", "memory", "disk", "stream"):
        raise ValueError(f"cache is auto, memory, disk or stream; got {cache!r}.")
    if cache == "stream":
        return batches.mapped(through)
    size, dtype = batches.rows * width, batches.dtype
    fits = cache == "memory" or (cache == "auto" and size * dtype.itemsize <= memory)
    if ours is not None and size <= ours.numel() and fits == (ours.untyped_storage().filename is None):
        held = ours.view(-1)[:size]
    elif fits:
        held = torch.empty(size, dtype=dtype)
    else:
        held = torch.from_file(str(file), shared=True, size=size, dtype=dtype)
    held, at = held.view(-1, width), 0
    for x, _ in batches.mapped(through).in_order():
        held[at : at + len(x)] = x
        at += len(x)
    return Batches(held, batches.y, size=batches.size, seed=batches.seed, device=batches.device, dtype=dtype)


@torch.no_grad()
def reconstruction_error(model: Layer | Stack, batches: Batches) -> float:
    """Squared error per row, summed over the inputs, of `model`'s reconstruction, in the data's own units."""
    total = sum((x - model.decode(model.encode(x))).square().sum().double() for x, _ in batches.in_order())
    return float(total) / batches.rows
