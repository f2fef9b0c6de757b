"""Networks of any make as scikit-learn estimators: dense, convolutional, residual, recurrent; pre-trained or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import nets, stage
from layerwise.augment import Augment, suited
from layerwise.estimators.base import Array, Estimator, auto_epochs
from layerwise.estimators.labels import Labelled
from layerwise.health import gradient_norms
from layerwise.rows import LazyRows, some
from layerwise.run import SILENT, Run
from layerwise.train import History, Learn, backprop, train

NETS = ("auto", "mlp", "cnn", "resnet", "lstm")
SIZES: dict[str, tuple[int, ...]] = {"mlp": (512, 512), "cnn": (32, 64, 128), "resnet": (32, 64, 128), "lstm": (128,)}
STAGES = 4  # pixels that the last convolutional stage of a net of default size keeps at least


class NetworkEstimator(Estimator):
    """What classifier and regressor share: choosing and building the network, pre-training and tuning it."""

    net: str
    shape: Sequence[int] | None
    layers: Sequence[int] | None  # type: ignore[assignment]
    options: Mapping[str, Any] | None
    vocabulary: int | None
    initialisation: str
    pretrain: str | None
    pretrain_epochs: int | str
    pretrain_rate: float
    noise: str | None
    amount: float
    augment: str | Mapping[str, Any] | None
    epochs: int | str
    rate: float
    optimizer: str
    schedule: str
    warmup: float
    weight_decay: float
    max_norm: float | None
    average: float
    patience: int | None
    validation_fraction: float

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self, X: Array, *, reset: bool, y: Any = "no_validation") -> Any:
        """As for all estimators, but rows may have a shape of their own, which is then that of the network's rows."""
        if getattr(X, "ndim", 2) > 2 and not isinstance(X, LazyRows):
            if reset:
                self._came: tuple[int, ...] | None = tuple(X.shape[1:])
            elif math.prod(X.shape[1:]) == self.n_features_in_ and tuple(X.shape[1:]) != self._natural():
                raise ValueError(
                    f"The network learned rows of shape {self._natural()}, but these have {tuple(X.shape[1:])}."
                )
            X = np.asarray(X).reshape(len(X), -1)
        elif reset:
            self._came = None
        return super()._rows(X, reset=reset, y=y)

    def _natural(self) -> tuple[int, ...]:
        """The shape of a row without a single channel that was put in front."""
        return self.shape_[1:] if len(self.shape_) == 3 and self.shape_[0] == 1 else self.shape_

    def _choose(self) -> None:
        """Sets `shape_`, (features,), (channels, height, width), (steps, values) or (steps,), and `net_`."""
        if self.net not in NETS:
            raise ValueError(f"net is one of {', '.join(NETS)}; got {self.net!r}.")
        shape = tuple(self.shape or self._came or (self.n_features_in_,))
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"Rows of shape {shape} have {math.prod(shape)} values, but X has {self.n_features_in_} a row."
            )
        symbols = self.vocabulary is not None
        self.net_ = self.net if self.net != "auto" else "lstm" if symbols else "cnn" if len(shape) > 1 else "mlp"
        if self.net_ in ("cnn", "resnet") and len(shape) not in (2, 3):
            raise ValueError(f"A {self.net_} takes pictures, but a row has the shape {shape}. Give shape=(channels, height, "
                             "width), or choose net='mlp'.")  # fmt: skip
        if self.net_ == "mlp":
            shape = (math.prod(shape),)
        elif self.net_ != "lstm" and len(shape) == 2:
            shape = (1, *shape)
        elif self.net_ == "lstm" and len(shape) == 1 and not symbols:
            raise ValueError(
                "An lstm reads sequences: give shape=(steps, values), or vocabulary=... for rows of symbols."
            )
        self.shape_ = tuple(int(side) for side in shape)

    def _new_network(self, outputs: int) -> nn.Sequential:
        options, sizes = dict(self.options or {}), self._sizes()
        try:
            network = self._built(outputs, sizes, options)
        except TypeError as error:
            raise ValueError(f"options are arguments of layerwise.nets.{self.net_}: {error}.") from error
        if self.initialisation != "auto":
            nets.initialise(network, self.initialisation)
        self.network_ = network.to(self._place)
        return self.network_

    def _built(self, outputs: int, sizes: tuple[int, ...], options: dict[str, Any]) -> nn.Sequential:
        if self.net_ == "mlp":
            return nets.mlp(self.shape_[0], outputs, sizes, **options)
        if self.net_ == "lstm":
            depth = {"layers": len(sizes), "vocabulary": self.vocabulary}
            return nets.lstm(self.shape_, outputs, sizes[0], **depth | options)
        build: Callable[..., nn.Sequential] = nets.cnn if self.net_ == "cnn" else nets.resnet
        network = build(self.shape_, outputs, sizes, **options)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _sizes(self) -> tuple[int, ...]:
        """Units or feature maps per layer: the given ones, or as many stages of the usual ones as the pictures allow."""
        if self.layers is not None:
            return tuple(self._check_layers())
        if self.net_ != "cnn":
            return SIZES[self.net_]
        return SIZES["cnn"][: max(1, int(math.log2(max(1, min(self.shape_[1:]) / STAGES))))]

    def _work(self) -> float:
        if not hasattr(self, "work_"):
            layers = self.layers if self.layers is not None else SIZES["mlp"]
            widths = [self.n_features_in_, *([layers] if isinstance(layers, int) else layers)]
            return float(self.batch_size) * max(a * b for a, b in zip(widths, widths[1:], strict=False))
        return self.batch_size * self.work_

    # -- learning ------------------------------------------------------------------------------------------------------

    def _learn(self, X: Array, y: np.ndarray, known: np.ndarray, outputs: int, run: Run) -> None:
        """Builds the network, pre-trains it on all rows if asked to, and tunes it on the `known` ones."""
        if self.pretrain not in ("greedy", None):
            raise ValueError(f"pretrain is 'greedy' or None, got {self.pretrain!r}.")
        self._choose()
        self.__dict__.pop("work_", None)
        self._place = torch.device("cpu")
        with self._session():
            network = self._new_network(outputs)
        self.work_ = nets.work(network, self.shape_)
        with self._session():
            network = self._new_network(outputs)
            entrance = network.get_submodule("input")
            if self.vocabulary is None:
                entrance.fit(self._batches(X)[_spread(X.shape[0], 10000)][0].cpu())  # type: ignore[operator]
            entrance.to(self._place)
            self.histories_: list[History] = []
            if self.pretrain is not None:
                self.histories_ += self._pretrain(network, X, run)
            self._tune(network, X, y, known, run)

    def _pretrain(self, network: nn.Sequential, X: Array, run: Run) -> list[History]:
        batches = self._batches(X)
        epochs = auto_epochs(self.pretrain_epochs, batches.rows, batches.size)
        how = self._training(epochs, self.pretrain_rate, optimizer="adam")
        if self.net_ == "lstm":
            return stage.pretrain(network, batches, how, run=run)
        return stage.pretrain(network, batches, how, run=run, noise=self.noise, amount=self.amount)

    def _tune(self, network: nn.Sequential, X: Array, y: np.ndarray, known: np.ndarray, run: Run) -> None:
        held_out, validate = known[:0], None
        if self.patience is not None:
            known, held_out = self._split(known, y)
            validate = lambda: self._validated(network, some(X, held_out), y[held_out])  # noqa: E731
        size = min(self.batch_size, max(16, len(known) // 20))
        if len(known) % size == 1:  # batch normalisation has no statistics of one row
            size += 1
        batches = self._batches(some(X, known) if len(known) < len(y) else X, y[known], size)
        how = self._training(
            auto_epochs(self.epochs, len(known), size), self.rate, optimizer=self.optimizer, patience=self.patience,
            weight_decay=self.weight_decay, schedule=self.schedule, warmup=self.warmup, max_norm=self.max_norm,
            average=self.average,
        )  # fmt: skip
        loss = self._loss()
        probe = batches[torch.arange(min(len(known), 500))]
        gradients = [gradient_norms(network, loss, *probe)]  # type: ignore[arg-type]
        network.train()
        learn = self._changed(backprop(lambda x, y: loss(network(x), y)))
        figure = "cross-entropy" if isinstance(self, ClassifierMixin) else "squared error"
        self.histories_.append(
            train(network, learn, batches, how, name="tuning", validate=validate, figure=figure, run=run)
        )
        network.eval()
        gradients.append(gradient_norms(network, loss, *probe))  # type: ignore[arg-type]
        self.gradients_ = {name: [norms[name] for norms in gradients] for name in gradients[0]}

    def _changed(self, learn: Learn) -> Learn:
        """`learn` on rows that are changed at random, if asked to."""
        if self.augment is None:
            return learn
        if isinstance(self.augment, str) and self.augment not in ("image", "sound"):
            raise ValueError(
                f"augment is 'image', 'sound', arguments of layerwise.augment.Augment, or None; got {self.augment!r}."
            )
        how = suited(self.augment, self.shape_) if isinstance(self.augment, str) else dict(self.augment)
        change = Augment(self.shape_, **how)
        return lambda x, y: learn(change(x), y)

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        raise NotImplementedError

    def _split(self, known: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.model_selection import train_test_split

        strata = y[known] if isinstance(self, ClassifierMixin) else None
        kept, out = train_test_split(
            known, test_size=self.validation_fraction, random_state=self._seed, stratify=strata
        )
        return np.sort(kept), np.sort(out)

    @torch.no_grad()
    def _validated(self, network: nn.Module, X: Array, y: np.ndarray) -> float:
        """The loss on held-out rows."""
        network.eval()
        loss, total = self._loss(), 0.0
        for x, target in self._batches(X, y).in_order():
            assert target is not None
            total += float(loss(network(x), target)) * len(x)
        network.train()
        return total / len(y)

    def encode(self, X: Array, layer: int | None = None) -> np.ndarray:
        """Activations of hidden stage `layer` (1 = lowest, None = the last one), flat, shape (n, its units)."""
        check_is_fitted(self)
        names = [name for name, _ in self.network_.named_children() if name not in ("input", "output")]
        if layer is not None and not 1 <= layer <= len(names):
            raise ValueError(f"There is no layer {layer}: the hidden stages are 1 to {len(names)}.")
        upto = 1 + (len(names) if layer is None else layer)
        return self._apply(self.network_, lambda network, x: network[:upto](x).flatten(1), self._rows(X, reset=False))

    # -- saving --------------------------------------------------------------------------------------------------------

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        return {"network_": self.network_}

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self._place = torch.device("cpu")
        self.shape_ = tuple(self.shape_)
        self._new_network(self._outputs()).eval()

    def _outputs(self) -> int:
        raise NotImplementedError

    @property
    def parameters_(self) -> int:
        """How many numbers the network has learned."""
        return nets.parameters(self.network_)


def _spread(rows: int, count: int) -> Tensor:
    """Indices of up to `count` rows, spread evenly."""
    return torch.arange(0, rows, max(1, -(-rows // count)))


class NetworkClassifier(Labelled, NetworkEstimator):
    """A network that classifies: dense, convolutional, residual or recurrent, chosen by the shape of the rows unless told.

    Arguments:
        net: "mlp", "cnn", "resnet", "lstm", or "auto": cnn for rows with a height and a width, lstm for symbols, else mlp.
        shape: Of a row: (channels, height, width), (height, width), or for lstm (steps, values); None means the shape of X's
            rows.
        layers: Units (mlp, lstm) or feature maps (cnn, resnet) per layer, bottom first; None: what suits the rows.
        options: Further arguments of the builder in `layerwise.nets`: units, batch_norm, dropout, kernel, blocks, both, ...
        vocabulary: Number of symbols, where rows are whole numbers in order (0 is padding) for the lstm.
        initialisation: "auto", "normal", "xavier", "he", "orthogonal" (see `layerwise.nets.initialise`).
        pretrain: "greedy": each stage first learns to rebuild its input, lowest first, on all rows, labelled or not (an lstm
            learns to tell what comes next); None: random weights.
        pretrain_epochs, pretrain_rate: Passes per stage, and Adam's rate; noise, amount: Corruption, as for `Autoencoder`.
        loss: "cross-entropy", "focal" or "squared error"; smoothing: Share of a label spread over all classes.
        class_weight: None, "balanced" (rows of rare classes count more), or weights by class.
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
        """Learns from rows X, shape (n, features) or (n, *shape), and labels y, shape (n,), -1 where there is none.

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
        return nets.classification_loss(self.loss, smoothing=self.smoothing, weights=weights)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _classify(self, X: Array) -> np.ndarray:
        return self._apply(self.network_, lambda network, x: network(x).log_softmax(1), self._rows(X, reset=False))


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A network that predicts numbers, one or several a row; made and tuned like `NetworkClassifier`.

    Targets are standardised while learning, and predictions come in the targets' own units.

    Arguments:
        loss: "squared error", or "huber", for targets with outliers.
        net, shape, layers, options, vocabulary, initialisation, pretrain, pretrain_epochs, pretrain_rate, noise, amount,
            augment, epochs, rate, optimizer, schedule, warmup, weight_decay, max_norm, average, batch_size, patience,
            validation_fraction, device, threads, precision, random_state, verbose: As for `NetworkClassifier`.

    Example:
        >>> X = np.random.RandomState(0).rand(200, 2)
        >>> net = NetworkRegressor(layers=(32,), epochs=100, rate=0.01, random_state=0).fit(X, X[:, 0] * X[:, 1])
        >>> bool(net.score(X, X[:, 0] * X[:, 1]) > 0.9)
        True
    """

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
        """Learns from rows X, shape (n, features) or (n, *shape), and targets y, shape (n,) or (n, targets).

        A target that is NaN is missing: such rows serve pre-training only.

        Raises:
            ValueError: If the input has a wrong shape, or X holds NaN.
        """
        if y is None:
            raise ValueError("NetworkRegressor requires y to be passed, but the target y is None.")
        targets = np.asarray(y, dtype=np.float64)
        if targets.ndim not in (1, 2):
            raise ValueError(f"y has shape (n,) or (n, targets), got {targets.shape}.")
        known = np.isfinite(targets.reshape(len(targets), -1)).all(1)
        if not known.any():
            raise ValueError("No row has a finite target: y is all NaN or infinite.")
        if np.isinf(targets).any():
            raise ValueError("Input y contains infinity. Leave those rows out, or give NaN where a target is missing.")
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
        return nets.regression_loss(self.loss)

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
