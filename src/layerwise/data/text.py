"""Text: lines of a file, folders and zips of files, and columns of a table.

A data set keeps the texts themselves. `TextRow` makes numbers of them as they are asked for, by what it has learned from
training texts: weights of words without their order (TF-IDF, counts), or characters, words or subwords in their order.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt

from layerwise.data.arrays import Parts, Piece, unpacked
from layerwise.data.dataset import Dataset
from layerwise.data.folders import EXTENSIONS, TEXTS, Found, Reader, listing, name_of, names_of, place, splits
from layerwise.data.labels import encode
from layerwise.data.row import Array, Floats, Row
from layerwise.data.tables import LABELS, Line, _is_header, _lines

BAGS = {"tfidf": "TF-IDF", "counts": "counts"}
"""Forms that forget the order of words, and what they are called."""

LONGEST = {"characters": 1000, "words": 200, "subwords": 200}
"""Forms that keep the order, and how long a row of each is at most unless a length is asked for."""

UNKNOWN = 1  # its id; 0 is padding, and the vocabulary follows
SPECIAL = ["[PAD]", "[UNK]"]  # the same two for the library that finds subwords

CHUNK = 256  # characters per row of one long text
LARGEST = 1 << 26  # bytes of one text in a folder or zip, which might unpack to anything
PARQUET = (".parquet", ".pq")
BLOCK = 1000  # texts that are numbers at once where all are looked through


@dataclass(frozen=True, kw_only=True)
class TextRow(Row):
    """What a text is as numbers. `fitted` learns the words, their weights and the length, from training texts only.

    Without order: one number for each term, 0 where the text lacks it. "tfidf" weighs words and pairs of words by
    (1 + log(count)) (1 + log((1 + n) / (1 + documents with it))), each row scaled to length 1; "counts" counts words.
    In their order: ids, shape (length,). 0 is padding at the end, 1 is unknown, and then comes the vocabulary.

    Arguments:
        form: "tfidf", "counts", "characters", "words" or "subwords" (byte-pair encoding, by the library tokenizers).
        length: Of a row of ids: longer texts are cut. By default 95 % of the training texts fit, but no more than 1000
            characters or 200 (sub)words.
        terms: Most terms to keep; words that are in one training text only are left out unless there are no others.
        shape: (terms,) or (length,); (1,) until it is known.
        names: The terms, "tfidf" and "counts" only.
        vocabulary: What the ids from 2 stand for.
        idf: The weight of each term, "tfidf" only.
        tokenizer: How the library tokenizers saved itself (JSON), "subwords" only.
        columns: Of a table, that the texts were in.

    Raises:
        ValueError: If there is no such form, a length is below 1, or has no meaning.

    Example:
        >>> row = TextRow(form="characters").fitted(["abba", "ab"])
        >>> row.scale(["abc"]).tolist()
        [[2.0, 3.0, 1.0, 0.0]]
        >>> row.text([2, 3, 3])
        'abb'
        >>> row = TextRow(form="counts").fitted(["good film", "bad film"])
        >>> row.names, row.scale(["film film"]).tolist()
        (('film',), [[2.0]])
    """

    kind: str = field(default="text", init=False)
    shape: tuple[int, ...] = (1,)
    low: float | None = field(default=None, init=False, repr=False)
    high: float | None = field(default=None, init=False, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    form: str = "tfidf"
    length: int | None = None
    terms: int = 5000
    vocabulary: tuple[str, ...] = field(default=(), repr=False)
    idf: tuple[float, ...] = field(default=(), repr=False)
    tokenizer: str = field(default="", repr=False)
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in (*BAGS, *LONGEST):
            raise ValueError(f"Text becomes {', '.join(map(repr, (*BAGS, *LONGEST)))}, not {self.form!r}.")
        if self.length is not None and self.form in BAGS:
            raise ValueError(
                f"length={self.length} was given, but {self.form!r} has one number per term, whatever the length of a "
                f"text. Leave it out, or choose a form in order: form='characters'."
            )
        if self.length is not None and self.length < 1:
            raise ValueError(f"A text is cut at a length of at least 1, not {self.length}.")
        if self.terms < 1:
            raise ValueError(f"At least 1 term is kept, not {self.terms}.")

    @property
    def stored(self) -> tuple[int, ...]:
        """A text is stored as one string."""
        return ()

    @property
    def learned(self) -> bool:
        """Whether the vocabulary is known."""
        return bool(self.names or self.vocabulary)

    @property
    def ids(self) -> int:
        """How many ids there are, with padding and unknown."""
        return 2 + len(self.vocabulary)

    def words(self, count: int) -> str:
        """What `count` texts are, for people."""
        if not self.learned:
            return f"{count} texts"
        if self.form in BAGS:
            return f"{count} texts, {BAGS[self.form]} of {self.size} terms"
        return f"{count} texts of up to {self.size} {self.form}"

    def fitted(self, stored: Array) -> Self:
        """The row that knows the vocabulary, weights and length of these texts, shape (n,); itself if it knows some.

        Raises:
            ValueError: If they are no texts, or hold nothing to learn.
            ModuleNotFoundError: If subwords are asked for without the library tokenizers.
        """
        if self.learned:
            return self
        texts = _texts(stored)
        row = self._weighed(texts) if self.form in BAGS else self._listed(texts)
        blocks = (texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK))
        row._tell(texts, np.concatenate([row._known(row._numbers(block)) for block in blocks]))
        return row

    def scale(self, stored: npt.ArrayLike) -> Floats:
        """Numbers of k texts, float32, shape (k, size): weights of terms, or ids.

        Warns once of each text that holds no known word.
        """
        if not self.learned:
            raise ValueError("This row has not learned its words yet. Call row.fitted(texts) with the training texts.")
        texts = _texts(stored)
        if not texts:  # scikit-learn would refuse
            return np.zeros((0, self.size), np.float32)
        values = self._numbers(texts)
        self._tell(texts, self._known(values))
        return values.toarray() if self.form in BAGS else values

    def shown(self, values: npt.ArrayLike, count: int = 10) -> list[tuple[str, float]]:
        """The strongest terms of a row of weights, the strongest first; those of weight 0 are left out.

        Raises:
            ValueError: For ids, which `text` shows, or too many or too few values.
        """
        weights = np.asarray(values, dtype=np.float64).ravel()
        if self.form not in BAGS:
            raise ValueError(f"A row of {self.form} holds ids, not weights of terms. Show it with row.text(values).")
        if weights.size != self.size:
            raise ValueError(f"A row has {self.size} terms, but {weights.size} values came. Give one row at a time.")
        order = np.argsort(-abs(weights), kind="stable")[:count]
        return [(self.names[index], float(weights[index])) for index in order if weights[index]]

    def text(self, values: npt.ArrayLike) -> str:
        """The text that ids stand for: no padding, "\N{REPLACEMENT CHARACTER}" where unknown, a space between words.

        Raises:
            ValueError: For weights of terms, which `shown` shows, or what is no id.
        """
        ids = np.rint(np.asarray(values, dtype=np.float64)).ravel()
        if self.form in BAGS:
            raise ValueError("A row of weights has lost the order of its words. Show it with row.shown(values).")
        if wrong := ids[~((ids >= 0) & (ids < self.ids))].tolist():
            raise ValueError(f"Ids are whole numbers from 0 to {self.ids - 1}, but {wrong[0]:g} came.")
        present = ids[ids > 0].astype(int).tolist()
        if self.form == "subwords":
            return self._subwords.decode(present)
        return (" " if self.form == "words" else "").join(
            "\N{REPLACEMENT CHARACTER}" if each == UNKNOWN else self.vocabulary[each - 2] for each in present
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_dict` takes them back."""
        # "form" says the class of a row, for all kinds.
        return {**super().to_dict(), "form": type(self).__name__, "text": self.form}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Row:
        """The row that `to_dict` described."""
        lists: dict[str, Any] = {
            name: tuple(saved[name]) for name in ("shape", "names", "vocabulary", "idf", "columns")
        }
        plain = {name: saved[name] for name in ("length", "terms", "tokenizer")}
        return cls(form=saved["text"], **plain, **lists)

    def _weighed(self, texts: Sequence[str]) -> Self:
        """Learns the terms and their weights."""
        for fewest in (2, 1):  # of documents; a handful may have no word in common
            vectorizer = self._new_vectorizer(min_df=fewest, max_features=self.terms)
            try:
                vectorizer.fit(texts)
            except ValueError:
                continue
            names = tuple(map(str, vectorizer.get_feature_names_out()))
            idf = tuple(vectorizer.idf_.tolist()) if self.form == "tfidf" else ()
            return replace(self, names=names, idf=idf, shape=(len(names),))
        raise ValueError(
            f"There is no word of two letters or more in {len(texts)} texts. Choose form='characters', or look at the file."
        )

    def _listed(self, texts: Sequence[str]) -> Self:
        """Learns the vocabulary and the length."""
        row = replace(self, tokenizer=byte_pairs(texts, self.terms)) if self.form == "subwords" else self
        lengths, count = list[int](), Counter[str]()
        for text in texts:
            found = row._split(text)
            lengths.append(len(found))
            count.update(found)
        if not count:
            raise ValueError(f"There are no {self.form} in {len(texts)} texts. Look at the file.")
        if self.form == "subwords":
            order = row._subwords.get_vocab()
            vocabulary = sorted(order, key=order.__getitem__)[2:]
        else:
            vocabulary = _frequent(count, self.terms, 2 if self.form == "words" else 1)
        length = self.length or max(1, min(int(np.ceil(np.percentile(lengths, 95))), LONGEST[self.form]))
        return replace(row, vocabulary=tuple(vocabulary), length=length, shape=(length,))

    def _numbers(self, texts: Sequence[str]) -> Any:
        """Weights of terms as a sparse matrix, or ids as an array, shape (k, size), float32."""
        if self.form in BAGS:
            return self._vectorizer.transform(texts)
        ids = np.zeros((len(texts), self.size), np.float32)
        for row, text in zip(ids, texts, strict=True):
            found = self._split(text)[: self.size]
            row[: len(found)] = [self._code.get(each, UNKNOWN) for each in found]
        return ids

    def _split(self, text: str) -> Sequence[str]:
        """The characters, words or subwords of a text; words are in lower case, punctuation marks are words."""
        if self.form == "characters":
            return text
        if self.form == "words":
            return re.findall(r"\w+|[^\w\s]", text.lower())
        return self._subwords.encode(text).tokens  # type: ignore[no-any-return, unused-ignore]

    def pieces(self, text: str) -> list[str]:
        """What the ids of a text stand for, unknown ones included: its characters or words, no more than a row holds.

        Raises:
            ValueError: For a form that has no ids, or whose ids are no pieces of the text as it is written (subwords).
        """
        if self.form not in ("characters", "words"):
            raise ValueError(
                f"A text of {self.form} is not cut into pieces of itself. Show it with row.text or row.shown."
            )
        return list(self._split(text)[: self.size])

    def _known(self, values: Any) -> Array:
        """Which rows hold anything known, shape (k,), bool."""
        return values.getnnz(axis=1) > 0 if self.form in BAGS else (values > UNKNOWN).any(axis=1)

    def _tell(self, texts: Sequence[str], known: Array) -> None:
        """Warns of texts that hold nothing known, unless told already."""
        strange = [text for text, fine in zip(texts, known, strict=True) if not fine and text not in self._told]
        if strange:
            self._told.update(strange)
            what, row = ("word", "zeros") if self.form in BAGS else (self.form[:-1], "padding and unknown")
            warnings.warn(
                f"{len(strange)} of {len(texts)} texts hold no known {what} ({strange[0][:40]!r}): their rows are only {row}, "
                "and a model says the same of each. Look at them, leave them out, or "
                + ("learn from more texts." if self.form == "characters" else "read text with form='characters'."),
                stacklevel=3,
            )

    def _new_vectorizer(self, **how: Any) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        if self.form == "counts":
            return CountVectorizer(dtype=np.float32, **how)
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, **how)

    # What is made once of what was learned. These are no fields: they are neither compared nor saved.

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = self._new_vectorizer(vocabulary=self.names)
        if self.idf:
            vectorizer.idf_ = np.array(self.idf, np.float32)
        return vectorizer

    @cached_property
    def _code(self) -> dict[str, int]:
        return {each: code for code, each in enumerate(self.vocabulary, start=2)}

    @cached_property
    def _subwords(self) -> Any:
        found = tokenizers_library().Tokenizer.from_str(self.tokenizer)
        found.encode_special_tokens = True  # "[PAD]" in a text is text
        return found

    @cached_property
    def _told(self) -> set[str]:
        return set()


