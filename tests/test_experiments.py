"""The experiments run end to end on stand-in data, keep the test set apart, and take up where they were."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from layerwise import baselines
from layerwise.data import Dataset, Row, Story
from layerwise.experiments import labels, mnist, networks, writing
from layerwise.train import Training


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-in rows for MNIST, and the parts that were asked for."""
    parts: list[str] = []

    def part(name: str) -> tuple[Tensor, Tensor]:
        parts.append(name)
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            return torch.rand(60, 784), torch.arange(60) % 10

    short = Training(epochs=1)
    monkeypatch.setattr(mnist, "_part", part)
    for name in ("LOWER", "TOP", "UP_DOWN"):
        monkeypatch.setattr(mnist, name, short)
    for name, value in (("LOWER", short), ("TOP", short), ("EPOCHS", 1), ("UPDATES", 1), ("WIDTHS", (9, 8, 7))):
        monkeypatch.setattr(labels, name, value)
    return parts


def run(name: str, out: Path, *more: str) -> dict[str, float]:
    done = CliRunner().invoke(mnist.main, [name, "--epochs", "1", "--out", str(out), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads((out / "results.jsonl").read_text().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["generative", "backprop-plain", "random", "autoencoder-random"])
def test_an_experiment_measures_and_a_second_call_measures_the_same(
    name: str, asked: list[str], tmp_path: Path
) -> None:
    first = run(name, tmp_path)
    second = run(name, tmp_path)
    measured = {key for key in first if "error" in key}
    assert measured and {key: first[key] for key in measured} == {key: second[key] for key in measured}
    assert set(asked) == {"train", "test"}


def test_a_hold_out_never_reads_the_test_set(asked: list[str], tmp_path: Path) -> None:
    run("random", tmp_path, "--hold-out", "20")
    assert set(asked) == {"train"}


def test_the_rows_held_out_are_the_same_for_every_seed_and_not_learned(asked: list[str]) -> None:
    first, second = mnist.Rows.read(20, seed=0), mnist.Rows.read(20, seed=1)
    assert torch.equal(first.other.x, second.other.x) and first.train.rows == 40
    rows = {tuple(row.tolist()) for row in first.train.x} & {tuple(row.tolist()) for row in first.other.x}
    assert not rows


def test_pca_is_the_best_linear_code(asked: list[str]) -> None:
    from sklearn.decomposition import PCA

    rows = mnist.Rows.read(0, seed=0)
    pca = PCA(5, svd_solver="full").fit(rows.train.x.double())
    left = torch.from_numpy(pca.inverse_transform(pca.transform(rows.other.x.double().numpy()))) - rows.other.x
    assert mnist.pca_error(rows, 5) == pytest.approx(float(left.square().sum(1).mean()), rel=1e-4)


def few(out: Path, *more: str) -> list[dict[str, float]]:
    asked = ["--labels", "20", "--draws", "2", "--out", str(out), *more]
    done = CliRunner().invoke(labels.main, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(labels.results(out / "labels.jsonl"))


def test_every_method_is_measured_once_on_every_draw(asked: list[str], tmp_path: Path) -> None:
    found = few(tmp_path)
    assert {(entry["method"], entry["draw"]) for entry in found} == {(n, d) for n in labels.METHODS for d in range(2)}
    assert all(0 <= entry["error"] <= 100 and entry["labels"] == 20 for entry in found)
    assert few(tmp_path) == found and set(asked) == {"train", "test"}


def test_with_a_hold_out_few_labels_never_meet_the_test_set(asked: list[str], tmp_path: Path) -> None:
    few(tmp_path, "--hold-out", "20", "--method", "same net, random weights", "--method", "label spreading")
    assert set(asked) == {"train"}


def test_a_draw_has_as_many_labels_of_every_class_and_no_two_are_alike(asked: list[str], tmp_path: Path) -> None:
    task = labels.Task(mnist.Rows.read(0, seed=0), tmp_path, 0)
    first, second = task.draw(20, 0), task.draw(20, 1)
    assert first.y.bincount().tolist() == second.y.bincount().tolist() == [2] * 10
    assert torch.equal(first.x, task.draw(20, 0).x) and not torch.equal(first.x, second.x)


@pytest.mark.parametrize("hold_out", [0.0, 0.2])
def test_a_writer_never_learns_from_the_last_tenth_and_meets_it_only_at_the_end(
    hold_out: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "ab" * 450 + "cd" * 50
    monkeypatch.setattr(writing, "prose", lambda _: Story(text, "stand-in"))
    monkeypatch.setitem(writing.RECIPES, "lstm", {"layers": (4,), "length": 8, "epochs": 1})
    learned, other = writing.parts(hold_out)
    assert set(learned) == set("ab") and (learned + other == text if not hold_out else learned + other == "ab" * 450)
    asked = ["lstm", "--out", str(tmp_path), "--hold-out", str(hold_out)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that it has never seen
        for _ in range(2):
            assert CliRunner().invoke(writing.main, asked, catch_exceptions=False).exit_code == 0
    first, second = ({k: v for k, v in json.loads(line).items() if "seconds" not in k}
                     for line in (tmp_path / "results.jsonl").read_text().splitlines())  # fmt: skip
    assert first == second and first["characters"] == len(other) - 1


@pytest.mark.parametrize("kept", [None, 60])
def test_rivals_of_networks_are_measured_on_the_same_rows_and_on_all_where_some_have_no_label(
    kept: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks.RECIPES, "letter-dense", networks.Recipe("digits", {}, labels=kept))
    slow = baselines.rivals
    monkeypatch.setattr(
        baselines, "rivals", lambda *a, **k: {"nearest neighbours": slow(*a, **k)["nearest neighbours"]}
    )
    asked = ["letter-dense", "--rivals", "--hold-out", "0.2", "--out", str(tmp_path)]
    assert CliRunner().invoke(networks.main, asked, catch_exceptions=False).exit_code == 0
    found = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["method"] for line in found] == ["nearest neighbours", *(["label spreading"] if kept else [])]
    assert all(0 < line["error"] < 40 for line in found) and {line["rows"] for line in found} == {259}
    again = CliRunner().invoke(networks.main, [*asked, "--method", "nearest neighbours"], catch_exceptions=False)
    assert again.exit_code == 0 and len((tmp_path / "results.jsonl").read_text().splitlines()) == len(found) + 1
    assert CliRunner().invoke(networks.main, [*asked, "--method", "magic"]).exit_code == 2


@pytest.mark.parametrize("number", range(6))
def test_nothing_of_a_speaker_held_out_is_learned_nor_met_when_settings_are_chosen(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = np.arange(24) % 6, np.arange(12) % 6  # of the clips of the training and of the test part
    monkeypatch.setattr(networks, "fsdd_speakers", lambda _: tuple(np.array([*"abcdef"])[each] for each in who))
    train, test = (
        Dataset(each[:, None].astype(float), each % 2, ("a", "b"), Row("table", (1,)), "stand-in") for each in who
    )
    (learned, met), (inner, validated) = (networks.by_speaker(train, test, number, each) for each in (False, True))
    assert set(learned.x[:, 0]) == set(range(6)) - {number} and len(learned) == 20
    assert set(met.x[:, 0]) == {number} and len(met) == 6
    assert set(inner.x[:, 0]) | set(validated.x[:, 0]) == set(range(6)) - {number}
    assert len(set(validated.x[:, 0])) == 1 and not set(validated.x[:, 0]) & set(inner.x[:, 0])
