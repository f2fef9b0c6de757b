"""Embeddings that tell people, speakers or things apart, learned from labelled rows of some and used for others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise.estimators.base import Array
from layerwise.estimators.labels import class_codes
from layerwise.estimators.network_base import NetworkEstimator, spread
from layerwise.metric import embedding_loss
from layerwise.nets import Rows
from layerwise.run import SILENT, Run

DROPOUT = 0.3  # before the last layer of a cnn


class Own(Rows):
    """Rows that each get a mean of 0 and a deviation of 1 of their own, so that light and contrast do not count.

    Arguments:
        shape: Of a row as it comes.
        side: Pictures whose longer side is longer are made smaller, by the mean of blocks of pixels; None leaves them.

    Example:
        >>> Own((1, 8, 4), side=4)(torch.rand(3, 32)).shape
        torch.Size([3, 1, 4, 2])
    """

    def __init__(self, shape: Sequence[int], side: int | None = None) -> None:
        super().__init__(shape)
        longest = max(self.came[-2:])
        if side is not None and len(self.came) == 3 and longest > side:
            self.shape = (self.came[0], *(max(1, round(length * side / longest)) for length in self.came[1:]))

    @torch.no_grad()
    def fit(self, x: Tensor) -> Rows:
        """Learns nothing."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self._shaped(x)
        if x.shape[1:] != self.shape:
            x = F.adaptive_avg_pool2d(x, list(self.shape[1:]))  # type: ignore[arg-type]
        flat = x.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        x = (flat / flat.std(1, correction=0, keepdim=True).clamp_min(1e-6)).reshape(x.shape)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


