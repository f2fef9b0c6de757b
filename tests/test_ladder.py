"""Health of any net, and the ladder of all figures, against slow second opinions."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import lens
from layerwise.health import gradient_norms
from layerwise.lens import ladder as ladder_function
from layerwise.lens.ladder import WIDTH


def net(seed: int = 0, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Linear(6, width), nn.Sigmoid()), nn.Sequential(nn.Linear(width, 5), nn.ReLU()), nn.Linear(5, 3)
    )


def rows(count: int = 200) -> tuple[Tensor, np.ndarray]:
    y = np.arange(count) % 3
    return torch.randn(count, 6) + 2 * torch.eye(3, 6)[y], y


# -- health ------------------------------------------------------------------------------------------------------------


def test_kinds_come_from_the_module_or_are_guessed_from_the_states() -> None:
    states = torch.rand(30, 4) * 0.8 + 0.1
    assert lens.vitals(states, nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())).kind == "bernoulli"
    assert [lens.vitals(codes).kind for codes in (states, states - states.min(), states - 1)] == [
        "bernoulli", "rectified", "gaussian",
    ]  # fmt: skip
    assert lens.vitals(states).guessed and not lens.vitals(states, nn.Tanh()).guessed


def test_flat_states_are_those_near_an_end() -> None:
    assert lens.vitals(torch.tensor([[0.01, 0.5], [0.99, 0.06]]), nn.Sigmoid()).flat == 0.5
    assert lens.vitals(torch.tensor([[-0.95, 0.5], [0.99, 0.06]]), nn.Tanh()).flat == 0.5
    assert math.isnan(lens.vitals(torch.randn(4, 2), nn.Linear(2, 2)).flat)


def test_vitals_count_what_is_dead_and_saturated() -> None:
    codes = torch.cat([torch.zeros(40, 2), torch.ones(40, 3), torch.rand(40, 4)], 1)
    found = lens.vitals(codes, nn.Sigmoid())
    assert (found.dead, found.saturated, found.constant, found.units, found.rows) == (2, 3, 5, 9, 40)
    assert sum(found.states.counts) == 40 * 9


@pytest.mark.parametrize("kept", [1, 3, 7])
def test_the_rank_is_that_of_equal_directions(kept: int) -> None:
    basis = torch.linalg.qr(torch.randn(400, 400))[0][:, : kept + 1]
    basis = torch.linalg.qr(torch.cat([torch.ones(400, 1), basis], 1))[0][:, 1 : kept + 1]  # about their mean
    codes = basis @ torch.linalg.qr(torch.randn(12, 12))[0][:kept]
    assert lens.effective_rank(5 * codes - 3) == pytest.approx(kept, rel=0.02)
    assert lens.effective_rank(codes.repeat(1, 50)) == pytest.approx(kept, rel=0.02)  # more units than rows
    s = torch.linalg.svdvals((noise := torch.randn(30, 50)) - noise.mean(0))
    assert lens.effective_rank(noise) == pytest.approx(
        float(torch.exp(-(s / s.sum() * (s / s.sum()).log()).sum())), rel=0.01
    )
    assert lens.effective_rank(torch.ones(9, 4)) == 0


def test_the_way_from_the_start_is_measured_in_its_length() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    start = copy.deepcopy(layer.state_dict())
    layer[0].weight.data *= 1.25
    layer[0].bias.data += 100  # biases do not count
    found = lens.vitals(torch.rand(5, 4), layer, start=start)
    assert found.moved == pytest.approx(0.25) and found.weights is not None and sum(found.weights.counts) == 12
    with pytest.raises(ValueError, match=r"no '0.weight' of shape \(4, 3\)"):
        lens.vitals(torch.rand(5, 4), layer, start={"0.weight": torch.ones(2, 2)})


def test_gradients_are_those_of_the_training_loop_and_leave_none() -> None:
    module, (x, y) = net(), rows(30)
    labels = torch.as_tensor(y)
    found = lens.gradients(module, ["0", "1", "2"], F.cross_entropy, x, labels)
    assert found == pytest.approx(gradient_norms(module, F.cross_entropy, x, labels))
    assert all(p.grad is None for p in module.parameters())
    history = lens.GradientHistory(module, ["0", "1", "2"])
    F.cross_entropy(module(x), labels).backward()
    history.note(7)
    assert {name: dict(curve)[7] for name, curve in history.curves.items()} == pytest.approx(found)
    with pytest.raises(ValueError, match="no part '9'"):
        lens.gradients(module, ["9"], F.cross_entropy, x, labels)
    with pytest.raises(ValueError, match="No gradient"):
        lens.gradients(module, ["0"], lambda output, _: output.argmax(1).float().mean(), x, labels)


def test_states_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        lens.vitals(torch.full((3, 2), math.nan))


def test_the_natural_ladder_is_the_parts_that_answer() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.idle = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[1](self.blocks[0](x))

    x = torch.rand(3, 4)
    assert lens.reached(Held(), x) == ["blocks.0", "blocks.1"]
    assert lens.reached(nn.Sequential(nn.Sequential(nn.Linear(4, 2), nn.ReLU())), x) == ["0.0", "0.1"]
    assert lens.reached(nn.Linear(4, 2), x) == [""]


class Odd(nn.Module):
    """Answers with what nobody can look into, and has a part that is used without being called."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(found=self.last(self.mixed(x[:, None], x[:, None], x[:, None])[0][:, 0]))


