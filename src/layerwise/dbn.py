"""Deep belief nets: labels joined at the top, dreaming, and up-down (wake-sleep) tuning of two sets of weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from layerwise.autoencoder import Autoencoder
from layerwise.batches import Batches
from layerwise.layer import Dense, Layer, leave, leave_product
from layerwise.rbm import RBM, LabelledRBM
from layerwise.run import SILENT, Run
from layerwise.stack import Stack
from layerwise.train import History, Training, train
from layerwise.units import Units


class DBN(Stack):
    """Deep belief net (Hinton, Osindero & Teh, 2006): layers below, an RBM with or without labels on top.

    After greedy pre-training (`pretrain`) the weights below the top are tied; `up_down` unties them into recognition
    weights (`layer.weight`) and generative weights (`layer.down_weight`), both kept and both saved.

    Raises:
        ValueError: If the top layer is not an RBM, or the sizes do not meet.

    Example:
        >>> dbn = DBN.build(784, (500, 500, 2000), classes=10)
        >>> dbn.class_log_probs(torch.rand(2, 784)).shape, dbn.generate(2, label=3, steps=2).shape
        (torch.Size([2, 10]), torch.Size([2, 784]))
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        if not layers or not isinstance(layers[-1], RBM):
            raise ValueError("The top of a deep belief net is an RBM (or a LabelledRBM); use Stack for anything else.")

    @classmethod
    def build(
        cls,
        visible: int,
        hidden: Sequence[int],
        *,
        classes: int | None = None,
        below: Units | str = "bernoulli",
        above: Units | str = "bernoulli",
        **settings: Any,
    ) -> DBN:
        """A net of RBMs with `hidden` units per layer, bottom first; with `classes` the top one holds labels too.

        `below` is the kind of the data's units, `above` that of every hidden layer, `settings` go to each RBM.
        """
        widths, kind = [visible, *hidden], below
        layers: list[Layer] = []
        for number, (lower, upper) in enumerate(pairwise(widths), start=1):
            if classes is not None and number == len(hidden):
                layers.append(LabelledRBM(lower, classes, upper, below=kind, above=above, **settings))
            else:
                layers.append(RBM(lower, upper, below=kind, above=above, **settings))
            kind = above
        return cls(*layers)

    @property
    def top(self) -> RBM:
        """The undirected top: the associative memory."""
        return self.layers[-1]  # type: ignore[return-value]

    @property
    def below_top(self) -> list[Dense]:
        """The directed layers, bottom first."""
        return self.layers[:-1]  # type: ignore[return-value]

    # -- answers -------------------------------------------------------------------------------------------------------

    def class_log_probs(self, x: Tensor) -> Tensor:
        """log p(class | x), shape (n, classes): a deterministic up-pass, then exact free energy over the labels."""
        return self._labelled().class_log_probs(self.penultimate(x))

    def penultimate(self, x: Tensor) -> Tensor:
        """Mean activation of the units that the top RBM sees, shape (n, its features)."""
        return self.encode(x, len(self) - 1)

    def _labelled(self) -> LabelledRBM:
        if not isinstance(self.top, LabelledRBM):
            raise ValueError(
                "This net was built without labels; build it with classes=... to classify or clamp a label."
            )
        return self.top

    # -- dreaming ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        n: int = 1,
        *,
        label: int | Tensor | None = None,
        unit: tuple[int, int] | None = None,
        steps: int = 200,
        start: Tensor | None = None,
        mean: bool = True,
    ) -> Tensor:
        """Dreams n rows of data, shape (n, visible): Gibbs sampling in the top RBM, then down the generative weights.

        Arguments:
            label: Class to hold on, in [0, classes), or one per row, shape (n,).
            unit: (layer, index), layer 1 = lowest hidden layer: a unit held on. In the top RBM this is exact Gibbs
                sampling given the unit; further down, recognition weights stand in for the posterior above the unit.
            steps: Gibbs steps in the top RBM.
            start: Rows of data whose codes start the chains, one for each row whatever n is; None starts at random states.
            mean: Give the mean of the lowest units instead of a draw.

        Raises:
            ValueError: If the label or the unit does not exist.
        """
        depth, index = self._check_unit(unit)
        v = self._start(n, start)
        clamp = self._label_states(len(v), label, v)
        for step in range(steps):
            lowest = len(self) == 1 and step == steps - 1  # of a net that is all top, these are the data
            v = self._dream_step(v, clamp, depth, index, mean and lowest)
        return self._descend(self._features(v), len(self) - 1, depth, index, mean)

    def _start(self, n: int, start: Tensor | None) -> Tensor:
        top = self.top
        if start is not None:
            return top.states(self.sample_up(start)[-1])
        return top.below.sample(top.visible_biases().expand(n, -1))

    def _check_unit(self, unit: tuple[int, int] | None) -> tuple[int, int]:
        if unit is None:
            return 0, 0
        depth, index = unit
        if not 1 <= depth <= len(self):
            raise ValueError(f"There is no layer {depth}: the hidden layers are 1 to {len(self)}.")
        if not 0 <= index < self.layers[depth - 1].hidden:
            raise ValueError(
                f"Layer {depth} has units 0 to {self.layers[depth - 1].hidden - 1}; there is no unit {index}."
            )
        return depth, index

    def _label_states(self, n: int, label: int | Tensor | None, like: Tensor) -> Tensor | None:
        if label is None:
            return None
        top = self._labelled()
        y = torch.as_tensor(label, device=like.device).long()
        if y.shape not in ((), (n,)):
            raise ValueError(f"{n} rows take one label, or {n}; got labels of shape {tuple(y.shape)}.")
        if not bool(((y >= 0) & (y < top.classes)).all()):
            raise ValueError(f"Labels to dream of are 0 to {top.classes - 1}; got {label}.")
        return torch.nn.functional.one_hot(y, top.classes).to(like.dtype).expand(n, -1)

    def _features(self, v: Tensor) -> Tensor:
        """The feature part of the top RBM's visible states, in the units of the layer below."""
        top = self.top
        return top.own_units(v[:, : top.features] if isinstance(top, LabelledRBM) else v)

    def _dream_step(self, v: Tensor, clamp: Tensor | None, depth: int, index: int, mean: bool) -> Tensor:
        top = self.top
        if clamp is not None:
            v = torch.cat([v[:, : -clamp.shape[1]], clamp], 1)
        a = top.drawn_down(v, index if depth == len(self) else None)
        v = top.below.mean(a) if mean else top.below.sample(a)
        if 0 < depth < len(self):
            states = self._descend(self._features(v), len(self) - 1, depth, index, mean=False, stop=depth)
            for layer in self.below_top[depth:]:
                states = layer.above.sample(layer.up(layer.standardised(states)))
            labels = v[:, top.features :] if isinstance(top, LabelledRBM) else v[:, :0]
            v = torch.cat([top.standardised(states), labels], 1)
        return v

    def _descend(self, states: Tensor, at: int, depth: int, index: int, mean: bool, stop: int = 0) -> Tensor:
        """Ancestral sampling from layer `at` down to layer `stop` (0 = data), with unit `index` of `depth` held on."""
        for number in range(at, stop, -1):
            if number == depth:
                states[:, index] = 1
            layer = self.below_top[number - 1]
            a = layer.down(states)
            last_mean = mean and number == 1
            states = layer.own_units(layer.below.mean(a) if last_mean else layer.below.sample(a))
        if stop and stop == depth:
            states[:, index] = 1
        return states

    @torch.no_grad()
    def sample_up(self, x: Tensor) -> list[Tensor]:
        """States drawn on the way up by the recognition weights: [x, layer 1, ..., penultimate]."""
        states = [x]
        for layer in self.below_top:
            states.append(layer.above.sample(layer.up(layer.standardised(states[-1]))))
        return states

    # -- wake and sleep ------------------------------------------------------------------------------------------------

    def up_down(
        self, batches: Batches, how: Training, *, steps: int | Sequence[int] = 3, run: Run = SILENT, **watch: Any
    ) -> History:
        """Tunes all weights together, without back-propagation (Hinton et al., 2006, section 5 and appendix B).

        Arguments:
            batches: Data with labels (-1: none) if the top holds labels.
            how: Rates and epochs.
            steps: Gibbs steps in the top RBM between wake and sleep; a sequence is spread evenly over the epochs
                (the paper: 3, 6, 10).
            watch: `validate` and `name`, as for `train`.
        """
        self.untie(len(self) - 1)
        learner = WakeSleep(self, [steps] if isinstance(steps, int) else list(steps), how.epochs * len(batches))
        settings = {"name": "up-down", "figure": "squared error"} | watch
        return train(learner, learner.learn, batches, how, run=run, **settings)