class Components(nn.Module):
    """The first principal components of flat rows, each with a deviation of 1 over the rows that they are fitted to.

    Example:
        >>> Components(3, 2).fit(torch.randn(50, 3), seed=0)(torch.randn(4, 3)).shape
        torch.Size([4, 2])
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("weight", torch.zeros(count, features))

    def fit(self, x: Tensor, seed: int) -> Self:
        """Takes the components of rows x, shape (n, features)."""
        found = PCA(len(self.weight), random_state=seed).fit(x.double().numpy())
        scale = np.sqrt(found.explained_variance_)
        scale = np.where(scale > 1e-6 * scale[0], scale, np.inf)  # of what never varies nothing is left
        self.mean.copy_(torch.from_numpy(found.mean_))
        self.weight.copy_(torch.from_numpy(found.components_ / scale[:, None]))
        return self

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.weight.T


class IdentityEmbedder(TransformerMixin, NetworkEstimator):
    """A network that makes of a row a point on a sphere, so that rows of one person lie together, also of people it never met.

    It learns from labelled rows of some people; `layerwise.Gallery` then knows others from a few rows each.

    Arguments:
        size: Numbers that the network makes of a row; `components` come on top of them.
        loss: "softmax", "arcface", "prototypical" or "triplet" (see `layerwise.metric`), with its margin and scale; None
            takes the usual ones.
        normalise: "rows": each row gets a mean of 0 and a deviation of 1 of its own (light and contrast of a photo do not
            count); "columns": those of the features over all rows, or of the channels of pictures.
        mirror: Whether a row and its mirror image are the same person's, as of photos: half of the rows learned from are
            flipped, and an embedding is the mean of both.
        side: Pictures (with normalise="rows") whose longer side is longer than so many pixels are made smaller; None
            leaves them.
        components: Principal components of all rows, labelled or not, that stand in an embedding beside what was learned
            from the labels, with a weight of `share` against 1 (symbols have none); 0 leaves them out.
        augment: As for `NetworkClassifier`; "image" also turns and zooms a little.

    As for `NetworkClassifier` are net, shape, layers, options (a cnn has no hidden dense layer unless they say so), vocabulary,
    initialisation, pretrain, pretrain_epochs, pretrain_rate, noise, amount, tune, epochs, rate, optimizer, schedule, warmup,
    weight_decay, max_norm, average, batch_size, patience, validation_fraction, device, threads, precision, random_state and
    verbose.

    Fitted attributes: `people_` (labels, sorted), `network_`, `net_`, `shape_`, `histories_`, `gradients_`, `parameters_`,
    `n_components_`, `n_features_in_`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = IdentityEmbedder(shape=(8, 8), size=16, layers=(16,), epochs=3, random_state=0).fit(X[y < 6], y[y < 6])
        >>> e = model.transform(X[y > 6])
        >>> bool(np.allclose((e**2).sum(1), 1)), model.people_.tolist()
        (True, [0, 1, 2, 3, 4, 5])
    """

    _figure = "loss"

    def __init__(
        self,
        net: str = "auto",
        *,
        size: int = 128,
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
        tune: str = "all",
        loss: str = "arcface",
        margin: float | None = None,
        scale: float | None = None,
        normalise: str = "rows",
        mirror: bool = False,
        side: int | None = 40,
        components: int = 80,
        share: float = 0.7,
        augment: str | Mapping[str, Any] | None = None,
        epochs: int | str = 60,
        rate: float = 2e-3,
        optimizer: str = "adam",
        schedule: str = "cosine",
        warmup: float = 0.05,
        weight_decay: float = 0.05,
        max_norm: float | None = None,
        average: float = 0.99,
        batch_size: int = 50,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.net = net
        self.size = size
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
        self.tune = tune
        self.loss = loss
        self.margin = margin
        self.scale = scale
        self.normalise = normalise
        self.mirror = mirror
        self.side = side
        self.components = components
        self.share = share
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
        """Learns from rows X, shape (n, features) or ``(n, *shape)``, and who they are of, y, shape (n,), -1 where not known.

        Rows of nobody serve pre-training and the principal components.

        Raises:
            ValueError: If the input has a wrong shape or NaN, or there are fewer than two people.
        """
        if self.normalise not in ("rows", "columns"):
            raise ValueError(f"normalise is 'rows' or 'columns', got {self.normalise!r}.")
        if self.size < 1 or self.components < 0 or self.share < 0:
            raise ValueError(
                f"size is at least 1, components and share at least 0; got {self.size}, {self.components}, {self.share}."
            )
        X, y = self._rows(X, reset=True, y=y)
        self.people_, codes = class_codes(y)
        self._learn(X, codes, np.flatnonzero(codes >= 0), int(self.size), self._run(run))
        return self

    def transform(self, X: Array) -> np.ndarray:
        """Embeddings of length 1, shape (n, size + components): their products are cosines."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        return self._apply(
            nn.ModuleList(self._modules_.values()), lambda parts, x: self._through(parts[0], parts[1], x), rows
        )

    def _through(self, network: nn.Sequential, components: nn.Module, x: Tensor) -> Tensor:
        seen = [x, self._mirrored(x)] if self.mirror else [x]
        learned = _mean([network(each) for each in seen])
        if not self.n_components_:
            return learned
        entrance = network.get_submodule("input")
        beside = _mean([components(entrance(each)) for each in seen])
        return F.normalize(torch.cat([learned, self.share * beside], 1))

    def _mirrored(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape_).flip(-1).flatten(1)

    # -- the network ---------------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        super()._choose()
        if self.mirror and len(self.shape_) != 3:
            raise ValueError(f"Only pictures have a mirror image, not rows of shape {self.shape_}. Leave mirror out.")

    def _built(
        self, shape: tuple[int, ...], outputs: int, sizes: tuple[int, ...], options: dict[str, Any]
    ) -> nn.Sequential:
        if self.net_ == "cnn":
            options = {"hidden": (), "dropout": DROPOUT} | options
        if self.normalise == "columns" or self.net_ == "lstm":  # whose padding of zeros has to stay
            return super()._built(shape, outputs, sizes, options)
        entrance = Own(shape, self.side)
        network = super()._built(entrance.shape, outputs, sizes, options)
        network.input = entrance
        return network

    def _suited(self, kind: str) -> dict[str, Any]:
        if kind != "image":
            return super()._suited(kind)
        shift = max(1, round(self._seen[-2] / 18))
        return {"shift": shift, "turn": 8.0, "zoom": 0.1, "flip": self.mirror, "fill": "border"}

    # -- learning ------------------------------------------------------------------------------------------------------

    def _tune(self, network: nn.Sequential, X: Array, y: np.ndarray, known: np.ndarray, run: Run) -> None:
        how = {name: value for name in ("margin", "scale") if (value := getattr(self, name)) is not None}
        self._head = embedding_loss(self.loss, int(self.size), len(self.people_), **how).to(self._place)
        super()._tune(network, X, y, known, run)
        del self._head  # it knows the people learned from, whom nobody will ask for
        self.components_ = self._found(network, X)

    @torch.no_grad()
    def _found(self, network: nn.Sequential, X: Array) -> Components:
        """The components of up to 10000 rows, and of their mirror images."""
        x = self._batches(X)[spread(X.shape[0], 10000)][0]
        entrance = network.get_submodule("input")
        seen = [entrance(each).flatten(1).cpu() for each in ([x, self._mirrored(x)] if self.mirror else [x])]
        features = seen[0].shape[1]
        self.n_components_ = 0 if self.vocabulary is not None else min(self.components, len(x) - 1, features)
        found = Components(features, self.n_components_)
        return (found.fit(torch.cat(seen), self._seed) if self.n_components_ else found).to(self._place)

    @staticmethod
    def _steps_want(rows: int) -> int:
        return rows  # a batch has to hold several rows of a person

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        return self._head

    # -- saving --------------------------------------------------------------------------------------------------------

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        return {"network_": self.network_, "components_": self.components_} | super()._modules_

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        super()._rebuild(fitted)
        entrance = self.network_.get_submodule("input")
        assert isinstance(entrance, Rows)
        self.components_ = Components(math.prod(entrance.shape), self.n_components_)

    def _outputs(self) -> int:
        return int(self.size)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _mean(made: Sequence[Tensor]) -> Tensor:
    """The mean direction of embeddings of the same rows."""
    return F.normalize(torch.stack([F.normalize(each) for each in made]).sum(0))
