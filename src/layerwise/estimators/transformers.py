"""Models that encode: a deep autoencoder, and a single RBM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import nn

from layerwise import saving
from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.estimators.base import Array, Estimator, auto_epochs, look_at, rbm_rate
from layerwise.rbm import RBM
from layerwise.run import SILENT, Run
from layerwise.stack import Stack
from layerwise.train import History, Training, backprop, train


class DeepAutoencoder(TransformerMixin, ClassNamePrefixFeaturesOutMixin, Estimator):
    """A deep autoencoder: RBMs grown bottom-up, unrolled, and tuned to rebuild the input (Hinton & Salakhutdinov, 2006).

    Arguments:
        layers: Units of each layer of the encoder, bottom first; the last is the code, whose units are linear.
        visible: Units that hold the data: "auto" (bernoulli within [0, 1], else gaussian), "bernoulli", "gaussian".
        pretrain: "greedy", or None to tune from random (Xavier) weights: the baseline.
        pretrain_epochs: Passes per layer; "auto" is 20, or as many as make 1500 updates.
        pretrain_rate: Learning rate of the RBMs; "auto" is 0.05, and 0.005 beside linear units.
        epochs: Passes of tuning; "auto" as above.
        rate: Adam's learning rate; it falls linearly to 0.
        loss: "squared" (error of the reconstruction in standardised units) or "nats" (of the visible units).
        weight_decay: L2 penalty of pre-training.
        batch_size, device, threads, precision, random_state, verbose: As for `DBNClassifier`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data / 16
        >>> codes = DeepAutoencoder((32, 8), pretrain_epochs=2, epochs=2, random_state=0).fit_transform(X)
        >>> codes.shape
        (1797, 8)
    """

    def __init__(
        self,
        layers: Sequence[int] = (1000, 500, 250, 30),
        *,
        visible: str = "auto",
        pretrain: str | None = "greedy",
        pretrain_epochs: int | str = "auto",
        pretrain_rate: float | str = "auto",
        epochs: int | str = "auto",
        rate: float = 1e-3,
        loss: str = "squared",
        weight_decay: float = 2e-4,
        batch_size: int = 100,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.visible = visible
        self.pretrain = pretrain
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_rate = pretrain_rate
        self.epochs = epochs
        self.rate = rate
        self.loss = loss
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Array, y: Any = None, *, run: Run = SILENT) -> Self:
        """Learns codes of rows X, shape (n, features), dense or sparse; y is ignored."""
        if self.loss not in ("squared", "nats"):
            raise ValueError(f"loss is 'squared' or 'nats', got {self.loss!r}.")
        X = self._rows(X, reset=True)
        self.layers_, self.visible_ = self._check_layers(), self._kind(X)
        run = self._run(run)
        with self._session():
            stack = self._build().to(self._place)
            batches = self._batches(X)
            self.histories_ = self._grow(stack, batches, run)
            epochs = auto_epochs(self.epochs, batches.rows, batches.size)
            how = self._training(epochs, self.rate, optimizer="adam")
            learn = backprop(lambda x, _: stack.reconstruction_loss(x, squared=self.loss == "squared"))
            figure = "squared error" if self.loss == "squared" else "nats"
            self.histories_.append(train(stack, learn, batches, how, name="tuning", figure=figure, run=run))
            look_at(stack, self._batches(X[:: max(1, X.shape[0] // 1000)]))
        self.stack_ = stack
        return self

    def _build(self) -> Stack:
        widths, kind = [self.n_features_in_, *self.layers_], self.visible_
        layers: list[RBM | Autoencoder] = []
        for number, (lower, upper) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            code = number == len(self.layers_)
            if code and kind == "gaussian":  # an RBM with linear units on both sides is PCA, and has no normaliser
                layers.append(Autoencoder(lower, upper, below=kind, above="gaussian"))
            else:
                layers.append(RBM(lower, upper, below=kind, above="gaussian" if code else "bernoulli"))
            kind = "bernoulli"
        return Stack(*layers)

    def _grow(self, stack: Stack, batches: Batches, run: Run) -> list[History]:
        if self.pretrain is None:
            stack.untie()
            stack.layers[0].prepare(x for x, _ in batches.in_order())
            for layer in stack.layers:
                nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
                nn.init.xavier_uniform_(layer.down_weight)  # type: ignore[arg-type]
            return []
        epochs = auto_epochs(self.pretrain_epochs, batches.rows, batches.size)
        hows = [self._how(layer, epochs) for layer in stack.layers]
        histories = stack.pretrain(batches, hows, run=run)
        stack.untie()
        return histories

    def _how(self, layer: nn.Module, epochs: int) -> Training:
        if isinstance(layer, Autoencoder):
            return self._training(epochs, 1e-3, optimizer="adam")
        rate = rbm_rate(layer, self.pretrain_rate)
        return self._training(epochs, rate, weight_decay=self.weight_decay)

    def transform(self, X: Array) -> np.ndarray:
        """Codes, shape (n, layers[-1])."""
        check_is_fitted(self)
        return self._apply(self.stack_, Stack.encode, self._rows(X, reset=False))

    def inverse_transform(self, X: Array) -> np.ndarray:
        """Rows in the data's own units, shape (n, features), from codes, shape (n, layers[-1])."""
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32])
        if X.shape[1] != self.layers_[-1]:
            raise ValueError(f"Codes have shape (n, {self.layers_[-1]}), got {X.shape}.")
        return self._apply(self.stack_, Stack.decode, X)

    def score(self, X: Array, y: Any = None) -> float:
        """Minus the squared error per row, summed over the features, in the data's own units: higher is better."""
        X, total = self._rows(X, reset=False), 0.0
        for start in range(0, X.shape[0], 1000):
            rows = X[start : start + 1000]
            dense = rows.toarray() if sparse.issparse(rows) else rows
            total += float(np.square(dense - self.inverse_transform(self.transform(dense))).sum(dtype=np.float64))
        return -total / X.shape[0]

    @property
    def _n_features_out(self) -> int:
        return int(self.layers_[-1])

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        return {"stack_": self.stack_}

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self.stack_ = saving.stack_from(fitted["stack"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RBMTransformer(TransformerMixin, ClassNamePrefixFeaturesOutMixin, Estimator):
    """One RBM as a transformer; like `sklearn.neural_network.BernoulliRBM`, with every kind of unit, CD-k and PCD.

    Arguments:
        n_components: Hidden units.
        visible: Units that hold the data: "auto" (bernoulli within [0, 1], else gaussian), "bernoulli", "gaussian".
        hidden: "bernoulli", "rectified", "gaussian" or "softmax".
        steps, chains, sparsity: As for `RBM`.
        epochs: Passes over the data; "auto" is 20, or as many as make 1500 updates.
        rate: Learning rate, falling linearly to 0; "auto" is 0.05 for bernoulli on both sides, else 0.005.
        weight_decay: L2 penalty on the weights.
        batch_size, device, threads, precision, random_state, verbose: As for `DBNClassifier`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> RBMTransformer(16, epochs=2, random_state=0).fit_transform(load_digits().data / 16).shape
        (1797, 16)
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        steps: int = 1,
        chains: int = 0,
        sparsity: float | None = None,
        epochs: int | str = "auto",
        rate: float | str = "auto",
        weight_decay: float = 2e-4,
        batch_size: int = 100,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.steps = steps
        self.chains = chains
        self.sparsity = sparsity
        self.epochs = epochs
        self.rate = rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @property
    def layers(self) -> tuple[int]:  # type: ignore[override]
        """The one layer's width, for what all estimators share."""
        return (self.n_components,)

    def fit(self, X: Array, y: Any = None, *, run: Run = SILENT) -> Self:
        """Learns from rows X, shape (n, features), dense or sparse; y is ignored."""
        X = self._rows(X, reset=True)
        self._check_layers()
        self.visible_ = self._kind(X)
        run = self._run(run)
        with self._session():
            self.stack_ = Stack(self._new_rbm()).to(self._place)
            batches = self._batches(X)
            self.histories_ = self.stack_.pretrain(
                batches, self._how(auto_epochs(self.epochs, batches.rows, batches.size)), run=run
            )
            look_at(self.stack_, self._batches(X[:: max(1, X.shape[0] // 1000)]))
        return self

    def partial_fit(self, X: Array, y: Any = None) -> Self:
        """One pass over X on top of what is known; the first call fixes the features and their statistics."""
        first = not hasattr(self, "stack_")
        X = self._rows(X, reset=first)
        if first:
            self.visible_ = self._kind(X)
        with self._session():
            batches = self._batches(X)
            if first:
                self.stack_ = Stack(self._new_rbm()).to(self._place)
                self.rbm_.prepare(x for x, _ in batches.in_order())
                self.histories_ = []
            rate = rbm_rate(self.rbm_, self.rate)
            how = self._training(1, rate, weight_decay=self.weight_decay, schedule="constant")
            self.histories_.append(
                train(self.rbm_, self.rbm_.learn, batches, how, name="layer 1", figure="squared error")
            )
        return self

    def _new_rbm(self) -> RBM:
        return RBM(
            self.n_features_in_, int(self.n_components), below=self.visible_, above=self.hidden,
            steps=self.steps, chains=self.chains, sparsity=self.sparsity,
        )  # fmt: skip

    def _how(self, epochs: int) -> Training:
        rate = rbm_rate(self.stack_.layers[0], self.rate)
        return self._training(epochs, rate, weight_decay=self.weight_decay)

    @property
    def rbm_(self) -> RBM:
        """The fitted RBM."""
        return self.stack_.layers[0]  # type: ignore[return-value]

    def transform(self, X: Array) -> np.ndarray:
        """Mean activation of the hidden units, shape (n, n_components)."""
        check_is_fitted(self, "stack_")
        return self._apply(self.stack_, Stack.encode, self._rows(X, reset=False))

    def inverse_transform(self, X: Array) -> np.ndarray:
        """Mean of the visible units in the data's own units, shape (n, features), from codes (n, n_components)."""
        check_is_fitted(self, "stack_")
        X = check_array(X, dtype=[np.float64, np.float32])
        if X.shape[1] != self.n_components:
            raise ValueError(f"Codes have shape (n, {self.n_components}), got {X.shape}.")
        return self._apply(self.stack_, Stack.decode, X)

    def free_energy(self, X: Array) -> np.ndarray:
        """Free energy of each row in nats, shape (n,): low where the model finds a row likely."""
        check_is_fitted(self, "stack_")
        return self._apply(self.rbm_, lambda rbm, x: rbm.free_energy(rbm.states(x)), self._rows(X, reset=False))

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components)

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        return {"stack_": self.stack_}

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self.stack_ = saving.stack_from(fitted["stack"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
