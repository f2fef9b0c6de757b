"""Stacks that classify: grown on all rows, tuned on the labelled ones; y == -1 means that a row has no label."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import compute, saving
from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.dbn import DBN
from layerwise.estimators.base import Array, Estimator, auto_epochs, look_at, rbm_rate
from layerwise.estimators.labels import Labelled
from layerwise.health import HealthWarning, gradient_norms
from layerwise.losses import cross_entropy
from layerwise.rows import some
from layerwise.run import SILENT, Run
from layerwise.stack import Stack
from layerwise.starts import initialise
from layerwise.train import History, train


class StackClassifier(Labelled, Estimator):
    """A stack grown bottom-up on all rows, then tuned as a network on the labelled ones."""

    pretrain: str | None
    epochs: int | str
    rate: float
    dropout: float
    input_dropout: float
    patience: int | None
    validation_fraction: float

    @abc.abstractmethod
    def _build(self, classes: int) -> Stack:
        """The untrained stack."""

    @abc.abstractmethod
    def _grow(self, stack: Stack, batches: Batches, run: Run) -> list[History]:
        """Learns the stack without back-propagation through it."""

    def fit(self, X: Array, y: Any, *, run: Run = SILENT) -> Self:
        """Learns from rows X, shape (n, features), dense or sparse, and labels y, shape (n,), -1 where there is none.

        (Where -1 and one other value are all there is, -1 is a class: one class alone cannot be learned.)

        Arguments:
            run: Progress, log, checkpoints and resume: `layerwise.Run("runs/digits", resume=True)`.

        Raises:
            ValueError: If the input has a wrong shape, NaN, or fewer than two classes.
        """
        X, y = self._rows(X, reset=True, y=y)
        codes = self._class_codes(y)
        self.layers_ = self._check_layers()
        self.visible_ = self._kind(X)
        run = self._run(run)
        with self._session():
            stack = self._build(len(self.classes_)).to(self._place)
            batches = self._batches(X, codes)
            self.histories_: list[History] = []
            if self.pretrain is not None:
                self.histories_ += self._grow(stack, batches, run)
                look_at(stack, self._sample(X))
            self._keep(stack)
            network = self._new_network(stack)
            self._tune(network, X, codes, run)
        return self

    def _sample(self, X: Array, rows: int = 1000) -> Batches:
        """A few rows, spread evenly, to look at."""
        step = max(1, X.shape[0] // rows)
        return self._batches(X[::step][:rows])

    def _keep(self, stack: Stack) -> None:
        self.stack_ = stack

    def _new_network(self, stack: Stack) -> nn.Sequential:
        network = stack.feedforward(len(self.classes_), dropout=self.dropout, input_dropout=self.input_dropout)
        if self.pretrain is None:
            initialise(network)
        self.network_ = network.to(self._place)
        return self.network_

    def _tune(self, network: nn.Sequential, X: Array, codes: np.ndarray, run: Run) -> None:
        """Back-propagation on the labelled rows; notes the gradients that reach each stage before and after."""
        known = np.flatnonzero(codes >= 0)
        held_out, validate = known[:0], None
        if self.patience is not None:
            known, held_out = self._split(known, codes)
            validate = lambda: self._error(network, some(X, held_out), codes[held_out])  # noqa: E731
        size = min(self.batch_size, max(16, len(known) // 20))
        batches = self._batches(some(X, known) if len(known) < len(codes) else X, codes[known], size)
        probe = batches[torch.arange(min(len(known), 500))]
        gradients = [gradient_norms(network, F.cross_entropy, *probe)]  # type: ignore[arg-type]
        how = self._training(
            auto_epochs(self.epochs, len(known), size), self.rate, optimizer="adam", patience=self.patience,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        network.train()
        self.histories_.append(
            train(
                network,
                cross_entropy(network),
                batches,
                how,
                name="tuning",
                validate=validate,
                figure="cross-entropy",
                run=run,
            )
        )
        network.eval()
        gradients.append(gradient_norms(network, F.cross_entropy, *probe))  # type: ignore[arg-type]
        self.gradients_ = {stage: [norms[stage] for norms in gradients] for stage in gradients[0]}
        self._warn_if_constant(network, probe[0])

    @torch.no_grad()
    def _error(self, network: nn.Module, X: Array, codes: np.ndarray) -> float:
        """Cross-entropy in nats on held-out rows."""
        network.eval()
        total = 0.0
        for x, y in self._batches(X, codes).in_order():
            assert y is not None
            total += F.cross_entropy(network(x), y, reduction="sum").item()
        network.train()
        return total / len(codes)

    @torch.no_grad()
    def _warn_if_constant(self, network: nn.Module, x: Tensor) -> None:
        if len(x) > 20 and bool((network(x).std(0) < 1e-4).all()):
            warnings.warn(
                "The tuned network answers every row alike. Try more epochs, a rate ten times smaller or larger, "
                "or fewer layers, and compare with pretrain=None.",
                HealthWarning,
                stacklevel=4,
            )

    def _classify(self, X: Array) -> np.ndarray:
        """Log probabilities, shape (n, classes)."""
        return self._apply(self.network_, lambda network, x: network(x).log_softmax(1), self._rows(X, reset=False))

    def encode(self, X: Array, layer: int | None = None) -> np.ndarray:
        """Codes of the pre-trained stack's `layer` (1 = lowest, None = top), shape (n, its units)."""
        return self._through_stack(lambda stack, x: stack.encode(x, layer), X)

    def reconstruct(self, X: Array, layer: int | None = None) -> np.ndarray:
        """X as rebuilt from its codes in `layer` (1 = lowest, None = top), the shape of X."""
        return self._through_stack(lambda stack, x: stack.reconstruct(x, layer), X)

    def _through_stack(self, through: Callable[[Stack, Tensor], Tensor], X: Array) -> np.ndarray:
        check_is_fitted(self)
        if self.pretrain is None:
            raise ValueError("With pretrain=None there is no generative stack to encode with; fit with pre-training.")
        return self._apply(self.stack_, through, self._rows(X, reset=False))

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"network_": self.network_}
        return modules if self.pretrain is None else modules | {"stack_": self.stack_}

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self._place = torch.device("cpu")
        self._keep(saving.stack_from(fitted["stack"]))
        self._new_network(self.stack_).eval()


