"""Plain torch networks with named stages: dense, convolutional, residual, recurrent.

Every builder gives an `nn.Sequential` whose stages are named `input`, `layer1`, `layer2`, ..., `output`: the lens, greedy
pre-training and the report take a network apart by these names. Rows may come flat, as `layerwise.data` serves them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.pieces import Embedding, Pieces
from layerwise.recurrent import Recurrent, Summary, present
from layerwise.starts import initialise

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky relu": nn.LeakyReLU, "gelu": nn.GELU, "softplus": nn.Softplus, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}  # fmt: skip


def activation(name: str) -> nn.Module:
    """The activation of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"There is no activation {name!r}; choose one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]()


SPARSE = 0.9  # share of zeros from which on they are taken to mean that something is not there


class Rows(nn.Module):
    """Rows, flat or shaped, as ``(n, *shape)``, standardised: each feature, each channel of a picture, each value of a sequence
    by one mean and one deviation over all rows, pixels and steps.

    Flat rows that are nearly all zeros, as those of words are, keep their zeros and their proportions: they are divided by
    one number, the root mean square of the others. (Standardised, each rare word would outshout the frequent ones.)

    Steps at the end of a sequence that are all 0 are padding: they have no part in the statistics, and stay 0.

    Arguments:
        shape: Of a row as it comes: (features,), (channels, height, width), (steps, values), or (steps,) symbols.
        swap: Rows come as (values, steps), as spectrograms do, and leave as sequences, (n, steps, values).

    Example:
        >>> Rows((1, 2, 2))(torch.zeros(3, 4)).shape
        torch.Size([3, 1, 2, 2])
    """

    mean: Tensor
    std: Tensor
    shape: tuple[int, ...]

    def __init__(self, shape: Sequence[int], swap: bool = False) -> None:
        super().__init__()
        self.came, self.swap = tuple(shape), swap
        self.shape = self.came[::-1] if swap else self.came
        each = {3: (self.shape[0], 1, 1), 2: self.shape[1:]}.get(len(self.shape), self.shape)
        self.register_buffer("mean", torch.zeros(each))
        self.register_buffer("std", torch.ones(each))

    @torch.no_grad()
    def fit(self, x: Tensor) -> Rows:
        """Takes the statistics of some rows; what never varies is only centred."""
        x = self._shaped(x).double()
        if len(self.shape) == 2:
            x = x[present(x)]
        if len(self.shape) == 1 and (x == 0).double().mean() > SPARSE:
            self.std.fill_(float(x[x != 0].square().mean().sqrt()) if x.any() else 1.0)
            return self
        axes = (0, 2, 3) if len(self.shape) == 3 else (0,)
        std = x.std(axes, correction=0, keepdim=True)[0]
        self.mean.copy_(x.mean(axes, keepdim=True)[0])
        self.std.copy_(torch.where(std > 1e-6 * self.mean.abs().clamp_min(1e-30), std, torch.ones_like(std)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        came = self._shaped(x)
        x = (came - self.mean) / self.std
        if x.ndim == 3:
            return x * present(came)[..., None]
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

    def _shaped(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), *self.came)
        return x.transpose(1, 2) if self.swap else x

    def extra_repr(self) -> str:
        return str(self.shape)


def mlp(
    inputs: int,
    outputs: int,
    hidden: Sequence[int] = (512, 512),
    *,
    units: str = "relu",
    batch_norm: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    pieces: int | Sequence[int] = 0,
    embedding: int = 0,
) -> nn.Sequential:
    """A network of dense layers for rows of shape (n, inputs).

    Arguments:
        hidden: Units per hidden layer, bottom first.
        units: Their kind, see `ACTIVATIONS`.
        batch_norm: Batch normalisation (Ioffe & Szegedy, 2015) before each activation.
        dropout, input_dropout: Probability that a hidden or an input unit is silent while learning (Srivastava et al., 2014).
        pieces: Of the range of each column, as features of the lowest layer, see `layerwise.pieces`; they are yet to be
            fitted. 0 leaves numbers as they are.
        embedding: Features that are learned of each column's pieces before columns meet, see `layerwise.pieces`; 0 leaves the
            pieces as they are.

    Raises:
        ValueError: If there are pieces but no hidden layer, not as many counts of them as columns, or an embedding of none.

    Example:
        >>> mlp(4, 3, (8,))(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict(input=Rows((inputs,)))
    cut = _cut(inputs, pieces, hidden)
    learned = _embedding(cut, embedding)
    width = inputs if cut is None else len(cut.column) if learned is None else learned.features
    for number, wanted in enumerate(hidden, start=1):
        parts = {
            "pieces": cut if number == 1 else None,
            "embedding": learned if number == 1 else None,
            "dropout": nn.Dropout(input_dropout if number == 1 else dropout),
            "linear": nn.Linear(width, wanted, bias=not batch_norm),
            "norm": nn.BatchNorm1d(wanted) if batch_norm else None,
            "activation": activation(units),
        }
        stages[f"layer{number}"] = _stage(parts)
        width = wanted
    stages["output"] = _stage(
        {"dropout": nn.Dropout(dropout if hidden else input_dropout), "linear": nn.Linear(width, outputs)}
    )
    return initialise(nn.Sequential(stages))  # type: ignore[return-value]


def _cut(inputs: int, pieces: int | Sequence[int], hidden: Sequence[int]) -> Pieces | None:
    """What cuts the columns of rows of so many inputs, if anything does."""
    if isinstance(pieces, int) and pieces == 0:
        return None
    if not hidden:
        raise ValueError(
            "Pieces are features of the lowest hidden layer, and there is none. Ask for a layer, or for no pieces."
        )
    counts = (pieces,) * inputs if isinstance(pieces, int) else tuple(pieces)
    if len(counts) != inputs:
        raise ValueError(f"There are {inputs} columns, but pieces are given for {len(counts)}.")
    return Pieces(counts)


def _embedding(cut: Pieces | None, width: int) -> Embedding | None:
    """What is learned of the pieces of each column, if anything is: where no column is cut, there is nothing to learn of it."""
    if width == 0:
        return None
    if cut is None:
        raise ValueError(
            f"An embedding is of pieces, and none are asked for. Give pieces, or leave embedding ({width}) out."
        )
    return Embedding(cut.counts, width) if cut.cut.any() else None


def cnn(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (128,),
    *,
    kernel: int = 3,
    convolutions: int = 1,
    units: str = "relu",
    batch_norm: bool = True,
    dropout: float = 0.0,
    stage_dropout: float = 0.0,
) -> nn.Sequential:
    """Input - convolution - down-sampling - ... - hidden - output (LeCun et al., 1998), for images of `shape`.

    Arguments:
        shape: (channels, height, width) of a row, or (height, width) for one channel.
        channels: Feature maps per stage, bottom first; each stage halves height and width by max-pooling.
        hidden: Units of the dense layers above them.
        kernel: Height and width of the filters in pixels; odd.
        convolutions: Of each stage, before its pooling.
        units, batch_norm: As for `mlp`.
        dropout: Before dense layers, and `stage_dropout` before convolutional stages but the first, of whole maps.

    Raises:
        ValueError: If the images are too small for so many stages.

    Example:
        >>> cnn((1, 28, 28), 10)(torch.zeros(2, 784)).shape
        torch.Size([2, 10])
    """
    shape = _image(shape)
    if min(shape[1:]) < 2 ** len(channels):
        raise ValueError(
            f"Images of {shape[1]} x {shape[2]} pixels cannot be halved {len(channels)} times. Leave stages out (channels)."
        )
    stages: OrderedDict[str, nn.Module] = OrderedDict(input=Rows(shape))
    width = shape[0]
    for number, wanted in enumerate(channels, start=1):
        stages[f"layer{number}"] = _convolutional(
            width, wanted, kernel, convolutions, units, batch_norm, stage_dropout if number > 1 else 0.0
        )
        width = wanted
    height, across = (side // 2 ** len(channels) for side in shape[1:])
    head = mlp(width * height * across, outputs, hidden, units=units, batch_norm=batch_norm, dropout=dropout,
               input_dropout=dropout)  # fmt: skip
    return _with_head(stages, nn.Flatten(), head)


def _convolutional(
    inputs: int, outputs: int, kernel: int, convolutions: int, units: str, batch_norm: bool, dropout: float
) -> nn.Sequential:
    parts: dict[str, nn.Module | None] = {"dropout": nn.Dropout2d(dropout)}
    for number in range(1, convolutions + 1):
        tail = "" if convolutions == 1 else str(number)
        width = inputs if number == 1 else outputs
        parts[f"conv{tail}"] = nn.Conv2d(width, outputs, kernel, padding=kernel // 2, bias=not batch_norm)
        parts[f"norm{tail}"] = nn.BatchNorm2d(outputs) if batch_norm else None
        parts[f"activation{tail}"] = activation(units)
    return _stage(parts | {"pool": nn.MaxPool2d(2)})


class Residual(nn.Module):
    """Two convolutions beside a short cut: relu(x + F(x)) (He et al., 2015, figure 2); a 1 x 1 convolution where sizes change.

    Example:
        >>> Residual(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, units: str = "relu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation(units)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1:
            # Every stride-th pixel first: where only AVX2 is there, torch 2.13 writes beyond its memory in the backward pass of
            # a 1 x 1 convolution that strides over fewer than 8 channels, channels last.
            self.shortcut.add_module("pick", nn.AvgPool2d(1, stride))
        if stride > 1 or inputs != outputs:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, outputs, 1, bias=False))
            self.shortcut.add_module("norm", nn.BatchNorm2d(outputs))
        self.activation2 = activation(units)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(x)))))
        return self.activation2(inner + self.shortcut(x))


