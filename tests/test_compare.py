"""What `compare` measures and advises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from layerwise import baselines, cli
from layerwise.compare import NETS, Comparison, Entry, advise, compare, networks, write
from layerwise.tasks import Plan


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """However busy the machine is, no method is stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layerwise.compare.GRACE", 1000)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of points that a straight line parts."""
    path = tmp_path_factory.mktemp("compare") / "points.csv"
    random = np.random.RandomState(0)
    rows = random.rand(300, 2)
    lines = [f"{a:.4f},{b:.4f},{'over' if a + b > 1 else 'under'}" for a, b in rows]
    path.write_text("\n".join(["a,b,class", *lines]))
    return path


QUICK = ("nearest neighbours", "logistic regression", "dense net")


@pytest.fixture(scope="module")
def found(table: Path) -> Comparison:
    return compare(Plan(str(table)), seeds=2, budget=2.0, methods=QUICK)


def test_every_method_is_measured_once_per_seed(found: Comparison) -> None:
    assert {entry.method for entry in found.entries} == set(QUICK)
    for entry in found.entries:
        assert not entry.why
        assert len(entry.errors) == len(entry.seconds) == found.seeds == 2
        assert all(0 <= error < 0.4 for error in entry.errors), "all of them can learn a straight line"
        assert entry.parameters > 0
        assert entry.memory >= 0
        assert entry.learned_from == "labelled rows" or entry.method == "dense net"


def test_the_best_comes_first(found: Comparison) -> None:
    errors = [entry.error for entry in found.entries]
    assert errors == sorted(errors)


def test_another_seed_draws_another_split(table: Path) -> None:
    """The same seed gives the same error; of a method without any chance in it two seeds differ by the split alone."""
    one, other = (compare(Plan(str(table), seed=0), seeds=4, budget=5.0, methods=QUICK[:1]) for _ in range(2))
    assert one.entries[0].errors == other.entries[0].errors
    assert len(set(one.entries[0].errors)) > 1


def test_the_comparison_is_written_whole(found: Comparison, tmp_path: Path) -> None:
    kept = json.loads(write(found, tmp_path / "new").read_text())
    assert not any("wrong" in entry for entry in kept["entries"])
    assert [entry["method"] for entry in kept["entries"]] == [entry.method for entry in found.entries]
    assert kept["advice"] == found.advice
    assert kept["budget"] == 2.0


def test_a_method_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "one-each.csv"
    path.write_text("a,class\n" + "\n".join(f"{i / 9:.3f},{'x' if i < 5 else 'y'}" for i in range(10)))
    # With one label per class nothing can be cross-validated, but a net can learn.
    result = compare(Plan(str(path), labels=2), seeds=1, budget=1.0, methods=("nearest neighbours", "dense net"))
    net, neighbours = result.entries
    assert net.errors and not net.why
    assert not neighbours.errors
    assert "cross-validation" in neighbours.why


def test_unknown_methods_are_refused_with_the_known_ones(table: Path) -> None:
    with pytest.raises(ValueError, match=r"no method 'magic'.*dense net.*logistic regression"):
        compare(Plan(str(table)), methods=("magic",))


