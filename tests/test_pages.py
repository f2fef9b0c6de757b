"""What the pages of layers and units say is what the questions of the lens answer, asked one by one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from modules import Convolutional, Reader, Writer
from sklearn.datasets import load_digits
from torch import nn

from layerwise import lens
from layerwise.data import Row
from layerwise.explanation import gather
from layerwise.explanation.look import address
from layerwise.findings import Explanation, LayerPage

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
ROWS, LABELS = X[600:840], Y[600:840]
IMAGE = Row("image", (8, 8), low=0, high=1)


def dense(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("low", nn.Sequential(nn.Linear(64, 10), nn.ReLU()))
    net.add_module("high", nn.Sequential(nn.Linear(10, 7), nn.Sigmoid()))
    net.add_module("output", nn.Linear(7, 10))
    return net.eval()


@functools.cache
def found() -> Explanation:
    return gather(
        [dense(), dense(1)],
        (ROWS, LABELS),
        row=IMAGE,
        answers=0,
        beside={"other": dense(2), "two more": [dense(3), dense(4)]},
    )


def page(at: int) -> LayerPage:
    return found().layers[at]


@functools.cache
def states(at: int) -> torch.Tensor:
    return lens.capture(dense(), ["low", "high"][at], torch.from_numpy(ROWS))[["low", "high"][at]]


def close(said: Any, wanted: Any) -> None:
    """To the digits that are kept."""
    np.testing.assert_allclose(np.asarray(said, float), np.asarray(wanted, float), rtol=2e-3, atol=1e-6)


# -- units -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1])
def test_rows_are_the_strongest_usual_and_weakest(at: int) -> None:
    for unit in range(page(at).units):
        one = lens.examples(states(at)[:, unit], 6)
        assert page(at).strongest[unit].tolist() == one.strongest and page(at).typical[unit].tolist() == one.typical
        assert page(at).weakest[unit].tolist() == one.weakest
        close(page(at).states[unit], [*one.states["strongest"], *one.states["typical"], *one.states["weakest"]])
        close(page(at).active[unit], one.active)


def test_weights_are_brought_down_to_the_input() -> None:
    low, high = dense().low[0].weight.detach(), dense().high[0].weight.detach()
    for at, wanted in enumerate((low, high @ low)):
        drawn = torch.tensor(page(at).weights.reshape(-1, 64)) * page(at).scale / 127  # type: ignore[union-attr]
        torch.testing.assert_close(
            drawn, wanted.clamp(-page(at).scale, page(at).scale), atol=page(at).scale / 127, rtol=0
        )
    assert page(0).pictured == "weights" and page(1).pictured == "projected"


def test_boxes_are_those_of_the_evidence() -> None:
    unit, row = 3, int(page(0).strongest[3][0])
    one = lens.evidence(dense(), "low", unit, torch.from_numpy(ROWS[[row]]), picture=(8, 8)).box[0]
    top, bottom, left, right = (page(0).boxes[unit, 0] / 255 * 8).round().astype(int)  # type: ignore[index]
    assert [[top, bottom - 1], [left, right - 1]] == one.tolist()


def test_classes_are_those_of_the_selectivity() -> None:
    one, told = lens.selectivity(states(1), LABELS), page(1).told
    assert told is not None and told.best.tolist() == one.best.tolist() and told.null == one.null
    close(told.auc, one.auc)
    close(told.means, one.means.T)


def test_connections_are_those_of_single_units() -> None:
    rows = torch.from_numpy(ROWS)[:128]
    one, wires = lens.inputs_of(dense(), "high", 2, "low", rows, count=8), page(1).inputs
    assert wires is not None and wires.units[2].tolist() == one.units and wires.address == "low"
    close(wires.mean[2], one.mean)
    close(wires.share[2], one.share)
    one, wires = lens.outputs_of(dense(), "low", 4, "high", rows, count=8), page(0).outputs
    assert wires is not None and wires.units[4].tolist() == one.units
    close(wires.mean[4], one.mean)
    assert page(0).inputs is None and page(2).outputs is None


def test_neighbours_are_those_of_single_units() -> None:
    units, likeness = lens.nearest_units(states(0), 5, count=8)
    assert page(0).nearest[5].tolist() == units
    close(page(0).likeness[5], likeness)


def test_a_unit_that_is_off_sends_nothing_up() -> None:
    changed, unit, before = page(0).ablation, 6, states(1).numpy()
    assert changed is not None and changed.changed[0].unit.tolist() == list(range(10))
    for each in changed.changed:
        net = dense()
        net.high[0].weight.data[:, unit] *= each.factor
        with torch.no_grad():
            right = net(torch.from_numpy(ROWS)).argmax(1).numpy() == LABELS
            after = net.high(net.low(torch.from_numpy(ROWS))).numpy()
        assert each.accuracy is not None and each.classes is not None and changed.rows == len(ROWS)
        close(each.accuracy[unit], right.mean())
        close(each.classes[unit], [right[label == LABELS].mean() for label in range(10)])
        close(each.above[unit], np.linalg.norm(after - before) / np.linalg.norm(before - before.mean(0)))
        far = np.sqrt(np.square(after - before).mean(0)) / before.std(0)
        assert each.most[unit].tolist() == np.argsort(-far)[:5].tolist()  # type: ignore[index]
        close(each.far[unit], np.sort(far)[::-1][:5])  # type: ignore[index]
    assert changed.address == "high" and page(2).ablation.label == ""  # type: ignore[union-attr]


def test_favourite_inputs_are_sought_for_the_most_selective() -> None:
    told, liked = page(1).told, page(1).liked
    assert told is not None and liked is not None
    assert liked.unit == np.argsort(-np.abs(told.auc - 0.5), kind="stable")[:6].tolist()
    one = lens.favourites(dense(), "high.0", liked.unit[2], (64,), low=0, high=1, picture=(8, 8), starts=5)
    close(liked.agreement[2], one.agreement)
    close(liked.states[2], one.states[0])
    wanted = np.rint(255 * one.inputs.numpy().clip(0, 1)).reshape(-1, 8, 8)
    assert np.abs(liked.pictures[10:15].astype(int) - wanted).max() <= 1  # type: ignore[index]


def test_what_cannot_be_said_of_units_has_a_reason() -> None:
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(0, 12, (120, 16))
    reader = gather(Reader().eval(), tokens, answers=0).layers[1].left_out
    assert "symbols" in reader["Favourite inputs"] and "at least two classes" in reader["Selectivity"]
    steps = gather(Writer().eval(), tokens, answers=0).layers[1]
    assert "no score per class" in steps.left_out["Ablation"] and steps.ablation is None


def test_where_the_net_is_no_chain_units_are_changed_as_long_as_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, data = Convolutional().eval(), (ROWS.reshape(-1, 1, 8, 8), LABELS)
    first = gather(net, data, answers=0).layers[0]
    assert first.pictured == "filters" and first.ablation is not None and not first.ablation.note
    off = first.ablation.changed[0]
    assert off.unit.tolist() == list(range(6)) and first.ablation.rows == len(ROWS)
    for one in lens.ablate(net, "first", range(6), torch.from_numpy(data[0]), LABELS, factors=[0]):
        close(off.accuracy[one.units[0]], one.accuracy[1])  # type: ignore[index]
        close(off.moved[one.units[0]], one.moved)
    monkeypatch.setattr("layerwise.explanation.layers.WORK", 1.0)
    monkeypatch.setattr("layerwise.explanation.layers.DEAR", 2)
    monkeypatch.setattr("layerwise.explanation.layers.FEWER", 50)
    first = gather(net, data, answers=0).layers[0]
    assert first.ablation is not None and first.told is not None and first.ablation.rows == 50
    assert set(first.ablation.changed[0].unit) == set(np.argsort(-np.abs(first.told.auc - 0.5), kind="stable")[:2])
    assert first.ablation.note.startswith("Only the 2 most selective of the 6 units were changed")


def test_units_of_values_and_codes_are_changed_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 1)).eval()
    rows = torch.from_numpy(ROWS[:60])
    for how in ({}, {"outputs": "code"}):
        found = gather(net, ROWS[:60], answers=0, **how).layers[0].ablation
        assert found is not None and found.accuracy is None and found.changed[0].flipped is None
        close(found.changed[0].moved, [one.moved for one in lens.ablate(net, "0", range(4), rows, factors=[0])])


# -- the ladder --------------------------------------------------------------------------------------------------------


def test_rungs_are_those_of_the_ladder() -> None:
    ladder = found().ladder
    assert ladder is not None and [rung.label for rung in ladder.rungs] == ["Input", "low", "high"]
    reading = lens.read_labels(states(0), LABELS)
    probe = ladder.rungs[1].probe
    assert probe is not None and (probe.accuracy, probe.null, probe.held) == (
        reading.accuracy,
        reading.null,
        reading.held,
    )
    life = lens.vitals(states(0), dense().low)
    assert ladder.rungs[1].life is not None
    assert (ladder.rungs[1].life.dead, ladder.rungs[1].life.rank) == (life.dead, pytest.approx(life.rank))
    assert all(each.through and each.cap for rung in ladder.rungs for each in rung.information)


def test_sides_are_the_nets_and_those_beside_them() -> None:
    ladder = found().ladder
    assert ladder is not None and [(side.name, side.nets) for side in ladder.sides] == [
        ("2 nets like this one", 2), ("other", 1), ("two more", 2)
    ]  # fmt: skip
    for side in ladder.sides:
        assert all(low <= mean <= high for bands in side.bands.values() for mean, low, high in bands if mean == mean)
    codes = [lens.capture(net, ["low", "high"], torch.from_numpy(ROWS)) for net in (dense(), dense(2))]
    alike = lens.cka([codes[0]["high"]], [codes[1]["high"]]).value[0, 0]
    assert ladder.between["other"][1] == pytest.approx(alike, abs=1e-4) and set(ladder.between) == {"other", "two more"}


def test_a_net_beside_must_have_the_layers() -> None:
    with pytest.raises(ValueError, match="no part 'low'"):
        gather(dense(), (ROWS, LABELS), beside={"other": nn.Linear(64, 10)})


def test_too_few_rows_leave_out_the_ladder_with_how_many_are_needed() -> None:
    told = gather(dense(), (ROWS[:60], LABELS[:60]), row=IMAGE, answers=0)
    assert told.ladder is None and "at least 100 rows" in told.left_out["Ladder"] and told.layers[0].units == 10


def test_rare_classes_leave_out_the_probes_only() -> None:
    told = gather(dense(), (ROWS, np.where(np.arange(240) < 235, LABELS % 2, 2)), row=IMAGE, answers=0)
    assert told.ladder is not None and told.ladder.rungs[1].probe is None and told.ladder.rungs[1].information
    assert "at least 10 rows of each class" in told.left_out["Linear probes"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("layer3", "layer3"), ("answers", ":answers"), ("a/b c", "a%2Fb%20c"), ("", ":"), ("x#1", "x%231")],
)
def test_addresses_are_names_that_no_other_page_has(name: str, wanted: str) -> None:
    assert address(name) == wanted