class WakeSleep(torch.nn.Module):
    """The wake-sleep gradient of a DBN, in closed form; `total` learning calls are expected in all.

    Wake: data goes up the recognition weights, and the generative weights learn to bring each drawn layer back from
    the one above. Then the top RBM learns by contrastive divergence started at the wake states. Sleep: its fantasy
    goes down the generative weights, and the recognition weights learn to recover what caused it.

    Example:
        >>> dbn = DBN.build(4, (3, 2))
        >>> dbn.untie(1)
        >>> WakeSleep(dbn, [3], total=100).learn(torch.rand(5, 4)).shape
        torch.Size([])
    """

    closed_form: ClassVar[bool] = True
    calls: Tensor

    def __init__(self, dbn: DBN, steps: Sequence[int], total: int) -> None:
        super().__init__()
        if not steps or min(steps) < 1:
            raise ValueError(f"steps are at least 1, got {list(steps)}.")
        for layer in dbn.below_top:
            if not (isinstance(layer, Autoencoder) and layer.down_weight is not None):
                raise ValueError("Wake-sleep needs two-way layers: call dbn.untie(len(dbn) - 1) first.")
        self.dbn, self.steps, self.total = dbn, list(steps), max(total, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def learn(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Leaves every gradient; returns the wake phase's squared error per row at the data, given drawn layer-1 states."""
        dbn = self.dbn
        wake = dbn.sample_up(x)
        error = self._learn_generative(wake)
        features = self._learn_top(wake[-1], y)
        self._learn_recognition(self._sleep(features))
        self.calls += 1
        return error

    def _learn_generative(self, wake: list[Tensor]) -> Tensor:
        """Gradient of -log p(lower | upper) under the generative weights, at states drawn in the wake phase."""
        error = wake[0].new_zeros(())
        for number, layer in enumerate(self.dbn.below_top):
            assert isinstance(layer, Autoencoder) and layer.down_weight is not None
            lower, upper = layer.standardised(wake[number]), wake[number + 1]
            miss = layer.below.mean(layer.down(upper)) - lower
            leave_product(layer.down_weight, miss, upper / len(miss))
            leave(layer.visible_bias, miss.mean(0))
            if number == 0:
                error = miss.square().sum() / len(miss)
        return error

    def _learn_top(self, features: Tensor, y: Tensor | None) -> Tensor:
        """Contrastive divergence in the top RBM; returns the features of its fantasy, drawn."""
        top = self.dbn.top
        k = self.steps[min(int(self.calls) * len(self.steps) // self.total, len(self.steps) - 1)]
        _, fantasy = top.contrast(top.states(features, y), k, draw=True)
        return self.dbn._features(fantasy)

    def _sleep(self, features: Tensor) -> list[Tensor]:
        """The fantasy on its way down the generative weights: [data, layer 1, ..., penultimate]; data as means."""
        states = [features]
        for number, layer in reversed(list(enumerate(self.dbn.below_top))):
            a = layer.down(states[0])
            states.insert(0, layer.own_units(layer.below.mean(a) if number == 0 else layer.below.sample(a)))
        return states

    def _learn_recognition(self, sleep: list[Tensor]) -> None:
        """Gradient of -log q(upper | lower) under the recognition weights, at states drawn in the sleep phase."""
        for number, layer in enumerate(self.dbn.below_top):
            assert isinstance(layer, Autoencoder)
            lower, upper = layer.standardised(sleep[number]), sleep[number + 1]
            miss = layer.above.mean(layer.up(lower)) - upper
            leave_product(layer.weight, lower, miss / len(miss))
            leave(layer.hidden_bias, miss.mean(0))
