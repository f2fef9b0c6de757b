"""A recurrent net that reads a text and goes on writing it, as a scikit-learn estimator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from layerwise.compute import choose_threads, session
from layerwise.data.prose import Symbols
from layerwise.estimators.base import Estimator, auto_epochs
from layerwise.language import Carried, Reader, Stepper, Streams, continuation, glance, surprise
from layerwise.nets import parameters
from layerwise.run import SILENT, Run
from layerwise.train import History, train


@dataclass(frozen=True)
class Surprise:
    """How badly a text was foretold.

    Arguments:
        nats: Per character, the mean of -log p(what came); log(number of characters) is what guessing costs.
        symbols: That were foretold: all but the first.
        characters: That they stand for: as many, unless the text was read in subwords.

    Example:
        >>> round(Surprise(nats=math.log(2), symbols=10, characters=10).bits, 3)
        1.0
    """

    nats: float
    symbols: int
    characters: int

    @property
    def bits(self) -> float:
        """Per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats per symbol): among how many equally likely symbols the choice was as hard."""
        return math.exp(self.nats * self.characters / self.symbols)


class TextWriter(Estimator):
    """An LSTM that learns from a text to tell the next character, and so can write on (Graves, 2013; Sutskever et al., 2011).

    Arguments:
        layers: Units of each LSTM layer, bottom first.
        embedding: Numbers that a symbol becomes.
        dropout: Share of what a layer sends up that is silent in a step, in [0, 1); not of what it sends on in time.
        form: "characters", or "subwords" (byte pairs, by the library tokenizers), of which `terms` are learned.
        length: Symbols of a window: gradients go no further back. What is remembered is carried from window to window.
        batch_size: Readers who read the text side by side, each from another place; fewer where the text is short.
        epochs: Passes over the text; "auto" is 20, or as many as make 1500 updates.
        rate, schedule, warmup, weight_decay, clip, average: As for `layerwise.Training`, with Adam.
        patience: Epochs without improvement on the last `validation_fraction` of the text, which is then not learned from;
            None learns from all of it.
        device, threads, precision, random_state, verbose: As for `DBNClassifier`.

    Fitted attributes: `network_`, `characters_` or `tokenizer_` (its symbols), `histories_`, `parameters_`.

    Example:
        >>> writer = TextWriter((24,), length=12, epochs=30, rate=0.02, random_state=0).fit("tick tock " * 60)
        >>> "".join(writer.write("tick", length=16, temperature=0))
        ' tock tick tock '
    """

    network_: Reader

    def __init__(
        self,
        layers: Sequence[int] = (512,),
        *,
        embedding: int = 64,
        dropout: float = 0.3,
        form: str = "characters",
        terms: int = 1000,
        length: int = 128,
        batch_size: int = 32,
        epochs: int | str = "auto",
        rate: float = 2e-3,
        schedule: str = "cosine",
        warmup: float = 0.02,
        weight_decay: float = 0.0,
        clip: float | None = 1.0,
        average: float = 0.99,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.layers, self.embedding, self.dropout = layers, embedding, dropout
        self.form, self.terms, self.length = form, terms, length
        self.batch_size, self.epochs = batch_size, epochs
        self.rate, self.schedule, self.warmup, self.weight_decay = rate, schedule, warmup, weight_decay
        self.clip, self.average = clip, average
        self.patience, self.validation_fraction = patience, validation_fraction
        self.device, self.threads, self.precision = device, threads, precision
        self.random_state, self.verbose = random_state, verbose

    # -- learning ------------------------------------------------------------------------------------------------------

    def fit(self, X: str | Sequence[str], y: Any = None, *, run: Run = SILENT) -> Self:
        """Learns from a text, or from several, which are read one after the other with a line break between them.

        Raises:
            ValueError: If the text is shorter than one window, or a setting is out of its range.
            Diverged: If learning blew up.
        """
        self._check_settings()
        text, held_out = _whole(X), ""
        if self.patience is not None:
            cut = int(len(text) * (1 - self.validation_fraction))
            text, held_out = text[:cut], text[cut:]
        symbols = Symbols.of(text, self.form, self.terms)
        self.characters_, self.tokenizer_ = symbols.characters, symbols.tokenizer
        self._symbols = symbols
        ids = torch.from_numpy(symbols.encode(text))
        if len(ids) <= self.length:
            raise ValueError(f"The text to learn from has {len(ids)} {self.form}, but a window of {self.length} and the one "
                             "after it have to fit in. Give more text, or a smaller length.")  # fmt: skip
        if held_out and len(held_out) < 2:
            raise ValueError(f"The last {self.validation_fraction:g} of the text, to stop early by, is too short. Give more "
                             "text, or patience=None.")  # fmt: skip
        self._learn(ids, torch.from_numpy(symbols.encode(held_out)), run)
        return self

    def _learn(self, ids: torch.Tensor, held_out: torch.Tensor, run: Run) -> None:
        size = max(1, min(self.batch_size, len(ids) // (4 * self.length)))
        with self._session():
            self.network_ = self._new_network().to(self._place)
            reader = Carried(self.network_, size).to(self._place).train()
            streams = Streams(ids, size=size, window=self.length, seed=self._seed, device=self._place)
            how = self._training(
                auto_epochs(self.epochs, len(streams), 1), self.rate, optimizer="adam", schedule=self.schedule,
                warmup=self.warmup, weight_decay=self.weight_decay, clip=self.clip, average=self.average,
                patience=self.patience,
            )  # fmt: skip
            validate = None if self.patience is None else lambda: self._glance(held_out)
            history = train(
                reader, reader.learn, streams, how, name="reading", validate=validate,
                figure=f"nats per {self.form[:-1]}", run=self._run(run),
            )  # fmt: skip
        self.histories_: list[History] = [history]
        self.network_.eval()

    def _glance(self, ids: torch.Tensor) -> float:
        """Nats per symbol of held-out text, between two epochs."""
        found = glance(self.network_.eval(), ids)
        self.network_.train()
        return found

    def _check_settings(self) -> None:
        self._check_layers()
        for name, low in (("length", 1), ("batch_size", 1), ("embedding", 1), ("terms", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is at least {low}, got {getattr(self, name)}.")
        if not (0 <= self.dropout < 1 and 0 < self.validation_fraction < 1):
            raise ValueError(f"dropout lies in [0, 1) and validation_fraction between 0 and 1, got {self.dropout} and "
                             f"{self.validation_fraction}.")  # fmt: skip

    def _new_network(self) -> Reader:
        return Reader(len(self._symbols), self._check_layers(), embedding=self.embedding, dropout=self.dropout)

    def _work(self) -> float:
        return float(self.batch_size) * 4 * max(self._check_layers()) ** 2

    # -- what was learned ----------------------------------------------------------------------------------------------

    def evaluate(self, X: str | Sequence[str]) -> Surprise:
        """How badly the net foretells a text that it reads from beginning to end, remembering all of it.

        Warns of characters that it has never seen.

        Raises:
            ValueError: If there are fewer than two symbols: the first is not foretold.
        """
        check_is_fitted(self)
        text = _whole(X)
        ids = self._symbols.encode(text)
        if len(ids) < 2:
            raise ValueError(f"A text of {len(ids)} {self.form} leaves nothing to foretell. Give at least two.")
        with session(0, choose_threads(self.threads, self._work())):
            nats = float(surprise(self.network_, torch.from_numpy(ids)).sum(dtype=torch.float64))
        characters = len(text) - len(self._symbols.decode(ids[:1].tolist()))
        if strange := self._symbols.unknown(text):
            count, shown = sum(map(text.count, strange)), ", ".join(map(repr, strange[:10]))
            warnings.warn(
                f"{count} of {len(text)} characters were never seen in learning ({shown}): each is read as unknown, and "
                "surprises the more.",
                stacklevel=2,
            )
        return Surprise(nats / characters, len(ids) - 1, characters)

    def score(self, X: str | Sequence[str], y: Any = None) -> float:
        """Mean log-likelihood per character, in nats, at most 0: minus `evaluate(X).nats`, as higher is better here."""
        return -self.evaluate(X).nats

    def write(
        self, start: str = "\n", length: int = 500, *, temperature: float = 1.0, random_state: int = 0
    ) -> Iterator[str]:
        """Goes on from `start`: yields `length` characters (or subwords) one by one, as they are made.

        Arguments:
            start: What was written before; it is read, and not yielded.
            length: How many to write, at least 1.
            temperature: 1 draws as the net believes; less is more careful, and 0 takes the likeliest each time.
            random_state: The same number writes the same text.

        Raises:
            ValueError: If `start` is empty or holds a character that was never seen in learning, or a number is out of range.
        """
        check_is_fitted(self)
        if not start:
            raise ValueError("There is nothing to go on from: start is empty. Give at least one character, such as a "
                             "line break.")  # fmt: skip
        if unknown := self._symbols.unknown(start):
            shown = ", ".join(map(repr, unknown[:10]))
            raise ValueError(f"start holds {shown}{', ...' if unknown[10:] else ''}, which the text to learn from never had. "
                             "Leave out what it does not know, or learn from a text that has it.")  # fmt: skip
        if length < 1:
            raise ValueError(f"length is at least 1, got {length}.")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature is a number from 0 on, 0 for the likeliest each time; got {temperature}.")
        ids = self._symbols.encode(start).tolist()
        written = continuation(
            Stepper(self.network_), ids, length, temperature, random_state, never=self._symbols.reserved
        )
        return self._symbols.stream(written)

    @property
    def parameters_(self) -> int:
        """How many numbers the network has learned."""
        return parameters(self.network_)

    # -- saving --------------------------------------------------------------------------------------------------------

    @property
    def _modules_(self) -> dict[str, nn.Module]:
        return {"network_": self.network_}

    def _rebuild(self, fitted: dict[str, Any]) -> None:
        self._symbols = Symbols(self.characters_, self.tokenizer_)
        self.network_ = self._new_network().eval()


def _whole(X: str | Sequence[str]) -> str:
    """One text of one or several.

    Raises:
        ValueError: If it is none.
    """
    texts = [X] if isinstance(X, str) else list(X)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"A text is a string, but number {number} is {text!r:.40}. Give a text, or a list of texts."
            )
    return "\n".join(texts)
