"""How a fitted estimator looks to the lens: a module with named stages, their weights, and what stood where in learning.

The one place that knows one estimator from another. A new kind of model needs a `Subject`, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import lens, nets
from layerwise.estimators import ESTIMATORS, TextWriter
from layerwise.estimators.network_base import NetworkEstimator
from layerwise.findings import Curve, Setting
from layerwise.recurrent import Recurrent, Summary
from layerwise.stack import Stack
from layerwise.units import Bernoulli, Gaussian, Rectified, Units

WORDS = {
    "DBNClassifier": "a deep belief net",
    "StackedAutoencoderClassifier": "a stack of autoencoders",
    "DeepAutoencoder": "a deep autoencoder",
    "RBMTransformer": "a Boltzmann machine",
    "mlp": "a dense network",
    "cnn": "a convolutional network",
    "resnet": "a residual network",
    "lstm": "a recurrent network",
}
WIDEST = 4096  # numbers of a row's code; maps are averaged over neighbours until they are no more


@dataclass(frozen=True, eq=False)
class Subject:
    """What the lens looks at.

    Arguments:
        name: Of the model's class.
        words: What it is, and (`what`) what its stages belong to, for people.
        module: The torch module, whose sub-modules `stages` are the hidden layers, bottom first, of these `units`.
        visible: Kind of the units that hold the data.
        kinds: What the units of each stage are, for people.
        work: Multiply-adds of a small batch.
        weights: Of every stage, an output layer included, bottom first, each of shape (inputs, units), on the CPU; empty where
            stages are no matrices.
        filters: Of the lowest convolution, shape (maps, channels, height, width), on the CPU.
        symbols: How many symbols there are, where rows are symbols in order.
        scale: Standard deviations of the features, shape (features,), if the lowest stage standardises them.
        stack: What encodes and decodes, if it learned to; `generative` says what it is.
        start: Weights of the hidden stages before tuning, if they are tuned copies.
        classifies, dreams: Whether the model has `predict_log_proba`, and `generate(label=...)`.
        tuned_whole: Whether the way down was tuned from the top code only.
    """

    name: str
    words: str
    what: str
    module: nn.Module
    stages: list[str]
    units: list[Units]
    visible: str
    kinds: list[str]
    work: float
    weights: list[Tensor]
    scale: Tensor | None
    stack: Stack | None
    generative: str
    start: list[Tensor] | None
    classifies: bool
    dreams: bool
    tuned_whole: bool
    filters: Tensor | None = None
    symbols: int | None = None

    @property
    def labels(self) -> list[str]:
        """Names of the hidden layers."""
        return [f"Layer {number}" for number in range(1, len(self.stages) + 1)]


def subject_of(model: Any) -> Subject:
    """The subject that a fitted estimator is.

    Raises:
        TypeError: If it is none of this library's estimators.
        sklearn.exceptions.NotFittedError: If it is not fitted.
    """
    name = next((name for name, kind in ESTIMATORS.items() if isinstance(model, kind)), None)
    if name is None:
        raise TypeError(
            f"explain takes a fitted {', '.join(ESTIMATORS)}, but got {type(model).__name__}. Of a pipeline, give the last "
            "step, and rows as it gets them: explain(pipeline[-1], (pipeline[:-1].transform(X), y), ...)."
        )
    if isinstance(model, TextWriter):
        raise TypeError(
            f"explain looks into networks that take rows, and a {name} writes. Its stages are in `network_`."
        )
    if isinstance(model, NetworkEstimator):
        return _network(name, model)
    check_is_fitted(model, "stack_")
    stack: Stack = model.stack_
    classifies, learned = hasattr(model, "classes_"), getattr(model, "pretrain", "") is not None
    tuned = classifies and getattr(model, "classify", "network") == "network"
    module = model.network_ if tuned else stack
    standard = stack.layers[0].standard
    weights = [weight.cpu() for weight in lens.linear_weights(module).values()] if tuned else _weights(stack)
    return Subject(
        name=name, words="a network without pre-training" if tuned and not learned else WORDS[name],
        what=_what(tuned, classifies, learned), module=module,
        stages=[stage for stage, _ in module.named_children()][: len(stack)],
        units=[layer.above for layer in stack.layers],
        visible=model.visible_, kinds=[layer.above.name.lower() for layer in stack.layers],
        work=100.0 * max(weight.numel() for weight in weights), weights=weights,
        scale=None if standard is None else standard.std.cpu(),
        stack=stack if learned or not classifies else None,
        generative="the pre-trained stack, before back-propagation" if classifies else "the model itself",
        start=_weights(stack) if tuned and learned else None, classifies=classifies,
        dreams=hasattr(model, "generate") and learned, tuned_whole=name == "DeepAutoencoder",
    )  # fmt: skip


def _network(name: str, model: NetworkEstimator) -> Subject:
    check_is_fitted(model, "network_")
    network: nn.Sequential = model.network_
    stages = [stage for stage, _ in network.named_children() if stage not in ("input", "output")]
    parts = [network.get_submodule(stage) for stage in stages]
    dense = nn.Sequential(*(part for part in network.children() if not isinstance(part, nets.Rows)))
    entrance = network.get_submodule("input")
    convolution = next((part for part in parts[0].modules() if isinstance(part, nn.Conv2d)), None)
    return Subject(
        name=name, words=WORDS[model.net_] + (" grown layer by layer" if model.pretrain else ""),
        what="the network, which gives the answers", module=network, stages=stages,
        units=[_units(part) for part in parts], visible="symbols" if model.vocabulary else "standardised",
        kinds=[_kind(part) for part in parts], work=100.0 * model.work_,
        weights=[weight.cpu() for weight in lens.linear_weights(dense).values()] if model.net_ == "mlp" else [],
        scale=entrance.get_buffer("std").cpu() if model.net_ == "mlp" else None, stack=None, generative="", start=None,
        classifies=hasattr(model, "classes_"), dreams=False, tuned_whole=False,
        filters=None if convolution is None else convolution.weight.detach().cpu(), symbols=model.vocabulary,
    )  # fmt: skip


def _activation(stage: nn.Module) -> str:
    """The name of the activation that comes last in a stage; "" if there is none."""
    names = {kind: name for name, kind in nets.ACTIVATIONS.items()}
    return next((names[type(part)] for part in reversed(list(stage.modules())) if type(part) in names), "")


def _units(stage: nn.Module) -> Units:
    """What the states of a stage can be: only of units that can be 0, or reach 1, can one say that they are dead."""
    return {"relu": Rectified(), "sigmoid": Bernoulli()}.get(_activation(stage), Gaussian())


def _kind(stage: nn.Module) -> str:
    if isinstance(stage, Recurrent):
        return "LSTM in both directions" if stage.lstm.bidirectional else "LSTM"
    maps = any(isinstance(part, nn.Conv2d) for part in stage.modules())
    return _activation(stage) + (" maps" if maps else "")


def code_of(values: Tensor) -> Tensor:
    """A row's code, shape (n, numbers), given what a stage gave, shape (n, ...).

    Maps, shape (n, maps, height, width), are averaged over 2 x 2 positions until they are no more than 4096 numbers; steps,
    shape (n, steps, features), are summed up by their mean and maximum.

    Example:
        >>> import torch
        >>> code_of(torch.ones(2, 32, 14, 14)).shape, code_of(torch.ones(2, 9, 3)).shape
        (torch.Size([2, 1568]), torch.Size([2, 6]))
    """
    if values.ndim == 3:
        return Summary()(values)
    while values.ndim == 4 and values[0].numel() > WIDEST and min(values.shape[2:]) > 1:
        values = F.avg_pool2d(values, 2)
    return values.flatten(1)


def states_of(values: Tensor) -> Tensor:
    """The state of each unit, shape (n, units), given what a stage gave: of a map, or of a feature of steps, the largest.

    Example:
        >>> import torch
        >>> states_of(torch.ones(2, 32, 14, 14)).shape, states_of(torch.ones(2, 9, 3)).shape
        (torch.Size([2, 32]), torch.Size([2, 3]))
    """
    if values.ndim == 3:
        return Summary()(values)[:, values.shape[2] :]
    return values.flatten(2).amax(2) if values.ndim == 4 else values


def _what(tuned: bool, classifies: bool, learned: bool) -> str:
    if not classifies:
        return "the model’s way up"
    if not tuned:
        return "the generative stack, which gives the answers"
    return f"the {'tuned ' if learned else ''}network, which gives the answers"


def _weights(stack: Stack) -> list[Tensor]:
    """The upward weights of the layers' features, labels left out."""
    weights = [(layer, layer.get_parameter("weight").detach().cpu()) for layer in stack.layers]
    return [weight[: getattr(layer, "features", None)] for layer, weight in weights]