def read_text(path: Path, form: str | None = None, length: int | None = None, like: Row | None = None) -> Parts:
    """One row for each line of a file in UTF-8 that is not empty; packed by gzip or not. There are no labels.

    Arguments:
        form, length: See `TextRow`.
        like: What a text is to a model that has learned.

    Raises:
        ValueError: If it is not UTF-8, or holds no text.
    """
    row = _row(form, length, like)
    lines = [line.strip() for line in io.StringIO(decoded(path))]
    pieces, notes = _without_empty([_piece(lines)], "line")
    return _parts(pieces, path.name, row, notes)


def read_texts(
    path: Path,
    form: str | None = None,
    length: int | None = None,
    broken: Literal["stop", "skip"] = "stop",
    like: Row | None = None,
) -> Parts:
    """A folder or zip of text files in UTF-8, a row each, in one sub-folder per class; see `folders` for labels and splits.

    Arguments:
        form, length: See `TextRow`.
        broken: What to do about a file that is not UTF-8: "stop" with an error, or "skip" it and count it.
        like: What a text is to a model that has learned.

    Raises:
        ValueError: For a file that is not UTF-8, and for folders that are not like that or hold no text.
    """
    row = _row(form, length, like)
    wanted = EXTENSIONS[TEXTS].__contains__
    listings, others = zip(*(listing(part, TEXTS, wanted) for part in splits(place(path))), strict=True)
    reader = Reader(broken, TEXTS)
    pieces, notes = _without_empty([_files(part, reader, path) for part in listings], "file")
    return _parts(pieces, name_of(path), row, [*notes, *reader.notes(sum(others))])