def resnet(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    *,
    units: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """A residual network (He et al., 2015, section 4.2): a convolution, groups of `blocks`, the mean over positions.

    Arguments:
        shape: (channels, height, width) of a row, or (height, width) for one channel.
        channels: Feature maps per group; each but the first halves height and width.
        blocks: Residual blocks per group.
        dropout: Before the output layer.

    Example:
        >>> resnet((3, 32, 32), 10, (8, 16), 1)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    shape = _image(shape)
    stem = {
        "conv": nn.Conv2d(shape[0], channels[0], 3, padding=1, bias=False),
        "norm": nn.BatchNorm2d(channels[0]),
        "activation": activation(units),
    }
    stages: OrderedDict[str, nn.Module] = OrderedDict(input=Rows(shape), layer1=_stage(stem))
    width = channels[0]
    for number, wanted in enumerate(channels, start=2):
        parts: dict[str, nn.Module | None] = {}
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and number > 2 else 1
            parts[f"block{block}"] = Residual(width, wanted, stride, units)
            width = wanted
        stages[f"layer{number}"] = _stage(parts)
    head = mlp(width, outputs, (), input_dropout=dropout)
    return _with_head(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)


def lstm(
    shape: Sequence[int],
    outputs: int,
    hidden: int = 128,
    layers: int = 1,
    *,
    both: bool = True,
    vocabulary: int | None = None,
    embedding: int = 64,
    dropout: float = 0.0,
    swap: bool = False,
) -> nn.Sequential:
    """A recurrent network for sequences: (steps, values) per row, or (steps,) whole numbers with `vocabulary`.

    Arguments:
        hidden, layers, both, vocabulary, dropout: As for `Recurrent`.
        embedding: Numbers that a symbol becomes.
        swap: Rows are (values, steps), as spectrograms are.

    Example:
        >>> lstm((5, 3), 2, 4)(torch.rand(2, 15)).shape, lstm((5,), 2, 4, vocabulary=9)(torch.ones(2, 5)).shape
        (torch.Size([2, 2]), torch.Size([2, 2]))
    """
    rows = Rows(shape, swap)
    inputs = embedding if vocabulary is not None else rows.shape[-1]
    body = Recurrent(inputs, hidden, layers=layers, both=both, vocabulary=vocabulary, dropout=dropout)
    stages: OrderedDict[str, nn.Module] = OrderedDict(input=rows, layer1=body)
    head = mlp(2 * body.features, outputs, (), input_dropout=dropout)
    return _with_head(stages, Summary(), head)


def _image(shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"Images have shape (height, width) or (channels, height, width), got {shape}.")
    return shape if len(shape) == 3 else (1, *shape)


def _stage(parts: Mapping[str, nn.Module | None]) -> nn.Sequential:
    """The parts that are there, dropout of nothing left out."""
    idle = (nn.Dropout, nn.Dropout2d)
    return nn.Sequential(
        OrderedDict(
            (name, part)
            for name, part in parts.items()
            if part is not None and not (isinstance(part, idle) and part.p == 0)
        )
    )


def _with_head(stages: OrderedDict[str, nn.Module], joint: nn.Module, head: nn.Sequential) -> nn.Sequential:
    """The stages, and on top of them, behind `joint`, the dense stages of `head`."""
    count = len(stages)
    for name, stage in list(head.named_children())[1:]:
        stages[name if name == "output" else f"layer{count}"] = stage
        count += 1
    first = next(name for name in list(stages) if isinstance(stages[name], nn.Sequential) and _has_linear(stages[name]))
    stages[first] = nn.Sequential(OrderedDict([("joint", joint), *stages[first].named_children()]))
    return initialise(nn.Sequential(stages))  # type: ignore[return-value]


def _has_linear(stage: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear) for part in stage.modules())


def parameters(network: nn.Module) -> int:
    """How many numbers the network has learned.

    Example:
        >>> parameters(nn.Linear(4, 2))
        10
    """
    return sum(p.numel() for p in network.parameters())


def work(network: nn.Module, shape: Sequence[int]) -> float:
    """Multiply-adds of the dense, convolutional and recurrent parts for one row of `shape`.

    Example:
        >>> work(mlp(4, 3, (8,)), (4,))
        56.0
    """
    total = 0.0

    def count(part: nn.Module, _: tuple[Any, ...], out: Any) -> None:
        nonlocal total
        if isinstance(part, nn.Linear | nn.Conv2d):
            positions = out.numel() / out.shape[1 if isinstance(part, nn.Conv2d) else -1]
            total += part.weight.numel() * positions
        elif isinstance(part, nn.LSTM):  # packed: as many rows as there are steps
            total += sum(p.numel() for p in part.parameters() if p.ndim > 1) * len(out[0].data)

    parts = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d | nn.LSTM)]
    handles = [part.register_forward_hook(count) for part in parts]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.ones(1, *shape))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return total
