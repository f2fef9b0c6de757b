"""What a user meets who gives layerwise something broken: on the command line, from training to prediction."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from PIL import Image

from layerwise import cli
from layerwise.data import folders, load, text

QUICK = ["--model", "mlp", "--layers", "4", "--epochs", "1", "--threads", "1", "-q"]


def lw(*arguments: object) -> Result:
    """Runs a command in this process, and checks that no exception got through."""
    result = CliRunner().invoke(cli.cli, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def good(*arguments: object) -> Result:
    result = lw(*arguments)
    assert result.exit_code == 0, result.output
    return result


def bad(*arguments: object) -> str:
    """The message of a command that is refused."""
    result = lw(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return " ".join(result.stderr.split())


def answers(result: Result) -> list[list[str]]:
    return list(csv.reader(io.StringIO(result.stdout)))[1:]


def write_picture(path: Path, bright: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), 200 if bright else 20, np.uint8)).save(path)


def write_clip(path: Path, high: bool, rate: int = 8000, channels: int = 1, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin((3000 if high else 300) * 6.28 / rate * np.arange(int(seconds * rate)))
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate)


def write_note(path: Path, high: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("ein guter Tag" if high else "a bad day", encoding="utf-8")


KINDS = {"pictures": (write_picture, "png"), "sounds": (write_clip, "wav"), "texts": (write_note, "txt")}
BROKEN = {"png": b"\x89PNG\r\n\x1a\n", "wav": b"RIFF", "txt": "schön".encode("utf-16")}


def write_folder(path: Path, kind: str, count: int = 6) -> Path:
    """A folder of two classes of `count` files each."""
    write, extension = KINDS[kind]
    for number in range(2 * count):
        write(path / "ab"[number % 2] / f"{number:02}.{extension}", number % 2 == 1)
    return path


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


def write_table(path: Path, rows: Sequence[str] = (), encoding: str = "utf-8") -> Path:
    """Forty good rows, and then others; line 1 is the header."""
    whole = [f"{number},{('farm', 'office')[number % 2]},{('yes', 'no')[number % 2]}" for number in range(40)]
    path.write_bytes(("age,work,class\n" + "\n".join([*whole, *rows]) + "\n").encode(encoding))
    return path


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    good("train", write_table(folder / "good.csv"), "--out", folder / "run", *QUICK)
    return folder / "run"


# -- files of a folder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_among_many_is_named_or_skipped_from_training_to_prediction(
    kind: str, packed: bool, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "mine", kind)
    extension = KINDS[kind][1]
    (folder / "a" / f"03.{extension}").write_bytes(BROKEN[extension])
    mine, run = zipped(folder) if packed else folder, tmp_path / "run"
    assert f"03.{extension} cannot be read" in bad("train", mine, "--out", run, *QUICK)
    assert not run.exists()
    result = good("train", mine, "--broken", "skip", "--out", run, *QUICK)
    assert f"broken files skipped: 1 (03.{extension})" in result.stderr  # quiet or not: rows are lost
    for command in ("evaluate", "predict"):
        other = tmp_path / "copy"
        if not other.exists():
            folder.rename(other)
        assert "--broken skip" in bad(command, run, other)
        assert "broken files skipped: 1" in good(command, run, other, "--broken", "skip").stderr


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_for_a_folder_name_its_files(kind: str, tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "mine", kind), tmp_path / "run"
    extension = KINDS[kind][1]
    good("train", folder, "--out", run, *QUICK)
    write_folder(tmp_path / "new", kind, count=3)
    (tmp_path / "new" / "a" / f"02.{extension}").write_bytes(BROKEN[extension])
    expected = [f"{label}/{number:02}.{extension}" for label, number in [*zip("aa", (0, 4)), *zip("bbb", (1, 3, 5))]]
    for new in (tmp_path / "new", zipped(tmp_path / "new")):
        assert [row[0] for row in answers(good("predict", run, new, "--broken", "skip"))] == expected
    if kind != "texts":  # a text file is rows of its own
        lone = tmp_path / "new" / expected[-1]
        (one,) = answers(good("predict", run, lone))
        assert (
            one[0] == lone.name
            and one[1:] == answers(good("predict", run, tmp_path / "new", "--broken", "skip"))[-1][1:]
        )


def test_files_are_read_in_threads_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "mine", "pictures", count=30)
    for number in range(60):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / "ab"[number % 2] / f"{number:02}.png")
    found = []
    for count in (1, 4):
        monkeypatch.setattr(folders, "threads", lambda count=count: count)
        found.append(load(folder, "all"))
    assert found[0].x[:, 0, 0].tolist() == [*range(0, 60, 2), *range(1, 60, 2)]
    np.testing.assert_array_equal(found[0].x, found[1].x)
    for number in (8, 9, 40):
        (folder / "ab"[number % 2] / f"{number:02}.png").write_bytes(b"")
    assert "08.png" in bad("train", folder, "--out", tmp_path / "run", *QUICK)  # the first, whichever thread was first
    with pytest.warns(UserWarning, match=r"skipped: 3 \(08.png, 40.png, 09.png\)"):
        load(folder, "all", broken="skip")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", ["../out", "a/../../out", "..\\out", "/etc/out", "C:\\out"])
def test_a_zip_that_points_outside_is_refused(kind: str, member: str, tmp_path: Path) -> None:
    mine = zipped(write_folder(tmp_path / "mine", kind, count=2))
    with zipfile.ZipFile(mine, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = f"{member}.{KINDS[kind][1]}"  # as it is: the constructor would mend it
        archive.writestr(info, b"")
    message = bad("train", mine, "--out", tmp_path / "run", *QUICK)
    assert "points outside" in message and "refused" in message
    assert not list(tmp_path.parent.glob("out*"))


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", "pictures")
    Image.new("1", (20_000, 20_000)).save(folder / "a" / "huge.png")
    message = bad("train", folder, "--out", tmp_path / "run", *QUICK)
    assert "huge.png" in message and "million pixels" in message and "Warning" not in message
    assert (
        "skipped: 1 (huge.png)" in good("train", folder, "--broken", "skip", "--out", tmp_path / "run", *QUICK).stderr
    )


def test_a_text_that_unpacks_to_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LARGEST", 1 << 20)
    folder = write_folder(tmp_path / "mine", "texts")
    (folder / "a" / "bomb.txt").write_bytes(b" " * ((1 << 20) + 1))
    message = bad("train", zipped(folder), "--out", tmp_path / "run", *QUICK)
    assert "bomb.txt" in message and "1 MiB" in message


def test_a_clip_of_zero_length_and_mixed_rates(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", "sounds")
    write_clip(folder / "a" / "fast.wav", high=False, rate=16_000, channels=2, seconds=0.2)
    shown = good("data", "show", folder).stdout
    assert "1 of 13 resampled to 8000 Hz" in shown and "1 of 13 mixed down to mono" in shown
    write_clip(folder / "a" / "zero.wav", high=False, seconds=0)
    assert "zero.wav" in (message := bad("data", "show", folder)) and "0 seconds long" in message
    lengths = load(folder, "all", broken="skip").lengths
    assert lengths is not None and sorted(lengths.tolist()) == [10] * 12 + [20]


# -- tables and text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,farm", ["line 42", "2 cells", "3"]),
        ("1,farm,yes,4", ["line 42", "4 cells", "quotes"]),
        ('1,"far\nm",yes\n1', ["line 44", "1 cells"]),
        ("old,farm,yes", ["line 42", "'age'", "'old'", "--types age=category"]),
        ("1e999,farm,yes", ["line 42", "'age'", "not a finite number"]),
    ],
)
def test_a_bad_row_is_named_by_its_line(row: str, words: list[str], table_run: Path, tmp_path: Path) -> None:
    mine = write_table(tmp_path / "mine.csv", [row])
    message = bad("train", mine, "--out", tmp_path / "run", *QUICK)
    assert not [word for word in words if word not in message], message
    message = bad("predict", table_run, mine)
    assert not [word for word in words[:2] if word not in message], message


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_says_where_and_how_to_convert_it(encoding: str, tmp_path: Path) -> None:
    mine = write_table(tmp_path / "mine.csv", ["1,Bäcker,yes"], encoding)
    line = 42 if encoding == "latin-1" else 1
    for more in ([], ["--text", "work"]):
        message = bad("train", mine, "--out", tmp_path / "run", *QUICK, *more)
        assert f"line {line}" in message and "iconv" in message


def test_a_category_never_seen_is_warned_of_and_answered(table_run: Path, tmp_path: Path) -> None:
    result = good("predict", table_run, write_table(tmp_path / "new.csv", ["3,moon,yes", "4,mars,no"]))
    assert "Warning: Column 'work': 2 of 42 rows have 'moon' or 'mars'" in result.stderr
    assert len(answers(result)) == 42


def test_a_column_missing_at_prediction_time_is_named(table_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("age,wages,class\n1,2,yes\n")
    assert "lacks the column 'work'" in bad("predict", table_run, tmp_path / "new.csv")
    (tmp_path / "new.csv").write_text("work,age\nfarm,1\n")  # the labels may be missing, and the order another
    (first,) = answers(good("predict", table_run, tmp_path / "new.csv"))
    (tmp_path / "other.csv").write_text("age,work\n1,farm\n")
    assert answers(good("predict", table_run, tmp_path / "other.csv")) == [first]


def test_what_a_table_was_taken_for_is_shown_and_can_be_changed(tmp_path: Path) -> None:
    mine = write_table(tmp_path / "mine.csv", ["NA,farm,yes", "7,,no"])
    shown = [" ".join(line.split()) for line in good("data", "show", mine).stdout.splitlines()]
    assert "age number 1 0 to 39" in shown and "work category 1 farm (21), office (20)" in shown and "yes 21" in shown
    shown = good("data", "show", mine, "--types", "age=category,work=leave out").stdout
    assert "age" in shown and "leave out" in shown and "1 category" in shown
    assert "'category'" in bad("data", "show", mine, "--types", "age=categorical")


def test_text_with_no_known_word_is_told_of(tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "mine", "texts"), tmp_path / "run"
    good("train", folder, "--out", run, *QUICK)
    (tmp_path / "new.txt").write_text("xyzzy\na bad day\n")
    result = good("predict", run, tmp_path / "new.txt")
    assert "1 of 2 texts hold no known word ('xyzzy')" in result.stderr and len(answers(result)) == 2


# -- networks that do not suit the data --------------------------------------------------------------------------------


def test_a_recurrent_network_reads_words_in_order_unless_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", "texts")
    lstm = ["--model", "lstm", "--layers", "4", "--epochs", "1", "--threads", "1"]
    assert "words" in good("train", folder, "--out", tmp_path / "run", *lstm).stdout
    message = bad("train", folder, "--form", "tfidf", "--out", tmp_path / "other", *lstm)
    assert "order of the words" in message and "--form words" in message
    assert "no order" in bad("train", write_table(tmp_path / "mine.csv"), "--out", tmp_path / "other", *lstm)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    colour = write_folder(tmp_path / "colour", "pictures")
    Image.new("RGB", (4, 4), "red").save(colour / "a" / "red.png")
    assert "colour" in bad("train", colour, "--out", tmp_path / "other", *lstm)
    assert not (tmp_path / "other").exists()


def test_an_option_is_refused_by_the_name_it_was_given(tmp_path: Path) -> None:
    assert "hertz=8000" in bad("data", "show", write_table(tmp_path / "mine.csv"), "--hertz", 8000)
