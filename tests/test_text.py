"""Text becomes the numbers that a second opinion gives, learned from training rows only, and comes back as text."""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from layerwise.data import Row, cache_folder, load
from layerwise.data.text import read_ag_news, read_tinyshakespeare
from layerwise.data.tokens import TextRow

FORMS = ["tfidf", "counts", "characters", "words", "subwords"]
ORDERED = FORMS[2:]
TEXTS = [
    "The cat sat on the mat.",
    "The dog sat on the log!",
    "A cat and a dog, on a mat; naïve café",
    "Cats and dogs do not sit on logs.",
    "On and on: the cat, the dog, the mat, the log.",
    "Grüße an die Katze 猫",
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline="")
    return path


def folder_of(path: Path, classes: dict[str, list[str]]) -> Path:
    for name, texts in classes.items():
        for index, text in enumerate(texts):
            write(path / name / f"{index}.txt", text)
    return path


def refused(call: Callable[[], object], *words: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def learned(form: str, **how: Any) -> TextRow:
    if form == "subwords":
        pytest.importorskip("tokenizers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TextRow(form=form, **how).fitted(TEXTS)


def saved_and_back(row: Row) -> Row:
    return Row.from_dict(json.loads(json.dumps(row.to_dict())))


# What a row is


def test_tfidf_is_that_of_scikit_learn() -> None:
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=5000).fit(TEXTS)
    row = learned("tfidf")
    assert row.names == tuple(theirs.get_feature_names_out())
    np.testing.assert_allclose(row.scale(TEXTS[:5]), theirs.transform(TEXTS[:5]).toarray(), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(row.scale(TEXTS[:5]), axis=1), 1, rtol=1e-6)


def test_counts_are_those_of_scikit_learn() -> None:
    theirs = CountVectorizer(min_df=2).fit(TEXTS)
    row = learned("counts")
    assert row.names == tuple(theirs.get_feature_names_out())
    np.testing.assert_array_equal(row.scale(TEXTS[:5]), theirs.transform(TEXTS[:5]).toarray())


@pytest.mark.parametrize("form", FORMS)
def test_a_row_survives_json_and_gives_the_same_numbers(form: str) -> None:
    row = learned(form)
    back = saved_and_back(row)
    assert back == row
    for other in (back, copy.deepcopy(row), pickle.loads(pickle.dumps(row))):
        np.testing.assert_array_equal(other.scale(TEXTS[:5]), row.scale(TEXTS[:5]))
    assert saved_and_back(TextRow(form=form)) == TextRow(form=form)


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_float32_of_the_size_and_one_at_a_time_as_together(form: str) -> None:
    row = learned(form)
    together = row.scale(TEXTS[:5])
    assert together.dtype == np.float32 and together.shape == (5, row.size)
    np.testing.assert_array_equal(np.concatenate([row.scale(each) for each in TEXTS[:5]]), together)
    np.testing.assert_array_equal(row.scale(np.array(TEXTS[:5])[:, None]), together)
    assert row.scale([]).shape == (0, row.size)


@pytest.mark.parametrize("form", FORMS)
def test_who_has_learned_learns_no_more(form: str) -> None:
    row = learned(form)
    assert row.fitted(np.array(["quite other words"] * 3, dtype=object)) is row


@pytest.mark.parametrize("form", ["characters", "subwords"])
def test_ids_come_back_as_the_same_text(form: str) -> None:
    row = learned(form, length=80)
    assert [row.text(ids) for ids in row.scale(TEXTS)] == TEXTS


def test_subwords_of_unseen_characters_come_back() -> None:
    row = learned("subwords", length=80)
    for text in ("Ω [PAD] <unk> [UNK]\n  two  spaces", "x"):
        assert row.text(row.scale([text])) == text


def test_words_come_back_in_lower_case_and_apart() -> None:
    row = TextRow(form="words").fitted(["The cat. The dog!", "the CAT! the dog."])
    assert row.text(row.scale(["The cat? The dog."])) == "the cat � the dog ."


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_characters_come_back(texts: list[str]) -> None:
    row = TextRow(form="characters", length=12).fitted(texts)
    assert [row.text(ids) for ids in row.scale(texts)] == texts


@pytest.mark.parametrize("form", ORDERED)
def test_padding_is_at_the_end_and_what_is_longer_is_cut(form: str) -> None:
    row, longer = learned(form, length=3), learned(form, length=50)
    ids = longer.scale(TEXTS[:5])
    np.testing.assert_array_equal(row.scale(TEXTS[:5]), ids[:, :3])
    lengths = (ids > 0).sum(1)
    assert all((each[:length] > 0).all() and (each[length:] == 0).all() for each, length in zip(ids, lengths))
    assert ids.max() < longer.ids == 2 + len(longer.vocabulary)
    np.testing.assert_array_equal(ids, np.rint(ids))


def test_unknown_is_one() -> None:
    row = TextRow(form="characters").fitted(["ab"])
    assert row.scale(["aXb"]).tolist() == [[2, 1]]
    assert row.text([2, 1, 0]) == "a�"


def test_the_length_fits_95_percent_within_a_limit() -> None:
    assert TextRow(form="characters").fitted(["a" * n for n in range(1, 101)]).shape == (96,)
    assert TextRow(form="characters").fitted(["a" * 3000]).shape == (1000,)
    assert TextRow(form="words").fitted(["a " * 3000]).shape == (200,)
    assert TextRow(form="words", length=7).fitted(["a " * 3000]).shape == (7,)


def test_no_more_terms_than_asked_for() -> None:
    assert learned("tfidf", terms=4).size == 4
    row = TextRow(form="words", terms=2).fitted(["a b c", "a b", "a b"])
    assert row.vocabulary == ("a", "b")


def test_words_in_one_text_count_only_when_there_are_no_others() -> None:
    assert TextRow(form="counts").fitted(["one two", "two three"]).names == ("two",)
    assert TextRow(form="counts").fitted(["one two", "three"]).names == ("one", "three", "two")


def test_the_strongest_terms_are_shown_first() -> None:
    row = TextRow(form="counts").fitted(["aa bb cc"])
    assert row.shown([1, -3, 0]) == [("bb", -3.0), ("aa", 1.0)]
    assert row.shown([1, -3, 2], count=1) == [("bb", -3.0)]


def test_words_for_people() -> None:
    assert TextRow().words(3) == "3 texts"
    row = learned("tfidf")
    assert row.words(6000) == f"6000 texts, TF-IDF of {row.size} terms"
    assert learned("characters", length=120).words(7) == "7 texts of up to 120 characters"


def test_what_a_row_cannot_be_or_show_is_refused() -> None:
    refused(lambda: TextRow(form="letters"), "'letters'", "'characters'")
    refused(lambda: TextRow(form="characters", length=0), "at least 1", "0")
    refused(lambda: TextRow(length=5), "length=5", "form='characters'")
    refused(lambda: TextRow(terms=0), "At least 1")
    refused(lambda: TextRow().scale(["a"]), "fitted")
    refused(lambda: learned("tfidf").text([0]), "shown")
    refused(lambda: learned("characters").shown([0]), "text(values)")
    refused(lambda: learned("tfidf").shown([0]), "1 values came")
    row = learned("characters")
    for value in (-1, row.ids, np.nan):
        refused(lambda value=value: row.text([2, value]), f"0 to {row.ids - 1}")  # type: ignore[misc]
    refused(lambda: row.scale([None]), "None", "''")  # type: ignore[list-item]
    refused(lambda: row.scale([["a", "b"]]), "(1, 2)")
    refused(lambda: TextRow().fitted(["?", "!"]), "2 texts", "characters")
    refused(lambda: TextRow(form="characters").fitted([""]), "no characters")
    refused(lambda: row.picture([0]), "no picture")


@pytest.mark.parametrize("form", ["tfidf", "counts", "characters", "words"])
def test_texts_without_a_known_word_are_told_of_once(form: str) -> None:
    row = TextRow(form=form).fitted(["ab ba ab", "ab ba"])
    texts = ["ab", "XX", "YY", "XX", ""]
    with pytest.warns(UserWarning, match="4 of 5 texts hold no known") as caught:
        values = row.scale(texts)
    assert len(caught) == 1
    assert (values[1:] <= 1).all() and values[0].max() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row.scale(texts[1:])
        row.scale(["ab ab"])


def test_training_texts_without_a_known_word_are_told_of() -> None:
    with pytest.warns(UserWarning, match="1 of 3 texts .*'lonely'.*characters"):
        row = TextRow().fitted(["ab ba", "ab ba", "lonely"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row.scale(["lonely"])


def test_without_the_library_subwords_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(lambda: TextRow(form="subwords").fitted(TEXTS), "pip install 'layerwise[text]'", kind=ModuleNotFoundError)


# Files


def test_a_line_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufefffirst line\r\n\r\n  second\u2028line\t\r\nthird\rfourth\n \n")
    data = load(path, "all", form="characters")
    assert data.x.tolist() == ["first line", "second\u2028line", "third", "fourth"]
    assert data.y is None and data.row.stored == () and data.x.dtype == object
    assert "empty lines left out: 2" in data.note
    assert data.describe() == "a.txt: 4 texts of up to 11 characters, no labels (empty lines left out: 2)"


def test_packed_lines_are_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.txt", "\n".join(TEXTS))
    (tmp_path / "b.TXT.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert load(tmp_path / "b.TXT.gz", "all", form="characters").x.tolist() == TEXTS


def test_a_folder_has_a_class_for_each_sub_folder(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "set", {"cats": ["a cat\r\nsat", "cat two"], "dogs": ["a dog", " "], "unlabelled": ["a"]}
    )
    write(folder / "dogs" / "b.md", "dog two")
    (folder / "dogs" / "c.pdf").write_bytes(b"%PDF")
    data = load(folder, "all", form="words")
    assert data.x.tolist() == ["a cat\nsat", "cat two", "a dog", "dog two", "a"]
    assert data.classes == ("cats", "dogs")
    assert data.y is not None and data.y.tolist() == [0, 0, 1, 1, -1]
    assert "empty files left out: 1" in data.note and "no texts ignored: 1" in data.note


def test_a_zip_and_a_folder_of_its_own_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder_of(tmp_path / "set" / part, {"a": [f"{part} one", f"{part} two"], "b": [f"{part} three"]})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*.txt")):
            archive.write(file, file.relative_to(tmp_path))
    for path in (tmp_path / "set", tmp_path / "set.zip"):
        train, test = load(path, "train", form="counts"), load(path, "test", form="counts")
        assert train.x.tolist() == ["train one", "train two", "train three"]
        assert test.x.tolist() == ["test one", "test two", "test three"]
        assert train.row == test.row and train.row.names == ("train",)
        assert "own split" in train.note


@pytest.mark.parametrize("form", FORMS)
def test_only_training_rows_are_learned_from(form: str, tmp_path: Path) -> None:
    if form == "subwords":
        pytest.importorskip("tokenizers")
    folder_of(tmp_path / "train", {"a": ["aa bb", "bb aa"]})
    folder_of(tmp_path / "test", {"a": ["zz aa " * 30, "zz bb"]})
    train, test = load(tmp_path, "train", form=form), load(tmp_path, "test", form=form)
    assert train.row == test.row == TextRow(form=form).fitted(np.array(["aa bb", "bb aa"], dtype=object))
    assert not any("z" in each for each in train.row.names)
    np.testing.assert_array_equal(train.rows()[:2], train.matrix())


@pytest.mark.parametrize("form", ["tfidf", "characters", "words"])
def test_like_reads_as_the_original(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n".join(TEXTS * 3))
    train, test = load(path, form=form), load(path, "test", form=form)
    again = load(path, "test", like=saved_and_back(train.row))
    assert again.row == train.row
    np.testing.assert_array_equal(again.matrix(), test.matrix())
    short = load(write(tmp_path / "b.txt", "a"), "all", like=train.row, form=form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert short.matrix().shape == (1, train.row.size)
    refused(lambda: load(path, like=train.row, form="subwords"), "learned from texts with form", form)


def test_other_encodings_are_refused_with_the_place(tmp_path: Path) -> None:
    latin = write(tmp_path / "latin.txt", "plain\ncafé", "latin-1")
    refused(lambda: load(latin), str(latin), "byte 10", "0xE9", "line 2", "iconv")
    for encoding in ("utf-16", "utf-16-le"):
        wide = write(tmp_path / "wide.txt", "plain", encoding)
        refused(lambda wide=wide: load(wide), str(wide), "UTF-16")  # type: ignore[misc]
    table = write(tmp_path / "latin.csv", "text,label\n" + "plain,1\n" * 3000 + "café,1\n", "latin-1")
    refused(lambda: load(table, text="text"), str(table), "line 3002", "iconv")


def test_a_broken_file_stops_or_is_skipped(tmp_path: Path) -> None:
    folder_of(tmp_path / "set", {"a": ["good one", "good two"]})
    write(tmp_path / "set" / "a" / "latin.txt", "café", "latin-1")
    refused(lambda: load(tmp_path / "set"), "latin.txt", "0xE9", "broken='skip'")
    data = load(tmp_path / "set", "all", broken="skip")
    assert len(data) == 2 and "broken files skipped: 1 (latin.txt)" in data.note


def test_files_without_text_are_refused(tmp_path: Path) -> None:
    refused(lambda: load(write(tmp_path / "a.txt", "")), "empty")
    refused(lambda: load(write(tmp_path / "b.txt", " \n\n")), "no text")
    refused(lambda: load(folder_of(tmp_path / "set", {"a": [" "]})), "no text")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"text " * 100)[:-9])
    refused(lambda: load(tmp_path / "c.txt.gz"), "broken gzip")


def test_options_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo")
    refused(lambda: load(path, size=(8, 8)), "size", "pictures")
    refused(lambda: load(path, form="letters"), "'letters'")
    refused(lambda: load(path, form="words", length=0), "at least 1")
    refused(lambda: load(path, length=9), "form='characters'")
    refused(lambda: load("digits", form="words"), "form='words'", "not text")


# Columns of a table

TABLE = 'id,title,body,label\n1,One,"first, quoted",x\n2,Two,,y\n3,Three,third,x\n4,,,y\n5,Five,fifth,\n'


@pytest.mark.filterwarnings("ignore:.*hold no known")
@pytest.mark.parametrize("text", ["title,body", ["title", "body"], "2,3", [2, -2], ["title", 3]], ids=str)
def test_columns_are_joined(text: Any, tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", TABLE), "all", text=text, form="characters")
    assert data.x.tolist() == ["One first, quoted", "Two", "Three third", "", "Five fifth"]
    assert data.classes == ("x", "y") and data.y is not None and data.y.tolist() == [0, 1, 0, 1, -1]
    assert isinstance(data.row, TextRow) and data.row.columns == ("title", "body")
    for words in (
        "column 2 ('title'), column 3 ('body')",
        "labels from column 4 ('label')",
        "1 of 5 rows have no text",
    ):
        assert words in data.note


@pytest.mark.filterwarnings("ignore:.*hold no known")
def test_labels_are_chosen_as_in_other_tables(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "title\tgroup\ty\nOne\t1.0\ta\nTwo\t2.0\tb\nTwo\t1\tb\n")
    assert load(path, "all", text="title").classes == ("a", "b")
    assert load(path, "all", text="title", label="group").classes == ("1", "2")
    assert load(path, "all", text="title", label=-2).classes == ("1", "2")
    assert load(path, "all", text="title", label="").y is None
    assert load(path, "all", text=["title", "y"]).y is None
    refused(lambda: load(path, text="title", label="title"), "at once")
    refused(lambda: load(write(tmp_path / "b.csv", "a,b\nOne,1.5\n"), text="a", label="b"), "line 2", "1.5", "fraction")


def test_a_table_without_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '3,"One, two"\n4,"Three"\n')
    data = load(path, "all", text=2, label=1)  # type: ignore[arg-type]
    assert data.x.tolist() == ["One, two", "Three"] and data.classes == ("3", "4")
    assert isinstance(data.row, TextRow) and data.row.columns == ("2",)


@pytest.mark.filterwarnings("ignore:.*hold no known")
def test_a_model_finds_the_columns_it_learned_from(tmp_path: Path) -> None:
    row = load(write(tmp_path / "a.csv", TABLE), "all", text="title,body", form="counts").row
    other = write(tmp_path / "b.csv", "body,other,title\nfifth,x,One\n")
    assert load(other, "all", like=row).x.tolist() == ["One fifth"]
    refused(lambda: load(write(tmp_path / "c.csv", "body,other\na,b\n"), like=row), "'title'", "body, other")
    alone = TextRow(form="counts").fitted(["one", "two"])
    refused(lambda: load(other, like=alone), "which columns hold the text")


def test_tables_that_cannot_be_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", TABLE)
    refused(lambda: load(path, text="titel"), "'titel'", "id, title, body, label")
    refused(lambda: load(path, text="9"), "'9'", "from 1 to 4")
    refused(lambda: load(path, text=""), "which columns")
    refused(lambda: load(path, text="title", form="letters"), "'letters'")
    refused(lambda: load(write(tmp_path / "b.csv", "title,label\n"), text="title"), "no rows")
    refused(lambda: load(write(tmp_path / "c.csv", "title,label\na,b\na,b,c\n"), text="title"), "line 3", "3 cells")
    refused(lambda: load(write(tmp_path / "d.csv", 'title,label\n"' + "a" * 200000), text="title"), "quotation mark")
    refused(lambda: load(write(tmp_path / "e.txt", "one"), text="title"), "text=", "a table")


@pytest.mark.filterwarnings("ignore:.*hold no known")
def test_parquet_and_frames_are_as_csv(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from layerwise.data.text import read_text_table

    path = write(tmp_path / "a.csv", TABLE)
    frame = pandas.read_csv(path).rename(index=lambda at: f"row {at}")
    frame.to_parquet(tmp_path / "a.parquet")
    (theirs,) = read_text_table(path, "title,-2", form="words")
    for source in (frame, tmp_path / "a.parquet"):
        (ours,) = read_text_table(source, "title,-2", form="words")
        assert ours.x.tolist() == theirs.x.tolist() and ours.classes == theirs.classes and ours.row == theirs.row
        np.testing.assert_array_equal(ours.y, theirs.y)
        assert load(source, "all", text="body", form="words").x.tolist()[2] == "third"
    refused(lambda: read_text_table(write(tmp_path / "b.parquet", "no"), "a"), "not an intact Parquet file")


# Known sets


def of_known(name: str) -> Path:
    folder = cache_folder() / name
    if "LAYERWISE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"LAYERWISE_DATA is not a folder with {name}")
    return folder


def test_ag_news() -> None:
    train, test = read_ag_news(of_known("ag_news"))
    assert (len(train), len(test)) == (6000, 1600)
    assert train.classes == ("World", "Sports", "Business", "Sci/Tech")
    assert train.x[0].startswith("Fears for T N pension after talks Unions") and train.y is not None and train.y[0] == 2
    assert not any("\\" in text for text in train.x)
    assert "test part" in train.note and test.labelled == 1600
    row = train.row.fitted(train.x)
    assert row.words(6000) == "6000 texts, TF-IDF of 5000 terms"
    like, _ = read_ag_news(of_known("ag_news"), like=row)
    assert like.row is row


def test_tinyshakespeare() -> None:
    train, test = read_tinyshakespeare(of_known("tinyshakespeare"))
    whole = "".join([*train.x, *test.x])
    assert len(whole) == 1115394 and whole.startswith("First Citizen:\nBefore we proceed any further")
    assert {len(text) for text in train.x[:-1]} == {256} and sum(map(len, train.x)) == 1003854
    row = train.row.fitted(train.x)
    assert row.shape == (256,) and row.text(row.scale(train.x[1:2])) == train.x[1]
    short, _ = read_tinyshakespeare(of_known("tinyshakespeare"), length=100)
    assert len(short.x[0]) == 100
