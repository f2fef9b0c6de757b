"""Where an explanation of an answer starts, and how its parts are shown: pixels, words or columns."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.data.columns import Column, ColumnsRow
from layerwise.data.dataset import Dataset
from layerwise.data.tokens import BAGS, TextRow
from layerwise.dbn import DBN
from layerwise.estimators.identity import Own
from layerwise.explanation.look import LOOK, Look
from layerwise.findings import Part
from layerwise.lens.material import PICTURE
from layerwise.lens.question import looks_up
from layerwise.lens.running import to_module

COLUMNS = 15  # shown one by one; the others are added up
WORDS = 300  # of a text shown

Maps = list[np.ndarray]


class FromStart(nn.Module):
    """A module that takes rows in the shape they are shown in, from what stands for nothing there.

    Arguments:
        net: From rows, in the shape that it takes, to what is explained.
        shape: That shape; None for flat rows.
        shift: What is added to a row first, a number or shape (features,): the row that stands for nothing.
    """

    shift: Tensor

    def __init__(self, net: nn.Module, shape: tuple[int, ...] | None, shift: Tensor) -> None:
        super().__init__()
        self.net, self.shape = net, shape
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Any:
        flat = to_module(self.net, x.flatten(1) + self.shift.to(x.dtype))
        return self.net(flat if self.shape is None else flat.reshape(len(flat), *self.shape))


class ByFreeEnergy(nn.Module):
    """The answers of a deep belief net that classifies with its top layer: log p(class | row)."""

    def __init__(self, net: DBN) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.class_log_probs(x)


@dataclass(frozen=True, eq=False)
class Start:
    """Where explanations start.

    Arguments:
        module: From rows as `rows` makes them to scores of the classes, values or a code.
        layer: Where explanations start in it; None for the rows.
        form: How maps are shown: "picture", "words" or "columns".
        baseline: What stands for "nothing there", in words.
        look: What is looked at.
        shape, shift: Of a row as the module takes it; and what was taken from it.
    """

    module: nn.Module
    layer: str | None
    form: str
    baseline: str
    look: Look
    shape: tuple[int, ...] | None
    shift: Tensor

    def rows(self, flat: Tensor) -> Tensor:
        """Rows of the data, shape (n, features), as the module takes them."""
        if self.layer is not None:
            return self.look.subject.given(flat)
        rows = flat - self.shift
        return rows if self.shape is None else rows.reshape(len(rows), *self.shape)

    def called(self, layer: str) -> str:
        """The name of a layer of the module, as the model calls it."""
        while layer.startswith("net."):
            layer = layer.removeprefix("net.")
        return layer or "the net itself"

    def laid_out(self, row: int, maps: Maps) -> tuple[list[Part], Maps]:
        """Values of a row's maps by the parts that are shown, and these parts; of pictures, small enough to be shown."""
        if self.form == "picture":
            return [], [_picture(each, self.look) for each in maps]
        if self.form == "columns":
            return self._columns(row, maps)
        row_of = self.look.came.row
        if self.layer is None and isinstance(row_of, TextRow):
            return self._bag(row, row_of, maps)
        return self._tokens(row, maps)

    # Texts

    def _tokens(self, row: int, maps: Maps) -> tuple[list[Part], Maps]:
        ids, text = self.look.came.rows(np.array([row]))[0].astype(int), self.look.came.row
        count = min(len(ids) if not ids.any() else int(np.flatnonzero(ids)[-1]) + 1, WORDS)
        parts = [Part(name, join=join) for name, join in self._symbols(row, ids[:count], text)]
        return parts, [each[:count] for each in maps]

    def _symbols(self, row: int, ids: np.ndarray, text: Any) -> list[tuple[str, str]]:
        """What symbols are called, and what follows them."""
        if not (isinstance(text, TextRow) and text.learned):
            return [(str(number), " ") for number in ids]
        join, texts = " " if text.form == "words" else "", self.look.came.texts([row])
        if text.form == "subwords" or not texts:
            return [(text.text([number]) or "∅", join) for number in ids]
        return [(name, join) for name in text.pieces(str(self.look.came.x.x[row]))]

    def _bag(self, row: int, text: TextRow, maps: Maps) -> tuple[list[Part], Maps]:
        """Every word of the text with its part of what each term got that it occurs in."""
        words = list(re.finditer(r"\w+|[^\w\s]+", self.look.came.texts([row])[0]))[:WORDS]
        ends = [word.start() for word in words[1:]] + [words[-1].end() if words else 0]
        parts = [Part(word[0], join=" " if end > word.end() else "") for word, end in zip(words, ends, strict=True)]
        shares = _shares([word[0].lower() for word in words], text)
        return parts, [shares @ each for each in maps]

    # Tables

    def _columns(self, row: int, maps: Maps) -> tuple[list[Part], Maps]:
        """The columns with the largest values, the others together; features of one column are added up."""
        came = self.look.came
        if isinstance(came.row, ColumnsRow):
            starts = np.cumsum([0, *(len(column.features) for column in came.row.used)])[:-1]
            stored = came.x.x[row] if isinstance(came.x, Dataset) else [None] * len(starts)
            parts = [
                Part(column.name, _said(column, value)) for column, value in zip(came.row.used, stored, strict=True)
            ]
            maps = [np.add.reduceat(each, starts) for each in maps]
        else:
            values = came.rows(np.array([row]))[0].tolist()
            parts = [Part(name, value) for name, value in zip(came.columns, values, strict=True)]
        if len(parts) <= COLUMNS + 1:
            return parts, maps
        size = np.sum([np.abs(each) / (np.abs(each).max() or 1) for each in maps], 0)
        top = np.argsort(-size, kind="stable")[:COLUMNS]
        rest = np.setdiff1d(np.arange(len(parts)), top)
        kept = [np.append(each[top], each[rest].sum()) for each in maps]
        return [*(parts[at] for at in top), Part(f"{len(rest)} others together")], kept