def read_text_table(
    source: Path | Any,
    text: str | int | Sequence[str | int] | None = None,
    label: str | int | None = None,
    form: str | None = None,
    length: int | None = None,
    like: Row | None = None,
) -> Parts:
    """Columns of a table that hold text, joined by a space; the others are left out.

    A row without text stays: it is a row without known words.

    Arguments:
        source: A CSV file, a Parquet file (with the extra `tables`) or a pandas DataFrame.
        text: Names or numbers (from 1; -1 is the last) of the columns; several in one string are parted by commas. By
            default those that `like` is from.
        label: Name or number of the column of labels; its empty cells are rows without one. By default a column called
            label, class, target or y, if there is a header; "" = none.
        form, length: See `TextRow`.
        like: What a text is to a model that has learned.

    Raises:
        ValueError: If a column is not there, labels are fractions, a line is of another length than the first, there are
            no rows, or the file is not UTF-8.
    """
    row, name = _row(form, length, like), str(source) if isinstance(source, Path) else "DataFrame"
    text = row.columns if text is None else text
    if text in ("", (), []):
        raise ValueError(f"{name}: which columns hold the text? Name them, as in text='title' or text='title,body'.")
    lines = _cells(source, [*_named(text, []), label])
    header = next(lines)[1]
    first = next(lines, None)
    if first is None:
        raise ValueError(f"{name} has no rows. Add at least one below the header.")
    columns = _Columns(name, header, len(first[1]), text, label)
    found = [columns.split(number, cells) for number, cells in chain([first], lines)]
    texts = [each for each, _ in found]
    piece = _piece(texts, None if columns.label is None else [each for _, each in found])
    if not row.learned:
        row = replace(row, columns=columns.names)
    empty = texts.count("")
    return _parts(
        [piece], Path(name).name, row, [columns.note, f"{empty} of {len(texts)} rows have no text" if empty else ""]
    )