class Backed(nn.Module):
    def __init__(self, back: nn.Module) -> None:
        super().__init__()
        self.back, self.head = back, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.back(x)
        return self.head(getattr(found, "found", found))


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


@pytest.mark.parametrize(
    ("back", "names"),
    [
        (dense(), ["back.0", "back.1", "head"]),
        (nn.Sequential(dense(), dense()), ["back.0", "back.1", "head"]),  # blocks stay whole
        (nn.Sequential(*(dense() for _ in range(7))), [*(f"back.{n}" for n in range(7)), "head"]),
        (nn.Sequential(nn.Sequential(dense(), dense()), nn.Dropout()), ["back.0.0", "back.0.1", "back.1", "head"]),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), dense()),
         [*(f"back.{n}" for n in range(5)), "head"]),  # there are enough
        (Odd(), ["back.mixed", "back.last", "head"]),
    ],
)  # fmt: skip
def test_few_parts_are_taken_apart(back: nn.Module, names: list[str]) -> None:
    found = lens.reached(Backed(back).eval(), torch.rand(3, 4))
    assert [name.partition("[")[0] for name in found] == names


# -- the ladder --------------------------------------------------------------------------------------------------------


def test_the_ladder_is_what_the_single_questions_answer() -> None:
    module, (x, y) = net(), rows()
    start = copy.deepcopy(module.state_dict())
    module[0][0].weight.data *= 1.5
    bits = copy.deepcopy(module.state_dict())
    found = ladder_function(module, x, y, loss=F.cross_entropy, starts=[start])
    assert found.layers == ["input", "0", "1", "2"] and not found.left_out
    codes = lens.capture(module, ["0", "1", "2"], x)
    for rung, code in zip(found.nets[0], [x, *codes.values()], strict=True):
        assert repr(rung.reading) == repr(lens.read_labels(code, y))
        assert repr(list(rung.information)) == repr(lens.noisy_information(code, y))
        if rung.layer != "input":
            assert rung.rebuilt is not None and rung.rebuilt.share == lens.rebuild_linearly(code, x).share
    at = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    slopes = lens.gradients(module, ["0", "1", "2"], F.cross_entropy, x[at], torch.as_tensor(y)[at])
    assert [band.mean for band in found.figures["gradient"][1:]] == pytest.approx(list(slopes.values()))
    assert [band.mean for band in found.figures["moved"][1:]] == pytest.approx([0.5, 0, 0])
    np.testing.assert_allclose(found.similarity[0].value, lens.cka(list(codes.values())).value, atol=1e-4)
    assert len(found.processing[0]) == 3 * len(found.nets[0][0].information)
    assert all(torch.equal(bits[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


class Again(nn.Module):
    """A layer that runs twice, one that gives several tensors, and an operation; nothing of it learns any more."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.act, self.lstm, self.top = (
            nn.Linear(4, 4),
            nn.Tanh(),
            nn.LSTM(4, 3, batch_first=True),
            nn.Linear(3, 2),
        )
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.step(self.act(self.step(x)))) * 2
        return self.top(self.lstm(x[:, None])[0][:, 0])


def test_layers_that_run_again_give_several_tensors_or_are_operations_are_rungs_too() -> None:
    net, (x, y) = Again(), rows()
    names = ["step#1", "act#1", "step#2", "act#2", ":mul", "lstm[0]", "lstm[1][0]", "top"]
    found = lens.ladder(net, x[:, :4], y % 2, layers=names, loss=F.cross_entropy)
    assert found.layers[1:] == names and not any("Gradient" in each for each in found.left_out)
    slopes = dict(zip(found.layers, (band.mean for band in found.figures["gradient"])))
    assert {name for name, slope in slopes.items() if slope == slope} == {*names} - {"act#1", "act#2", ":mul"}
    net.requires_grad_(True)
    assert slopes == pytest.approx(
        dict(zip(found.layers, (band.mean for band in lens.ladder(
            net, x[:, :4], y % 2, layers=names, loss=F.cross_entropy
        ).figures["gradient"]))), nan_ok=True
    )  # fmt: skip
    assert found.nets[0][2].vitals.kind == "gaussian" and not found.nets[0][2].vitals.guessed


def test_several_nets_give_bands_and_are_compared() -> None:
    x, y = rows()
    nets = [net(0), net(1), net(0)]
    found = ladder_function(nets, x, y)
    for name, bands in found.figures.items():
        for band in bands:
            assert len(band.values) == 3
            np.testing.assert_equal(band.values[0], band.values[2])
            if not math.isnan(band.mean):
                assert band.ends[0] - 1e-9 <= band.mean <= band.ends[1] + 1e-9, name
    assert found.between is not None
    np.testing.assert_allclose(found.between[1].value.diagonal(), 1, atol=1e-5)  # the same net again
    assert (found.between[0].value.diagonal() < 0.99).all()
    assert repr(found) == repr(ladder_function(nets, x, y))


def test_wide_layers_with_places_are_held_in_groups_and_their_channels_stay_units() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 20 * 20, 3))
    module[0].bias.data.fill_(1.0)  # so that only one channel is dead
    module[0].weight.data[2], module[0].bias.data[2] = 0, -1.0
    x = torch.rand(120, 1, 20, 20)
    found = ladder_function(module, x, np.arange(120) % 3, layers=["1", "3"])
    rung = found.nets[0][1]
    assert (rung.width, rung.groups) == (6 * 20 * 20, WIDTH) and rung.vitals is not None
    assert (rung.vitals.units, rung.vitals.dead, rung.vitals.rows) == (6, 1, 120 * 20 * 20)


def test_groups_keep_scalar_products_on_average() -> None:
    x = torch.rand(6, 3000, dtype=torch.float64)  # with a mean: without signs it would pile up
    found = torch.stack([(z := lens.in_groups(x, 500, seed=seed)) @ z.T for seed in range(200)])
    error = found.std(0) / math.sqrt(200)
    assert ((found.mean(0) - x @ x.T).abs() < 5 * error + 1e-9).all()
    assert lens.in_groups(x, 3000) is x


def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    x, _ = rows(150)
    module = net()
    module[1][0].weight.data.zero_()
    module[1][0].bias.data.fill_(-1.0)  # every unit is dead
    found = ladder_function(module, x, np.array([0] * 145 + [1] * 5))
    assert "at least 10 rows of each class" in found.left_out["Probe of input"]
    assert "same states" in found.left_out["Information of 1"] and found.nets[0][2].information == ()
    assert found.figures["dead"][2].mean == 1 and math.isnan(found.figures["dead"][3].mean)
    assert ladder_function(module, x).nets[0][1].reading is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": torch.rand(99, 6)}, "at least 100 rows, got 1 and 99"),
        ({"labels": np.zeros(3)}, "200 rows came with 3 labels"),
        ({"starts": []}, "1 nets came with 0 starts"),
        ({"layers": ["0", "nowhere"]}, "no part 'nowhere'"),
        ({"rows": torch.full((200, 6), math.nan)}, "NaN or infinite"),
    ],
)
def test_ladders_of_bad_input_are_refused(settings: dict, words: str) -> None:
    x, y = rows()
    with pytest.raises(ValueError, match=words):
        ladder_function(net(), **({"rows": x, "labels": y} | settings))
