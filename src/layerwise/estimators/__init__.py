"""scikit-learn faces: fit, predict, transform, on arrays; y == -1 means that a row has no label."""

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
]