def read_ag_news(folder: Path, form: str | None = None, length: int | None = None, like: Row | None = None) -> Parts:
    """AG News: title and description of news of four classes; 6000 rows to train on, 1600 to test on.

    Only the official test part is used: its first 6000 and its last 1600 rows.
    """
    row = _row(form, length, like)
    lines = [cells for _, cells in _csv(folder / "test.csv.gz", [])][1:]
    if len(lines) != 7600 or any(len(cells) != 3 for cells in lines):
        raise ValueError(f"{folder / 'test.csv.gz'} does not hold the 7600 rows of 3 cells of AG News. Fetch it again.")
    # A backslash stands for a line break.
    texts = [" ".join(cells[1:]).replace("\\", " ") for cells in lines]
    labels = [cells[0] for cells in lines]
    classes = tuple(decoded(folder / "classes.txt").split("\n")[:4])
    pieces = [_piece(texts[part], labels[part]) for part in (slice(6000), slice(6000, None))]
    notes = ["6000 and 1600 of the 7600 rows of AG News' test part, in the order of the file", "title and description"]
    return tuple(replace(part, classes=classes) for part in _parts(pieces, "ag_news", row, notes))


def read_tinyshakespeare(
    folder: Path, form: str | None = None, length: int | None = None, like: Row | None = None
) -> Parts:
    """Plays of Shakespeare, cut into pieces of 256 characters; the first 90 % to train on, the rest to test on.

    Arguments:
        form: See `TextRow`; "characters" by default.
        length: Of a row, and for characters of a piece.
    """
    if not isinstance(like, TextRow):
        form = form or "characters"
        length = CHUNK if length is None and form == "characters" else length
    row = _row(form, length, like)
    size = row.length if row.form == "characters" and row.length else CHUNK
    text = decoded(folder / "input.txt.gz")
    cut = 9 * len(text) // 10
    pieces = [
        _piece([part[start : start + size] for start in range(0, len(part), size)]) for part in (text[:cut], text[cut:])
    ]
    notes = [f"consecutive pieces of {size} characters", f"the first {cut} of {len(text)} characters are for training"]
    return _parts(pieces, "tinyshakespeare", row, notes)


