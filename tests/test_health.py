"""Dead, saturated and constant units are found, and the gradient norms are autograd's own."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerwise.health import Activity, HealthWarning, gradient_norms
from layerwise.units import Bernoulli, Gaussian, Rectified


def test_figures_do_not_depend_on_the_batches() -> None:
    h = torch.rand(100, 5)
    whole, parts = Activity.of([h], Bernoulli()), Activity.of(h.split(7), Bernoulli())
    for name in ("low", "high", "mean", "std"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name))
    torch.testing.assert_close(whole.std, h.std(0, unbiased=False))
    torch.testing.assert_close(whole.mean, h.mean(0))


def test_each_illness_is_told_apart() -> None:
    rows = torch.rand(50, 1) * 0.8 + 0.1
    h = torch.cat([torch.zeros(50, 1), torch.ones(50, 1), torch.full((50, 1), 0.5), rows], 1)
    seen = Activity.of([h], Bernoulli())
    assert seen.dead.tolist() == [True, False, False, False]
    assert seen.saturated.tolist() == [False, True, False, False]
    assert seen.constant.tolist() == [True, True, True, False]
    assert Activity.of([torch.tensor([[0.0, 0.1], [0.0, 0.0]])], Rectified()).dead.tolist() == [True, False]
    assert not Activity.of([torch.zeros(3, 2)], Gaussian()).dead.any()


@pytest.mark.parametrize(("column", "word"), [(0.0, "dead"), (1.0, "saturated")], ids=["dead", "saturated"])
def test_a_sick_layer_warns_with_the_fix(column: float, word: str) -> None:
    h = torch.cat([torch.full((50, 5), column), torch.rand(50, 5)], 1)
    with pytest.warns(HealthWarning, match=f"layer 2: 5 of 10 units are {word}.*(?i:lower the learning rate)"):
        Activity.of([h], Bernoulli()).warn("layer 2")


def test_constant_output_warns_and_a_healthy_layer_does_not() -> None:
    with pytest.warns(HealthWarning, match="the output is constant"):
        Activity.of([torch.full((9, 3), 0.5)], Bernoulli()).warn("layer 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Activity.of([torch.rand(50, 3)], Bernoulli()).warn("layer 1")


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Activity.of([], Bernoulli())


def test_gradient_norms_are_those_of_autograd_and_leave_no_trace() -> None:
    net = nn.Sequential()
    net.add_module("layer1", nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Sigmoid()))
    net.add_module("output", nn.Linear(4, 2))
    net.train()
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])
    before = torch.ones_like(net.output.weight)
    net.output.weight.grad = before
    found = gradient_norms(net, F.cross_entropy, x, y)
    assert net.training and net.output.weight.grad is before and net.layer1[0].weight.grad is None
    net.eval()
    slow = torch.autograd.grad(F.cross_entropy(net(x), y), [net.layer1[0].weight, net.output.weight])
    assert found == pytest.approx(
        {n: float(g.square().mean().sqrt()) for n, g in zip(("layer1", "output"), slow, strict=True)}
    )