FIGURES = {  # by History.figure
    "squared error": "squared error per row",
    "nats": "nats per row to rebuild it",
    "cross-entropy": "cross-entropy, nats per row",
}


def curves(model: Any) -> list[Curve]:
    """A curve per stage of learning; passes of `partial_fit`, which bear one name, are one stage."""
    stages: dict[str, list[Any]] = {}
    for history in model.histories_:
        stages.setdefault(history.name, []).append(history)
    return [_curve(name, histories) for name, histories in stages.items() if histories[0].epochs]


def _curve(name: str, histories: list[Any]) -> Curve:
    epochs = [entry for history in histories for entry in history.epochs]
    return Curve(
        name=name.capitalize(),
        figure=FIGURES.get(histories[0].figure, histories[0].figure),
        train=[entry["figure"] for entry in epochs],
        valid=[entry["valid"] for entry in epochs] if all("valid" in entry for entry in epochs) else None,
        seconds=sum(entry["seconds"] for entry in epochs),
        stopped=histories[-1].stopped,
    )


def settings(model: Any) -> list[Setting]:
    """The model's settings but those of the machine, with whether they differ from the defaults."""
    defaults, given = type(model)().get_params(deep=False), model.get_params(deep=False)
    names = [name for name in given if name not in ("verbose", "device", "threads")]
    return [Setting(name, _say(given[name]), _say(given[name]) != _say(defaults[name])) for name in names]


def _say(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