class _Columns:
    """Which columns of a table are text, and which the labels; takes its lines apart."""

    def __init__(self, name: str, header: list[str], width: int, text: Any, label: str | int | None) -> None:
        self.name, self.header, self.width = name, header, width
        self.text = [self._find(name) for name in _named(text, header)]
        self.label = self._labels() if label is None else None if label == "" else self._find(label)
        if self.label in self.text:
            raise ValueError(
                f"{name}: {self._title(self.text[0])} cannot be text and labels at once. Name another one."
            )
        self.names = tuple((header[index] if header else "") or str(index + 1) for index in self.text)

    @property
    def note(self) -> str:
        labels = "" if self.label is None else f"; labels from {self._title(self.label)}"
        return f"text from {', '.join(map(self._title, self.text))}{labels}"

    def split(self, number: int, cells: list[str]) -> tuple[str, str]:
        """The text of a line, and its label: "" = none."""
        if len(cells) != self.width:
            raise ValueError(
                f"{self.name}, line {number}: {len(cells)} cells, where the first row has {self.width}. "
                "Mend the line; text that holds the separator belongs in quotes."
            )
        text = " ".join(filter(None, (cells[index] for index in self.text)))
        return text, "" if self.label is None else self._class(number, cells[self.label])

    def _class(self, number: int, cell: str) -> str:
        """A label as text, the 3.0 that pandas makes of a 3 as 3."""
        if re.fullmatch(r"-?\d*\.\d*[1-9]\d*", cell):
            raise ValueError(
                f"{self.name}, line {number}: labels are classes, but {self._title(self.label or 0)} holds the fraction "
                f"{cell}. Name another column (label=...), or label='' for none."
            )
        return re.sub(r"^(-?\d+)\.0*$", r"\1", cell)

    def _labels(self) -> int | None:
        """The column of labels by its usual names."""
        lower = [name.lower() for name in self.header]
        index = next((lower.index(name) for name in LABELS if name in lower), None)
        return None if index in self.text else index

    def _find(self, name: str | int) -> int:
        """Index of the column of that name or number."""
        if isinstance(name, str) and self.header.count(name) == 1:
            return self.header.index(name)
        position = int(name) if re.fullmatch(r"-?\d+", str(name)) else 0
        if not 1 <= abs(position) <= self.width:
            names = f"the columns {', '.join(self.header[:20])}" if self.header else "no header"
            raise ValueError(
                f"{self.name} has {self.width} columns and {names}, but no single column {name!r}. "
                f"Give a name, or a number from 1 to {self.width} (-1 is the last)."
            )
        return position - 1 if position > 0 else self.width + position

    def _title(self, index: int) -> str:
        return f"column {index + 1}" + (f" ({self.header[index]!r})" if self.header and self.header[index] else "")


