"""What the estimators of networks share: choosing and building the network, pre-training and tuning it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import nets, stage
from layerwise.augment import KINDS, Augment, suited
from layerwise.estimators.base import Array, Estimator, auto_epochs
from layerwise.health import gradient_norms
from layerwise.pieces import Pieces
from layerwise.rows import LazyRows, some
from layerwise.run import Run
from layerwise.starts import initialise
from layerwise.train import History, Learn, backprop, train

NETS = ("auto", "mlp", "cnn", "resnet", "lstm")
SIZES: dict[str, tuple[int, ...]] = {"mlp": (512, 512), "cnn": (32, 64, 128), "resnet": (32, 64, 128), "lstm": (128,)}
STAGES = 4  # pixels that the last convolutional stage of a net of default size keeps at least


class NetworkEstimator(Estimator):
    """A network chosen by the shape of the rows, pre-trained if asked to, and tuned on a loss of its own."""

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
    tune: str
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

    _figure: ClassVar[str]  # what tuning makes small, for people

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self, X: Array, *, reset: bool, y: Any = "no_validation") -> Any:
        """As for all estimators, but rows may have a shape of their own, which is then that of the network's rows."""
        if getattr(X, "ndim", 2) > 2 and not isinstance(X, LazyRows):
            if reset:
                self._came: tuple[int, ...] | None = tuple(X.shape[1:])
            elif (
                self.net_ != "mlp"
                and math.prod(X.shape[1:]) == self.n_features_in_
                and tuple(X.shape[1:]) not in (self.shape_, self._natural())
            ):
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
        self._seen = shape  # what augmentation changes
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
            network = self._built(self.shape_, outputs, sizes, options)
        except TypeError as error:
            raise ValueError(f"options are arguments of layerwise.nets.{self.net_}: {error}.") from error
        if self.initialisation != "auto":
            initialise(network, self.initialisation)
        self.network_ = network.to(self._place)
        return self.network_

    def _built(
        self, shape: tuple[int, ...], outputs: int, sizes: tuple[int, ...], options: dict[str, Any]
    ) -> nn.Sequential:
        if self.net_ == "mlp":
            own = {"pieces": self.pieces_} if hasattr(self, "pieces_") else {}
            return nets.mlp(shape[0], outputs, sizes, **options | own)
        if self.net_ == "lstm":
            depth = {"layers": len(sizes), "vocabulary": self.vocabulary}
            return nets.lstm(shape, outputs, sizes[0], **depth | options)
        build: Callable[..., nn.Sequential] = nets.cnn if self.net_ == "cnn" else nets.resnet
        network = build(shape, outputs, sizes, **options)
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
            widths = [self.n_features_in_, *(SIZES["mlp"] if self.layers is None else self._check_layers())]
            return float(self.batch_size) * max(a * b for a, b in zip(widths, widths[1:], strict=False))
        return self.batch_size * self.work_

    # -- learning ------------------------------------------------------------------------------------------------------

    def _learn(self, X: Array, y: np.ndarray, known: np.ndarray, outputs: int, run: Run) -> None:
        """Builds the network, pre-trains it on all rows if asked to, and tunes it on the `known` ones."""
        if self.pretrain not in ("greedy", None):
            raise ValueError(f"pretrain is 'greedy' or None, got {self.pretrain!r}.")
        if self.tune not in ("all", "output"):
            raise ValueError(f"tune is 'all' or 'output', got {self.tune!r}.")
        self._choose()
        self.__dict__.pop("work_", None)
        self._place = torch.device("cpu")
        with self._session():
            seen = self._batches(X)[spread(X.shape[0], 10000)][0].cpu()  # tells what all rows are like
            self._count_pieces(seen)
            network = self._new_network(outputs)
        self.work_ = nets.work(network, self.shape_)
        with self._session():
            network = self._new_network(outputs)
            entrance = network.get_submodule("input")
            if self.vocabulary is None:
                entrance.fit(seen)  # type: ignore[operator]
                for part in network.modules():
                    if isinstance(part, Pieces):
                        part.fit(entrance(seen.to(self._place)))
            entrance.to(self._place)
            del seen  # there may be much of it
            self.histories_: list[History] = []
            if self.pretrain is not None:
                self.histories_ += self._pretrain(network, X, run)
            self._tune(network, X, y, known, run)

    def _count_pieces(self, rows: Tensor) -> None:
        """Sets `pieces_`, how many pieces of its range each column becomes, if options ask for pieces."""
        self.__dict__.pop("pieces_", None)
        most = (self.options or {}).get("pieces", 0)
        if self.net_ != "mlp" or not most:
            return
        if not isinstance(most, int) or most < 1:
            raise ValueError(
                f"options: pieces is how many a column has at most, a whole number of 0 or more; got {most!r}."
            )
        self.pieces_ = list(Pieces.suited(nets.Rows(self.shape_).fit(rows)(rows), most))

    def _pretrain(self, network: nn.Sequential, X: Array, run: Run) -> list[History]:
        batches = self._batches(X, size=_without_single(X.shape[0], self.batch_size))
        epochs = auto_epochs(self.pretrain_epochs, batches.rows, batches.size)
        how = self._training(epochs, self.pretrain_rate, optimizer="adam")
        if self.net_ == "lstm":
            return stage.pretrain(network, batches, how, run=run)
        histories, stack = stage.grow(network, batches, how, run=run, noise=self.noise, amount=self.amount)
        self.grown_ = stage.from_rows(network, stack)
        return histories

    def _tune(self, network: nn.Sequential, X: Array, y: np.ndarray, known: np.ndarray, run: Run) -> None:
        held_out, validate = known[:0], None
        if self.patience is not None:
            known, held_out = self._split(known, y)
            validate = lambda: self._validated(network, some(X, held_out), y[held_out])  # noqa: E731
        size = _without_single(len(known), min(self.batch_size, self._steps_want(len(known))))
        batches = self._batches(some(X, known) if len(known) < len(y) else X, y[known], size)
        how = self._training(
            auto_epochs(self.epochs, len(known), size), self.rate, optimizer=self.optimizer, patience=self.patience,
            weight_decay=self.weight_decay, schedule=self.schedule, warmup=self.warmup, max_norm=self.max_norm,
            average=self.average,
        )  # fmt: skip
        loss = self._loss()
        probe = batches[torch.arange(min(len(known), 500))]
        gradients = [gradient_norms(network, loss, *probe)]  # type: ignore[arg-type]
        kept = [stage for name, stage in network.named_children() if self.tune == "output" and name != "output"]
        for part in kept:
            part.requires_grad_(False)
        self._prepare(network)
        learn = self._changed(backprop(lambda x, y: loss(network(x), y)))
        # a loss may have something to learn of its own
        learner = nn.ModuleList([network, loss]) if isinstance(loss, nn.Module) else network
        self.histories_.append(
            train(learner, learn, batches, how, name="tuning", validate=validate, figure=self._figure, run=run)
        )
        for part in kept:
            part.requires_grad_(True)
        network.eval()
        gradients.append(gradient_norms(network, loss, *probe))  # type: ignore[arg-type]
        self.gradients_ = {name: [norms[name] for norms in gradients] for name in gradients[0]}

    @staticmethod
    def _steps_want(rows: int) -> int:
        """Rows per step at most, so that few rows still make steps enough."""
        return max(16, rows // 20)

    @staticmethod
    def _prepare(network: nn.Module) -> None:
        """Training mode, but for stages that stay as they are: they keep their statistics, too."""
        network.train()
        for part in network.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()

    def _changed(self, learn: Learn) -> Learn:
        """`learn` on rows that are changed at random, if asked to."""
        if self.augment is None:
            return learn
        if isinstance(self.augment, str) and self.augment not in KINDS:
            raise ValueError(
                f"augment is {', '.join(map(repr, KINDS))}, arguments of layerwise.augment.Augment, or None; "
                f"got {self.augment!r}."
            )
        how = self._suited(self.augment) if isinstance(self.augment, str) else dict(self.augment)
        try:
            change = Augment(self._seen, **how)
        except TypeError as error:
            raise ValueError(f"augment holds arguments of layerwise.augment.Augment: {error}.") from error
        return lambda x, y: learn(change(x), y)

    def _suited(self, kind: str) -> dict[str, Any]:
        """What leaves a row of that kind what it is, as arguments of `Augment`."""
        return suited(kind, self._seen)

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def _validated(self, network: nn.Module, X: Array, y: np.ndarray) -> float:
        """The loss on held-out rows."""
        network.eval()
        loss, total = self._loss(), 0.0
        for x, target in self._batches(X, y).in_order():
            assert target is not None
            total += float(loss(network(x), target)) * len(x)
        self._prepare(network)
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
        modules: dict[str, nn.Module] = {"network_": self.network_}
        return modules | {"grown_": self.grown_} if self._grows else modules

    @property
    def _grows(self) -> bool:
        """Whether stages as they were pre-trained are kept, which can rebuild rows; a recurrent one tells what comes next."""
        return self.pretrain is not None and self.net_ != "lstm"

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self._place = torch.device("cpu")
        self.shape_ = tuple(self.shape_)
        network = self._new_network(self._outputs()).eval()
        if self._grows:
            self.grown_ = stage.from_rows(network, stage.stages_of(network))

    def _outputs(self) -> int:
        raise NotImplementedError

    @property
    def parameters_(self) -> int:
        """How many numbers the network has learned."""
        return nets.parameters(self.network_)


def spread(rows: int, count: int) -> Tensor:
    """Indices of up to `count` rows, spread evenly."""
    return torch.arange(0, rows, max(1, -(-rows // count)))


def _without_single(rows: int, size: int) -> int:
    """The batch size, or the next that leaves no batch of one row: batch normalisation has no statistics of it."""
    while rows > 1 and rows % size == 1:
        size += 1
    return size
