"""What all estimators share: checking input, choosing units, devices and threads, answering in batches, saving."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from layerwise import compute, saving
from layerwise.batches import Batches
from layerwise.health import Activity
from layerwise.rbm import RBM
from layerwise.rows import LazyRows
from layerwise.run import SILENT, Run
from layerwise.stack import Stack
from layerwise.train import Training

Array = Any  # numpy array or scipy sparse matrix, as scikit-learn takes them
AUTO_EPOCHS, AUTO_UPDATES = 20, 1500


def auto_epochs(epochs: int | str, rows: int, size: int) -> int:
    """The number of epochs; "auto" is 20, or as many as make 1500 updates where rows are few."""
    return max(AUTO_EPOCHS, -(-AUTO_UPDATES // -(-rows // size))) if epochs == "auto" else int(epochs)


class Estimator(BaseEstimator, abc.ABC):
    """What all estimators share: checking input, choosing units, devices and threads, saving."""

    layers: Sequence[int]
    visible: str
    batch_size: int
    device: str | None
    threads: int | None
    precision: str
    random_state: Any
    verbose: int

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the fitted model into the folder `path`: safetensors and JSON, no pickle; `layerwise.load` reads it.

        Raises:
            FileExistsError: If there is something at `path` that `overwrite` does not allow to replace.
            sklearn.exceptions.NotFittedError: If there is nothing to save yet.
        """
        check_is_fitted(self)
        return saving.save(self, path, overwrite=overwrite)

    @property
    @abc.abstractmethod
    def _modules_(self) -> dict[str, nn.Module]:
        """The torch modules by attribute name, as they are saved."""

    @abc.abstractmethod
    def _rebuild(self, fitted: dict[str, Any]) -> None:
        """Makes the modules again, untrained, from the fitted attributes; their weights are loaded afterwards."""

    def _rows(self, X: Array, *, reset: bool, y: Any = "no_validation") -> Any:
        """X (and y) checked and as float32 or float64 rows; sparse rows are filled, and lazy ones read, batch by batch."""
        if isinstance(X, np.memmap) and X.ndim == 2 and X.dtype.kind in "biuf" and X.dtype.itemsize < 4:
            X = LazyRows.of(X)  # converted whole, it might not fit into memory
        if isinstance(X, LazyRows):
            return self._lazy_rows(X, reset, y)
        settings: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float32, np.float64], "reset": reset}
        if isinstance(y, str):
            return validate_data(self, X, **settings)
        return validate_data(self, X, y, **settings)

    def _lazy_rows(self, X: LazyRows, reset: bool, y: Any) -> Any:
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features as input."
            )
        if isinstance(y, str):
            return X
        y = column_or_1d(y)
        check_consistent_length(X, y)
        return X, y

    def _kind(self, X: Array) -> str:
        """Kind of the units that hold the data: `visible`, or Bernoulli for data within [0, 1] and else Gaussian."""
        if self.visible != "auto":
            return self.visible
        # of lazy rows nothing was looked at yet: a NaN fails here too, and is then found by `Layer.prepare`
        return "bernoulli" if X.min() >= 0 and X.max() <= 1 else "gaussian"

    def _work(self) -> float:
        widths = [self.n_features_in_, *self.layers]
        return float(self.batch_size) * max(a * b for a, b in zip(widths, widths[1:], strict=False))

    def _session(self) -> Any:
        self._place = compute.choose_device(self.device, self._work())
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._seed = seed
        return compute.session(seed, compute.choose_threads(self.threads, self._work()))

    def _training(self, epochs: int, rate: float, **settings: Any) -> Training:
        """How to learn, in the wanted precision; the rate falls linearly to 0 unless `settings` say otherwise."""
        precision = compute.choose_precision(self.precision, self._place, self._work())
        return Training(epochs=epochs, rate=rate, **{"schedule": "linear", "precision": precision} | settings)

    def _batches(self, X: Array, y: Any = None, size: int | None = None) -> Batches:
        return Batches(X, y, size=size or self.batch_size, seed=self._seed, device=self._place)

    def _split(self, known: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the `known` rows to learn from, and which to hold out; of codes of classes, of each class alike."""
        from sklearn.model_selection import train_test_split

        strata = y[known] if y.dtype.kind == "i" else None
        kept, out = train_test_split(
            known, test_size=self.validation_fraction, random_state=self._seed, stratify=strata
        )
        return np.sort(kept), np.sort(out)

    def _run(self, run: Run) -> Run:
        return Run(progress=True) if run is SILENT and self.verbose else run

    def _check_layers(self) -> list[int]:
        layers = [self.layers] if isinstance(self.layers, int | np.integer) else list(self.layers)
        if not layers or any(int(width) < 1 for width in layers):
            raise ValueError(
                f"layers lists the units of each hidden layer, bottom first, such as (500, 500); got {self.layers!r}."
            )
        return [int(width) for width in layers]

    @torch.no_grad()
    def _apply(self, module: nn.Module, through: Callable[[Any, Tensor], Tensor], X: Array) -> np.ndarray:
        """`through(module, rows)` on all rows, 1000 at a time, in X's own precision."""
        precise = X.dtype == np.float64
        module = copy.deepcopy(module).double() if precise else module
        place = next(module.parameters()).device
        with compute.session(0, compute.choose_threads(self.threads, self._work())):
            batches = Batches(X, device=place, dtype=torch.float64 if precise else torch.float32)
            return np.concatenate([through(module, x).cpu().numpy() for x, _ in batches.in_order()])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.non_deterministic = False
        return tags


def look_at(stack: Stack, batches: Batches, name: str = "layer") -> list[Activity]:
    """The activity of every layer of `stack` over the rows, with warnings for layers that do not work."""
    seen = []
    for depth, layer in enumerate(stack.layers, start=1):
        seen.append(Activity.of((stack.encode(x, depth) for x, _ in batches.in_order()), layer.above))
        seen[-1].warn(f"{name} {depth}")
    return seen


def rbm_rate(layer: nn.Module, rate: float | str) -> float:
    """The rate of contrastive divergence; unbounded units need a smaller one (Hinton, 2010, 13.2)."""
    if rate != "auto":
        return float(rate)
    assert isinstance(layer, RBM)
    kinds = {getattr(layer, "features_below", layer.below).name, layer.above.name}
    return 0.05 if kinds <= {"Bernoulli", "Softmax"} else 0.005
