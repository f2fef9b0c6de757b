"""The commands, on data small enough to learn in a second."""

from __future__ import annotations

import csv
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score

import layerwise
from layerwise import cli, nets, tasks
from layerwise.data import load
from layerwise.estimators import ESTIMATORS
from layerwise.estimators.identity import DROPOUT
from layerwise.estimators.network_base import SIZES
from layerwise.tasks import Learned

QUICK = ["--layers", "12,8", "--pretrain-epochs", "20", "--epochs", "30", "--rate", "0.01", "--batch-size", "10", "-q"]
COMMANDS = [
    "demo",
    "data",
    "data list",
    "data get",
    "data show",
    "train",
    "evaluate",
    "predict",
    "generate",
    "write",
    "explain",
    "enroll",
    "identify",
    "gallery",
    "gallery list",
    "gallery remove",
    "gallery calibrate",
]


def lw(*arguments: object) -> Result:
    """Runs a command in this process, and checks that no exception got through."""
    result = CliRunner().invoke(cli.cli, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def good(*arguments: object) -> str:
    result = lw(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def bad(*arguments: object, code: int = 2) -> str:
    """The error message of a command that fails, in one line."""
    result = lw(*arguments)
    assert result.exit_code == code, result.output
    assert "Error: " in result.stderr
    return " ".join(result.stderr.split())


def write_images(path: Path, rows: int = 90, seed: int = 0) -> Path:
    """Pictures of 4 x 4: bright at the top ("sky") or at the bottom ("earth")."""
    random = np.random.RandomState(seed)
    y = np.arange(rows) % 2
    x = random.randint(0, 60, (rows, 4, 4))
    x[y == 0, :2] += 190
    x[y == 1, 2:] += 190
    np.savez(path, x=x.astype(np.uint8), y=np.array(["sky", "earth"])[y])
    return path


def write_table(path: Path, columns: Sequence[str] = ("long", "wide", "kind"), rows: int = 90, seed: int = 0) -> Path:
    random = np.random.RandomState(seed)
    y = np.arange(rows) % 3
    cells = {
        "long": 3.0 * y + random.randn(rows) * 0.3, "wide": -5.0 * y + random.randn(rows) * 0.3,
        "kind": np.array(["oak", "ash", "elm"])[y], "age": random.randn(rows),
    }  # fmt: skip
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*(cells[name] for name in columns), strict=True))
    return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run of each model, learned once."""
    folder = tmp_path_factory.mktemp("shelf")
    images, table = write_images(folder / "images.npz"), write_table(folder / "trees.csv")
    good("train", images, "--labels", 20, "--out", folder / "dbn", *QUICK)
    good("train", table, "--label", "kind", "--out", folder / "trees", *QUICK)
    good("train", images, "--model", "sae", "--noise", "none", "--out", folder / "sae", *QUICK)
    good("train", images, "--model", "autoencoder", "--out", folder / "autoencoder", *QUICK)
    good("train", images, "--model", "rbm", "--layers", 6, "--epochs", 5, "-q", "--out", folder / "rbm")
    return folder


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_needs_neither_torch_nor_scikit_learn() -> None:
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sklearn", "scipy"):
            raise AssertionError(f"help imports {{name}}")
sys.meta_path.insert(0, Blocker())
from click.testing import CliRunner
from layerwise.cli import cli
for command in {["", *COMMANDS]!r}:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0, (command, result.output, result.exception)
assert CliRunner().invoke(cli, ["--version"]).exit_code == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command: str) -> None:
    text = good(*command.split(), "--help")
    assert f"layerwise {command}" in text.split("Examples:")[1]


def test_every_option_is_explained() -> None:
    def all_options(command: click.Command) -> list[click.Option]:
        below = [option for each in getattr(command, "commands", {}).values() for option in all_options(each)]
        return [each for each in command.params if isinstance(each, click.Option)] + below

    found = all_options(cli.cli)
    assert len(found) > 40
    for option in found:
        assert option.help and len(option.help) > 5, option.name


# What is chosen between an estimator and its command: an embedder sees photos changed, its cnn has dropout.
CHOSEN = {("embedder", "layers"): SIZES["cnn"], ("embedder", "augment"): "auto", ("embedder", "dropout"): DROPOUT}


def default_of(model: str, setting: str) -> Any:
    """What an estimator takes where nothing is said; of networks some are chosen by the builder."""
    if (model, setting) in CHOSEN:
        return CHOSEN[model, setting]
    if model in tasks.NETWORKS:
        net = "mlp" if model == "net" else model
        if setting == "layers":
            return SIZES[net]
        if setting in tasks.OPTIONS:
            return inspect.signature(getattr(nets, net)).parameters[setting].default
    parameters = inspect.signature(ESTIMATORS[tasks.MODELS[model]]).parameters
    return parameters["n_components" if (model, setting) == ("rbm", "layers") else setting].default


def test_the_defaults_that_help_tells_are_those_of_the_estimators() -> None:
    for flag, name, _, told, _ in cli.SETTINGS:
        for model in tasks.models_with(name):
            default = default_of(model, name)
            words = ",".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
            called = {model, "networks"} if model in tasks.NETWORKS else {model}
            own = [part for part in told.split("; ") if called & set(part.split())] or [told.split("; ")[0]]
            if "by the " in own[0]:
                assert words in ("none", "auto"), flag
            else:
                assert set(words.split()) <= set(own[0].replace(":", " ").split()), flag


def test_every_setting_belongs_to_a_model() -> None:
    for flag, name, *_ in cli.SETTINGS:
        assert tasks.models_with(name), flag


def test_python_m_layerwise_is_layerwise() -> None:
    told = subprocess.run([sys.executable, "-m", "layerwise", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.strip().endswith(layerwise.__version__)


# -- data --------------------------------------------------------------------------------------------------------------


def test_data_list_names_every_known_set() -> None:
    text = good("data", "list")
    assert all(name in text for name in ("digits", "mnist", "fashion_mnist", "embedded"))


def test_data_get_of_an_embedded_set_has_nothing_to_do() -> None:
    assert "embedded" in good("data", "get", "digits")


def test_data_get_suggests_the_nearest_name() -> None:
    assert "mnist" in bad("data", "get", "mnits")


# -- train, evaluate, predict ------------------------------------------------------------------------------------------


def test_a_run_is_a_folder_with_all_that_was_asked(shelf: Path) -> None:
    assert {"model.json", "model.safetensors", "log.jsonl", "plan.json"} <= {
        each.name for each in (shelf / "dbn").iterdir()
    }
    model = layerwise.load(shelf / "dbn")
    assert model.classes_.tolist() == ["earth", "sky"]
    assert model.data_["labelled"] == 20 and model.data_["row"]["shape"] == [4, 4]
    assert model.get_params()["epochs"] == 30 and model.random_state == 0
    stages = {json.loads(line)["stage"] for line in (shelf / "dbn" / "log.jsonl").read_text().splitlines()}
    assert stages == {"layer 1", "layer 2", "up-down", "tuning"}


def test_training_ends_with_the_error_and_what_to_do_next(tmp_path: Path) -> None:
    text = good("train", write_images(tmp_path / "x.npz"), "--out", tmp_path / "run", "--layers", 6, "--pretrain", "none",
                "--epochs", 3, "--seed", 5)  # fmt: skip
    assert "72 images of 4 x 4" in text and "tuning" in text
    assert "always the commonest class" in text and "18" in text
    assert f"layerwise evaluate {tmp_path / 'run'}" in text
    assert layerwise.load(tmp_path / "run").random_state == 5


def test_the_same_command_learns_the_same_model(shelf: Path, tmp_path: Path) -> None:
    good("train", shelf / "images.npz", "--labels", 20, "--out", tmp_path / "again", *QUICK)
    assert same(tmp_path / "again", shelf / "dbn")


def same(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_evaluate_tests_both_heads_on_the_rows_held_out(shelf: Path) -> None:
    text = good("evaluate", shelf / "dbn")
    assert "test part" in text and "network (what predict says)" in text and "generative model" in text
    assert "95 % interval" in text and "earth" in text
    learned = Learned.load(shelf / "dbn")
    test = learned.test_rows()
    found = tasks.scores(learned, test)
    names = np.array(test.classes)[test.y]
    assert found[0].wrong == (learned.model.predict(test.matrix()) != names).sum()
    assert sum(each.rows for each in found[0].per_class) == found[0].rows == len(test) == 18
    low, high = found[0].interval
    assert low <= found[0].error <= high


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_a_network_is_explained(shelf: Path, tmp_path: Path, model: str) -> None:
    run = tmp_path / "run"
    said = good("train", shelf / "images.npz", "--model", model, "--layers", 4, "--epochs", 2, "--out", run)
    assert f"layerwise explain {run}" in said
    good("explain", run)
    found = json.loads((run / "report" / "report.json").read_text())
    assert found["score"]["wrong"] == tasks.scores(Learned.load(run), Learned.load(run).test_rows())[0].wrong
    assert found["data"]["trained_rows"] and found["weights"][0]["pictures"]["shape"][0] == 4


def test_unbalanced_classes_are_told_apart(tmp_path: Path) -> None:
    """Beside one error rate stand balanced accuracy, F1 and the figures of each class, as scikit-learn has them."""
    random = np.random.RandomState(0)
    y = (random.rand(300) < 0.15).astype(int)
    lines = [f"{random.randn() + 1.5 * each:.3f},{random.randn():.3f},{'rare' if each else 'common'}" for each in y]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,label", *lines]))
    said = good(
        "train", tmp_path / "table.csv", "--model", "mlp", "--layers", 8, "--epochs", 5, "--out", tmp_path / "run"
    )
    assert "balanced accuracy" in said
    text = good("evaluate", tmp_path / "run")
    learned = Learned.load(tmp_path / "run")
    test, (score,) = learned.test_rows(), tasks.scores(learned, learned.test_rows())
    truth, answers = test.y, learned.model.predict_log_proba(test.matrix()).argmax(1)
    assert score.unbalanced and score.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, answers))
    assert score.macro_f1 == pytest.approx(f1_score(truth, answers, average="macro"))
    assert [each.rows for each in score.per_class] == np.bincount(truth).tolist()
    for figure in (score.balanced_accuracy, score.macro_f1, *(each.precision for each in score.per_class)):
        assert f"{100 * figure:.1f} %" in text


def test_evaluate_takes_all_rows_of_other_data(shelf: Path, tmp_path: Path) -> None:
    assert "50 images" in good("evaluate", shelf / "dbn", write_images(tmp_path / "new.npz", rows=50, seed=1))


@pytest.mark.parametrize("model", ["autoencoder", "rbm"])
def test_evaluate_tells_how_well_rows_are_rebuilt(shelf: Path, model: str) -> None:
    assert "the mean row" in good("evaluate", shelf / model)
    learned = Learned.load(shelf / model)
    rows = learned.test_rows()
    x = rows.matrix().astype(float)
    found = tasks.rebuilding(learned, rows)
    back = learned.model.inverse_transform(learned.model.transform(rows.matrix()))
    assert found.error == pytest.approx(np.square(x - back).sum(1).mean(), rel=1e-5)
    assert found.baseline == pytest.approx(x.var(0).sum(), rel=1e-5)


def test_predictions_speak_the_names_of_the_classes(shelf: Path, tmp_path: Path) -> None:
    new = write_images(tmp_path / "new.npz", rows=30, seed=2)
    printed = list(csv.DictReader(good("predict", shelf / "dbn", new).splitlines()))
    assert good("predict", shelf / "dbn", new, "--proba", "--out", tmp_path / "deep" / "answers.csv").startswith(
        "30 rows"
    )
    written = list(csv.DictReader((tmp_path / "deep" / "answers.csv").open()))
    model = layerwise.load(shelf / "dbn")
    rows = load(new, "all").matrix()
    assert [row["prediction"] for row in printed] == model.predict(rows).tolist()
    assert [row["prediction"] for row in written] == model.predict(rows).tolist()
    p = np.array([[float(row["p(earth)"]), float(row["p(sky)"])] for row in written])
    np.testing.assert_allclose(p, model.predict_proba(rows), atol=1e-4)
    assert [row["row"] for row in written] == [str(number) for number in range(30)]


@pytest.mark.parametrize(
    "columns", [("long", "wide", "kind"), ("kind", "wide", "long"), ("wide", "long"), ("age", "wide", "long")]
)
def test_columns_are_found_by_their_names(shelf: Path, tmp_path: Path, columns: tuple[str, ...]) -> None:
    expected = good("predict", shelf / "trees", write_table(tmp_path / "all.csv", seed=3))
    assert good("predict", shelf / "trees", write_table(tmp_path / "new.csv", columns, seed=3)) == expected


def test_a_missing_column_is_named(shelf: Path, tmp_path: Path) -> None:
    message = bad("predict", shelf / "trees", write_table(tmp_path / "new.csv", ("long", "age", "kind")))
    assert "lacks the column 'wide'" in message and "long, age" in message


def test_a_table_without_names_may_come_with_or_without_its_labels(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    y = np.arange(60) % 2
    x = random.randn(60, 2) + 4 * y[:, None]
    rows = [[*map(str, each), "ab"[label]] for each, label in zip(x, y, strict=True)]
    (tmp_path / "all.csv").write_text("\n".join(",".join(row) for row in rows))
    (tmp_path / "bare.csv").write_text("\n".join(",".join(row[:2]) for row in rows))
    good("train", tmp_path / "all.csv", "--label", -1, "--out", tmp_path / "run", *QUICK)
    expected = [row.split(",")[1] for row in good("predict", tmp_path / "run", tmp_path / "bare.csv").splitlines()[1:]]
    assert (np.array(expected) == np.array(["a", "b"])[y]).mean() > 0.9
    (tmp_path / "same.csv").write_text((tmp_path / "all.csv").read_text())
    named = good("predict", tmp_path / "run", tmp_path / "same.csv").splitlines()[1:]
    assert [row.split(",")[1] for row in named] == expected


def test_a_model_saved_from_python_is_understood(tmp_path: Path) -> None:
    digits = load("digits")
    model = layerwise.DBNClassifier((8,), pretrain_epochs=1, up_down_epochs=0, epochs=1, random_state=0)
    model.fit(digits.matrix(), digits.y).save(tmp_path / "digits.lw")
    assert "500 images" in good("evaluate", tmp_path / "digits.lw", "digits")
    assert good("predict", tmp_path / "digits.lw", "digits").count("\n") == 501
    assert "generated.csv" in good("generate", tmp_path / "digits.lw", "--label", 3, "--count", 2, "--steps", 2)
    assert "Name the data" in bad("evaluate", tmp_path / "digits.lw")


def test_a_folder_of_pictures_is_brought_to_the_size_and_colour_that_was_learned(shelf: Path, tmp_path: Path) -> None:
    for name, top in (("sky", 250), ("earth", 5)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = np.full((16, 16, 3), top, dtype=np.uint8)
        pixels[8:] = 255 - top
        pixels[..., 0] ^= 1  # not quite grey
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "a.png")
    rows = list(csv.DictReader(good("predict", shelf / "dbn", tmp_path / "photos").splitlines()))
    assert sorted(row["prediction"] for row in rows) == ["earth", "sky"]


# -- generate, explain -------------------------------------------------------------------------------------------------


def test_generate_draws_a_line_of_pictures_per_class(shelf: Path, tmp_path: Path) -> None:
    assert "6 rows" in good("generate", shelf / "dbn", "--count", 3, "--steps", 5, "--out", tmp_path / "all.png")
    assert Image.open(tmp_path / "all.png").size == (3 * 70 + 6, 2 * 70 + 6)
    good("generate", shelf / "dbn", "--label", "sky", "--count", 3, "--steps", 5, "--seed", 4)
    assert Image.open(shelf / "dbn" / "generated.png").size == (3 * 70 + 6, 70 + 6)
    good("generate", shelf / "dbn", "--unit", "1:2", "--count", 2, "--steps", 5, "--out", tmp_path / "unit.png")


def test_what_is_generated_for_a_class_looks_like_it(shelf: Path) -> None:
    rows, names = tasks.dream(Learned.load(shelf / "dbn"), ("sky", "earth"), 30)
    top = rows.reshape(-1, 4, 4)[:, :2].mean((1, 2)) > 0.5
    assert (top == (np.array(names) == "sky")).mean() > 0.7


def test_generated_rows_of_a_table_are_csv(shelf: Path, tmp_path: Path) -> None:
    good("generate", shelf / "trees", "--label", "oak", "--count", 2, "--steps", 5, "--out", tmp_path / "oaks.csv")
    rows = list(csv.DictReader((tmp_path / "oaks.csv").open()))
    assert [row["label"] for row in rows] == ["oak", "oak"] and float(rows[0]["wide"]) > -100


@pytest.mark.parametrize("model", ["dbn", "trees", "sae", "autoencoder", "rbm"])
def test_explain_writes_the_report(shelf: Path, tmp_path: Path, model: str) -> None:
    assert "report.html" in good("explain", shelf / model, "--out", tmp_path / "report")
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def test_explain_looks_at_other_rows(shelf: Path, tmp_path: Path) -> None:
    good("explain", shelf / "dbn", write_images(tmp_path / "new.npz", rows=33), "--out", tmp_path / "report")
    assert '"new.npz"' in (tmp_path / "report" / "report.json").read_text()


def test_explain_looks_at_the_answers_to_rows_that_are_named(shelf: Path, tmp_path: Path) -> None:
    good("explain", shelf / "dbn", "--rows", "3,1,3", "--out", tmp_path / "report")
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [(answer["row"], answer["why"]) for answer in found["answers"]["each"]] == [
        (3, "asked for"),
        (1, "asked for"),
    ]
    assert "Row 9999 is asked for, but there are" in bad(
        "explain", shelf / "dbn", "--rows", "9999", "--out", tmp_path / "more"
    )


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    assert "Did you mean digits?" in bad("train", "digts", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.csv" in bad("train", tmp_path / "nowhere.csv", "--out", tmp_path / "run")


def test_data_is_needed() -> None:
    assert "layerwise train DATA" in bad("train")
    assert "layerwise train DATA" in bad("train", "--resume")


def test_nothing_is_overwritten(shelf: Path, tmp_path: Path) -> None:
    assert "--resume" in bad("train", shelf / "images.npz", "--out", shelf / "dbn")
    (tmp_path / "thesis.txt").touch()
    assert "is there already, and nothing is overwritten" in bad("train", shelf / "images.npz", "--out", tmp_path)


@pytest.mark.parametrize(
    ("model", "option", "able"),
    [
        ("dbn", ("--noise", "masking"), "sae"),
        ("rbm", ("--dropout", 0.5), "dbn and sae"),
        ("sae", ("--up-down", 2), "dbn"),
        ("autoencoder", ("--cd-steps", 2), "dbn and rbm"),
    ],
)
def test_an_option_of_another_model_is_refused(
    tmp_path: Path, model: str, option: tuple[object, ...], able: str
) -> None:
    message = bad("train", "digits", "--model", model, *option, "--out", tmp_path / "run")
    assert f"{option[0]} is not for --model {model}, only for {able}" in message
    assert not (tmp_path / "run").exists()


def test_models_that_know_no_labels_keep_none(shelf: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    assert "never looks at labels" in bad("train", shelf / "images.npz", "--model", "rbm", "--labels", 4, *out)
    assert "one hidden layer" in bad("train", shelf / "images.npz", "--model", "rbm", "--layers", "4,4", *out)
    assert "knows no classes" in bad("predict", shelf / "autoencoder", shelf / "images.npz")
    assert "does not generate" in bad("generate", shelf / "sae")


def test_a_classifier_needs_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.rand(20, 3))
    assert "--model autoencoder" in bad("train", tmp_path / "x.npy", "--out", tmp_path / "run")


def test_a_classifier_needs_two_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.rand(20, 3), y=np.array(["a", ""])[np.arange(20) % 2])
    assert "one class only, 'a'" in bad("train", tmp_path / "x.npz", "--out", tmp_path / "run")


def test_more_labels_than_there_are(shelf: Path, tmp_path: Path) -> None:
    assert "72" in bad("train", shelf / "images.npz", "--labels", 1000, "--out", tmp_path / "run")


def test_a_class_that_only_the_test_part_has_is_found_before_learning(tmp_path: Path) -> None:
    x = np.random.RandomState(0).randint(0, 255, (20, 3, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(20) % 2, x_test=x, y_test=np.arange(20) % 3)
    assert "the class '2'" in bad("train", tmp_path / "x.npz", "--out", tmp_path / "run")


def test_malformed_options_say_what_is_wanted(shelf: Path) -> None:
    assert "500,500,2000" in bad("train", "digits", "--layers", "500,x")
    assert "28x28" in bad("train", "digits", "--size", "28")
    assert "LAYER:INDEX" in bad("generate", shelf / "dbn", "--unit", "7")


def test_unknown_labels_and_units(shelf: Path) -> None:
    assert "Did you mean sky?" in bad("generate", shelf / "dbn", "--label", "Sky")
    assert "layer 7" in bad("generate", shelf / "dbn", "--unit", "7:0")
    assert "no unit 12" in bad("generate", shelf / "dbn", "--unit", "1:12")


def test_rows_of_another_kind_are_refused(shelf: Path, tmp_path: Path) -> None:
    message = bad("predict", shelf / "dbn", "digits")
    assert "8 x 8" in message and "4 x 4" in message
    np.savez(tmp_path / "flat.npz", x=np.random.rand(5, 16))
    assert "16 columns" in bad("predict", shelf / "dbn", tmp_path / "flat.npz")


def test_rows_of_an_unknown_class_are_refused(shelf: Path, tmp_path: Path) -> None:
    x = np.zeros((4, 4, 4), np.uint8)
    np.savez(tmp_path / "new.npz", x=x, y=["sky", "sea", "sky", "earth"])
    assert "'sea'" in bad("evaluate", shelf / "dbn", tmp_path / "new.npz")
    np.savez(tmp_path / "bare.npz", x=x)
    assert "no labels" in bad("evaluate", shelf / "dbn", tmp_path / "bare.npz")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "holds no model" in bad("evaluate", tmp_path)
    assert "holds no run" in bad("train", "--resume", "--out", tmp_path)
    (tmp_path / "plan.json").write_text('{"data": "digits", "size": null}')
    assert f"layerwise train --resume --out {tmp_path}" in bad("predict", tmp_path, "digits")
    (tmp_path / "plan.json").write_text('{"data": ')
    assert "damaged" in bad("train", "--resume", "--out", tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_damaged_model_is_not_used(shelf: Path, tmp_path: Path, name: str) -> None:
    for each in ("model.json", "model.safetensors"):
        whole = (shelf / "dbn" / each).read_bytes()
        (tmp_path / each).write_bytes(whole[: len(whole) // 2] if each == name else whole)
    assert "damaged" in bad("predict", tmp_path, shelf / "images.npz")


def test_a_model_of_a_newer_version_is_not_guessed_at(shelf: Path, tmp_path: Path) -> None:
    for each in ("model.json", "model.safetensors"):
        (tmp_path / each).write_bytes((shelf / "dbn" / each).read_bytes())
    newer = json.loads((tmp_path / "model.json").read_text()) | {"format": 99}
    (tmp_path / "model.json").write_text(json.dumps(newer))
    assert "format 99, newer than this layerwise reads: upgrade" in bad("predict", tmp_path, shelf / "images.npz")


def bad_data(folder: Path) -> dict[str, tuple[Path, str]]:
    """Data that cannot be learned from, and what has to be said of it."""
    x, y = np.random.RandomState(0).rand(20, 4), np.arange(20) % 2
    hole, far = x.copy(), x.copy()
    hole[7, 2], far[3, 1] = np.nan, np.inf
    made = {
        "cut": (folder / "cut.npz", "intact numpy file"), "words": (folder / "words.npy", "numbers"),
        "hole": (folder / "hole.npz", "row 7 column 2"), "far": (folder / "far.npz", "row 3 column 1"),
        "odd": (folder / "odd.npz", "20 rows"), "ragged": (folder / "ragged.csv", "line 3"),
        "one": (folder / "one.npz", "one class only"), "empty folder": (folder / "nothing", "pictures"),
        "empty file": (folder / "empty.csv", "empty"), "cube": (folder / "cube.npy", "(2, 2, 2, 2)"),
        "no picture": (folder / "broken", "broken.png"),
    }  # fmt: skip
    np.savez(made["hole"][0], x=hole, y=y)
    np.savez(made["far"][0], x=far, y=y)
    np.savez(made["odd"][0], x=x, y=y[:-1])
    np.savez(made["one"][0], x=x, y=np.where(y == 0, "a", ""))
    np.save(made["words"][0], np.array([["a", "b"]]))
    np.save(made["cube"][0], np.zeros((2, 2, 2, 2, 2)))
    made["cut"][0].write_bytes(made["one"][0].read_bytes()[:200])
    made["ragged"][0].write_text("a,b\n1,2\n3\n")
    made["empty file"][0].touch()
    made["empty folder"][0].mkdir()
    for kind in ("cat", "dog"):
        (made["no picture"][0] / kind).mkdir(parents=True)
        (made["no picture"][0] / kind / "broken.png").write_bytes(b"no picture")
    return made


@pytest.mark.parametrize(
    "kind",
    ["cut", "words", "hole", "far", "odd", "ragged", "one", "empty folder", "empty file", "cube", "no picture"],
)
def test_data_that_cannot_be_learned_is_named_and_nothing_is_left_behind(kind: str, tmp_path: Path) -> None:
    path, said = bad_data(tmp_path)[kind]
    before = sorted(tmp_path.rglob("*"))
    message = bad("train", path, "--layers", "4", "-q", "--out", tmp_path / "run")
    assert said in message and path.name in message and "should not happen" not in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_spares_the_checkpoint_and_says_so(tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the disk: the system refuses to write on, in the same way."""
    out, images = tmp_path / "run", write_images(tmp_path / "images.npz")
    limited = (
        "import resource, sys; from layerwise.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); main()"
    )
    asked = [
        "train",
        str(images),
        "--layers",
        "30,900",
        "--pretrain-epochs",
        "3",
        "--epochs",
        "3",
        "-q",
        "--out",
        str(out),
    ]
    done = subprocess.run([sys.executable, "-c", limited, *asked], capture_output=True, text=True)
    error = " ".join(done.stderr.split())
    assert done.returncode == 2 and "Traceback" not in error and "should not happen" not in error
    assert "layer_2.safetensors could not be written: File too large. Nothing is left. Make room" in error
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["layer_1.safetensors"]
    good("train", "--resume", "--out", out, "-q")
    good("train", images, *asked[2:-1], tmp_path / "whole")
    whole, resumed = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", out))
    assert whole == resumed