class DBNClassifier(StackClassifier):
    """A deep belief net grown on all rows, labelled or not, and tuned on the labelled ones.

    Greedy pre-training of RBMs with the labels joined at the top, up-down (wake-sleep) tuning of the generative model
    (Hinton, Osindero & Teh, 2006), then a feed-forward copy tuned by back-propagation (Hinton & Salakhutdinov, 2006).
    Both stay: `predict` asks the network (or, with classify="generative", the exact free energy), `generate` dreams.

    Arguments:
        layers: Units of each hidden layer, bottom first.
        visible: Units that hold the data: "auto" (bernoulli within [0, 1], else gaussian), "bernoulli", "gaussian".
        hidden: Units of every hidden layer: "bernoulli" or "rectified".
        pretrain: "greedy", or None for the same network from random (Xavier, He) weights: the baseline.
        steps: The k of CD-k.
        chains: Persistent chains of PCD; 0 is CD.
        sparsity: Wanted mean activity of hidden units in (0, 1), or None.
        pretrain_epochs: Passes per layer; "auto" is 20, or as many as make 1500 updates.
        pretrain_rate: Learning rate of the RBMs; "auto" is 0.05 for bernoulli on both sides and 0.005 otherwise.
        up_down_epochs: Passes of wake-sleep; 0 leaves it out.
        up_down_rate: Its learning rate.
        up_down_steps: Gibbs steps in the top RBM between wake and sleep.
        epochs: Passes of back-propagation over the labelled rows; "auto" as above.
        rate: Adam's learning rate; it falls linearly to 0.
        dropout, input_dropout: Probability that a hidden or an input unit is silent during tuning.
        weight_decay: L2 penalty of pre-training, and Adam's decoupled decay while tuning.
        classify: "network" or "generative".
        batch_size: Rows per update; tuning on few labels takes smaller ones, down to 16.
        patience: Epochs without improvement on held-out labelled rows before tuning stops; None runs to the end.
        validation_fraction: Share of the labelled rows held out for `patience`.
        device: "cpu", "cuda", ... or None: chosen by the size of the work.
        threads: CPU threads, or None: chosen by the size of the work.
        precision: Of what goes into matrix products while learning: "float32", "bfloat16" (products take half the time on
            hardware that has it; sums and weights stay float32), or "auto": bfloat16 for large work on such hardware.
        random_state: Seed of everything random; the same seed gives the same bits on the same machine and threads.
        verbose: 1 shows progress.

    Fitted attributes: `classes_`, `stack_` (the DBN), `network_`, `histories_`, `gradients_` (root mean square gradient
    per stage, before and after tuning), `visible_`, `n_features_in_`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> y[500:] = -1  # most rows have no label
        >>> clf = DBNClassifier((64, 64), pretrain_epochs=20, up_down_epochs=0, rate=0.01, random_state=0).fit(X / 16, y)
        >>> bool(clf.score(X[:500] / 16, y[:500]) > 0.9), clf.generate(label=3).shape
        (True, (1, 64))
    """

    def __init__(
        self,
        layers: Sequence[int] = (500, 500, 2000),
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        pretrain: str | None = "greedy",
        steps: int = 1,
        chains: int = 0,
        sparsity: float | None = None,
        pretrain_epochs: int | str = "auto",
        pretrain_rate: float | str = "auto",
        up_down_epochs: int = 10,
        up_down_rate: float = 0.01,
        up_down_steps: int | Sequence[int] = 3,
        epochs: int | str = "auto",
        rate: float = 1e-3,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        weight_decay: float = 2e-4,
        classify: str = "network",
        batch_size: int = 100,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.visible = visible
        self.hidden = hidden
        self.pretrain = pretrain
        self.steps = steps
        self.chains = chains
        self.sparsity = sparsity
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_rate = pretrain_rate
        self.up_down_epochs = up_down_epochs
        self.up_down_rate = up_down_rate
        self.up_down_steps = up_down_steps
        self.epochs = epochs
        self.rate = rate
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.weight_decay = weight_decay
        self.classify = classify
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    stack_: DBN

    def _build(self, classes: int) -> DBN:
        if self.classify not in ("network", "generative"):
            raise ValueError(f"classify is 'network' or 'generative', got {self.classify!r}.")
        if self.pretrain not in ("greedy", None):
            raise ValueError(f"pretrain is 'greedy' or None, got {self.pretrain!r}.")
        return DBN.build(
            self.n_features_in_, self.layers_, classes=classes, below=self.visible_, above=self.hidden,
            steps=self.steps, chains=self.chains, sparsity=self.sparsity,
        )  # fmt: skip

    def _grow(self, stack: Stack, batches: Batches, run: Run) -> list[History]:
        assert isinstance(stack, DBN)
        epochs = auto_epochs(self.pretrain_epochs, batches.rows, batches.size)
        hows = [
            self._training(epochs, rbm_rate(layer, self.pretrain_rate), weight_decay=self.weight_decay)
            for layer in stack.layers
        ]
        histories = stack.pretrain(batches, hows, run=run)
        if self.up_down_epochs and len(stack) > 1:  # a net of one layer is its own top
            how = self._training(self.up_down_epochs, self.up_down_rate)
            histories.append(stack.up_down(batches, how, steps=self.up_down_steps, run=run))
        return histories

    def _classify(self, X: Array) -> np.ndarray:
        if self.classify == "network":
            return super()._classify(X)
        return self._apply(self.stack_, DBN.class_log_probs, self._rows(X, reset=False))

    def generate(
        self,
        n: int = 1,
        *,
        label: Any = None,
        unit: tuple[int, int] | None = None,
        steps: int = 200,
        random_state: Any = None,
    ) -> np.ndarray:
        """Dreams n rows, shape (n, features), in the data's own units.

        Arguments:
            label: A class out of `classes_` to hold on, or one per row.
            unit: (layer, index) of a unit to hold on; layer 1 is the lowest hidden one.
            steps: Gibbs steps in the top RBM.
            random_state: Seed of this dream.

        Raises:
            ValueError: If there is no such label or unit, or the net was fitted with pretrain=None.
        """
        check_is_fitted(self)
        if self.pretrain is None:
            raise ValueError(
                "With pretrain=None there is no generative model to dream with; fit with pretrain='greedy'."
            )
        codes = None if label is None else torch.as_tensor(self._codes_of(label))
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        with compute.session(seed, compute.choose_threads(self.threads, self._work())):
            return self.stack_.generate(n, label=codes, unit=unit, steps=steps).cpu().numpy()

    def _codes_of(self, label: Any) -> np.ndarray:
        wanted = np.asarray(label)
        codes = np.searchsorted(self.classes_, wanted).clip(0, len(self.classes_) - 1)
        if not np.all(self.classes_[codes] == wanted):
            raise ValueError(f"{label!r} is not one of the classes {self.classes_.tolist()}.")
        return codes


class StackedAutoencoderClassifier(StackClassifier):
    """Autoencoders grown on all rows, labelled or not, and tuned as one network on the labelled ones.

    Denoising layers (Vincent et al., 2010) by default; with other settings sparse, contractive or plain ones.

    Arguments:
        layers: Units of each hidden layer, bottom first.
        visible: Units that hold the data: "auto" (bernoulli within [0, 1], else gaussian), "bernoulli", "gaussian".
        hidden: Units of every hidden layer: "bernoulli" or "rectified".
        pretrain: "greedy", or None for the same network from random weights: the baseline.
        noise: "masking", "gaussian", "salt-and-pepper" or None, in every layer.
        amount: Share of corrupted inputs, or the standard deviation of gaussian noise.
        sparsity, sparsity_cost, l1, contraction, tied: As for `Autoencoder`.
        pretrain_epochs: Passes per layer; "auto" is 20, or as many as make 1500 updates.
        pretrain_rate: Adam's learning rate while pre-training.

    As for `DBNClassifier` are epochs, rate, dropout, input_dropout, weight_decay, batch_size, patience, validation_fraction,
    device, threads, precision, random_state and verbose.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = StackedAutoencoderClassifier((64,), pretrain_epochs=5, rate=0.01, random_state=0).fit(X / 16, y)
        >>> bool(clf.score(X / 16, y) > 0.9), clf.reconstruct(X[:3] / 16).shape
        (True, (3, 64))
    """

    def __init__(
        self,
        layers: Sequence[int] = (500, 500, 500),
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        pretrain: str | None = "greedy",
        noise: str | None = "masking",
        amount: float = 0.25,
        sparsity: float | None = None,
        sparsity_cost: float = 0.1,
        l1: float = 0.0,
        contraction: float = 0.0,
        tied: bool = True,
        pretrain_epochs: int | str = "auto",
        pretrain_rate: float = 1e-3,
        epochs: int | str = "auto",
        rate: float = 1e-3,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        weight_decay: float = 0.0,
        batch_size: int = 100,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.visible = visible
        self.hidden = hidden
        self.pretrain = pretrain
        self.noise = noise
        self.amount = amount
        self.sparsity = sparsity
        self.sparsity_cost = sparsity_cost
        self.l1 = l1
        self.contraction = contraction
        self.tied = tied
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_rate = pretrain_rate
        self.epochs = epochs
        self.rate = rate
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.device = device
        self.threads = threads
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def _build(self, classes: int) -> Stack:
        names = ("noise", "amount", "sparsity", "sparsity_cost", "l1", "contraction", "tied")
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        widths = [self.n_features_in_, *self.layers_]
        below = [self.visible_] + [self.hidden] * (len(self.layers_) - 1)
        return Stack(
            *(
                Autoencoder(lower, upper, below=kind, above=self.hidden, **settings)
                for lower, upper, kind in zip(widths, widths[1:], below, strict=False)
            )
        )

    def _grow(self, stack: Stack, batches: Batches, run: Run) -> list[History]:
        epochs = auto_epochs(self.pretrain_epochs, batches.rows, batches.size)
        how = self._training(epochs, self.pretrain_rate, optimizer="adam")
        return stack.pretrain(batches, how, run=run)
