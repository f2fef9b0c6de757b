"""How a model looks to the lens: a module with named layers, and what else it can be asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.findings import Curve, Setting
from layerwise.lens import Seen
from layerwise.lens.targets import answers
from layerwise.recurrent import Summary
from layerwise.stack import Stack
from layerwise.units import Units

WIDEST = 4096  # numbers of a row's code; maps are averaged over neighbours until they are no more


class Numbers(nn.Module):
    """A module that answers each row with numbers, shape (n, outputs): values in their own units, or a code.

    Example:
        >>> import torch
        >>> Numbers(nn.Linear(3, 2), torch.tensor([5.0, 6.0]), torch.tensor([0.0, 0.0]))(torch.rand(1, 3)).tolist()
        [[5.0, 6.0]]
    """

    mean: Tensor | None
    deviation: Tensor | None

    def __init__(self, net: nn.Module, mean: Tensor | None = None, deviation: Tensor | None = None) -> None:
        super().__init__()
        self.net = net
        place = next(net.parameters(), torch.zeros(())).device
        self.register_buffer("mean", None if mean is None else mean.to(place))
        self.register_buffer("deviation", None if deviation is None else deviation.to(place))

    def forward(self, x: Tensor) -> Tensor:
        found = answers(self.net(x), len(x)).reshape(len(x), -1)
        return found if self.mean is None or self.deviation is None else found * self.deviation + self.mean


@dataclass(frozen=True, eq=False)
class Subject:
    """What the lens looks at.

    Arguments:
        name: Of the model's class.
        words: What it is, and (`what`) what its layers belong to, for people.
        module: The torch module, whose sub-modules `stages` are the layers, bottom first, called `labels`, of these `units`.
        output: The sub-module that gives the answers, whose units have pages too; None where it is none of the parts.
        visible: Kind of the units that hold the data.
        kinds: What the units of each layer are, for people.
        features: Numbers of a row; `shape` is that of a row as the module takes it, `whole` if as whole numbers.
        work: Multiply-adds of a small batch.
        threads: How many it may use; None for as many as suit the work.
        weights: Of every layer, an output layer included, bottom first, each of shape (inputs, units), on the CPU; None for one
            without weights, such as an activation; empty where layers are no chain of matrices.
        filters: Of the lowest convolution, shape (maps, channels, height, width), on the CPU.
        symbols: How many symbols there are, where rows are symbols in order.
        scale: Standard deviations of the features, shape (features,), if the lowest layer standardises them.
        classes: What the model calls its classes; None if it knows none.
        columns: Names of the features that it was fitted with; None if they had none.
        gives: What the module answers a row with: "classes" (scores of them), "values" (in `mean` and `deviation`, shape
            (outputs,) both, standardised), or a "code"; "" for anything else.
        log_proba: From rows (n, features) to log-probabilities (n, classes); None for what does not classify.
        loss: From the module's output and the classes of some rows to a number; None for what does not classify.
        dream: From labels, Gibbs steps and a seed to rows of these labels; None for what cannot.
        dream_of: From a layer (1 = lowest), a unit of it, a number of rows, Gibbs steps and a seed to rows that are dreamt
            while that unit is held on; None for what cannot.
        stack: What encodes and decodes, if it learned to; `generative` says what it is.
        tuned_whole: Whether the way down was tuned from the top code only.
        start: Weights of the layers before tuning, if they are tuned copies.
        curves, settings, gradients: How it learned, what was set, and root mean squares of each stage's gradients at start and
            end; empty if that is not known.
        missing: Why there is no section, by its name.
        note: What else is to be said of how it is looked at.
    """

    name: str
    words: str
    what: str
    module: nn.Module
    stages: list[str]
    labels: list[str]
    units: list[Units]
    visible: str
    kinds: list[str]
    features: int
    work: float
    shape: tuple[int, ...] | None = None
    whole: bool = False
    threads: int | None = None
    output: str | None = None
    weights: list[Tensor | None] = field(default_factory=list)
    filters: Tensor | None = None
    symbols: int | None = None
    scale: Tensor | None = None
    classes: Sequence[Any] | None = None
    columns: list[str] | None = None
    gives: str = ""
    mean: Tensor | None = None
    deviation: Tensor | None = None
    log_proba: Callable[[np.ndarray], np.ndarray] | None = None
    loss: Callable[[Any, Tensor], Tensor] | None = None
    dream: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    dream_of: Callable[[int, int, int, int, int], np.ndarray] | None = None
    stack: Stack | None = None
    generative: str = ""
    tuned_whole: bool = False
    start: list[Tensor] | None = None
    curves: list[Curve] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    gradients: dict[str, tuple[float, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def numbers(self) -> Numbers:
        """The module of a subject that gives values or a code, with its answers in their own units."""
        return Numbers(self.module, self.mean, self.deviation)

    @property
    def values(self) -> int | None:
        """How many values it gives each row; None if it gives something else."""
        return None if self.gives != "values" or self.mean is None else len(self.mean)

    @property
    def classifies(self) -> bool:
        """Whether it gives each row a class."""
        return self.log_proba is not None

    def given(self, rows: Tensor) -> Tensor:
        """Rows (n, features) as the module takes them."""
        shaped = rows if self.shape is None else rows.reshape(len(rows), *self.shape)
        return shaped.long() if self.whole else shaped

    def chain(self, depth: int) -> list[Tensor]:
        """The weights from the input up to layer `depth` (1 = lowest), as far as they are known."""
        return [weight for weight in self.weights[:depth] if weight is not None]

    def only(self, stages: Sequence[str]) -> Subject:
        """The same with some of its layers."""
        if list(stages) == self.stages:
            return self
        at = [self.stages.index(stage) for stage in stages]
        return replace(
            self, stages=list(stages), labels=[self.labels[i] for i in at], units=[self.units[i] for i in at],
            kinds=[self.kinds[i] for i in at], weights=[], stack=None, start=None,
            missing=self.missing | {"Reconstructions": "some layers could not be looked at"},
        )  # fmt: skip


def cross_entropy(output: Any, labels: Tensor) -> Tensor:
    """The loss of a module that answers with scores of classes."""
    return F.cross_entropy(answers(output, len(labels)), labels)


def code_of(seen: Seen) -> Tensor:
    """A row's code, shape (n, numbers), given what a layer gave.

    Maps, shape (n, maps, height, width), are averaged over 2 x 2 positions until they are no more than 4096 numbers; steps,
    shape (n, steps, features), are summed up by their mean and maximum, and so is what else is wider than that.

    Example:
        >>> import torch
        >>> code_of(Seen(torch.ones(2, 32, 14, 14), 1)).shape, code_of(Seen(torch.ones(2, 9, 3), 2)).shape
        (torch.Size([2, 1568]), torch.Size([2, 6]))
    """
    values = seen.values.float()
    if values.ndim == 3 and seen.axis == 2:
        return Summary()(values)
    while values.ndim == 4 and seen.axis == 1 and values[0].numel() > WIDEST and min(values.shape[2:]) > 1:
        values = F.avg_pool2d(values, 2)
    if seen.positions and math.prod(values.shape[1:]) > WIDEST:
        return Summary()(values.movedim(seen.axis, -1).flatten(1, -2))
    return values.flatten(1)


def states_of(seen: Seen) -> Tensor:
    """The state of each unit, shape (n, units), given what a layer gave: of a map, or of a feature of steps, the largest.

    Example:
        >>> import torch
        >>> states_of(Seen(torch.ones(2, 32, 14, 14), 1)).shape, states_of(Seen(torch.ones(2, 9, 3), 2)).shape
        (torch.Size([2, 32]), torch.Size([2, 3]))
    """
    values = seen.values.float()
    if values.ndim == 3 and seen.axis == 2:
        return Summary()(values)[:, values.shape[2] :]
    return values.movedim(seen.axis, 1).flatten(2).amax(2) if values.ndim > 2 else values
