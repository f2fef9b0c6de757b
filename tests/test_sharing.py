"""What sharing weights brings: pictures are moved as said, and nets are matched by rows held out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from layerwise.data import load
from layerwise.experiments import shifts as experiment
from layerwise.sharing import Sharing, Sized, shift_errors, shifted, weight_sharing


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-2, 0), (0, 3), (0, -3), (1, -4)])
def test_pictures_move_by_whole_pixels_and_zeros_come_in(shape: tuple[int, ...], down: int, right: int) -> None:
    x = np.random.RandomState(0).rand(4, int(np.prod(shape))) + 1
    moved = shifted(x, shape, down, right).reshape(4, *shape)
    rolled = np.roll(x.reshape(4, *shape), (down, right), (-2, -1))
    stays = moved > 0
    np.testing.assert_array_equal(moved[stays], rolled[stays])
    assert stays.sum() == x.size // 35 * (5 - abs(down)) * (7 - abs(right))


def test_the_error_is_the_mean_over_four_directions() -> None:
    """A dot in the middle; who looks at three places of four finds it there."""
    x = np.zeros((2, 5, 5))
    x[:, 2, 2] = 1
    seen = [(2, 2), (1, 2), (3, 2), (2, 1)]  # not to the right

    def predict(rows: np.ndarray) -> np.ndarray:
        return sum(rows.reshape(-1, 5, 5)[:, i, j] for i, j in seen)  # type: ignore[return-value]

    assert shift_errors(predict, x.reshape(2, 25), np.ones(2), (5, 5), [0, 1, 2]) == [0, 0.25, 1]
    for bad in ([-1], [5]):
        with pytest.raises(ValueError, match="move by 0 to 4"):
            shift_errors(predict, x.reshape(2, 25), np.ones(2), (5, 5), bad)


def sized(net: str, parameters: int, held_out: float) -> Sized:
    return Sized(net, (1,), parameters, held_out, (0.5,), 0.0)


def test_the_pair_is_the_best_dense_net_and_the_smallest_cnn_as_good() -> None:
    dense = [sized("mlp", 10, 0.3), sized("mlp", 30, 0.2), sized("mlp", 40, 0.2)]
    cnns = [sized("cnn", 5, 0.25), sized("cnn", 7, 0.2), sized("cnn", 9, 0.1)]
    assert Sharing((*dense, *cnns), (0,)).pair == (dense[1], cnns[1])
    assert Sharing((*dense, cnns[0]), (0,)).pair is None


def test_nets_are_learned_and_measured_alike() -> None:
    train, test = load("digits", "train"), load("digits", "test")
    found = weight_sharing(train, test, dense=[(64,)], convolutional=[(8, 16)], shifts=[0, 1, 3], epochs=20)
    assert [each.net for each in found.nets] == ["mlp", "cnn"]
    for each in found.nets:
        assert each.errors[0] < 0.2 and each.errors[0] < each.errors[1] < each.errors[2] and each.held_out < 0.2
    assert found.nets[1].errors[1] < found.nets[0].errors[1]  # convolution bears a pixel better
    with pytest.raises(ValueError, match="only labelled pictures"):
        weight_sharing(replace(train, y=None), test)


def test_the_experiment_prints_and_saves_what_it_found(tmp_path: Path) -> None:
    said = CliRunner().invoke(experiment.main, ["digits", "--epochs", "1", "--shifts", "1", "--out", str(tmp_path)])
    assert said.exit_code == 0, said.output
    saved = json.loads((tmp_path / "shifts.json").read_text())
    assert len(saved["nets"]) == 10 and saved["shifts"] == [0, 1]
    for each in saved["nets"]:
        assert f"{each['parameters']:,}" in said.output and f"{100 * each['errors'][1]:.2f} %" in said.output
