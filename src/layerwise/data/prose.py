"""Text that is read on and on, not row by row: where it comes from, and the symbols that it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.data.catalogue import find, read_known
from layerwise.data.folders import TEXTS, kind_of, name_of, place
from layerwise.data.text import decoded, read_texts
from layerwise.data.tokens import SPECIAL, byte_pairs, tokenizers_library

LOST = "\N{REPLACEMENT CHARACTER}"
FORMS = ("characters", "subwords")


@dataclass(frozen=True)
class Symbols:
    """The characters or subwords that a text is made of, as numbers from 0.

    The first `reserved` numbers stand for nothing that can be written: 0 is, of characters, any that was never seen.

    Arguments:
        characters: All that were seen, sorted.
        tokenizer: How the library tokenizers saved itself (JSON), for subwords: byte pairs, which know every character.

    Example:
        >>> symbols = Symbols.of("abba")
        >>> symbols.encode("abc").tolist(), symbols.decode([2, 1])
        ([1, 2, 0], 'ba')
    """

    characters: str = ""
    tokenizer: str = field(default="", repr=False)

    @classmethod
    def of(cls, text: str, form: str = "characters", terms: int = 1000) -> Symbols:
        """The symbols of a text: "characters", or "subwords", of which up to `terms` are learned.

        Raises:
            ValueError: If there is no such form.
            ModuleNotFoundError: If subwords are asked for without the library tokenizers.
        """
        if form not in FORMS:
            raise ValueError(f"A text is read as {' or '.join(FORMS)}, not as {form!r}.")
        if form == "subwords":
            return cls(tokenizer=byte_pairs([text], terms))
        return cls("".join(sorted(set(text))))

    @property
    def reserved(self) -> int:
        """How many numbers come before the first symbol that can be written."""
        return len(SPECIAL) if self.tokenizer else 1

    def __len__(self) -> int:
        return int(self._subwords.get_vocab_size()) if self.tokenizer else 1 + len(self.characters)

    def unknown(self, text: str) -> list[str]:
        """The characters of a text that were never seen, sorted."""
        return [] if self.tokenizer else sorted(set(text) - set(self.characters))

    def encode(self, text: str) -> np.ndarray:
        """The text as numbers, shape (symbols,), int64."""
        if self.tokenizer:
            return np.array(self._subwords.encode(text).ids, np.int64)
        # A table from code points; characters beyond it are among the unknown.
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return self._table[np.minimum(points, len(self._table) - 1)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that numbers stand for."""
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text piece by piece, as soon as its characters are whole: a subword may hold half of one."""
        if not self.tokenizer:
            yield from (LOST if each == 0 else self.characters[each - 1] for each in ids)
            return
        held: list[int] = []
        for each in ids:
            held.append(int(each))
            text = self._subwords.decode(held)
            if not text.endswith(LOST) or len(held) > 3:  # no character has more than four bytes
                yield text
                held = []
        if held:
            yield self._subwords.decode(held)

    @cached_property
    def _table(self) -> np.ndarray:
        points = [ord(each) for each in self.characters]
        table = np.zeros(max(points, default=0) + 2, np.int64)
        table[points] = np.arange(1, len(points) + 1)
        return table

    @cached_property
    def _subwords(self) -> Any:
        found = tokenizers_library().Tokenizer.from_str(self.tokenizer)
        found.encode_special_tokens = True  # "[PAD]" in a text is text
        return found


@dataclass(frozen=True)
class Story:
    """A text that is read on and on, or a part of it.

    Example:
        >>> first, last = Story("a tale " * 10, "tale").split(0.1)
        >>> print(last.describe())
        tale: 7 characters of 5 kinds (the last 7 of 70)
    """

    text: str = field(repr=False)
    name: str
    note: str = ""

    def __len__(self) -> int:
        return len(self.text)

    def describe(self) -> str:
        """What it is, for people."""
        kinds = len(set(self.text))
        return f"{self.name}: {len(self)} characters of {kinds} kinds" + (f" ({self.note})" if self.note else "")

    def split(self, holdout: float) -> tuple[Story, Story]:
        """The beginning, to learn from, and the last `holdout` of it, between 0 and 1."""
        cut = int(len(self) * (1 - holdout))
        notes = f"the first {cut} of {len(self)}", f"the last {len(self) - cut} of {len(self)}"
        first, last = (
            replace(self, text=text, note=note) for text, note in zip((self.text[:cut], self.text[cut:]), notes)
        )
        return first, last


def prose(source: str) -> Story | None:
    """The text at `source`, all of it: a known set, a .txt file (packed by gzip or not), a folder or zip of texts, in the
    order of their names, with a line break between; None where that is no text, or texts with labels.

    Raises:
        FileNotFoundError: If a known set is not here.
        ValueError: If it cannot be read.
    """
    record = find(source)
    if record is not None:
        if record.kind != "text" or record.classes:
            return None
        return Story("".join(piece for part in read_known(record) for piece in part.x), record.name)
    path = Path(source).expanduser()
    if path.is_file() and path.name.lower().removesuffix(".gz").endswith(".txt"):
        return Story(decoded(path), path.name)
    if not (path.is_dir() or path.suffix.lower() == ".zip") or not path.exists() or kind_of(place(path)) != TEXTS:
        return None
    parts = read_texts(path)
    if any(part.labelled for part in parts):
        return None
    return Story("\n".join(text for part in parts for text in part.x), name_of(path))
