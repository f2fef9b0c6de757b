"""The demo with nets too small to be good, and what it says of figures."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import layerwise
from layerwise import cli, demo
from layerwise.demo import Outcome, Settings

FEW = {"epochs": 2, "rate": 0.01}
SMALL = Settings(
    net=FEW | {"layers": (12, 8), "pretrain_epochs": 2, "up_down_epochs": 1, "classify": "generative"},
    scratch=FEW | {"pretrain": None},
    rectified=FEW | {"pretrain": None, "hidden": "rectified"},
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two draws, and what was said meanwhile."""
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    said: list[str] = []
    found = demo.run(out, draws=2, processes=1, settings=SMALL, say=said.append)
    assert [line.split(":")[0] for line in said[1:3]] == ["draw 1 of 2", "draw 2 of 2"]
    return found


def test_the_demo_writes_report_model_dreams_and_figures(outcome: Outcome) -> None:
    folder = outcome.report.parent
    names = {"report.html", "report.json", "model", "dreams.png", "demo.json"}
    assert {each.name for each in folder.iterdir()} == names
    assert Image.open(outcome.dreams).size == (10 * 70 + 6, 10 * 70 + 6)
    assert layerwise.load(outcome.model).classes_.tolist() == list("0123456789")
    found = json.loads((folder / "demo.json").read_text())
    assert found["methods"] == outcome.methods and found["conclusions"] == outcome.conclusions


def test_the_report_needs_no_other_file(outcome: Outcome) -> None:
    page = outcome.report.read_text()
    assert "deep belief net" in page and "SVM" in page
    assert 'src="http' not in page and 'href="http' not in page.replace('href="https://', "")


def test_every_method_is_measured_on_every_draw(outcome: Outcome) -> None:
    assert {method["method"] for method in outcome.methods} == {
        demo.DBN, demo.TUNED, demo.NO_PRETRAINING, demo.NO_PRETRAINING_RECTIFIED, demo.SPREADING,
        "logistic regression", "SVM (RBF kernel)", "gradient boosting", "nearest neighbours",
    }  # fmt: skip
    assert all(len(method["errors"]) == 2 and method["seconds"] > 0 for method in outcome.methods)
    assert [method["method"] for method in outcome.methods if method["this"]] == [demo.DBN]
    means = [outcome.mean(method) for method in outcome.methods]
    assert means == sorted(means)
    assert outcome.rows == (1297, 500) and outcome.labels == 100


def test_the_saved_net_has_the_error_that_the_table_tells(outcome: Outcome) -> None:
    text = CliRunner().invoke(cli.cli, ["evaluate", str(outcome.model)]).output
    first = {method["method"]: method["errors"][0] for method in outcome.methods}
    assert f"generative model (what predict says)  {100 * first[demo.DBN]:.1f} %" in text
    assert f"{100 * first[demo.TUNED]:.1f} %" in text


def test_the_same_seed_gives_the_same_figures_with_any_number_of_processes(outcome: Outcome, tmp_path: Path) -> None:
    again = demo.run(tmp_path / "demo", draws=2, processes=2, settings=SMALL, say=lambda _: None)
    errors = [{method["method"]: method["errors"] for method in each.methods} for each in (outcome, again)]
    assert errors[0] == errors[1]


def test_an_earlier_demo_is_replaced_and_other_files_in_it_stay(outcome: Outcome, tmp_path: Path) -> None:
    out = shutil.copytree(outcome.report.parent, tmp_path / "demo")
    (out / "notes.txt").write_text("mine")
    demo.run(out, draws=1, processes=1, seed=1, settings=SMALL, say=lambda _: None)
    assert json.loads((out / "demo.json").read_text())["seed"] == 1
    assert layerwise.load(out / "model").random_state == 1
    assert (out / "notes.txt").read_text() == "mine"


def test_what_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for out in (tmp_path, tmp_path / "thesis.tex"):
        result = CliRunner().invoke(cli.cli, ["demo", "--out", str(out)])
        assert result.exit_code == 2 and "no earlier demo" in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_command_prints_table_conclusions_and_where_things_lie(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "run", lambda *_, **__: outcome)
    text = CliRunner().invoke(cli.cli, ["demo"]).output
    assert outcome.heading in text and str(outcome.report) in text and str(outcome.model) in text
    for method in outcome.methods:
        assert f"{method['method']}" in text and f"{100 * outcome.mean(method):.1f} %" in text
    for line in outcome.conclusions:
        assert line in text


def method(*errors: float) -> dict[str, Any]:
    return {"method": "x", "errors": list(errors)}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((0.05, 0.06, 0.04), (0.15, 0.165, 0.14), "is better than a rival: by 10.2 points"),
        ((0.15, 0.165, 0.14), (0.05, 0.06, 0.04), "is worse than a rival: by 10.2 points"),
        ((0.05, 0.06, 0.04), (0.04, 0.09, 0.03), "too close to tell apart"),
        ((0.05, 0.06, 0.04), (0.05, 0.06, 0.04), "too close to tell apart"),
        ((0.05,), (0.15,), "one draw says nothing"),
    ],
)
def test_conclusions_follow_from_the_paired_differences(
    ours: tuple[float, ...], theirs: tuple[float, ...], verdict: str
) -> None:
    assert verdict in Outcome.compare(method(*ours), method(*theirs), "a rival")


def test_one_draw_has_no_spread() -> None:
    assert math.isnan(Outcome.sd(method(0.1)))
