"""Files on a disk that fills up: what was there before stays, and the message says what to do."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerwise.files import add_line, write_whole
from layerwise.run import Run


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the system refuses to write on as it does where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_without_room_leaves_the_lines_before_it_and_can_be_added_later(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log.jsonl"
    add_line(log, {"at": 0})
    for _ in range(2):
        with (
            room(25),
            pytest.raises(OSError, match=r"log\.jsonl: File too large\. The lines before.*Make room") as caught,
        ):
            add_line(log, {"at": 1, "text": "x" * 20_000})  # more than is held back before it is written
        assert str(log) in str(caught.value)
    add_line(log, {"at": 2})
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"at": 0}, {"at": 2}]


def test_a_run_says_where_its_log_has_no_room(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with room(30), pytest.raises(OSError, match="Make room") as caught:
        run.log("layer 1", "loss", {"epoch": 1, "figure": 0.5, "seconds": 1.0})
    assert str(tmp_path / "run" / "log.jsonl") in str(caught.value)
    assert (tmp_path / "run" / "log.jsonl").read_text() == ""


def test_a_file_without_room_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole({path: "before"})
    with room(100), pytest.raises(OSError, match=r"a\.txt could not be written.*untouched\. Make room"):
        write_whole({path: "x" * 1000})
    assert path.read_text() == "before" and [file.name for file in tmp_path.iterdir()] == ["a.txt"]
