"""How a fitted estimator looks to the lens. The one place that knows one estimator from another."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import lens, nets
from layerwise.estimators import ESTIMATORS, TextWriter
from layerwise.estimators.network_base import NetworkEstimator
from layerwise.findings import Curve, Setting
from layerwise.recurrent import Recurrent
from layerwise.stack import Stack
from layerwise.subject.subject import Subject, cross_entropy
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


def of_estimator(model: Any) -> Subject:
    """The subject that a fitted estimator is.

    Raises:
        TypeError: If it is none of this library's estimators.
        sklearn.exceptions.NotFittedError: If it is not fitted.
    """
    name = next((name for name, kind in ESTIMATORS.items() if isinstance(model, kind)), None)
    if name is None:
        raise TypeError(
            f"explain takes any torch module, or a fitted {', '.join(ESTIMATORS)}, but got {type(model).__name__}. Of a "
            "pipeline, give the last step, and rows as it gets them: explain(pipeline[-1], (pipeline[:-1].transform(X), "
            "y), ...)."
        )
    if isinstance(model, TextWriter):
        raise TypeError(
            f"explain looks into networks that take rows, and a {name} writes. Its network is a torch module: "
            "explain(model.network_, ...)."
        )
    if isinstance(model, NetworkEstimator):
        check_is_fitted(model, "network_")
        return _network(name, model)
    check_is_fitted(model, "stack_")
    return _stacked(name, model)


def _common(name: str, model: Any) -> dict[str, Any]:
    """What is asked of every estimator in the same way."""
    classifies, columns = hasattr(model, "classes_"), getattr(model, "feature_names_in_", None)
    missing = {} if classifies else {"Mistakes": f"{name} does not classify"}
    gives = "classes" if classifies else "values" if hasattr(model, "predict") else "code"
    units = (
        [torch.from_numpy(each).float() for each in (model.mean_, model.scale_)] if gives == "values" else [None] * 2
    )
    if not getattr(model, "gradients_", {}):
        missing["Gradients"] = f"{name} does not measure them while it learns"
    return {
        "name": name, "features": int(model.n_features_in_), "threads": model.threads, "curves": curves(model),
        "settings": settings(model), "classes": model.classes_ if classifies else None,
        "columns": None if columns is None else [str(each) for each in columns],
        "log_proba": (lambda rows: _quietly(model.predict_log_proba, rows)) if classifies else None,
        "gradients": dict(getattr(model, "gradients_", {})), "missing": missing,
        "gives": gives, "mean": units[0], "deviation": units[1],
    }  # fmt: skip


def _quietly(ask: Callable[[Any], Any], rows: np.ndarray) -> np.ndarray:
    """`ask(rows)` without the warning that an array has no column names: they were checked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(ask(rows))


def _stacked(name: str, model: Any) -> Subject:
    stack: Stack = model.stack_
    classifies, learned = hasattr(model, "classes_"), getattr(model, "pretrain", "") is not None
    tuned = classifies and getattr(model, "classify", "network") == "network"
    module = model.network_ if tuned else stack
    standard = stack.layers[0].standard
    weights = [weight.cpu() for weight in lens.linear_weights(module).values()] if tuned else _weights(stack)
    dreams = hasattr(model, "generate") and learned
    common = _common(name, model)
    common["missing"] |= {} if dreams else {"Dreams": _no_dreams(name, model)}
    common["missing"] |= (
        {}
        if learned or not classifies
        else {"Reconstructions": "fitted with pretrain=None, no layer learned to rebuild its input"}
    )
    return Subject(
        words="a network without pre-training" if tuned and not learned else WORDS[name],
        what=_what(tuned, classifies, learned), module=module,
        stages=[stage for stage, _ in module.named_children()][: len(stack)], labels=_labels(len(stack)),
        units=[layer.above for layer in stack.layers],
        visible=model.visible_, kinds=[layer.above.name.lower() for layer in stack.layers],
        work=100.0 * max(weight.numel() for weight in weights), weights=list(weights), output="output" if tuned else None,
        scale=None if standard is None else standard.std.cpu(),
        stack=stack if learned or not classifies else None,
        generative="the pre-trained stack, before back-propagation" if classifies else "the model itself",
        start=_weights(stack) if tuned and learned else None, loss=cross_entropy if tuned else None,
        dream=(lambda labels, steps, seed: model.generate(len(labels), label=labels, steps=steps, random_state=seed))
        if dreams else None,
        dream_of=(lambda depth, unit, n, steps, seed: model.generate(n, unit=(depth, unit), steps=steps, random_state=seed))
        if dreams else None, tuned_whole=name == "DeepAutoencoder", **common,
    )  # fmt: skip


def _no_dreams(name: str, model: Any) -> str:
    if getattr(model, "pretrain", "") is None and hasattr(model, "generate"):
        return "fitted with pretrain=None, there is no generative model to draw from"
    return f"{name} holds no model of rows and their classes to draw from; a DBNClassifier does"


def _labels(count: int) -> list[str]:
    return [f"Layer {number}" for number in range(1, count + 1)]


def _network(name: str, model: NetworkEstimator) -> Subject:
    network: nn.Sequential = model.network_
    stages = [stage for stage, _ in network.named_children() if stage not in ("input", "output")]
    parts = [network.get_submodule(stage) for stage in stages]
    dense = nn.Sequential(*(part for part in network.children() if not isinstance(part, nets.Rows)))
    entrance = network.get_submodule("input")
    convolution = next((part for part in parts[0].modules() if isinstance(part, nn.Conv2d)), None)
    chained = model.net_ == "mlp" and not hasattr(model, "pieces_")  # pieces are bent before the lowest matrix
    common = _common(name, model)
    grown = getattr(model, "grown_", None)
    common["missing"] |= {"Dreams": _no_dreams(name, model)}
    if grown is None:
        common["missing"]["Reconstructions"] = (
            "while it was pre-trained, the recurrent stage learned to tell what comes next, and not to rebuild a row"
            if model.pretrain is not None else "fitted with pretrain=None, no layer learned to rebuild its input"
        )  # fmt: skip
    return Subject(
        words=WORDS[model.net_] + (" grown layer by layer" if model.pretrain else ""),
        what="the network, which gives the answers", module=network, stages=stages, output="output",
        labels=_labels(len(stages)),
        units=[_units(part) for part in parts], visible="symbols" if model.vocabulary else "standardised",
        kinds=[_kind(part) for part in parts], work=100.0 * model.work_,
        weights=[weight.cpu() for weight in lens.linear_weights(dense).values()] if chained else [],
        scale=entrance.get_buffer("std").cpu() if model.net_ == "mlp" else None,
        loss=cross_entropy if hasattr(model, "classes_") else None,
        filters=None if convolution is None else convolution.weight.detach().cpu(), symbols=model.vocabulary, stack=grown,
        generative="" if grown is None else "the stages as they were pre-trained, before back-propagation", **common,
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