def test_learning_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.randn(30, 3), y=np.arange(30) % 2)
    out = tmp_path / "run"
    assert "[0, 1]" in bad("train", tmp_path / "x.npz", "--visible", "bernoulli", "--layers", 4, "--out", out)
    assert not out.exists()


def test_learning_that_diverges_says_what_to_do(shelf: Path, tmp_path: Path) -> None:
    message = bad(
        "train",
        shelf / "trees.csv",
        "--label",
        "kind",
        "--pretrain-rate",
        1e4,
        *QUICK,
        "--out",
        tmp_path / "run",
        code=1,
    )
    assert "layer 1 diverged" in message and "smaller" in message


def test_an_error_that_nobody_foresaw_says_how_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learned, "load", lambda _: 1 / 0)
    message = bad("evaluate", "anything", code=1)
    assert "ZeroDivisionError" in message and "--traceback" in message
    assert isinstance(CliRunner().invoke(cli.cli, ["--traceback", "evaluate", "x"]).exception, ZeroDivisionError)
    told = CliRunner().invoke(cli.cli, ["evaluate", "x"], env={"LAYERWISE_TRACEBACK": "1"})
    assert isinstance(told.exception, ZeroDivisionError)


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learned, "load", lambda _: warnings.warn("layer 1:\n dead", stacklevel=1) or 1 / 0)
    assert lw("evaluate", "x").stderr.startswith("Warning: layer 1: dead\nError: ")


