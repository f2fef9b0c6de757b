"""How a fitted estimator looks to the lens: a module with named stages, their weights, and what stood where in learning.

The one place that knows one estimator from another. A new kind of model needs a `Subject`, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import lens
from layerwise.estimators import ESTIMATORS, TextWriter
from layerwise.estimators.network_base import NetworkEstimator
from layerwise.findings import Curve, Setting
from layerwise.stack import Stack
from layerwise.units import Units

WORDS = {
    "DBNClassifier": "a deep belief net",
    "StackedAutoencoderClassifier": "a stack of autoencoders",
    "DeepAutoencoder": "a deep autoencoder",
    "RBMTransformer": "a Boltzmann machine",
}


@dataclass(frozen=True, eq=False)
class Subject:
    """What the lens looks at.

    Arguments:
        name: Of the model's class.
        words: What it is, and (`what`) what its stages belong to, for people.
        module: The torch module, whose sub-modules `stages` are the hidden layers, bottom first, of these `units`.
        weights: Of every stage, an output layer included, bottom first, each of shape (inputs, units), on the CPU.
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
    weights: list[Tensor]
    scale: Tensor | None
    stack: Stack | None
    generative: str
    start: list[Tensor] | None
    classifies: bool
    dreams: bool
    tuned_whole: bool

    @property
    def work(self) -> float:
        """Multiply-adds of a small batch's widest product."""
        return 100.0 * max(weight.numel() for weight in self.weights)

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
    if isinstance(model, NetworkEstimator | TextWriter):
        raise TypeError(
            f"explain looks into stacks of layers so far, and a {name} is none. Its stages are in `network_`"
            + (": `encode(X, layer)` gives their activations." if isinstance(model, NetworkEstimator) else ".")
        )
    check_is_fitted(model, "stack_")
    stack: Stack = model.stack_
    classifies, learned = hasattr(model, "classes_"), getattr(model, "pretrain", "") is not None
    tuned = classifies and getattr(model, "classify", "network") == "network"
    module = model.network_ if tuned else stack
    standard = stack.layers[0].standard
    return Subject(
        name=name, words="a network without pre-training" if tuned and not learned else WORDS[name],
        what=_what(tuned, classifies, learned), module=module,
        stages=[stage for stage, _ in module.named_children()][: len(stack)],
        units=[layer.above for layer in stack.layers],
        weights=[weight.cpu() for weight in lens.linear_weights(module).values()] if tuned else _weights(stack),
        scale=None if standard is None else standard.std.cpu(),
        stack=stack if learned or not classifies else None,
        generative="the pre-trained stack, before back-propagation" if classifies else "the model itself",
        start=_weights(stack) if tuned and learned else None, classifies=classifies,
        dreams=hasattr(model, "generate") and learned, tuned_whole=name == "DeepAutoencoder",
    )  # fmt: skip


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
