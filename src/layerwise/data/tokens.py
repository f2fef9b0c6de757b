"""A text as numbers: weights of words without their order (TF-IDF, counts), or characters, words or subwords in their order."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from layerwise.data.row import Array, Floats, Row

BAGS = {"tfidf": "TF-IDF", "counts": "counts"}
"""Forms that forget the order of words, and what they are called."""

LONGEST = {"characters": 1000, "words": 200, "subwords": 200}
"""Forms that keep the order, and how long a row of each is at most unless a length is asked for."""

UNKNOWN = 1  # its id; 0 is padding, and the vocabulary follows
SPECIAL = ["[PAD]", "[UNK]"]  # the same two for the library that finds subwords

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