def start_of(look: Look) -> Start:
    """Where explanations of the answers start.

    Raises:
        ValueError: If the net looks up the symbols of a row all at once.
    """
    subject, row = look.subject, look.came.row
    net: nn.Module = subject.module if subject.classifies else subject.numbers
    if subject.classifies and isinstance(net, DBN):
        net = ByFreeEnergy(net)
    if subject.symbols:
        layer = looks_up(net, subject.given(look.rows[:2]))
        if layer is not None and isinstance(net.get_submodule(layer), nn.EmbeddingBag):
            raise ValueError(f"{layer!r} adds up what it looks up (EmbeddingBag), so that no word can be told from the others. "
                             "Look words up with Embedding, and take the sum or mean after it.")  # fmt: skip
        return Start(
            net, layer, "words", "a word whose embedding is zero, as that of padding is", look, None, torch.zeros(1)
        )
    shape, shift = None, torch.zeros(1)
    if look.came.pictured:
        shape = row.shape if len(row.shape) == 3 else (1, *row.shape)
        scaled = isinstance(look.came.x, Dataset)  # to [0, 1]
        shift = torch.tensor([0.0 if scaled else float(row.low or 0)])
        form, baseline, mean = "picture", "black", f"the mean of the {_whose(look)}"
        if row.kind == "sound":
            shift, baseline = _mean(look), f"{mean}. Silence would tear holes such as no clip has"
        elif any(isinstance(part, Own) for part in net.modules()):
            shift, baseline = _mean(look), f"{mean}. To a net that gives rows a spread of their own black is none"
    elif isinstance(row, TextRow) and row.form in BAGS and isinstance(look.came.x, Dataset):
        form, baseline = "words", "a text without the word"
    else:
        shift, form, baseline = look.rows.mean(0), "columns", "the mean of the column"
    place = next((each for each in net.parameters()), shift)
    module = FromStart(net, subject.shape, shift.to(place.device)).eval()
    return Start(module, None, form, baseline, look, shape, shift)


def _whose(look: Look) -> str:
    return "rows looked at" if look.learned is None else "training rows"


def _mean(look: Look) -> Tensor:
    """The mean of the training rows, or if they are not known, of those looked at, shape (features,)."""
    if look.learned is None:
        return look.rows.mean(0)
    some = np.random.RandomState(look.seed).permutation(len(look.learned))[:LOOK]
    return look.learned.tensor(np.sort(some)).mean(0)


def _picture(values: np.ndarray, look: Look) -> np.ndarray:
    """A map as large as pictures of rows are; low frequencies of sounds at the bottom."""
    factor = -(-max(values.shape) // PICTURE)
    if factor > 1:
        tall, wide = (-(-side // factor) * factor for side in values.shape)
        values = np.pad(values, ((0, tall - values.shape[0]), (0, wide - values.shape[1])))
        values = values.reshape(tall // factor, factor, wide // factor, factor).sum((1, 3))
    return values[::-1] if look.came.row.kind == "sound" else values


def _shares(words: list[str], text: TextRow) -> np.ndarray:
    """Which share of each term each word gets, shape (words, terms): a term's value is shared out evenly among its places."""
    at = {name: number for number, name in enumerate(text.names)}
    known = [place for place, word in enumerate(words) if re.fullmatch(r"\w\w+", word)]
    terms = [(words[place], [place]) for place in known]
    terms += [(f"{words[a]} {words[b]}", [a, b]) for a, b in zip(known, known[1:], strict=False)]
    counts = Counter(name for name, _ in terms)
    shares = np.zeros((len(words), text.size))
    for name, places in terms:
        if name in at:
            shares[places, at[name]] += 1 / (counts[name] * len(places))
    return shares


def _said(column: Column, value: Any) -> float | str | None:
    """A stored value for people."""
    if value is None or np.isnan(value):
        return "missing"
    if column.type == "category":
        return column.categories[int(value)] if 0 <= value < len(column.categories) else "unknown"
    if column.type == "date":
        return str(np.datetime64("1970-01-01") + np.timedelta64(int(value), "D"))
    return float(value)
