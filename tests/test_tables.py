"""Tables of numbers, categories and dates, with holes: what is learned is learned from training rows, whatever the file."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from layerwise import cli
from layerwise import rows as budget
from layerwise.data import Dataset, Row, load
from layerwise.data.columns import COMMON, Column, ColumnsRow, days
from layerwise.data.frames import frame
from layerwise.data.labels import hold_out
from layerwise.data.layout import Columns
from layerwise.data.tables import read_adult, read_covtype, read_letter

pandas = pytest.importorskip("pandas")

HOLES = ("", "?", "NA", "n/a", "NaN", "null", "None")
HEADER = ("age", "work", "since", "hours", "kind")


def people(rows: int = 60, seed: int = 0) -> list[list[str]]:
    """Lines of `HEADER`: a number, a category with holes, a date, a number with holes, and labels."""
    random = np.random.RandomState(seed)
    work = ["farm", "office", "sea", *HOLES[:2]]
    return [
        [
            str(random.randint(20, 60)),
            work[random.randint(5)],
            str(np.datetime64("2020-01-01") + random.randint(900)),
            f"{random.rand():.3f}" if random.rand() < 0.8 else HOLES[random.randint(len(HOLES))],
            "no" if random.rand() < 0.5 else "yes",
        ]
        for _ in range(rows)
    ]


def write(path: Path, lines: list[list[str]], header: tuple[str, ...] = HEADER, by: str = ",") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=by).writerows([header, *lines] if header else lines)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def refused(call: Callable[[], object], *words: str) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"
    return str(caught.value)


def same(one: Dataset, other: Dataset) -> None:
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.matrix(), other.matrix())
    np.testing.assert_array_equal(one.y, other.y)  # type: ignore[arg-type]
    assert (one.row, one.classes, one.note) == (other.row, other.classes, other.note)


def columns_of(data: Dataset) -> tuple[Column, ...]:
    assert isinstance(data.row, ColumnsRow)
    return data.row.columns


# Laws


def test_what_is_stored_is_what_was_written(tmp_path: Path) -> None:
    lines = people()
    data = load(write(tmp_path / "a.csv", lines), "all", label="kind")
    work = columns_of(data)[1].categories
    assert work == ("farm", "office", "sea") and data.x.dtype == np.float64 and data.classes == ("no", "yes")
    for stored, (age, job, since, hours, _) in zip(data.x, lines, strict=True):
        assert stored[0] == float(age)
        assert np.isnan(stored[1]) if job in HOLES else work[int(stored[1])] == job
        assert stored[2] == (np.datetime64(since) - np.datetime64("1970-01-01")).astype(int)
        assert np.isnan(stored[3]) if hours in HOLES else stored[3] == float(hours)


def test_features_of_training_rows_obey_their_laws(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", people(500)), "train", label="kind")
    x, names = data.matrix(), data.row.names
    assert x.dtype == np.float32 and x.shape == (len(data), data.row.size) and names == (
        "age", "work=farm", "work=office", "work=sea", "work missing", "since", "hours", "hours missing",
    )  # fmt: skip
    numbers = [names.index(name) for name in ("age", "since", "hours")]
    np.testing.assert_allclose(x[:, numbers].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(x[:, numbers].std(0), 1, atol=1e-5)
    np.testing.assert_array_equal(x[:, 1:5].sum(1), 1)
    np.testing.assert_array_equal(x[:, 7], np.isnan(data.x[:, 3]))
    middle = (np.nanmedian(data.x[:, 3]) - columns_of(data)[3].mean) / columns_of(data)[3].spread
    np.testing.assert_allclose(x[x[:, 7] == 1, 6], middle, rtol=1e-6)


def slow_features(row: ColumnsRow, stored: np.ndarray) -> list[list[float]]:
    """The features, one value at a time."""
    found = []
    for values in stored.tolist():
        features: list[float] = []
        for value, column in zip(values, row.used, strict=True):
            hole = value != value
            if column.type != "category":
                features.append(((column.fill if hole else value) - column.mean) / column.spread)
            else:
                features += [float(not hole and value == index) for index in column.kept]
                features += [float(not hole and value in column.rare)] * bool(column.rare)
            features += [float(hole)] * column.missing
        found.append(features)
    return found


def test_a_column_that_hardly_varies_stays_finite() -> None:
    stored = np.array([[1e-45], [0.0], [1.0], [1e6]], np.float32)
    row = ColumnsRow.of([Column("a", "number")]).fitted(stored[:2])
    assert np.isfinite(row.scale(stored)).all()


@given(st.data())
def test_scaling_matches_one_value_at_a_time(draw: st.DataObject) -> None:
    hole, n = st.just(float("nan")), draw.draw(st.integers(1, 12))
    number = st.lists(hole | st.floats(-1e6, 1e6, width=32), min_size=n, max_size=n)
    code = st.lists(hole | st.integers(-1, 3).map(float), min_size=n, max_size=n)
    stored = np.array([draw.draw(each) for each in (number, code, number, code)]).T
    kinds = [Column("a", "number"), Column("b", "category", tuple("wxyz")), Column("c", "leave out"),
             Column("d", "date"), Column("e", "category", tuple("wxyz"))]  # fmt: skip
    learned = ColumnsRow.of(kinds).fitted(stored[: n // 2 + 1])
    with warnings.catch_warnings(action="ignore"):
        np.testing.assert_allclose(learned.scale(stored), slow_features(learned, stored), rtol=1e-5, atol=1e-5)
    assert learned.fitted(stored[: n // 2 + 1]) == learned  # fitting once more changes nothing
    assert Row.from_dict(json.loads(json.dumps(learned.to_dict()))) == learned


def test_other_test_rows_change_nothing(tmp_path: Path) -> None:
    lines = people(100)
    before = load(write(tmp_path / "a.csv", lines), "train", label="kind")
    y = load(tmp_path / "a.csv", "all", label="kind").y
    held = np.flatnonzero(hold_out(y, 100, 0.2, 0))  # by the labels, which stay as they are
    changed = [["999", "1 moon", "1900-01-01", "", line[4]] if at in held else line for at, line in enumerate(lines)]
    after = load(write(tmp_path / "b.csv", changed), "train", label="kind")
    assert after.row.names == before.row.names
    np.testing.assert_array_equal(after.matrix(), before.matrix())
    with pytest.warns(UserWarning, match=r"'work': 20 of 20 rows have '1 moon', which no training row has"):
        strange = load(tmp_path / "b.csv", "test", label="kind").matrix()
    assert not strange[:, 1:5].any()


def write_parquet(path: Path, df: Any) -> Path:
    pytest.importorskip("pyarrow")
    df.to_parquet(path)
    return path


@pytest.mark.parametrize("plain", [False, True])
def test_csv_parquet_and_frame_are_the_same_data(plain: bool, tmp_path: Path) -> None:
    lines = [[line[0], str(index), line[4]] for index, line in enumerate(people())] if plain else people()
    header = ("age", "number", "kind") if plain else HEADER
    path = write(tmp_path / "a.csv", lines, header)
    df = pandas.read_csv(path, na_values=HOLES, parse_dates=[] if plain else ["since"])
    for part in ("train", "test", "all"):
        expected = load(path, part, label="kind")  # type: ignore[arg-type]
        assert (type(expected.row) is Row) == plain
        same(expected, load(df, part, label="kind"))  # type: ignore[arg-type]
        same(expected, load(df.astype(object), part, label="kind"))  # type: ignore[arg-type]
        same(expected, load(write_parquet(tmp_path / "a.parquet", df), part, label="kind"))  # type: ignore[arg-type]
    same(load(path, "all", label="kind"), frame(df, label="kind"))


@pytest.mark.parametrize("header", [HEADER, ()], ids=["names", "no names"])
def test_reading_like_the_original_gives_the_original(header: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [[*line[:4], str(index), line[4]] for index, line in enumerate(people())],
                 (*header[:4], "id", "kind") if header else ())  # fmt: skip
    how: dict[str, Any] = {"label": -1, "types": {"5": "leave out"}}
    train, test, whole = (load(path, part, **how) for part in ("train", "test", "all"))
    assert [column.type for column in columns_of(train)] == ["number", "category", "date", "number", "leave out"]
    row = Row.from_dict(json.loads(json.dumps(train.row.to_dict())))
    again = load(path, "test", **how, like=row)
    np.testing.assert_array_equal(again.matrix(), test.matrix())
    np.testing.assert_array_equal(again.y, test.y)  # type: ignore[arg-type]
    assert again.row == row
    # Without labels, with more columns in another order, as one row.
    lines = [line[:-1] for line in csv.reader(path.open())]
    bare = load(write(tmp_path / "bare.csv", lines, ()), "all", label=-1, like=row)
    np.testing.assert_array_equal(bare.matrix(), train.row.scale(whole.x))
    assert bare.y is None
    if header:
        mixed = [["more", *reversed(line)] for line in lines]
        other = load(write(tmp_path / "mixed.csv", mixed, ()), "all", like=row)
        np.testing.assert_array_equal(other.matrix(), bare.matrix())
        one = load(write(tmp_path / "one.csv", lines[:2], ()), "all", like=row)
        np.testing.assert_array_equal(one.matrix(), bare.matrix()[:1])
        same_frame = frame(pandas.read_csv(tmp_path / "mixed.csv", keep_default_na=False), like=row)
        np.testing.assert_array_equal(same_frame.matrix(), bare.matrix())


def test_a_plain_table_is_left_as_it_is(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", "id,a,b,y\nx1,1,2,p\nx2,3,4,q\n")
    data = load(path, "all", types={"id": "leave out"})
    assert data.row == Row("table", (2,), names=("a", "b")) and data.matrix().tolist() == [[1, 2], [3, 4]]
    assert "left out: 'id'" in data.note
    again = load(path, "all", like=data.row)
    assert again.row == data.row and again.x.tolist() == [[1, 2], [3, 4]] and again.classes == ("p", "q")
    assert load(text(tmp_path / "b.csv", "b,c,a\n2,z,1\n"), "all", like=data.row).x.tolist() == [[1, 2]]


# Types


@pytest.mark.parametrize(
    "cells, kind",
    [
        (["1", "2.5", "-3e2", "", "0x"[:1]], "number"),
        (["1", "2", "3+"], "category"),
        (["red", "blue", "?"], "category"),
        (["True", "False", "True"], "category"),
        (["2020-01-31", "2021-12-01", ""], "date"),
        (["31.01.2020", "1.2.2021"], "date"),
        (["1/31/2020", "2/1/2021 10:30"], "date"),
        (["2020-01-31T10:00:00Z", "2020-01-31T10:00:00+02:00"], "date"),
        ([f"{number} words" for number in range(50)], "leave out"),
        ([f"{number} words" for number in range(20)], "category"),
        ([f"{number % 25} words" for number in range(50)], "category"),
        (["", "?", "NA"], "leave out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_types_are_guessed(cells: list[str], kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [[cell, "x"] for cell in cells], ("first", "second"))
    data = load(path, "all", types={"second": "category"})
    assert columns_of(data)[0].type == kind
    assert ("left out: 'first', which holds" in data.note) == (kind == "leave out")


def test_what_was_guessed_is_said(tmp_path: Path) -> None:
    lines = [[*line, f"n{index}"] for index, line in enumerate(people(200))]
    data = load(write(tmp_path / "a.csv", lines, (*HEADER, "name")), "all", label="kind")
    jobs, hours = (sum(line[at] in HOLES for line in lines) for at in (1, 3))
    assert data.note == (
        "labels from column 5 ('kind'); 2 numbers, 1 category, 1 date; left out: 'name', which holds 200 different texts in "
        f"200 rows (free text is read with text=...); missing in 'work' ({jobs}), 'hours' ({hours})"
    )
    assert data.describe().startswith("a.csv: 200 rows of 4 columns (8 features), 2 classes, all labelled")
    wide = load(write(tmp_path / "b.csv", [["", *"a" * 9], ["1", *[""] * 9]], tuple("abcdefghij")), "all")
    assert "and 6 more" in wide.note and len(wide.note) < 120


def test_types_may_be_given(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", "zip,day,n,y\n007,1,5,p\n7,2,6,q\n007,1,7,q\n")
    data = load(path, "all", types={"zip": "category", "2": "category", "n": "leave out"})
    assert [column.categories for column in columns_of(data)] == [("007", "7"), ("1", "2"), ()]
    assert data.x.tolist() == [[0, 0], [1, 1], [0, 0]]
    df = pandas.DataFrame({"a": [1.0, 2.5, None], "b": pandas.Categorical([10, 9, 10]), "c": [True, False, True]})
    data = frame(df, types={"a": "category"})
    assert [column.categories for column in columns_of(data)] == [("1", "2.5"), ("9", "10"), ("False", "True")]


def test_numbers_and_later_texts_of_one_column_are_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.data.tables.LINES", 2)
    path = text(tmp_path / "a.csv", "a,b\n" + "3,1\n4.5,2\n,3\n,4\n" + "x,5\n3,6\n")
    data = load(path, "all")
    assert columns_of(data)[0].categories == ("3", "4.5", "x")
    np.testing.assert_array_equal(data.x[:, 0], [0, 1, np.nan, np.nan, 2, 0])


def test_rare_categories_share_a_feature() -> None:
    stored = np.array([index for index in range(COMMON + 7) for _ in range(1 + (index < 60))], float)[:, None]
    row = ColumnsRow.of([Column("a", "category", tuple(f"c{index}" for index in range(100)))]).fitted(stored)
    assert row.size == COMMON + 1 and row.names[-1] == "a other"
    x = row.scale(stored)
    np.testing.assert_array_equal(x.sum(1), 1)
    assert x[:, -1].sum() == sum(1 + (index < 60) for index in range(COMMON, COMMON + 7))


@pytest.mark.parametrize(
    "date, expected",
    [
        ("1970-01-01", 0), ("1970-1-2", 1), ("1969/12/31", -1), ("3.1.1970", 2), ("1/3/1970", 2),
        ("1970-01-01 06:00", 0.25), ("1970-01-01T12:00:00.123", 0.5), ("1970-01-01T12:00:00Z", 0.5),
        ("1970-01-01T12:00:00+06:00", 0.25), ("1970-02-31", None), ("1970", None), ("soon", None), ("", None),
    ],
)  # fmt: skip
def test_dates_are_days(date: str, expected: float | None) -> None:
    np.testing.assert_array_equal(days([date]), [np.nan if expected is None else expected])


def test_day_or_month_first_is_decided_by_the_column() -> None:
    assert days(["3/1/1970", "13/1/1970"]).tolist() == [2, 12] and days(["1/3/1970", "1/13/1970"]).tolist() == [2, 12]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_moments_of_pandas_are_days(zone: str | None) -> None:
    moments = pandas.to_datetime(pandas.Series(["1970-01-02 12:00", None, "1970-01-03 00:00"])).dt.tz_localize(zone)
    shift = 0 if zone is None else 1 / 24
    x = frame(pandas.DataFrame({"a": moments, "b": pandas.to_timedelta([1, 2, None], unit="D")})).x
    np.testing.assert_allclose(x, [[1.5 - shift, 1], [np.nan, 2], [2 - shift, np.nan]])


# Labels and categories that are strange


@pytest.mark.parametrize("hole", ["", "?", "NA", "nan", "null"])
def test_a_row_may_have_no_label(hole: str, tmp_path: Path) -> None:
    data = load(text(tmp_path / "a.csv", f"a,y\n1,none\n2,{hole}\n3,b\n"), "all")
    assert data.y is not None and data.y.tolist() == [1, -1, 0] and data.classes == ("b", "none")


@pytest.mark.parametrize(
    "labels, classes",
    [
        ([1, 0, 1], ("0", "1")),
        ([2.0, None, 10.0], ("2", "10")),
        ([True, False, None], ("False", "True")),
        (["b", "?", "a"], ("a", "b")),
    ],
)
def test_labels_of_a_frame(labels: list[Any], classes: tuple[str, ...]) -> None:
    data = frame(pandas.DataFrame({"a": [1, 2, 3], "y": labels}))
    assert data.classes == classes and data.x.tolist() == [[1], [2], [3]]
    assert data.y is not None and [label == -1 for label in data.y] == [label in (None, "?") for label in labels]


def test_an_unseen_category_is_told_once_and_is_all_zeros(tmp_path: Path) -> None:
    row = load(write(tmp_path / "a.csv", people()), "all", label="kind").row
    lines = [["30", "moon", "2020-01-01", "1", "no"], ["30", "farm", "2020-01-01", "1", "no"]]
    with pytest.warns(UserWarning) as told:
        data = load(write(tmp_path / "b.csv", lines), "all", label="kind", like=row)
        x = data.matrix()
        data.matrix([0])
    assert [str(each.message) for each in told] == [
        "Column 'work': 1 of 2 rows has 'moon', which no training row has. All its features are 0 there; if that matters, let "
        "the model learn from rows like these."
    ]
    assert x[:, 1:5].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]] and data.x[0, 1] == -1


def test_holes_where_training_rows_have_none_are_filled() -> None:
    train = frame(pandas.DataFrame({"a": [1.0, 2.0, 6.0], "b": ["x", "y", "x"]}))
    new = frame(pandas.DataFrame({"a": [None], "b": [None]}), like=train.row).matrix()
    assert train.row.names == ("a", "b=x", "b=y")
    np.testing.assert_allclose(new, [[-1 / np.std([1, 2, 6]), 0, 0]], rtol=1e-6)


# Larger than memory


@pytest.mark.parametrize("plain", [True, False])
def test_large_parquet_stays_on_disk(plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    random = np.random.RandomState(0)
    df = pandas.DataFrame(random.randn(1000, 5).astype(np.float32), columns=list("abcde"))
    df["n"], df["kind"] = random.randint(0, 9, 1000), np.where(df["a"] > 0, "up", "down")
    if not plain:
        df["word"] = np.array(["x", "y", None])[random.randint(3, size=1000)]
        df.loc[5, "b"] = np.nan
    df.index = pandas.Index(range(1000), name="index")
    df.to_parquet(tmp_path / "a.parquet", row_group_size=64)
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 16
    small = load(tmp_path / "a.parquet", "all", label="kind")
    assert not isinstance(small.x, np.memmap)
    monkeypatch.setattr(budget, "MEMORY", 1000)
    monkeypatch.setattr("layerwise.data.frames.BLOCK", 100)
    large = load(tmp_path / "a.parquet", "all", label="kind")
    assert isinstance(large.x, np.memmap) and isinstance(load(tmp_path / "a.parquet", label="kind").x, np.memmap)
    same(small, large)
    df.loc[777, "c"] = np.inf
    df.to_parquet(tmp_path / "b.parquet")
    refused(lambda: load(tmp_path / "b.parquet"), "row 777", "column 3 ('c')", "inf")


def test_what_was_read_of_a_large_parquet_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    df = pandas.DataFrame(np.random.RandomState(0).randn(60_000, 10).astype(np.float32), columns=list("abcdefghij"))
    df.to_parquet(tmp_path / "a.parquet", row_group_size=1000)
    monkeypatch.setattr(budget, "MEMORY", 1000)
    monkeypatch.setattr("layerwise.data.frames.BLOCK", 1000)
    before, held = pyarrow.total_allocated_bytes(), list[int]()

    def add(self: Columns, blocks: Any) -> None:
        held.append(pyarrow.total_allocated_bytes() - before)
        plain(self, blocks)

    plain = Columns.add
    monkeypatch.setattr(Columns, "add", add)
    assert len(load(tmp_path / "a.parquet", "all")) == 60_000
    assert len(held) >= 60 and max(held) < (tmp_path / "a.parquet").stat().st_size / 4


def test_a_large_csv_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    mixed = [str(number % 9) if number < 500 else "pqr"[number % 3] for number in range(900)]
    lines = [f"{random.randn():.3f},{'xyz'[at % 3]},{each},{'ab'[at % 2]}" for at, each in enumerate(mixed)]
    lines[500] = "?,,,b"
    path = text(tmp_path / "a.csv", "a,work,mixed,class\n" + "\n".join(lines) + "\n")
    small = load(path, "all"), load(path)
    monkeypatch.setattr(budget, "MEMORY", 3000)
    monkeypatch.setattr("layerwise.data.tables.LINES", 64)
    monkeypatch.setattr("layerwise.data.layout.BLOCK", 128)
    for one, other in zip(small, (load(path, "all"), load(path)), strict=True):
        assert isinstance(other.x, np.memmap) and not isinstance(one.x, np.memmap)
        same(one, other)
    assert small[0].row.names[-13:] == (*tuple(f"mixed={each}" for each in [*"012345678", *"pqr"]), "mixed missing")


def test_columns_of_endless_texts_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("columns", "layout"):
        monkeypatch.setattr(f"layerwise.data.{module}.MANY", 100)
    monkeypatch.setattr("layerwise.data.tables.LINES", 64)
    lines = [f"id{number},{number % 7},{'ab'[number % 2]}" for number in range(300)]
    path = text(tmp_path / "a.csv", "id,n,class\n" + "\n".join(lines) + "\n")
    data = load(path, "all")
    assert data.row.names == ("n",) and "holds more than 100 different texts" in data.note
    refused(lambda: load(path, types={"id": "category"}), "'id'", "more than 100 different texts")
    refused(lambda: load(path, label="id"), "'id'", "more than 100 different labels")


def test_a_median_of_very_many_rows_is_that_of_evenly_spaced_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.RandomState(0).randn(5000, 1)
    values[7] = np.nan
    monkeypatch.setattr(budget, "BLOCK", 800)  # a hundred rows
    exact, sampled = [], []
    for found, sample in ((exact, 5000), (sampled, 1000)):
        monkeypatch.setattr("layerwise.data.columns.SAMPLE", sample)
        found.append(ColumnsRow.of([Column("a", "number")]).fitted(values).columns[0])
    assert exact[0].fill == np.nanmedian(values)
    assert sampled[0].fill == np.nanmedian(values[::5])
    filled = np.where(np.isnan(values), sampled[0].fill, values)
    np.testing.assert_allclose([sampled[0].mean, sampled[0].spread], [filled.mean(), filled.std()])


# What cannot be read


MANY = "".join(f"{number},x\n" for number in range(50))


@pytest.mark.parametrize(
    "content, how, words",
    [
        ("a,b\n" + MANY + "12a,x\n", {}, ["line 52", "column 1 ('a')", "'12a'", "types={'a': 'category'}"]),
        (MANY + "12a,x\n12b,x\n", {}, ["line 51", "column 1", "'12a'", "1 more", "types={'1': 'category'}"]),
        ("a,b\n" + MANY + "1e999,x\n", {}, ["line 52", "'1e999'", "finite"]),
        ("a\n" + "2020-01-01\n" * 20 + "soon\n", {}, ["line 22", "'soon'", "not a date"]),
        ("a,b\nred,1\n", {"types": {"a": "number"}}, ["line 2", "'red'", "not a finite number"]),
        ("a,b\n5,1\n", {"types": {"a": "date"}}, ["line 2", "'5'", "not a date"]),
        ("a,b\n5,1\n", {"types": {"c": "number"}}, ["no column 'c'", "a, b"]),
        ("5,1\n", {"types": {"3": "number"}}, ["no column '3'", "1, 2"]),
        ("a,b\n5,1\n", {"types": {"a": "text"}}, ["'text'", "'category'"]),
        ("a,y\n5,1\n", {"types": {"y": "number"}}, ["no column 'y'"]),
        ("a,b\n5,1\n", {"types": {"a": "leave out", "b": "leave out"}}, ["no column is left", "'a'; 'b'"]),
        ("a,b\nx,1\n3\n", {}, ["line 3", "1 cells"]),
        ("a,y\nx,0.5\n", {}, ["line 2", "fraction 0.5"]),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_csv_that_cannot_be_read_names_the_place(
    content: str, how: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    refused(lambda: load(text(tmp_path / "a.csv", content), "all", **how), "a.csv", *words)


@pytest.mark.parametrize(
    "content, words",
    [
        ("age,work,since\n3,farm,2020-01-01\n", ["lacks the column 'hours', ", "age, work, since"]),
        ("age\n3\n", ["lacks the column 'work' (and 2 more)"]),
        ("age,work,since,hours\n\n3,farm,2020-01-01,many\n", ["line 3", "column 4 ('hours')", "'many'", "mend"]),
        ("age,work,since,hours\n3,farm,soon,1\n", ["line 2", "'soon'", "not a date"]),
        ("1,2,3\n", ["3 columns", "4 columns"]),
        ("1,2,3,4,5,6\n", ["6 columns", "4 columns"]),
    ],
)
def test_a_table_that_is_not_like_the_original(content: str, words: list[str], tmp_path: Path) -> None:
    row = load(write(tmp_path / "a.csv", people()), label="kind").row
    refused(lambda: load(text(tmp_path / "b.csv", content), "all", like=row), "b.csv", *words)


def test_a_model_of_a_whole_table_refuses_holes(tmp_path: Path) -> None:
    row = Row("table", (2,), names=("a", "b"))
    refused(lambda: load(text(tmp_path / "a.csv", "a,b\n1,2\n1,?\n"), "all", like=row), "line 3", "'b'", "fill")
    refused(lambda: load(text(tmp_path / "a.csv", "a,b\n1,2\n1,x\n"), "all", like=row), "line 3", "'b'", "'x'")
    refused(lambda: frame(pandas.DataFrame({"a": [1, 2], "b": [1, None]}), like=row), "row 1", "'b'", "fill")


@pytest.mark.parametrize(
    "made, how, words",
    [
        ({"a": [1.0, np.inf]}, {}, ["row 1 (from 0)", "column 1 ('a')", "inf"]),
        ({"a": [1.0, 2.0]}, {"types": {"a": "date"}}, ["row 0", "not a date"]),
        ({"a": [1.0, 2.0]}, {"label": "b"}, ["'b'"]),
        ({"y": [1.0, 2.0]}, {}, ["besides the labels"]),
        ({"a": [1, 2], "y": [0.5, 1]}, {}, ["row 0", "0.5"]),
        ({"a": []}, {}, ["no rows"]),
        ({"a": [[1], [2]]}, {"types": {"a": "number"}}, ["'[1]'"]),
        ({"a": [1j, 2]}, {}, ["complex"]),
    ],
    ids=str,
)
def test_frames_that_cannot_be_read(made: dict[str, Any], how: dict[str, Any], words: list[str]) -> None:
    refused(lambda: frame(pandas.DataFrame(made), **how), "DataFrame", *words)


def test_options_of_other_kinds_are_refused_for_a_frame() -> None:
    refused(lambda: load(pandas.DataFrame({"a": [1, 2]}), size=(2, 2)), "this frame is not a folder of pictures")


def test_parquet_that_is_none_and_parquet_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    refused(lambda: load(text(tmp_path / "a.parquet", "PAR1 and so on")), "a.parquet", "intact")
    path = write_parquet(tmp_path / "b.parquet", pandas.DataFrame({"a": [1, 2]}))
    path.write_bytes(path.read_bytes()[:-9])
    refused(lambda: load(path), "b.parquet", "intact")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    refused(lambda: load(path), "b.parquet", "pip install 'layerwise[tables]'")


# A model


def test_a_model_learns_from_a_mixed_table_and_answers_for_new_rows(tmp_path: Path) -> None:
    def lw(*asked: object) -> str:
        told = CliRunner().invoke(cli.cli, list(map(str, asked)))
        assert told.exit_code == 0, told.output
        return told.stdout

    lines = [[line[0], line[1], line[2], line[3], "yes" if line[1] == "sea" else "no"] for line in people(200)]
    run = tmp_path / "run"
    lw(
        "train",
        write(tmp_path / "a.csv", lines),
        "--label",
        "kind",
        "--model",
        "sae",
        "--layers",
        8,
        "-q",
        "--out",
        run,
    )
    write(tmp_path / "new.csv", [line[3::-1] for line in lines], HEADER[3::-1])  # other order, no labels
    answers = list(csv.DictReader(lw("predict", run, tmp_path / "new.csv").splitlines()))
    right = [answer["prediction"] == line[4] for answer, line in zip(answers, lines, strict=True)]
    assert np.mean(right) > 0.9
    lw("explain", run, "--out", tmp_path / "report")
    write(tmp_path / "cut.csv", [line[:3] for line in lines], HEADER[:3])
    told = CliRunner().invoke(cli.cli, ["predict", str(run), str(tmp_path / "cut.csv")])
    assert told.exit_code == 2 and "lacks the column 'hours'" in " ".join(told.output.split())


# Known sets


def folder(name: str) -> Path:
    found = Path(os.environ.get("LAYERWISE_DATA", "")) / name
    if "LAYERWISE_DATA" not in os.environ or not found.is_dir():
        pytest.skip(f"LAYERWISE_DATA is not a folder with {name}")
    return found


def test_adult_is_mixed_and_has_its_own_split() -> None:
    train, test = read_adult(folder("adult"))
    assert (len(train), len(test)) == (32561, 16281) and train.classes == test.classes == ("<=50K", ">50K")
    assert train.row == test.row and columns_of(train)[8].name == "race" and columns_of(train)[1].missing
    assert train.labelled == 32561 and train.y is not None and round(train.y.mean(), 3) == 0.241
    assert "6 numbers, 8 categories" in train.note and "'workclass' (2799)" in train.note
    assert train.row.fitted(train.x) == train.row and not np.isnan(test.matrix()).any()
    again = read_adult(folder("adult"), like=train.row)[1]
    np.testing.assert_array_equal(again.matrix(), test.matrix())


@pytest.mark.parametrize(
    "read, name, rows, columns, classes",
    [(read_letter, "letter", (16000, 4000), 16, 26), (read_covtype, "covtype20k", (15000, 5000), 54, 7)],
)
def test_letter_and_covtype_are_plain(
    read: Callable[[Path], Any], name: str, rows: tuple[int, int], columns: int, classes: int
) -> None:
    both = read(folder(name))
    assert tuple(map(len, both)) == rows
    for part in both:
        assert type(part.row) is Row and part.row.shape == (columns,) and len(part.row.names) == columns
        assert len(part.classes) == classes and part.labelled == len(part) and "fixed split" in part.note
