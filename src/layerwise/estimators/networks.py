"""Networks of any make as scikit-learn estimators: dense, convolutional, residual, recurrent; pre-trained or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from layerwise.estimators.base import Array
from layerwise.estimators.labels import Labelled
from layerwise.estimators.network_base import NetworkEstimator
from layerwise.losses import classification_loss, regression_loss
from layerwise.run import SILENT, Run


class NetworkClassifier(Labelled, NetworkEstimator):
    """A network that classifies: dense, convolutional, residual or recurrent, chosen by the shape of the rows unless told.

    Arguments:
        net: "mlp", "cnn", "resnet", "lstm", or "auto": cnn for rows with a height and a width, lstm for symbols, else mlp.
        shape: Of a row: (channels, height, width), (height, width), or for lstm (steps, values); None means the shape of X's
            rows.
        layers: Units (mlp, lstm) or feature maps (cnn, resnet) per layer, bottom first; None: what suits the rows.
        options: Other arguments of the builder in `layerwise.nets`: units, batch_norm, dropout, pieces, embedding, blocks, ...
        vocabulary: Number of symbols, where rows are whole numbers in order (0 is padding) for the lstm.
        initialisation: "auto", "normal", "xavier", "he", "orthogonal" (see `layerwise.starts.initialise`).
        pretrain: "greedy": each stage first learns to rebuild its input, lowest first, on all rows, labelled or not (an lstm
            learns to tell what comes next); None: random weights.
        pretrain_epochs, pretrain_rate: Passes per stage, and Adam's rate; noise, amount: Corruption, as for `Autoencoder`.
        loss: "cross-entropy", "focal" or "squared error"; smoothing: Share of a label spread over all classes.
        class_weight: None, "balanced" (rows of rare classes count more), or weights by class.
        tune: What learns from labels: "all", or the "output" alone: with few labels the stages below stay as they were
            pre-trained.
        augment: "image" or "sound" changes rows as suits them while learning; or arguments of `layerwise.augment.Augment`.
        epochs: Passes over the labelled rows; "auto" is 20, or as many as make 1500 updates.
        rate, optimizer, schedule, warmup, weight_decay, max_norm, average: As for `layerwise.Training`.
        batch_size, patience, validation_fraction, device, threads, precision, random_state, verbose: As for
            `DBNClassifier`.

    Fitted attributes: `classes_`, `network_`, `net_`, `shape_`, `histories_`, `gradients_`, `parameters_`, `n_features_in_`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> cnn = NetworkClassifier(shape=(8, 8), layers=(16,), epochs=5, random_state=0).fit(X / 16, y)
        >>> cnn.net_, bool(cnn.score(X / 16, y) > 0.9)
        ('cnn', True)
    """

    _figure = "cross-entropy"

    def __init__(
        self,
        net: str = "auto",
        *,
        shape: Sequence[int] | None = None,
        layers: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
        vocabulary: int | None = None,
        initialisation: str = "auto",
        pretrain: str | None = None,
        pretrain_epochs: int | str = "auto",
        pretrain_rate: float = 1e-3,
        noise: str | None = "masking",
        amount: float = 0.25,
        loss: str = "cross-entropy",
        smoothing: float = 0.0,
        class_weight: str | Mapping[Any, float] | None = None,
        tune: str = "all",
        augment: str | Mapping[str, Any] | None = None,
        epochs: int | str = "auto",
        rate: float = 1e-3,
        optimizer: str = "adam",
        schedule: str = "cosine",
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        average: float = 0.0,
        batch_size: int = 128,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.net = net
        self.shape = shape
        self.layers = layers
        self.options = options
        self.vocabulary = vocabulary
        self.initialisation = initialisation
        self.pretrain = pretrain
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_rate = pretrain_rate
        self.noise = noise
        self.amount = amount
        self.loss = loss
        self.smoothing = smoothing
        self.class_weight = class_weight
        self.tune = tune
        self.augment = augment
        self.epochs = epochs
        self.rate = rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.average = average
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Array, y: Any, *, run: Run = SILENT) -> Self:
        """Learns from rows X, shape (n, features) or ``(n, *shape)``, and labels y, shape (n,), -1 where there is none.

        Arguments:
            run: Progress, log, checkpoints and resume: `layerwise.Run("runs/digits", resume=True)`.

        Raises:
            ValueError: If the input has a wrong shape, NaN, or fewer than two classes.
        """
        X, y = self._rows(X, reset=True, y=y)
        codes = self._class_codes(y)
        self._weights_ = self._class_weights(codes)
        self._learn(X, codes, np.flatnonzero(codes >= 0), len(self.classes_), self._run(run))
        return self

    def _class_weights(self, codes: np.ndarray) -> Tensor | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise ValueError(f"class_weight is None, 'balanced' or weights by class, got {self.class_weight!r}.")
        from sklearn.utils.class_weight import compute_class_weight

        known = self.classes_[codes[codes >= 0]]
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=known)
        return torch.as_tensor(weights, dtype=torch.float32)

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        weights = None if self._weights_ is None else self._weights_.to(self._place)
        return classification_loss(self.loss, smoothing=self.smoothing, weights=weights)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _classify(self, X: Array) -> np.ndarray:
        return self._apply(self.network_, lambda network, x: network(x).log_softmax(1), self._rows(X, reset=False))


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A network that predicts numbers, one or several a row; made and tuned like `NetworkClassifier`.

    Targets are standardised while learning, and predictions come in the targets' own units.

    Arguments:
        loss: "squared error", or "huber", for targets with outliers.

    As for `NetworkClassifier` are net, shape, layers, options, vocabulary, initialisation, pretrain, pretrain_epochs,
    pretrain_rate, noise, amount, tune, augment, epochs, rate, optimizer, schedule, warmup, weight_decay, max_norm, average,
    batch_size, patience, validation_fraction, device, threads, precision, random_state and verbose.

    Example:
        >>> X = np.random.RandomState(0).rand(200, 2)
        >>> net = NetworkRegressor(layers=(32,), epochs=100, rate=0.01, random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> bool(net.score(X, X[:, 0] * X[:, 1]) > 0.9)
        True
    """

    _figure = "squared error"

    def __init__(
        self,
        net: str = "auto",
        *,
        shape: Sequence[int] | None = None,
        layers: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
        vocabulary: int | None = None,
        initialisation: str = "auto",
        pretrain: str | None = None,
        pretrain_epochs: int | str = "auto",
        pretrain_rate: float = 1e-3,
        noise: str | None = "masking",
        amount: float = 0.25,
        loss: str = "squared error",
        tune: str = "all",
        augment: str | Mapping[str, Any] | None = None,
        epochs: int | str = "auto",
        rate: float = 1e-3,
        optimizer: str = "adam",
        schedule: str = "cosine",
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        average: float = 0.0,
        batch_size: int = 128,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.net = net
        self.shape = shape
        self.layers = layers
        self.options = options
        self.vocabulary = vocabulary
        self.initialisation = initialisation
        self.pretrain = pretrain
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_rate = pretrain_rate
        self.noise = noise
        self.amount = amount
        self.loss = loss
        self.tune = tune
        self.augment = augment
        self.epochs = epochs
        self.rate = rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.average = average
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Array, y: Any, *, run: Run = SILENT) -> Self:
        """Learns from rows X, shape (n, features) or ``(n, *shape)``, and targets y, shape (n,) or (n, targets).

        A target that is NaN is missing: such rows serve pre-training only.

        Raises:
            ValueError: If the input has a wrong shape, or X holds NaN.
        """
        if y is None:
            raise ValueError("NetworkRegressor requires y to be passed, but the target y is None.")
        targets = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        known = np.isfinite(targets.reshape(len(targets), -1)).all(1)
        if not known.any():
            raise ValueError("No row has a target: y is all NaN.")
        X, _ = self._rows(X, reset=True, y=np.where(known, 0.0, 0.0))
        self.several_ = targets.ndim == 2
        targets = targets.reshape(len(targets), -1)
        self.mean_ = targets[known].mean(0)
        spread = targets[known].std(0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        standard = ((targets - self.mean_) / self.scale_).astype(np.float32)
        self._learn(X, standard, np.flatnonzero(known), targets.shape[1], self._run(run))
        return self

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        return regression_loss(self.loss)

    def _outputs(self) -> int:
        return len(self.mean_)

    def predict(self, X: Array) -> np.ndarray:
        """Targets in their own units, shape (n,) or (n, targets) as `fit` was given them."""
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        found = self._apply(self.network_, lambda network, x: network(x), X) * self.scale_ + self.mean_
        found = found.astype(X.dtype if X.dtype == np.float64 else np.float32)
        return found if self.several_ else found[:, 0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags
