"""A model that writes: the estimator, the text it reads, and the commands."""

from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import layerwise
from layerwise import TextWriter, cli
from layerwise.data import cache_folder, prose
from layerwise.data.prose import LOST, Symbols
from layerwise.run import Run, Stopped

TALE = "the cat sat on the mat, and the dog sat on the log; " * 30
FORMS = ["characters", "subwords"]


def writer(**settings: Any) -> TextWriter:
    return TextWriter(**{"layers": (12, 8), "length": 16, "epochs": 12, "rate": 0.02, "random_state": 0} | settings)


def fitted(form: str, **settings: Any) -> TextWriter:
    if form == "subwords":
        pytest.importorskip("tokenizers")
    return writer(form=form, terms=280, **settings).fit(TALE)


@pytest.fixture(scope="module")
def tale() -> TextWriter:
    return fitted("characters")


def words(result: Result) -> str:
    """The error message of a command that failed, in one line."""
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def lw(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(each) for each in arguments])


def good(*arguments: object) -> str:
    result = lw(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


# -- symbols and texts -------------------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_known_characters_come_back(text: str) -> None:
    symbols = Symbols.of(text)
    ids = symbols.encode(text)
    assert symbols.decode(ids.tolist()) == text and ids.min() >= symbols.reserved and ids.max() < len(symbols)
    assert symbols.unknown(text) == []


@given(st.text(), st.text())
def test_unknown_characters_are_0_and_told(known: str, text: str) -> None:
    symbols = Symbols.of(known)
    lost = [each not in known for each in text]
    assert (symbols.encode(text) == 0).tolist() == lost
    assert symbols.unknown(text) == sorted({each for each, gone in zip(text, lost, strict=True) if gone})
    assert symbols.decode(symbols.encode(text)) == "".join(
        LOST if gone else each for each, gone in zip(text, lost, strict=True)
    )


@given(st.text())
def test_subwords_know_every_character_and_never_give_half_of_one(text: str) -> None:
    pytest.importorskip("tokenizers")
    symbols = Symbols.of(TALE, "subwords", 280)
    pieces = list(symbols.stream(symbols.encode(text)))
    assert "".join(pieces) == text
    if LOST not in text:
        assert all(LOST not in piece for piece in pieces)


def test_one_text_is_read_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "tale.txt").write_text(TALE)
    (tmp_path / "tale.txt.gz").write_bytes(gzip.compress(TALE.encode()))
    folder = tmp_path / "tales"
    folder.mkdir()
    for name in ("b.txt", "a.txt"):
        (folder / name).write_text(f"tale {name}")
    with zipfile.ZipFile(tmp_path / "tales.zip", "w") as archive:
        for name in ("b.txt", "a.txt"):
            archive.write(folder / name, name)
    found = {name: prose(str(tmp_path / name)) for name in ("tale.txt", "tale.txt.gz", "tales", "tales.zip")}
    texts = {name: story and story.text for name, story in found.items()}
    both = "tale a.txt\ntale b.txt"
    assert texts == {"tale.txt": TALE, "tale.txt.gz": TALE, "tales": both, "tales.zip": both}


def test_what_has_labels_or_is_no_text_is_none_to_read_on(tmp_path: Path) -> None:
    for name in ("glad", "sad"):
        (tmp_path / "moods" / name).mkdir(parents=True)
        (tmp_path / "moods" / name / "1.txt").write_text("a tale")
    (tmp_path / "table.csv").write_text("text,label\na tale,sad\n")
    assert [prose(str(each)) for each in (tmp_path / "moods", tmp_path / "table.csv", "digits")] == [None] * 3


@pytest.mark.skipif(not (Path(os.environ.get("LAYERWISE_DATA", "/nowhere")) / "tinyshakespeare").is_dir(),
                    reason="LAYERWISE_DATA holds no tinyshakespeare")  # fmt: skip