def test_what_takes_too_long_is_stopped_and_said(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.compare.GRACE", -5)  # of the one second, and five more in any case: no time at all
    found = compare(Plan(str(table)), seeds=2, budget=1.0, methods=("nearest neighbours",))
    assert found.entries[0].why == "stopped after 0 s" and not found.entries[0].errors
    assert "No method finished" in found.advice[0]


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of two subjects that share no word but numbers."""
    path = tmp_path_factory.mktemp("compare") / "notes.csv"
    lines = [f"{'a good day' if row % 2 else 'the worst night'} {row % 5},{row % 2}" for row in range(60)]
    path.write_text("\n".join(["note,class", *lines]))
    return path


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak begins anew on Linux only")
def test_memory_that_was_given_back_before_does_not_count() -> None:
    """In a process of its own, of which the system takes nothing back meanwhile."""
    program = """
import numpy as np
from layerwise.compare import Memory
np.ones((5000, 10_000))  # 380 MiB
memory = Memory()
for _ in range(3):
    np.ones((1000, 10_000))  # 76 MiB, one at a time
print(memory.grown())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert 70 < float(done.stdout) < 150


def test_rivals_that_learn_from_all_rows_are_there_where_some_have_no_label(notes: Path) -> None:
    for labels in (None, 20):
        with pytest.raises(ValueError, match="no method 'magic'") as caught:
            compare(Plan(str(notes), labels=labels, reading={"text": "note"}), methods=("magic",))
        there = {name for name in baselines.rivals_of_all_rows("text") if name in str(caught.value)}
        assert there == (set(baselines.rivals_of_all_rows("text")) if labels else set())


def test_texts_are_read_as_every_method_wants_them(notes: Path) -> None:
    asked = {"naive Bayes": "labelled rows", "naive Bayes, self-training": "all rows", "dense net": "labelled rows",
             "recurrent net, pre-trained": "all rows"}  # fmt: skip
    found = compare(Plan(str(notes), labels=20, reading={"text": "note"}), seeds=1, budget=1.0, methods=list(asked))
    assert {entry.method: entry.learned_from for entry in found.entries} == asked
    assert all(entry.error < 0.1 for entry in found.entries if entry.method.startswith("naive"))


def test_the_command_prints_the_table_and_keeps_it(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = [
        "compare",
        str(table),
        "--seconds-each",
        "2",
        "--seeds",
        "1",
        "--method",
        "logistic regression",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(cli.cli, call)
    assert result.exit_code == 0, result.output
    assert "logistic regression" in result.output
    assert "Take logistic regression" in result.output
    assert (out / "compare.json").exists()
    again = CliRunner().invoke(cli.cli, call)
    assert again.exit_code == 2, "nothing is overwritten"
    wrong = CliRunner().invoke(cli.cli, ["compare", str(table), "--method", "magic", "--out", str(tmp_path / "other")])
    assert wrong.exit_code == 2
    assert "dense net" in wrong.stderr


@pytest.mark.parametrize("kind", sorted(NETS))
def test_every_kind_has_nets_with_and_without_pre_training_and_rivals(kind: str) -> None:
    ours = networks(kind)
    for name in NETS[kind]:
        assert ours[f"{name}, pre-trained"] == ours[name] | {"pretrain": "greedy"}
    rivals = baselines.rivals(kind, shape=(20, 30))
    assert {"logistic regression", "gradient boosting", "nearest neighbours"} < set(rivals)
    assert any("SVM" in name for name in rivals)
    assert not set(ours) & set(rivals)


def entry(name: str, errors: list[float], seconds: float, rows: int = 0) -> Entry:
    """With as many wrong answers among so many test rows, of a better method the first of those of a worse one."""
    wrong = [np.arange(rows) < round(error * rows) for error in errors] if rows else []
    return Entry(name, errors=errors, seconds=[seconds] * len(errors), wrong=wrong)


CLEAR, CLOSE = [0.10, 0.11, 0.12], [0.101, 0.109, 0.121]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("net", [0.01, 0.02, 0.03], 60), entry("SVM", CLEAR, 1)], "Take net: it is best, beyond the spread"),
        ([entry("net", CLEAR, 60), entry("SVM", CLOSE, 1)], "Take SVM: nothing is better beyond doubt"),
        ([entry("SVM", CLEAR, 1), entry("net", CLOSE, 60)], "Take SVM: nothing is better, and it learns in 1.0 s"),
        ([entry("SVM", [0.01, 0.02, 0.03], 1), entry("net", CLEAR, 60)], "Take SVM: it is best, beyond the spread"),
        ([entry("net", [0.1], 60), entry("SVM", [0.2], 1)], "Take net: it is best, as far as one seed tells"),
        ([Entry("net", why="took too long")], "No method finished in time"),
        # The spread between seeds tells them apart, but three more wrong answers of 100 are chance; 30 of 1000 are not.
        (
            [entry("net", [0.01, 0.01, 0.01], 60, 100), entry("SVM", [0.04] * 3, 1, 100)],
            "Take SVM: nothing is better beyond",
        ),
        (
            [entry("net", [0.01, 0.01, 0.01], 60, 1000), entry("SVM", [0.04] * 3, 1, 1000)],
            "Take net: it is best, beyond",
        ),
        ([entry("net", [0.01], 60, 100), entry("SVM", [0.04], 1, 100)], "Take SVM: nothing is better beyond"),
        # However far its seeds lie apart, what is worse in all of them is not taken.
        ([entry("net", [0.10, 0.10], 60, 1000), entry("DBN", [0.35, 0.15], 1, 1000)], "Take net: it is best, beyond"),
    ],
)
def test_advice(entries: list[Entry], said: str) -> None:
    seeds = max(len(each.errors) for each in entries)
    assert advise(entries, seeds)[0].startswith(said)


def test_advice_tells_what_pre_training_brought_or_cost() -> None:
    plain, grown = entry("net", [0.2, 0.2, 0.2], 5), entry("net, pre-trained", [0.1, 0.1, 0.1], 5)
    assert "Pre-training the net on all rows brought 10.0 points." in advise([plain, grown], 3)
    plain.errors, grown.errors = grown.errors, plain.errors
    assert "Pre-training the net on all rows cost 10.0 points." in advise([plain, grown], 3)
    assert "more" in advise([plain], 1)[1], "one seed is told to be too few"
