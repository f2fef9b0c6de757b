"""One look at a model: the rows, and what its layers answer to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from layerwise import lens
from layerwise.lens.material import Material
from layerwise.lens.running import evaluating, to_module
from layerwise.lens.targets import answers
from layerwise.subject import Subject, code_of, states_of

LOOK = 2000  # rows whose codes are held at once
MAP = 1000  # rows on the map, and under the linear probe
COLUMNS = 40  # columns of a table shown
EXAMPLES = 10  # rows rebuilt, classes dreamed of


@dataclass(frozen=True, eq=False)
class Page:
    """A layer whose units have pages: its name in the module and for people, the kind of its units, and their states."""

    name: str
    label: str
    kind: str
    states: Tensor


class Look:
    """A model and rows: what its layers answer to some of them, and what had to be left out so far.

    Arguments:
        subject: What is looked at, as it looks to the lens.
        came, learned: All rows, and those that the model learned from if they were given.
        seed: Of everything random.

    Attributes:
        chosen: Numbers of the rows whose codes are held, in the order of the data; all others below are of these.
        mapped: Numbers of those on the map; `on_map` are the same as positions in `chosen`.
        rows, codes, states: Shape (n, features); per layer (n, numbers), and (n, units).
        given: The rows as the module takes them.
        input: What stands for the input in comparisons: the rows, or how often each symbol is in them.
        answers: States of the module's output, shape (n, outputs); None where no part gives it, or it is not finite.
        numbers: Of a model that gives values, those of all rows, shape (n, values), or if it gives a code, those of the
            `chosen` rows; None for others.
        said, sure: Of all rows, the class that the model gives (index; -1 if none) and its probability.
        column_scale: For what has no picture, standard deviations of the columns of `input`.
        left_out: Why, by the name of the section.
    """

    def __init__(self, subject: Subject, came: Material, learned: Material | None, seed: int) -> None:
        self.came, self.learned, self.seed = came, learned, seed
        self.left_out = dict(subject.missing)
        self._connections: tuple[tuple[int, int], lens.Connections] | None = None
        shuffled = np.random.RandomState(seed).permutation(len(came))
        self.chosen, self.mapped = np.sort(shuffled[:LOOK]), np.sort(shuffled[:MAP])
        self.on_map = np.searchsorted(self.chosen, self.mapped)  # the map's rows, as positions in `chosen`
        self.rows = came.tensor(self.chosen)
        self.given = subject.given(self.rows)
        self.subject, self.codes, self.states = self._seen(subject)
        self.input = self.input_of(self.rows)
        self.said, self.sure = self._answered()
        self.numbers = self._numbers()
        self.column_scale = None if came.pictured else _spread(self.input)

    @property
    def input_name(self) -> str:
        """What `input` is."""
        return "Symbol counts" if self.subject.symbols else "Input"

    @torch.no_grad()
    def _seen(self, subject: Subject) -> tuple[Subject, list[Tensor], list[Tensor]]:
        """Of every layer the codes of the rows, shape (n, numbers), and the states of its units, shape (n, units).

        A layer whose activations are NaN is left out.
        """
        codes: dict[str, list[Tensor]] = {name: [] for name in subject.stages}
        states: dict[str, list[Tensor]] = {name: [] for name in subject.stages}
        answers = [] if subject.output is None else [subject.output]
        given: list[Tensor] = []
        for batch in lens.stream(subject.module, [*subject.stages, *answers], self.given, size=250, finite=False):
            for name in subject.stages:
                codes[name].append(code_of(batch[name]))
                states[name].append(states_of(batch[name]))
            given += [states_of(batch[name]) for name in answers]
        self.answers = torch.cat(given) if given and all(each.isfinite().all() for each in given) else None
        whole = {name: torch.cat(each) for name, each in codes.items()}
        fine = [name for name in subject.stages if self._finite(subject, name, whole[name])]
        if not fine:
            why = self.left_out[f"Layer {subject.stages[0]}"]
            raise ValueError(f"Nothing can be shown of any layer. {subject.stages[0]!r}: {why}.")
        return subject.only(fine), [whole[name] for name in fine], [torch.cat(states[name]) for name in fine]

    def _finite(self, subject: Subject, name: str, codes: Tensor) -> bool:
        bad = int((~codes.isfinite()).sum())
        if bad:
            self.left_out[f"Layer {name}"] = (
                f"{bad} of its {codes.numel()} activations are NaN or infinite: look for weights that diverged, a logarithm or "
                "division of zero"
            )
        return not bad

    def _answered(self) -> tuple[np.ndarray, np.ndarray]:
        """The class (index) that the model gives each row, and its probability, both of shape (n,); -1 and NaN if none."""
        said, sure = np.full(len(self.came), -1), np.full(len(self.came), np.nan)
        for start in range(0, len(self.came) if self.subject.classifies else 0, LOOK):
            part = slice(start, start + LOOK)
            log_p = self.subject.log_proba(self.came.rows(part))  # type: ignore[misc]
            if not np.isfinite(log_p).any(1).all():
                self._leave_out_answers(
                    f"answers to some of the rows {start} to {start + len(log_p) - 1} are NaN or infinite"
                )
                return np.full_like(said, -1), np.full_like(sure, np.nan)
            said[part], sure[part] = log_p.argmax(1), np.exp(log_p.max(1))
        return said, sure

    @torch.no_grad()
    def _numbers(self) -> Tensor | None:
        """The numbers that the model gives rows."""
        gives = self.subject.gives
        if gives not in ("values", "code"):
            return None
        rows = self.chosen if gives == "code" else np.arange(len(self.came))
        net, starts = self.subject.numbers, range(0, len(rows), 500)
        given = (self.subject.given(self.came.tensor(rows[start : start + 500])) for start in starts)
        with evaluating(net):
            return torch.cat([answers(net(to_module(net, part)), len(part)).cpu() for part in given])

    def _leave_out_answers(self, why: str) -> None:
        self.subject = replace(self.subject, log_proba=None, loss=None)
        self.left_out["Mistakes"] = why

    def input_of(self, rows: Tensor) -> Tensor:
        """What stands for some rows in comparisons."""
        return _counted(rows, self.subject.symbols) if self.subject.symbols else rows

    def names(self, index: np.ndarray) -> list[str]:
        """Names of some columns."""
        return [self.came.columns[column] for column in index]

    @property
    def pages(self) -> list[Page]:
        """The layers whose units have pages: the hidden ones, bottom first, and the output."""
        subject = self.subject
        found = [Page(*each) for each in zip(subject.stages, subject.labels, subject.kinds, self.states, strict=True)]
        if self.answers is not None and subject.output is not None:
            found.append(
                Page(
                    subject.output, "Output", "scores of the classes" if subject.classifies else "answers", self.answers
                )
            )
        return found

    def pool(self, most: int) -> np.ndarray:
        """Positions in `chosen` of the rows that unit pages show: so many that their pictures take at most so many bytes."""
        each = int(np.prod(self.came.pictures(self.rows[:1].numpy()).shape)) if self.came.pictured else 1000
        return np.sort(np.random.RandomState(self.seed).permutation(len(self.chosen))[: max(most // each, 100)])

    def connections(self, below: int, above: int, rows: int, most: int) -> lens.Connections:
        """Between all units of two layers; the last ones asked for are held, since the layer above asks for them again.

        Raises:
            ValueError: If there are more than `most` units in one of them, or as `lens.connections`.
        """
        if max(self.pages[at].states.shape[1] for at in (below, above)) > most:
            raise ValueError(f"a layer of more than {most} units has too many connections to go through them all")
        if self._connections is None or self._connections[0] != (below, above):
            low, high = (self.pages[at].name for at in (below, above))
            self._connections = (below, above), lens.connections(self.subject.module, low, high, self.given[:rows])
        return self._connections[1]

    def examples(self) -> list[int]:
        """The first row of each class, or the first rows: not picked by what they look like."""
        classes, first = np.unique(self.came.y[self.chosen], return_index=True)
        found = self.chosen[first[classes >= 0]][:EXAMPLES].tolist()
        return found or self.chosen[:EXAMPLES].tolist()

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Rows of a table in standard deviations from the mean of those looked at."""
        assert self.column_scale is not None
        return (rows - self.rows.mean(0).numpy()) / self.column_scale.numpy()


def _counted(rows: Tensor, symbols: int) -> Tensor:
    """How often each symbol but padding is in each row, shape (n, symbols)."""
    return torch.zeros(len(rows), symbols).scatter_add_(1, rows.long(), (rows > 0).float())


def _spread(rows: Tensor) -> Tensor:
    """Standard deviations of the columns, shape (features,), 1 where nothing varies."""
    spread = rows.double().std(0, unbiased=False).float()
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def address(name: str) -> str:
    """A layer's place in addresses of pages: its name, marked where it is that of another page.

    Example:
        >>> address("layer3"), address("blocks.0"), address("answers")
        ('layer3', 'blocks.0', ':answers')
    """
    return quote(f":{name}" if name in ("answers", "answer", "ladder", "") else name, safe=":.")