def test_tiny_shakespeare_is_whole_and_its_last_tenth_held_out() -> None:
    story = prose("tinyshakespeare")
    assert story is not None
    with gzip.open(cache_folder() / "tinyshakespeare" / "input.txt.gz", "rt", encoding="utf-8") as file:
        assert story.text == file.read()
    first, last = story.split(0.1)
    assert first.text + last.text == story.text and len(first) == 9 * len(story) // 10


# -- the estimator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_what_comes_next(form: str) -> None:
    model = fitted(form, epochs=60)
    found = model.evaluate(TALE)
    shares = np.unique(list(TALE), return_counts=True)[1] / len(TALE)
    assert found.nats < -(shares * np.log(shares)).sum() / 2  # it must know more than how often each character comes
    assert found.bits == pytest.approx(found.nats / math.log(2)) and model.score(TALE) == -found.nats
    assert math.log(found.perplexity) * found.symbols == pytest.approx(found.nats * found.characters)
    if form == "characters":  # subwords hold every byte
        assert set("".join(model.write("the", 300, temperature=5.0))) <= set(TALE)


def test_nothing_is_learned_from_chance() -> None:
    """Of characters drawn alike nothing is known: log(how many) is the lowest that a model can reach on new ones."""
    random = np.random.RandomState(0)
    old, new = ("".join(random.choice(list("abcde"), 4000)) for _ in range(2))
    model = writer(epochs=20, rate=3e-3).fit(old)
    nats = model.evaluate(new).nats
    assert math.log(5) - 0.02 < nats < math.log(5) + 0.05  # 0.02 is more than 4 s.d. of what luck gives 4000 characters


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_writer_is_the_same_to_the_bit(form: str, tmp_path: Path) -> None:
    model = fitted(form)
    loaded = layerwise.load(model.save(tmp_path / "model"))
    assert loaded.evaluate(TALE) == model.evaluate(TALE)
    assert list(loaded.write("the", 100)) == list(model.write("the", 100))
    assert loaded.get_params() == model.get_params() | {"layers": [12, 8]}  # JSON knows no tuples
    assert sorted(file.suffix for file in (tmp_path / "model").iterdir()) == [".json", ".jsonl", ".safetensors"]


@pytest.mark.parametrize("form", FORMS)
def test_texts_are_read_one_after_the_other(form: str) -> None:
    model = fitted(form).fit([TALE, TALE])
    assert model.evaluate(["the cat", "the dog"]) == model.evaluate("the cat\nthe dog")
    if form == "characters":
        assert "\n" in model.characters_


def test_the_same_seed_writes_the_same_and_another_something_else(tale: TextWriter) -> None:
    first, again, other = ("".join(tale.write("the", 80, temperature=2.0, random_state=seed)) for seed in (1, 1, 2))
    assert first == again != other
    careful = {"".join(tale.write("the", 80, temperature=0, random_state=seed)) for seed in (1, 2)}
    assert len(careful) == 1


def test_writing_is_a_stream(tale: TextWriter) -> None:
    stream = tale.write("the", 10**9)
    assert len(next(stream)) == 1


