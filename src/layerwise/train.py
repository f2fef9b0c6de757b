"""The one training loop. Every layer, stack, network and dictionary learns through `train`.

It owns what every learner needs once: schedules, early stopping on held-out data, checkpoints and exact resume, the
divergence guard, averaging over several processes. It knows nothing of what is learned: `learn(x, y)` leaves gradients.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerwise.batches import Batches
from layerwise.run import SILENT, Run

Learn = Callable[[Tensor, Tensor | None], Tensor]
T = TypeVar("T")
LIMIT = 1e4  # no weight of a net that works on standardised data comes near it
KNOWN = {
    "optimizer": ("sgd", "adam"),
    "schedule": ("constant", "linear", "cosine"),
    "precision": ("float32", "bfloat16"),
}
GUARD_EVERY = 50  # steps between looks at the figure: each look waits for the device


class Diverged(RuntimeError):
    """Learning blew up; the module is back at its last good state."""


@dataclass(frozen=True)
class Training:
    """How to learn. Rates fall with `schedule`; momentum starts at 0.5 and rises after five epochs (Hinton, 2010, 9).

    Arguments:
        epochs: Passes over the data.
        rate: Learning rate of a step on the batch mean.
        optimizer: "sgd" (with momentum) or "adam".
        momentum: Final momentum of "sgd", in [0, 1).
        weight_decay: L2 penalty on weights, not on biases; its gradient is weight_decay * W.
        schedule: "constant", "linear" (to 0) or "cosine" (to 0).
        hold: Fraction of the steps, in [0, 1), before the rate begins to fall.
        warmup: Fraction of the steps, in [0, 1), in which the rate rises from 0 (Goyal et al., 2017).
        average: Decay of a moving average of the weights that replaces them at the end (Polyak & Juditsky, 1992);
            0 leaves it out.
        max_norm: Largest length of a unit's incoming weights in dense and convolutional parts (Srivastava et al., 2014, 5.1);
            None leaves it out.
        clip: Longest that the gradient of all weights together may be; a longer one is shortened (Pascanu et al., 2013).
            None leaves it as it is.
        patience: Epochs without a better figure on held-out data before learning stops; None never stops early.
        precision: "float32" learns in the module's own precision; "bfloat16" rounds what goes into matrix products to 8
            bits, sums them up in float32 and keeps the weights in float32: products take half the time where the processor
            has bfloat16 ones (`compute.choose_precision` knows).

    Example:
        >>> Training(epochs=4, schedule="linear").factor(2, 4)
        0.5
    """

    epochs: int = 10
    rate: float = 0.05
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    hold: float = 0.0
    warmup: float = 0.0
    average: float = 0.0
    max_norm: float | None = None
    clip: float | None = None
    patience: int | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.rate < 0:
            raise ValueError(f"epochs and rate are at least 0, got epochs={self.epochs}, rate={self.rate}.")
        if not (0 <= self.hold < 1 and 0 <= self.warmup < 1):
            raise ValueError(
                f"hold and warmup are fractions of the steps in [0, 1), got {self.hold} and {self.warmup}."
            )
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is the length of a gradient, above 0, or None; got {self.clip}.")
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; got {getattr(self, name)!r}.")

    def factor(self, step: int, steps: int) -> float:
        """What the rate is multiplied with at `step` of `steps`."""
        done = max(0.0, step / max(steps, 1) - self.hold) / (1 - self.hold)
        falls = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]
        return falls * min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else falls

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over the parameters of `module` that want gradients."""
        wanted = [p for p in module.parameters() if p.requires_grad]
        groups = [{"params": wanted, "weight_decay": 0.0}]  # one group is one call of the fused step
        if self.weight_decay:
            groups = [
                {"params": [p for p in wanted if p.ndim > 1], "weight_decay": self.weight_decay},
                {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
            ]
        if self.optimizer == "adam":
            kind = torch.optim.AdamW if self.weight_decay else torch.optim.Adam
            return kind(groups, lr=self.rate, fused=True)
        return torch.optim.SGD(groups, lr=self.rate, momentum=0.5 if self.momentum else 0.0, fused=True)


@dataclass
class History:
    """What happened, epoch by epoch: each entry has epoch, figure, seconds, rate and, with held-out data, valid.

    `figure` says what the figure is: "squared error", "nats" (both per row, to rebuild it) or "cross-entropy".
    """

    name: str
    figure: str = "loss"
    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""

    @property
    def figures(self) -> list[float]:
        """The figure on training data, one per epoch."""
        return [entry["figure"] for entry in self.epochs]


def train(
    module: nn.Module,
    learn: Learn,
    batches: Batches,
    how: Training,
    *,
    name: str = "training",
    validate: Callable[[], float] | None = None,
    figure: str = "loss",
    run: Run = SILENT,
) -> History:
    """Improves `module` by `learn` over `batches`.

    Arguments:
        module: Owns the parameters; all of its state is saved in checkpoints.
        learn: Called with (x, y) of a batch; leaves gradients in `.grad` and returns the figure to watch, shape ().
        batches: The data; `y` is None where there are no labels.
        how: Rates, epochs and the rest.
        name: Of this stage, unique in its run: it names the checkpoint, the progress bar and the error messages.
        validate: A figure on held-out data after every epoch, lower is better; the best state is kept with `patience`.
        figure: What the figure is, for people.
        run: Where progress is shown and checkpoints lie.

    Returns:
        The figures of every epoch. A stage that its run finished earlier is restored, not repeated.

    Raises:
        Diverged: If the figure or a weight is no longer finite or grows beyond all bounds; `module` is put back.
        ValueError: If the run began this stage with other data, sizes or settings.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after a checkpoint is written.
    """
    return _Loop(module, learn, batches, how, name, validate, figure, run).run_all()


def backprop(loss: Callable[[Tensor, Tensor], Tensor]) -> Learn:
    """A `learn` from a differentiable loss of (x, y)."""

    def learn(x: Tensor, y: Tensor | None) -> Tensor:
        value = loss(x, y)  # type: ignore[arg-type]
        value.backward()
        return value.detach()

    return learn


class _Loop:
    """The state of one call of `train`; everything in `state()` is what a checkpoint holds."""

    def __init__(
        self,
        module: nn.Module,
        learn: Learn,
        batches: Batches,
        how: Training,
        name: str,
        validate: Callable[[], float] | None,
        figure: str,
        run: Run,
    ) -> None:
        self.module, self.learn, self.batches, self.how = module, learn, batches, how
        self.validate, self.figure, self.run = validate, figure, run
        self.optimizer = how.build(module)
        # autograd adds to gradients; a closed form writes over them, into memory that is there
        self.adds = not getattr(getattr(learn, "__self__", None), "closed_form", False)
        self.history = History(name, figure)
        self.epoch = self.step = 0  # the next epoch, and the next batch in it
        self.total = torch.zeros((), dtype=torch.float64)
        self.seconds = 0.0
        self.done = False
        self.good = self._snapshot()
        self.best: dict[str, Tensor] | None = None
        self.averaged = self._snapshot() if how.average else None

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run_all(self) -> History:
        self._restore(self.run.load(self.history.name))
        if self.done:
            return self.history
        self.run.rewind(self.history.name, self.epoch)
        with self.run.stage(
            self.history.name, self.how.epochs * len(self.batches), self._steps_done(), self.state
        ) as stage:
            while self.epoch < self.how.epochs and not self.history.stopped:
                self._one_epoch(stage.advance)
            self._finish()
            self.done = True
        return self.history

    def _one_epoch(self, advance: Callable[[str], None]) -> None:
        began = time.perf_counter() - self.seconds
        self._set_momentum()
        for x, y in self.batches.epoch(self.epoch, self.step):
            self._one_step(x, y)
            self.step += 1
            self.seconds = time.perf_counter() - began
            if self.step % GUARD_EVERY == 0:
                self._guard()
            advance(f"{self.figure} {self.total.item() / self.step:.4g}" if self.step % GUARD_EVERY == 0 else "")
        self._guard(weights=True)
        self._close_epoch()

    def _one_step(self, x: Tensor, y: Tensor | None) -> None:
        how = self.how
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self._steps_done())
        if self.adds:
            self.optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=how.precision == "bfloat16"):
            figure = self.learn(x, y)
        self.total = self.total.to(figure.device) + figure  # summed where it was made: no waiting for the device
        share_gradients(self.module, len(x))
        if how.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), how.clip)
        self.optimizer.step()
        if how.max_norm is not None:
            limit_norms(self.module, how.max_norm)
        if self.averaged is not None:
            self._average()

    def _close_epoch(self) -> None:
        entry = {"epoch": self.epoch + 1, "figure": self.total.item() / max(self.step, 1), "seconds": self.seconds}
        entry["rate"] = self._rate(self._steps_done() - 1)
        if self.validate is not None:
            entry["valid"] = self._with_average(self.validate)
        self.history.epochs.append(entry)
        self.run.log(self.history.name, self.figure, entry)
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.total.zero_()
        self.good = self._snapshot()
        self._stop_early()

    def _stop_early(self) -> None:
        if self.validate is None or self.how.patience is None:
            return
        curve = [math.inf if math.isnan(entry["valid"]) else entry["valid"] for entry in self.history.epochs]
        best = min(range(len(curve)), key=curve.__getitem__)
        if best == len(curve) - 1:
            self.best = self._with_average(self._snapshot)
        elif len(curve) - 1 - best >= self.how.patience:
            self.history.stopped = f"no better for {self.how.patience} epochs; kept epoch {best + 1}"

    def _finish(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)  # nobody wants the last gradient, and it is as large as the module
        if self.best is not None:
            self.module.load_state_dict(self.best)
        elif self.averaged is not None and self.how.epochs:
            self.module.load_state_dict(self.averaged)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _steps_done(self) -> int:
        return self.epoch * len(self.batches) + self.step

    def _steps(self) -> int:
        return self.how.epochs * len(self.batches)

    def _rate(self, step: int) -> float:
        return self.how.rate * self.how.factor(step, self._steps())

    def _set_momentum(self) -> None:
        if self.how.optimizer == "sgd" and self.how.momentum:
            start = min(0.5, self.how.momentum)
            for group in self.optimizer.param_groups:
                group["momentum"] = start if self.epoch < 5 and self.how.epochs > 5 else self.how.momentum

    def _snapshot(self) -> dict[str, Tensor]:
        return {key: value.detach().clone() for key, value in self.module.state_dict().items()}

    @torch.no_grad()
    def _average(self) -> None:
        assert self.averaged is not None
        # The first steps would weigh the random start too much: the decay grows to its value.
        steps = self._steps_done()
        decay = min(self.how.average, (1 + steps) / (10 + steps))
        weights = dict(self.module.named_parameters(remove_duplicate=False))
        for key, value in self.module.state_dict().items():
            if key in weights:
                self.averaged[key].lerp_(value, 1 - decay)
            else:  # statistics and persistent chains are not averaged: a mean of chains is no state
                self.averaged[key].copy_(value)

    def _with_average(self, measure: Callable[[], T]) -> T:
        """What `measure` finds while the averaged weights, if any, stand in for the present ones."""
        if self.averaged is None:
            return measure()
        now = self._snapshot()
        self.module.load_state_dict(self.averaged)
        try:
            return measure()
        finally:
            self.module.load_state_dict(now)

    def _guard(self, weights: bool = False) -> None:
        figure = self.total.item() / max(self.step, 1)
        largest = largest_weight(self.module) if weights else 0.0
        if math.isfinite(figure) and largest < LIMIT:  # NaN fails the comparison too
            return
        self.module.load_state_dict(self.good)
        what = f"{self.figure} became {figure:g}" if not math.isfinite(figure) else f"a weight grew to {largest:.3g}"
        raise Diverged(
            f"{self.history.name} diverged in epoch {self.epoch + 1} at step {self.step}: {what}. It is back at the state "
            f"after epoch {self.epoch}. Try a learning rate ten times smaller than {self.how.rate:g}; "
            "for Gaussian or rectified units start at 0.001, and look for outliers in the data."
        )

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON-able rest) from which `_restore` goes on to the same bits."""
        tensors = {f"module.{key}": value for key, value in self.module.state_dict().items()}
        for prefix, kept in (("good", self.good), ("best", self.best), ("average", self.averaged)):
            if kept is not None and not self.done:
                tensors |= {f"{prefix}.{key}": value for key, value in kept.items()}
        if not self.done:
            for number, slots in self.optimizer.state_dict()["state"].items():
                tensors |= {f"optim.{number}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        tensors["total"] = self.total
        tensors["random"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        rest: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "seconds": self.seconds, "done": self.done}
        rest |= {"stopped": self.history.stopped, "epochs": self.history.epochs, "settings": self._settings()}
        return tensors, rest

    def _settings(self) -> dict[str, Any]:
        """What must be the same when a run is taken up again."""
        data = {"rows": self.batches.rows, "batch size": self.batches.size, "seed": int(self.batches.seed)}
        shapes = {f"shape of {key}": list(value.shape) for key, value in self.module.state_dict().items()}
        return asdict(self.how) | data | shapes

    def _compare_settings(self, then: dict[str, Any]) -> None:
        now = self._settings()
        changed = [key for key in then | now if then.get(key) != now.get(key)]
        if changed:
            listed = "; ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed[:5])
            raise ValueError(
                f"{self.history.name} cannot go on from its checkpoint: {listed}{'; ...' if changed[5:] else ''}. "
                "Resume with what the run began with, or start another run in another folder."
            )

    def _restore(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        if saved is None:
            return
        tensors, rest = saved
        self._compare_settings(rest["settings"])
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            first, _, tail = key.partition(".")
            parts.setdefault(first, {})[tail] = value
        self.module.load_state_dict(parts["module"])
        self.good, self.best = parts.get("good", self.good), parts.get("best")
        for key, value in parts.get("average", {}).items():
            self.averaged[key].copy_(value)  # type: ignore[index]
        self._restore_optimizer(parts.get("optim", {}))
        self.total = tensors["total"]
        torch.set_rng_state(tensors["random"])
        if "random_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random_cuda"])
        self.epoch, self.step, self.seconds, self.done = (rest[k] for k in ("epoch", "step", "seconds", "done"))
        self.history.epochs, self.history.stopped = rest["epochs"], rest["stopped"]

    def _restore_optimizer(self, slots: dict[str, Tensor]) -> None:
        fresh = self.optimizer.state_dict()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for key, value in slots.items():
            number, _, slot = key.partition(".")
            like = parameters[int(number)]
            if value.shape == like.shape:  # fused steps go through memory, so it has to lie as the parameter does
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)
            fresh["state"].setdefault(int(number), {})[slot] = value
        self.optimizer.load_state_dict(fresh)


def share_gradients(module: nn.Module, rows: int) -> None:
    """Averages the gradients over the processes of `torchrun`, each weighed by the `rows` it saw.

    Contrastive statistics average just like gradients.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        total = gradients[0].new_tensor(rows)
        dist.all_reduce(total)
        for gradient in gradients:
            gradient *= rows / total
            dist.all_reduce(gradient)


def largest_weight(module: nn.Module) -> float:
    """The largest absolute value of a parameter; NaN if any is NaN."""
    largest = [parameter.detach().abs().max().item() for parameter in module.parameters() if parameter.numel()]
    return math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)


@torch.no_grad()
def limit_norms(module: nn.Module, limit: float) -> None:
    """Rescales each hidden unit's incoming weights to a length of at most `limit`."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):  # weight is (out, in, ...)
            part.weight.copy_(part.weight.renorm(2, 0, limit))