def _named(text: str | int | Sequence[str | int], header: Sequence[str]) -> list[str | int]:
    """The names of columns that somebody gave in one of several ways."""
    if isinstance(text, int):
        return [text]
    if isinstance(text, str):
        return [text] if text in header else [name.strip() for name in text.split(",")]
    return list(text)


def _cells(source: Path | Any, names: Sequence[str | int | None]) -> Iterator[Line]:
    """The header of a table, [] if there is none, and its lines; `names` are in the header."""
    if not isinstance(source, Path):
        return chain([(0, list(map(str, source.columns)))], _written(source.itertuples(index=False, name=None)))
    return _parquet(source) if source.suffix.lower() in PARQUET else _csv(source, names)


def _csv(path: Path, names: Sequence[str | int | None]) -> Iterator[Line]:
    """The header of a CSV file, [] if there is none, and its lines as they are read; `names` are in the header."""
    try:
        with unpacked(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            lines = _lines(text)
            first = list(islice(lines, 20))
            named = bool(first) and any(name in first[0][1] for name in names if name and not _is_number(name))
            yield first.pop(0) if named or _is_header([cells for _, cells in first]) else (0, [])
            yield from chain(first, lines)
    except UnicodeDecodeError:
        decoded(path)  # says where
        raise
    except csv.Error as error:
        raise ValueError(f"{path} is not plain CSV ({error}). Is a quotation mark missing? Export it again.") from error


def _is_number(name: str | int) -> bool:
    return re.fullmatch(r"-?\d+", str(name)) is not None


def _parquet(path: Path) -> Iterator[Line]:
    """The names of the columns of a Parquet file, and its rows as they are read."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path} is Parquet, and to read it needs pyarrow. Install it: pip install 'layerwise[tables]'"
        ) from error
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are both of these
        raise ValueError(f"{path} is not an intact Parquet file ({error}). Save it again.") from error
    with file:
        index = (file.schema_arrow.pandas_metadata or {}).get(
            "index_columns", []
        )  # of the rows, not columns of the table
        names = [name for name in file.schema_arrow.names if name not in index]
        yield 0, names
        batches = (
            [column.to_pylist() for column in batch.columns] for batch in file.iter_batches(BLOCK, columns=names)
        )
        yield from _written(chain.from_iterable(zip(*columns, strict=True) for columns in batches))


def _written(rows: Iterable[Sequence[Any]]) -> Iterator[Line]:
    """Rows of anything as text; what is missing is ""."""
    for number, cells in enumerate(rows, start=1):
        yield (
            number,
            ["" if cell is None or str(cell) in ("nan", "NaT", "<NA>") else str(cell).strip() for cell in cells],
        )


def _row(form: str | None, length: int | None, like: Row | None) -> TextRow:
    """What a text is: as a model that has learned knows it, or else as asked for."""
    if not isinstance(like, TextRow):
        return TextRow(form=form or "tfidf", length=length)
    for name, asked, own in (("form", form, like.form), ("length", length, like.length)):
        if asked is not None and asked != own:
            raise ValueError(f"The model learned from texts with {name}={own!r}, not {asked!r}. Leave {name} out.")
    return like


def _piece(texts: Sequence[str], labels: Sequence[str] | None = None) -> Piece:
    return Piece(np.array(texts, dtype=object), None if labels is None else np.array(labels, dtype=np.str_))


def _files(part: Sequence[Found], reader: Reader, path: Path) -> Piece:
    """The texts of files that can be read, and their labels if any has one."""
    read = [(reader(found.file, _text_of), found) for found in part]
    kept = [(text.strip(), found) for text, found in read if text is not None]
    labels = [found.label for _, found in kept]
    piece = _piece([text for text, _ in kept], labels if any(labels) else None)
    return piece._replace(files=names_of((found.file for _, found in kept), path))


def _text_of(stream: BinaryIO) -> str:
    held = stream.read(LARGEST + 1)
    if len(held) > LARGEST:
        raise ValueError(
            f"it is larger than {LARGEST >> 20} MiB, which is no text; cut it, or give it as a file of lines"
        )
    return _decoded(held)


def decoded(path: Path) -> str:
    """The text of a file, packed by gzip or not."""
    with unpacked(path) as stream:
        data = stream.read()
    try:
        return _decoded(data)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a text: {error}") from None


def _decoded(data: bytes) -> str:
    """Text in UTF-8, with the line ends of Unix. Other encodings are not guessed: a wrong guess would look like text."""
    try:
        text = data.decode("utf-8")
        at = data.find(b"\0")  # in text it is a sign of UTF-16
    except UnicodeDecodeError as error:
        text, at = "", error.start
    if at >= 0:
        raise ValueError(
            f"byte {at + 1}, 0x{data[at]:02X} in line {data.count(10, 0, at) + 1}, is not text in UTF-8. Convert the file, "
            "as an editor does with 'save as UTF-8', or a shell: iconv -f ENCODING -t UTF-8 (often WINDOWS-1252 or UTF-16)"
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _without_empty(pieces: Sequence[Piece], what: str) -> tuple[list[Piece], list[str]]:
    """The pieces without empty texts, and a note of how many there were."""
    masks = [piece.x != "" for piece in pieces]
    empty = sum(int((~mask).sum()) for mask in masks)
    kept = [
        piece._replace(**{name: each[mask] for name, each in piece._asdict().items() if each is not None})
        for piece, mask in zip(pieces, masks, strict=True)
    ]
    return kept, [f"empty {what}s left out: {empty}"] if empty else []


def _parts(pieces: Sequence[Piece], name: str, row: TextRow, notes: Sequence[str] = ()) -> Parts:
    """Data sets from texts: one piece, or two that are an official split."""
    if not all(len(piece.x) for piece in pieces):
        raise ValueError(f"{name} holds no text{' in one of its parts' * (len(pieces) > 1)}. Is it the right one?")
    labels, classes = encode([piece.labels for piece in pieces])
    whose = ("",) if len(pieces) == 1 else ("training part of its own split", "test part of its own split")
    return tuple(
        Dataset(piece.x, y, classes, row, name, "; ".join(filter(None, (part, *notes))), files=piece.files)
        for piece, y, part in zip(pieces, labels, whose, strict=True)
    )


def _texts(stored: npt.ArrayLike) -> list[str]:
    """Texts, shape (k,), (k, 1) or one alone, as a list."""
    texts: Array = np.asarray(stored, dtype=object)
    if texts.ndim > 1 and texts.size != len(texts):
        raise ValueError(f"Texts have shape (n,), one string per row, not {texts.shape}. Join several columns first.")
    found = texts.ravel().tolist()
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise ValueError(f"A text is a string, but number {number} is {text!r}. Give '' where there is none.")
    return found


def _frequent(count: Counter[str], most: int, fewest: int) -> list[str]:
    """The most frequent by the alphabet; those found fewer times are left out unless there are no others."""
    common = count.most_common(most)
    return sorted([each for each, times in common if times >= fewest] or [each for each, _ in common])


def byte_pairs(texts: Sequence[str], terms: int) -> str:
    """Learns byte-pair encoding (Sennrich et al., 2016) on bytes; as JSON of the library."""
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=terms + 2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def tokenizers_library() -> Any:
    """The optional library tokenizers; a ModuleNotFoundError that says how to install it."""
    try:
        import tokenizers
    except ImportError as error:
        raise ModuleNotFoundError(
            "form='subwords' needs the library tokenizers. Install it: pip install 'layerwise[text]'"
        ) from error
    return tokenizers
