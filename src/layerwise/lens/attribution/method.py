"""What all methods of attribution share: one call, and a map that carries its checks."""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layerwise.lens.names import wanted
from layerwise.lens.question import Question
from layerwise.lens.running import all_finite
from layerwise.lens.trust import Checks, check

BATCH = 64  # points at once: more rows or steps than that take turns


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found.

    Arguments:
        values: In the shape of the points, or of one channel of them.
        scores: Of the rows, shape (n,).
        reference: Scores at the baselines, shape (n,), for methods that share out the difference to them.
        absorbed: What constants such as biases keep, shape (n,), for methods that hand relevance down.
        lost: What is then still missing of the scores of all rows together; None if only the sum can tell.
    """

    values: Tensor
    scores: Tensor
    reference: Tensor | None = None
    absorbed: Tensor | None = None
    lost: float | None = None


@dataclass(eq=False)
class Map:
    """An answer explained: how much each part of each row contributed. It is never printed without its checks.

    Arguments:
        values: Shape (n, ...), that of the rows (of the layer's output, where the explanation started there), or with one
            channel for all.
        scores: What was explained, shape (n,).
        reference: The scores at the baselines, shape (n,), where the method shares out the difference to them, else None.
        absorbed: What biases and other constants keep, shape (n,), where the method hands relevance down, else None.
        error: By how much values (and what is absorbed) miss the scores (less the reference), as a share of these: shape (n,),
            >= 0; None where the method promises no sum.
        method, question: What was asked, and how.
    """

    values: Tensor
    scores: Tensor
    reference: Tensor | None
    absorbed: Tensor | None
    error: Tensor | None
    method: Method
    question: Question
    base: Tensor = field(repr=False)
    size: int = BATCH
    _checks: Checks | None = None

    @property
    def checks(self) -> Checks:
        """Whether the map can be trusted; worked out when it is first asked for, by `layerwise.lens.trust.check`."""
        if self._checks is None:
            self.check()
        assert self._checks is not None
        return self._checks

    def check(self, **settings: Any) -> Checks:
        """Works the checks out, with settings of `layerwise.lens.trust.check` other than its own.

        Maps of several methods for one question share a `trial`, so that random orders are drawn and scored once.
        """
        base, span = self.base, None
        if not self.method.paired:
            span = sum((self.question.points - each).abs() for each in base) / len(base)
            base = base.mean(0, keepdim=True).expand_as(self.question.points)
        self._checks = check(self.question, self.values, base, self.again, error=self.error, span=span, **settings)
        return self._checks

    def again(self, question: Question) -> Tensor:
        """The values that the same method finds for the same question to another module, or of the first rows only."""
        base = self.base[: len(question)] if self.method.paired else self.base
        with question.asked():
            return self.method.of(question.module).explain(question, base, self.size).values

    def __str__(self) -> str:
        shape = "x".join(map(str, self.values.shape[1:]))
        return f"{self.method.name} of {self.question.target}, {len(self.values)} rows of {shape}\n{self.checks}"

    def __repr__(self) -> str:
        return f"<Map of {self.method.name}, {tuple(self.values.shape)}: print it to see it with its checks>"


class Method(abc.ABC):
    """A way to say how much each part of a row contributed to an answer.

    Arguments:
        module: Any module. It is looked at in evaluation mode and left as it was found.
        layer: Where the explanation starts: at the rows (None), or at what a layer makes of them. Rows of whole numbers, such
            as tokens, start at their embedding.
    """

    paired: ClassVar[bool] = True  # whether each row has one baseline

    def __init__(self, module: nn.Module, *, layer: str | nn.Module | None = None) -> None:
        self.module = module
        self.layer = None if layer is None else wanted(module, layer)[0].text

    @property
    def name(self) -> str:
        """Of the method."""
        return type(self).__name__

    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = (),
        *,
        internal_batch_size: int = BATCH,
    ) -> Map:
        """Explains the answers to rows.

        Arguments:
            inputs: Rows, shape (n, ...).
            baselines: What stands for "nothing there": a number (None is 0), one row, or one per row.
            target: What is explained: an output by number, or tuple of numbers where it has several axes; a list of numbers,
                one per row; None for a single output; a `Unit`, `Direction` or `Contrast` of `layerwise.lens.targets`.
            additional_forward_args: What else the module takes after the rows, one or a tuple, or by their names as a mapping
                such as {"attention_mask": mask}; tensors with a row per row go along with the rows.
            internal_batch_size: Rows (or steps, or windows) in one pass at most: the bound on memory.

        Raises:
            ValueError: If rows, baselines or target do not fit the module, the rows are whole numbers, no gradient comes from
                the target, or something is NaN.
        """
        question = Question(self.module, inputs, target, layer=self.layer, more=additional_forward_args)
        with question.asked():
            base = self.base(question, baselines)
            found = self.explain(question, base, internal_batch_size)
        if not (all_finite(found.scores) and all_finite(found.values)):
            question.blame()
        return Map(found.values, found.scores, found.reference, found.absorbed, _error(found), self, question, base,
                   internal_batch_size)  # fmt: skip

    @abc.abstractmethod
    def explain(self, question: Question, base: Tensor, size: int) -> Found:
        """The values, at most `size` points at a time; `base` is what `base` made of the baselines."""

    def base(self, question: Question, baselines: Any) -> Tensor:
        """Baselines as points, one per row."""
        return question.baselines(baselines)

    def of(self, module: nn.Module) -> Method:
        """The same method for another module of the same kind."""
        other = copy.copy(self)
        other.module = module
        return other


def parts(question: Question, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Points, at most `size` at a time, with the numbers of their rows."""
    if size < 1:
        raise ValueError(f"internal_batch_size is {size}, but at least one row must fit into a pass.")
    index = torch.arange(len(question), device=question.points.device)
    yield from zip(question.points.split(size), index.split(size), strict=True)


def _error(found: Found) -> Tensor | None:
    if found.reference is None and found.absorbed is None:
        return None
    wanted = found.scores.double() - (0 if found.reference is None else found.reference.double())
    if found.lost is not None:  # by the sum of what each operation handed on and kept, over all rows
        return torch.full_like(wanted, abs(found.lost) / float(wanted.abs().sum().clamp_min(1e-12)))
    missing = found.values.flatten(1).double().sum(1) - wanted
    return missing.abs() / wanted.abs().clamp_min(1e-12)