# -- stop and resume ---------------------------------------------------------------------------------------------------


LONG = ["--layers", "12,8", "--pretrain-epochs", "40", "--up-down", "2", "--epochs", "5", "--batch-size", "4", "-q"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    good("train", write_images(folder / "images.npz", rows=300), "--out", folder / "run", *LONG)
    return folder / "run"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bits(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    data, cut = whole.parent / "images.npz", tmp_path / "cut"
    command = [sys.executable, "-m", "layerwise", "train", data, "--out", cut, *LONG]
    process = subprocess.Popen([str(each) for each in command], stderr=subprocess.PIPE, text=True)
    while not (cut / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert (
        told.strip() == f"Stopped; what was learned so far is saved. Go on with: layerwise train --resume --out {cut}"
    )
    assert not (cut / "model.json").exists()
    good("train", "--resume", "--out", cut, "-q")
    assert same(cut, whole)
    rows = load(data, "all").matrix()
    np.testing.assert_array_equal(*(layerwise.load(run).predict_proba(rows) for run in (cut, whole)))


def test_resuming_with_another_setting_is_refused(shelf: Path) -> None:
    message = bad("train", "--resume", "--out", shelf / "dbn", "--layers", "9,9")
    assert "[12, 8]" in message and "[9, 9]" in message
    assert "dropout" in bad("train", "--resume", "--out", shelf / "dbn", "--dropout", 0.5)
    assert "images.npz" in bad("train", "digits", "--resume", "--out", shelf / "dbn")


def test_resuming_a_finished_run_says_so(shelf: Path) -> None:
    before = (shelf / "dbn" / "model.json").stat().st_mtime_ns
    repeated = good("train", shelf / "images.npz", "--labels", 20, "--out", shelf / "dbn", *QUICK, "--resume")
    assert "finished already" in repeated and "always the commonest class" in repeated
    assert (shelf / "dbn" / "model.json").stat().st_mtime_ns == before


def test_relative_paths_are_understood_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images.npz")
    monkeypatch.chdir(tmp_path)
    good("train", "images.npz", *QUICK)
    monkeypatch.chdir(os.sep)
    assert "18 images" in good("evaluate", tmp_path / "runs" / "images-dbn")