def test_the_same_seed_learns_the_same_bits_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again = fitted("characters", epochs=1), fitted("characters", epochs=1)
    assert torch.rand(1) == expected
    pairs = zip(first.network_.parameters(), again.network_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = fitted("characters", epochs=1, random_state=1)
    assert not torch.equal(first.network_.output.weight, other.network_.output.weight)


def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = {"patience": 3, "dropout": 0.2}

    class Impatient(Run):
        def show(self, text: str) -> None:
            os.kill(os.getpid(), signal.SIGINT) if len(list(self.checkpoints.iterdir())) else None

    with pytest.raises(Stopped):
        writer(**settings).fit(TALE, run=Impatient(tmp_path, interval=1e-9))
    resumed, whole = writer(**settings).fit(TALE, run=Run(tmp_path, resume=True)), writer(**settings).fit(TALE)
    pairs = zip(resumed.network_.parameters(), whole.network_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_patience_looks_at_the_last_part_and_learns_from_the_rest_alone() -> None:
    tail = "zzzz " * 40
    assert (
        "z"
        not in writer(epochs=1, patience=1, validation_fraction=len(tail) / len(TALE + tail))
        .fit(TALE + tail)
        .characters_
    )
    text = TALE[:-400] + "".join(np.random.RandomState(0).permutation(list(TALE[-400:])))
    model = writer(epochs=200, patience=2, validation_fraction=400 / len(text)).fit(text)
    curve = [entry["valid"] for entry in model.histories_[0].epochs]
    assert "no better" in model.histories_[0].stopped and len(curve) < 200
    assert min(curve) == curve[-3]


def test_it_is_a_scikit_learn_estimator() -> None:
    model = writer(dropout=0.1)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.evaluate(TALE)
    with pytest.raises(NotFittedError):
        model.write("a")


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({}, TALE[:16], "16 characters, but a window of 16"),
        ({}, "", "0 characters"),
        ({}, [TALE, 3], "number 1 is 3"),
        ({"patience": 1, "validation_fraction": 1e-4}, TALE, "too short"),
        ({"length": 0}, TALE, "length is at least 1"),
        ({"batch_size": 0}, TALE, "batch_size is at least 1"),
        ({"dropout": 1.0}, TALE, "dropout"),
        ({"layers": ()}, TALE, "layers"),
        ({"form": "words"}, TALE, "characters or subwords"),
        ({"clip": -1.0}, TALE, "clip"),
    ],
)
def test_what_cannot_be_learned_is_refused(settings: dict[str, Any], text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        writer(**settings).fit(text)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": ""}, "start is empty"),
        ({"start": "the Öl"}, "start holds 'Ö', which"),
        ({"length": 0}, "length is at least 1, got 0"),
        ({"temperature": -0.1}, "temperature .* -0.1"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tale: TextWriter, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tale.write(**{"start": "the"} | asked)  # nothing was drawn from the generator yet


def test_a_text_with_unknown_characters_is_read_with_a_warning(tale: TextWriter) -> None:
    with pytest.warns(UserWarning, match=r"3 of 11 characters .*'Z', 'ß'"):
        found = tale.evaluate("the ZßZ cat")
    assert math.isfinite(found.nats)
    with pytest.raises(ValueError, match="at least two"):
        tale.evaluate("t")


# -- the commands ------------------------------------------------------------------------------------------------------

QUICK = ["--layers", "12", "--length", "16", "--epochs", "3", "--rate", "0.02", "-q"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run that has read it."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "story.txt").write_text(TALE)
    said = good("train", folder / "story.txt", "--model", "lstm", "--out", folder / "run", *QUICK)
    assert "layerwise write" in said
    return folder


def test_an_lstm_learns_from_a_plain_text_to_write(story: Path) -> None:
    model = layerwise.load(story / "run")
    assert isinstance(model, TextWriter) and model.length == 16
    said = good("evaluate", story / "run")
    held_out = TALE[int(len(TALE) * 0.9) :]
    found = model.evaluate(held_out)
    for figure in (f"{found.nats:.4f}", f"{found.bits:.4f}", f"{found.perplexity:.3f}", f"the last {len(held_out)}"):
        assert figure in said
    assert f"{model.evaluate(TALE[:50]).nats:.4f}" in good(
        "evaluate", story / "run", write_text(story / "b.txt", TALE[:50])
    )


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_it_writes_what_the_estimator_writes(story: Path) -> None:
    model = layerwise.load(story / "run")
    said = good("write", story / "run", "--start", "the ", "--length", 40, "--temperature", 0.5, "--seed", 3)
    assert said == "the " + "".join(model.write("the ", 40, temperature=0.5, random_state=3)) + "\n"


def test_a_text_begins_anew_where_no_start_is_given(tmp_path: Path) -> None:
    lines = write_text(tmp_path / "lines.txt", TALE.replace("; ", "\n"))
    good("train", lines, "--model", "writer", "--out", tmp_path / "run", *QUICK)
    written = "".join(layerwise.load(tmp_path / "run").write("\n", 500, temperature=0.8))
    assert good("write", tmp_path / "run") == written + "\n"


def test_it_streams(story: Path) -> None:
    """The first characters are there long before the last."""
    command = [sys.executable, "-m", "layerwise", "write", str(story / "run"), "--start", "the", "--length", str(10**9)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(50).startswith(b"the")
        process.kill()


def test_a_run_that_was_stopped_is_taken_up(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["train", story / "story.txt", "--model", "lstm", *QUICK]
    with monkeypatch.context() as patch:
        steps = iter(range(1000))
        patch.setattr(Run, "show", lambda *_: os.kill(os.getpid(), signal.SIGINT) if next(steps) == 5 else None)
        stopped = lw(*asked, "--out", tmp_path / "run")
    assert stopped.exit_code == 130 and "--resume" in stopped.stderr
    assert "not finished" in words(lw("write", tmp_path / "run"))
    good("train", "--resume", "--out", tmp_path / "run", "--model", "lstm", "-q")
    resumed, whole = layerwise.load(tmp_path / "run"), layerwise.load(story / "run")
    pairs = zip(resumed.network_.parameters(), whole.network_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_text_with_labels_stays_a_classification(tmp_path: Path) -> None:
    for name, mood in (("glad", "laugh and sing"), ("sad", "weep and moan")):
        (tmp_path / "moods" / name).mkdir(parents=True)
        for number in range(8):
            write_text(tmp_path / "moods" / name / f"{number}.txt", f"{mood} {number} times")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good("train", tmp_path / "moods", "--model", "lstm", "--form", "words", "--layers", 4, "--epochs", 1, "-q",
             "--out", tmp_path / "run")  # fmt: skip
    assert json.loads((tmp_path / "run" / "model.json").read_text())["estimator"] == "NetworkClassifier"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["write", "RUN", "--start", ""], "start is empty"),
        (["write", "RUN", "--start", "Ω"], "'Ω'"),
        (["write", "RUN", "--length", "0", "--start", "t"], "length"),
        (["write", "RUN", "--temperature", "-1", "--start", "t"], "temperature"),
        (["predict", "RUN", "TEXT"], "takes no rows"),
        (["explain", "RUN"], "takes no rows"),
        (["train", "TEXT", "--model", "lstm", "--hertz", "8000"], "hertz"),
        (["train", "TEXT", "--model", "lstm", "--length", "100000"], "window of 100000"),
        (["train", "TEXT", "--model", "lstm", "--labels", "10"], "never looks at labels"),
        (["train", "digits", "--model", "writer"], "no text without labels"),
        (["train", "nowhere.txt", "--model", "writer"], "nowhere.txt"),
        (["train", "TEXT", "--model", "lstm", "--noise", "masking"], "--noise is not for --model writer"),
    ],
)
def test_the_commands_say_what_is_wrong(story: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    places = {"RUN": str(story / "run"), "TEXT": str(story / "story.txt")}
    asked = [places.get(each, each) for each in arguments]
    if asked[0] == "train":
        asked += ["--out", str(tmp_path / "run"), "-q"]
    assert message in words(lw(*asked))
    assert not (tmp_path / "run").exists()


def test_only_a_model_that_writes_writes(tmp_path: Path) -> None:
    x = np.random.RandomState(0).rand(20, 4)
    layerwise.RBMTransformer(3, epochs=1).fit(x).save(tmp_path / "rbm")
    assert "does not write" in words(lw("write", tmp_path / "rbm"))
    assert "no text" in words(lw("train", "digits", "--model", "writer", "--out", tmp_path / "run", "-q"))
