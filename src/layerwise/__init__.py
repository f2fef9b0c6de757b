"""layerwise: deep networks learned one layer at a time, and explained one layer at a time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerwise.autoencoder import Autoencoder
    from layerwise.batches import Batches
    from layerwise.dbn import DBN
    from layerwise.estimators import (
        DBNClassifier,
        DeepAutoencoder,
        IdentityEmbedder,
        NetworkClassifier,
        NetworkRegressor,
        RBMTransformer,
        StackedAutoencoderClassifier,
        TextWriter,
        load,
    )
    from layerwise.explanation import explain
    from layerwise.gallery import Gallery
    from layerwise.layer import Layer
    from layerwise.rbm import RBM, LabelledRBM
    from layerwise.rows import LazyRows
    from layerwise.run import Run
    from layerwise.sharing import weight_sharing
    from layerwise.stack import Stack
    from layerwise.train import Diverged, Training
    from layerwise.units import Bernoulli, Gaussian, Rectified, Softmax

__version__ = "0.1.0"

# Names are imported when they are first used: `import layerwise` and `layerwise --help` do not wait for torch.
_HOMES = {
    "autoencoder": ("Autoencoder",),
    "batches": ("Batches",),
    "dbn": ("DBN",),
    "estimators": ("DBNClassifier", "DeepAutoencoder", "RBMTransformer", "StackedAutoencoderClassifier", "load"),
    "estimators.identity": ("IdentityEmbedder",),
    "estimators.networks": ("NetworkClassifier", "NetworkRegressor"),
    "estimators.writer": ("TextWriter",),
    "explanation": ("explain",),
    "gallery": ("Gallery",),
    "layer": ("Layer",),
    "rbm": ("RBM", "LabelledRBM"),
    "rows": ("LazyRows",),
    "run": ("Run",),
    "sharing": ("weight_sharing",),
    "stack": ("Stack",),
    "train": ("Diverged", "Training"),
    "units": ("Bernoulli", "Gaussian", "Rectified", "Softmax"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DBN",
    "RBM",
    "Autoencoder",
    "Batches",
    "Bernoulli",
    "DBNClassifier",
    "DeepAutoencoder",
    "Diverged",
    "Gallery",
    "Gaussian",
    "IdentityEmbedder",
    "LabelledRBM",
    "Layer",
    "LazyRows",
    "NetworkClassifier",
    "NetworkRegressor",
    "RBMTransformer",
    "Rectified",
    "Run",
    "Softmax",
    "Stack",
    "StackedAutoencoderClassifier",
    "TextWriter",
    "Training",
    "explain",
    "load",
    "weight_sharing",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'layerwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"layerwise.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
