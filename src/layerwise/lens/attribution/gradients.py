r"""Maps made of gradients: at the rows, along the way to them, or around them."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.lens.attribution.method import Found, Method, parts
from layerwise.lens.question import Question


class Gradient(Method):
    """The derivative of the score by each part of a row: what a small change would do (Simonyan et al., 2014).

    Example:
        >>> net = nn.Linear(2, 2, bias=False)
        >>> found = Gradient(net).attribute(torch.rand(3, 2), target=1)
        >>> torch.equal(found.values[0], net.weight[1].detach())
        True
    """

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """At the rows."""
        found = [question.gradients(points, index) for points, index in parts(question, size)]
        return Found(torch.cat([each[1] for each in found]), torch.cat([each[0] for each in found]))


class InputXGradient(Method):
    """The derivative times the value: what each part contributes if the net is taken for linear (Shrikumar et al., 2016).

    Example:
        >>> net = nn.Linear(2, 2, bias=False)
        >>> found = InputXGradient(net).attribute(torch.tensor([[2.0, 3.0]]), target=1)
        >>> torch.allclose(found.values.sum(1), found.scores)
        True
    """

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """At the rows."""
        found = Gradient.explain(self, question, base, size)  # type: ignore[arg-type]
        return Found(found.values * question.points, found.scores)


class IntegratedGradients(Method):
    r"""The gradient, averaged along the straight way from the baseline, times the way (Sundararajan et al., 2017).

    .. math:: (x_i - x'_i) \int_0^1 \frac{\partial f}{\partial x_i}(x' + t (x - x'))\, dt

    The integral is a Gauss-Legendre sum of `steps` points. The values of a row add up to f(x) - f(x') but for its error.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> found = IntegratedGradients(net).attribute(torch.rand(5, 3), target=0)
        >>> bool((found.error < 1e-3).all())
        True
    """

    def __init__(self, module: nn.Module, *, layer: str | nn.Module | None = None, steps: int = 50) -> None:
        super().__init__(module, layer=layer)
        self.steps = _positive("steps", steps)

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows times steps points, `size` of them at a time."""
        nodes, weights = _gauss_legendre(self.steps)
        way = question.points - base
        along = nodes.to(base).view(-1, *(1,) * (way.ndim - 1))
        mean = _weighted_gradients(question, weights, lambda index, step: base[index] + along[step] * way[index], size)
        values = way * mean
        return Found(values, question.scores(size=size), question.scores(base, size=size))


class SmoothGrad(Method):
    """The gradient, averaged over rows with Gaussian noise added (Smilkov et al., 2017).

    The draws are the same for all rows, so that a row's map does not depend on the others.

    Arguments:
        samples: How many draws.
        noise: Their standard deviation, as a share of the span of the row.
        seed: Of the draws.

    Example:
        >>> net = nn.Linear(2, 2, bias=False)
        >>> found = SmoothGrad(net, samples=5).attribute(torch.rand(3, 2), target=1)
        >>> torch.allclose(found.values[0], net.weight[1].detach())
        True
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        layer: str | nn.Module | None = None,
        samples: int = 25,
        noise: float = 0.15,
        seed: int = 0,
    ) -> None:
        super().__init__(module, layer=layer)
        self.samples, self.noise, self.seed = _positive("samples", samples), noise, seed

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows times samples points, `size` of them at a time."""
        points = question.points
        flat = points.flatten(1)
        span = (flat.amax(1) - flat.amin(1)).view(-1, *(1,) * (points.ndim - 1)) * self.noise
        draws = _draws(self.seed, self.samples, lambda g: torch.randn(points.shape[1:], generator=g))
        values = _weighted_gradients(
            question, np.full(self.samples, 1 / self.samples),
            lambda index, step: points[index] + span[index] * torch.stack([draws(k) for k in step.tolist()]).to(points), size,
        )  # fmt: skip
        return Found(values, question.scores(size=size))


class ExpectedGradients(Method):
    """Integrated gradients, averaged over many baselines, by drawing baseline and step (Erion et al., 2021).

    `baselines` are rows of data, any number of them. The draws are the same for all rows. Their values add up to
    f(x) less the mean of f over the baselines, but for the error of drawing, which `Map.error` shows.

    Arguments:
        samples: How many draws; more than there are baselines are rounded up to as many of each.
        seed: Of the draws.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> found = ExpectedGradients(net).attribute(torch.rand(5, 3), baselines=torch.rand(20, 3), target=0)
        >>> found.values.shape
        torch.Size([5, 3])
    """

    def __init__(
        self, module: nn.Module, *, layer: str | nn.Module | None = None, samples: int = 100, seed: int = 0
    ) -> None:
        super().__init__(module, layer=layer)
        self.samples, self.seed = _positive("samples", samples), seed

    paired: ClassVar[bool] = False

    def base(self, question: Question, baselines: Any) -> Tensor:
        """Any number of baseline rows."""
        if baselines is None or isinstance(baselines, int | float):
            raise ValueError("ExpectedGradients averages over baselines from data. Give rows: baselines=training_rows[:100]; "
                             "for a single baseline take IntegratedGradients.")  # fmt: skip
        return question.some(baselines)

    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """Rows times draws points, `size` of them at a time."""
        which, along = self._drawn(len(base))
        along, points = along.to(base).view(-1, *(1,) * (base.ndim - 1)), question.points
        shares = np.full(len(which), 1 / len(which))

        def at(index: Tensor, step: Tensor) -> Tensor:
            start = base[which.to(step.device)[step]]
            return start + along[step] * (points[index] - start)

        def times(index: Tensor, step: Tensor) -> Tensor:
            return points[index] - base[which.to(step.device)[step]]

        values = _weighted_gradients(question, shares, at, size, times)
        mean = [
            question.scores(base, torch.full((len(base),), row, device=base.device), size).mean()
            for row in range(len(points))
        ]
        return Found(values, question.scores(size=size), torch.stack(mean))

    def _drawn(self, baselines: int) -> tuple[Tensor, Tensor]:
        """Which baseline each draw starts from, and how far along the way it lies.

        All baselines are drawn equally often; the ways of all draws together, and of each baseline, are covered evenly.
        """
        generator = torch.Generator().manual_seed(self.seed)
        each, rounds = min(self.samples, baselines), -(-self.samples // baselines)
        which, places = (torch.stack([torch.randperm(size, generator=generator) for _ in range(rounds)])
                         for size in (baselines, each))  # fmt: skip
        inside = (places + torch.rand(rounds, each, generator=generator)) / each
        along = (torch.arange(rounds)[:, None] + inside) / rounds
        return which[:, :each].flatten(), along.flatten()


def _weighted_gradients(question: Question, weights: np.ndarray, at: Any, size: int, times: Any = None) -> Tensor:
    """Sum over steps of weights[step] * the gradient at `at(rows, steps)` (* `times(rows, steps)`), per row.

    Row after row and step after step, `size` points at a time: the same sums whatever else is in the batch.
    """
    points, steps = question.points, len(weights)
    total = torch.zeros_like(points)
    shares = torch.as_tensor(weights, dtype=points.dtype, device=points.device).view(-1, *(1,) * (points.ndim - 1))
    for start in range(0, len(points) * steps, _checked(size)):
        numbers = torch.arange(start, min(start + size, len(points) * steps), device=points.device)
        index, step = numbers // steps, numbers % steps
        gradients = question.gradients(at(index, step), index)[1] * shares[step]
        total.index_add_(0, index, gradients if times is None else gradients * times(index, step))
    return total


@functools.cache
def _gauss_legendre(steps: int) -> tuple[Tensor, np.ndarray]:
    """Points in [0, 1] and their weights, which sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((nodes + 1) / 2), weights / 2


def _draws(seed: int, count: int, draw: Any) -> Any:
    """The k-th draw, made anew whenever it is asked for: none is held."""
    return lambda k: draw(torch.Generator().manual_seed(seed * count + k))


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} is {value}, but at least one is needed.")
    return value


def _checked(size: int) -> int:
    return _positive("internal_batch_size", size)
