"""Text: lines of a file, folders and zips of files, and columns of a table.

A data set keeps the texts themselves. A `TextRow` makes numbers of them as they are asked for, by what it has learned from
training texts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from layerwise.data.arrays import Parts, Piece, unpacked
from layerwise.data.dataset import Dataset
from layerwise.data.folders import EXTENSIONS, TEXTS, Found, Reader, listing, name_of, names_of, place, splits
from layerwise.data.labels import encode
from layerwise.data.row import Row
from layerwise.data.tables import LABELS, Line, _is_header, _lines
from layerwise.data.tokens import TextRow

CHUNK = 256  # characters per row of one long text
LARGEST = 1 << 26  # bytes of one text in a folder or zip, which might unpack to anything
PARQUET = (".parquet", ".pq")
BLOCK = 1000  # rows of a Parquet file read at once


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
