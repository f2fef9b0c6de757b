"""scikit-learn faces: fit, predict, transform, on arrays; y == -1 means that a row has no label."""

from pathlib import Path
from typing import Any

from layerwise import saving
from layerwise.estimators.base import Estimator, auto_epochs
from layerwise.estimators.classifiers import DBNClassifier, StackedAutoencoderClassifier
from layerwise.estimators.identity import IdentityEmbedder
from layerwise.estimators.networks import NetworkClassifier, NetworkRegressor
from layerwise.estimators.transformers import DeepAutoencoder, RBMTransformer
from layerwise.estimators.writer import TextWriter

ESTIMATORS: dict[str, type[Estimator]] = {
    each.__name__: each
    for each in (
        DBNClassifier,
        StackedAutoencoderClassifier,
        NetworkClassifier,
        NetworkRegressor,
        IdentityEmbedder,
        DeepAutoencoder,
        RBMTransformer,
        TextWriter,
    )
}


def load(path: str | Path) -> Any:
    """The estimator that was saved into the folder `path`; its predictions are the same to the bit.

    Raises:
        FileNotFoundError: If there is no saved model.
        ValueError: If the files are damaged or of an unknown format.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> X = np.random.RandomState(0).rand(20, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = RBMTransformer(2, epochs=1, random_state=0).fit(X)
        ...     _ = model.save(folder)
        ...     bool((load(folder).transform(X) == model.transform(X)).all())
        True
    """
    return saving.load(path, ESTIMATORS)


__all__ = [
    "ESTIMATORS",
    "DBNClassifier",
    "DeepAutoencoder",
    "Estimator",
    "IdentityEmbedder",
    "NetworkClassifier",
    "NetworkRegressor",
    "RBMTransformer",
    "StackedAutoencoderClassifier",
    "TextWriter",
    "auto_epochs",
    "load",
]
