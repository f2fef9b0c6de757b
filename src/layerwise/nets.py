"""Plain torch networks with named stages, how their weights start, and what they are asked to make small.

Every builder gives an `nn.Sequential` whose stages are named `input`, `layer1`, `layer2`, ..., `output`: the lens, greedy
pre-training and the report take a network apart by these names. Rows may come flat, as `layerwise.data` serves them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.train import Learn, backprop

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


class Rows(nn.Module):
    """Rows, flat or shaped, as (n, *shape); pixels and the like are standardised by one mean and one deviation per channel.

    With `swap` rows of shape (values, steps), such as spectrograms, become sequences, (n, steps, values).

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
        channels = (self.shape[0],) + (1,) * (len(self.shape) - 1) if len(self.shape) == 3 else self.shape
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def fit(self, x: Tensor) -> Rows:
        """Takes the statistics of some rows; what never varies is only centred."""
        x = self._shaped(x).double()
        axes = (0, 2, 3) if len(self.shape) == 3 else (0,)
        std = x.std(axes, correction=0, keepdim=True)[0]
        self.mean.copy_(x.mean(axes, keepdim=True)[0])
        self.std.copy_(torch.where(std > 1e-6 * self.mean.abs().clamp_min(1e-30), std, torch.ones_like(std)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = (self._shaped(x) - self.mean) / self.std
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
) -> nn.Sequential:
    """A network of dense layers for rows of shape (n, inputs).

    Arguments:
        hidden: Units per hidden layer, bottom first.
        units: Their kind, see `ACTIVATIONS`.
        batch_norm: Batch normalisation (Ioffe & Szegedy, 2015) before each activation.
        dropout, input_dropout: Probability that a hidden or an input unit is silent while learning (Srivastava et al., 2014).

    Example:
        >>> mlp(4, 3, (8,))(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict(input=Rows((inputs,)))
    width = inputs
    for number, wanted in enumerate(hidden, start=1):
        parts = {
            "dropout": nn.Dropout(input_dropout if number == 1 else dropout),
            "linear": nn.Linear(width, wanted, bias=not batch_norm),
            "norm": nn.BatchNorm1d(wanted) if batch_norm else None,
            "activation": activation(units),
        }
        stages[f"layer{number}"] = _stage(parts)
        width = wanted
    stages["output"] = _stage({"dropout": nn.Dropout(dropout if hidden else 0.0), "linear": nn.Linear(width, outputs)})
    return initialise(nn.Sequential(stages))  # type: ignore[return-value]


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
        if stride > 1 or inputs != outputs:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, outputs, 1, stride, bias=False))
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
    head = mlp(width, outputs, (), dropout=dropout)
    return _with_head(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)


class Recurrent(nn.Module):
    """An LSTM (Hochreiter & Schmidhuber, 1997; forget gates: Gers et al., 2000) over sequences of unequal length.

    Sequences come as (n, steps, inputs), or as whole numbers (n, steps), of which 0 is padding, with `vocabulary`. Padded
    steps are not computed (packed sequences).

    Arguments:
        inputs: Values per step, or the size of the embedding with `vocabulary`.
        hidden: Units, of each direction.
        layers: LSTM layers on top of each other.
        both: Read in both directions.
        vocabulary: Number of symbols; None for sequences of values.
        dropout: Between layers, and of embedded symbols.

    Returns of `forward`: (n, steps, features), 0 where padded; `summary` makes (n, features) of it: the mean over the steps
    and the largest value of each feature, side by side.
    """

    def __init__(
        self, inputs: int, hidden: int, *, layers: int = 1, both: bool = True, vocabulary: int | None = None,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, inputs, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            inputs, hidden, layers, batch_first=True, bidirectional=both, dropout=dropout if layers > 1 else 0.0
        )
        self.features = hidden * (2 if both else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of every step, (n, steps, features), and the lengths, (n,), of at least 1."""
        if self.embedding is None:
            present = x.abs().sum(-1) > 0
        else:
            present = x > 0
            x = self.embedding(x.long())
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)
        lengths = (present * steps).amax(1).clamp_min(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = self.lstm(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0], lengths


class Summary(nn.Module):
    """Of features of every step, (n, steps, f), 0 where padded: their mean and their maximum over the steps, (n, 2 f).

    Example:
        >>> Summary()(torch.tensor([[[2.0], [4.0], [0.0]]])).tolist()
        [[3.0, 4.0]]
    """

    def forward(self, h: Tensor) -> Tensor:
        present = (h.abs().sum(-1, keepdim=True) > 0).to(h.dtype)
        mean = (h * present).sum(1) / present.sum(1).clamp_min(1)
        largest = (h + (present - 1) * 1e4).amax(1)  # padding never wins
        return torch.cat([mean, torch.where(present.amax(1) > 0, largest, 0.0)], 1)


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
    head = mlp(2 * body.features, outputs, (), dropout=dropout)
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
    """Multiply-adds of the dense and convolutional parts for one row of `shape`.

    Example:
        >>> work(mlp(4, 3, (8,)), (4,))
        56.0
    """
    total = 0.0

    def count(part: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(part, nn.Linear | nn.Conv2d):
            positions = out.numel() / out.shape[1 if isinstance(part, nn.Conv2d) else -1]
            total += part.weight.numel() * positions
        elif isinstance(part, nn.LSTM):
            total += sum(p.numel() for p in part.parameters()) * math.prod(shape[:1])

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


# -- how weights start -------------------------------------------------------------------------------------------------

INITIALISATIONS = ("auto", "normal", "xavier", "he", "orthogonal")


@torch.no_grad()
def initialise(network: nn.Module, how: str = "auto") -> nn.Module:
    """Random weights in place; biases start at 0.

    Arguments:
        how: "normal" (standard deviation 0.01), "xavier" (Glorot & Bengio, 2010: uniform in +- sqrt(6 / (in + out))),
            "he" (He et al., 2015: normal, variance 2 / in), "orthogonal" (Saxe et al., 2014), or "auto": "he" before
            rectified units and "xavier" elsewhere, so that signals keep their size.

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
            _start_lstm(part)
    return network


def _start(weight: Tensor, how: str) -> None:
    if how == "normal":
        nn.init.normal_(weight, std=0.01)
    elif how == "xavier":
        nn.init.xavier_uniform_(weight)
    elif how == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        nn.init.orthogonal_(weight)


def _start_lstm(part: nn.LSTM) -> None:
    """Xavier upwards, orthogonal in time, and an open forget gate (Jozefowicz et al., 2015)."""
    for name, weight in part.named_parameters():
        if "weight_hh" in name:
            for gate in weight.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.zeros_(weight)
            if "bias_ih" in name:
                weight[part.hidden_size : 2 * part.hidden_size] = 1.0


# -- losses ------------------------------------------------------------------------------------------------------------

LOSSES = ("cross-entropy", "focal", "squared error", "huber")


def cross_entropy(network: nn.Module, **how: float | Tensor) -> Learn:
    """Back-propagation of the cross-entropy in nats between the network's logits and the labels, for `train`.

    `how` goes to `classification_loss`.

    Example:
        >>> cross_entropy(nn.Linear(4, 2))(torch.zeros(3, 4), torch.tensor([0, 1, 0])).shape
        torch.Size([])
    """
    loss = classification_loss("cross-entropy", **how)  # type: ignore[arg-type]
    return backprop(lambda x, y: loss(network(x), y))


def classification_loss(
    kind: str = "cross-entropy", *, smoothing: float = 0.0, focus: float = 2.0, weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """What is made small: a function of logits (n, classes) and classes (n,) or shares (n, classes), in nats where it can be.

    Arguments:
        kind: "cross-entropy", "focal" (Lin et al., 2017: rows that are right already count less) or "squared error"
            between probabilities and one-hot classes.
        smoothing: Share of a label that is spread over all classes (Szegedy et al., 2016), in [0, 1).
        focus: The exponent of the focal loss, at least 0.
        weights: Of the classes, shape (classes,); None weighs all alike.

    Raises:
        ValueError: If there is no such loss, or a number is out of its range.

    Example:
        >>> classification_loss("focal", focus=0.0)(torch.zeros(1, 2), torch.tensor([0])).item()  # log 2
        0.693...
    """
    if kind not in ("cross-entropy", "focal", "squared error"):
        raise ValueError(f"A classifier's loss is cross-entropy, focal or squared error, not {kind!r}.")
    if not 0 <= smoothing < 1 or focus < 0:
        raise ValueError(f"smoothing lies in [0, 1) and focus is at least 0; got {smoothing} and {focus}.")

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        logits = logits.float()  # logits of shorter numbers are too coarse
        if kind == "cross-entropy":
            return F.cross_entropy(logits, y, weights, label_smoothing=smoothing)
        shares = y if y.ndim == 2 else F.one_hot(y, logits.shape[1]).to(logits.dtype)
        shares = shares * (1 - smoothing) + smoothing / logits.shape[1]
        log_p = logits.log_softmax(1)
        if kind == "focal":
            each = -(shares * (1 - log_p.exp()) ** focus * log_p)
        else:
            each = (log_p.exp() - shares).square()
        return (each if weights is None else each * weights).sum(1).mean()

    return loss


def regression_loss(kind: str = "squared error", *, delta: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss "squared error", or "huber" (Huber, 1964): squared up to `delta` and linear beyond,
    for targets with outliers.

    Raises:
        ValueError: If there is no such loss.

    Example:
        >>> regression_loss("huber")(torch.tensor([[3.0]]), torch.tensor([[0.0]])).item()
        2.5
    """
    if kind not in ("squared error", "huber"):
        raise ValueError(f"A regressor's loss is squared error or huber, not {kind!r}.")
    if kind == "huber":
        return lambda guess, y: F.huber_loss(guess.float(), y, delta=delta)
    return lambda guess, y: F.mse_loss(guess.float(), y)
