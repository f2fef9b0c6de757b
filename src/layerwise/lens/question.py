"""A question to a module: which number of its answer, as a function of where the explanation starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.lens.capture import watch
from layerwise.lens.names import wanted
from layerwise.lens.running import (
    all_finite,
    attributes_kept,
    check_differentiable,
    check_finite,
    evaluating,
    run,
    to_module,
    without_fast_path,
)
from layerwise.lens.targets import Target, target_of

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def looks_up(module: nn.Module, rows: Tensor) -> str | None:
    """Name of the embedding that looks up rows of whole numbers, and not places or segments; None if there is none.

    Example:
        >>> net = nn.Sequential(nn.Embedding(9, 2), nn.Flatten())
        >>> looks_up(net, torch.tensor([[1, 2, 3]]))
        '0'
    """
    found: list[tuple[str, Tensor]] = []
    with contextlib.ExitStack() as undo, evaluating(module, warn=False), torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, EMBEDDINGS):
                note = lambda _part, given, name=name: found.append((name, given[0]))  # noqa: E731
                undo.callback(part.register_forward_pre_hook(note).remove)
        given = to_module(module, rows)
        run(module, given)
    alike = [name for name, numbers in found if torch.equal(numbers, given)]
    alike += [name for name, numbers in found if numbers.numel() == given.numel()]
    return next(iter([*alike, *(name for name, _ in found)]), None)


class Question:
    """A target's score as a function of `points`: of the rows, or of what a layer makes of them.

    Arguments:
        module: Any module that answers row by row.
        rows: Shape (n, ...).
        target: What is to be explained, see `layerwise.lens.targets`.
        layer: Where the explanation starts; None for the rows. Whole numbers, such as the numbers of tokens, have no
            gradient: for these it is the embedding.
        more: What else the module takes after the rows, one or a tuple, or by their names as a mapping; tensors with n rows go
            along with them.

    Attributes:
        points: What is explained by, shape (n, ...).

    Raises:
        ValueError: If the rows are none, are whole numbers or hold NaN; if the layer or the target does not exist.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> question = Question(net, torch.rand(4, 3), 1, layer="1")
        >>> with question.asked():
        ...     scores = question(question.points)
        >>> torch.equal(scores, net(question.rows)[:, 1])
        True
    """

    def __init__(
        self, module: nn.Module, rows: Any, target: Any = None, *, layer: str | nn.Module | None = None, more: Any = ()
    ) -> None:
        rows = torch.as_tensor(rows)
        if not len(rows):
            raise ValueError("There are no rows to explain. Give at least one.")
        if layer is None and not rows.is_floating_point():
            raise ValueError(f"These rows are whole numbers ({rows.dtype}), which have no gradient. Start at the layer that "
                             "looks them up, layer='embedding', or make them floating-point numbers.")  # fmt: skip
        if rows.is_floating_point():
            check_finite({"the rows": rows})
        self.module, self.rows = module, to_module(module, rows.detach())
        self.layer = None if layer is None else wanted(module, layer)[0].text
        self.target: Target = target_of(target).within(module)
        self.more = to_module(module, more if isinstance(more, tuple | Mapping) else (more,))
        self.points = self.rows if self.layer is None else self.at_layer(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, module: nn.Module, rows: int | None = None) -> Question:
        """The same question to another module of the same kind, of all rows or of the first ones."""
        index = torch.arange(len(self) if rows is None else min(rows, len(self)), device=self.rows.device)
        return Question(module, self.rows[index], self.target.pick(index), layer=self.layer, more=self._more(index))

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """What must hold while the module runs; it is left as it was found."""
        with evaluating(self.module), without_fast_path(self.module), contextlib.ExitStack() as stack:
            if any(isinstance(part, nn.RNNBase) for part in self.module.modules()):
                # Fused recurrent layers give no gradient in evaluation mode on a GPU, and hide what they do from a tape.
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
                before = torch.backends.mkldnn.set_flags(False)[0]
                stack.callback(torch.backends.mkldnn.set_flags, before)
            yield

    def __call__(self, points: Tensor, index: Tensor | None = None) -> Tensor:
        """Scores, shape (len(points),), if the explanation's start were `points`; `index` says whose rows they stand for."""
        rows = len(points)
        index = torch.arange(rows, device=self.rows.device) if index is None else index
        target = self.target.pick(index)
        with contextlib.ExitStack() as stack:
            start = stack.enter_context(watch(self.module, self.layer, points)) if self.layer is not None else None
            seen = stack.enter_context(watch(self.module, target.layers)) if target.layers else None
            output = self._run(points if start is None else self.rows[index], index)
            if start is not None and len(start.outputs) != 1:
                raise ValueError(f"{self.layer!r} gives {len(start.outputs)} tensors in a pass, so that the explanation "
                                 f"cannot start there. Name one: {self.layer}#1 is the first call.")  # fmt: skip
            return target.scores(output, seen, rows)

    def scores(self, points: Tensor | None = None, index: Tensor | None = None, size: int = 100) -> Tensor:
        """Scores of points, `size` at a time, without a graph, shape (len(points),).

        Raises:
            ValueError: If any is NaN or infinite; the layer where that begins is named.
        """
        points = self.points if points is None else points
        index = torch.arange(len(points), device=points.device) if index is None else index
        with torch.no_grad():
            parts = [self(part, at) for part, at in zip(points.split(size), index.split(size), strict=True)]
        scores = torch.cat(parts)
        if not all_finite(scores):
            self.blame(points[:size], index[:size])
        return scores

    def gradients(self, points: Tensor, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores, shape (n,), and their gradients by the points, in the points' shape.

        Raises:
            ValueError: If no gradient comes from the target.
        """
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            scores = self(points, index)
            check_differentiable(scores)
            (gradients,) = torch.autograd.grad(scores.sum(), points, allow_unused=True)
        if gradients is None:
            raise ValueError(
                f"No gradient leads from what was asked for to {self.layer or 'the rows'!r}: the module goes on with detached "
                "tensors or under no_grad, or does not use them for it. Occlusion needs no gradient."
            )
        return scores.detach(), gradients

    def baselines(self, baselines: Any = None) -> Tensor:
        """The points that stand for "nothing there", in the shape of `points`.

        Arguments:
            baselines: A number (None is 0), a row, or a row per row; where the explanation starts at a layer, whole numbers
                and rows in the shape of the rows are taken through it.

        Raises:
            ValueError: If the shape does not fit.
        """
        if baselines is None or isinstance(baselines, int | float):
            return torch.full_like(self.points, 0.0 if baselines is None else baselines)
        return self._fitted(self.some(baselines))

    def some(self, baselines: Any) -> Tensor:
        """Points of any number of baseline rows, shape (m, ...)."""
        given = to_module(self.module, torch.as_tensor(baselines).detach())
        shape = self.rows.shape[1:]
        if given.shape == shape or given.shape == self.points.shape[1:]:
            given = given[None]
        if self.layer is not None and given.shape[1:] == shape and shape != self.points.shape[1:]:
            return self.at_layer(given)
        return given

    def at_layer(self, rows: Tensor) -> Tensor:
        """What the layer where the explanation starts makes of rows."""
        assert self.layer is not None
        index = torch.arange(len(rows)) if len(rows) == len(self) else torch.zeros(len(rows), dtype=torch.long)
        with self.asked(), torch.no_grad(), watch(self.module, self.layer) as seen:
            self._run(rows, index)
        found = seen.found(len(rows))
        if len(found) != 1:
            raise ValueError(f"{self.layer!r} gives {len(found)} tensors in a pass, so that the explanation cannot start "
                             f"there. Name one: {', '.join(found)}.")  # fmt: skip
        return next(iter(found.values())).tensor.detach()

    def _run(self, rows: Tensor, index: Tensor) -> Any:
        more = self._more(index)
        with attributes_kept(self.module):  # what a tape's tensors are is over with the tape
            return self.module(rows, **more) if isinstance(more, Mapping) else self.module(rows, *more)

    def _more(self, index: Tensor) -> Any:
        """What else the module takes with these rows."""

        def picked(each: Any) -> Any:
            along = isinstance(each, Tensor) and each.ndim and len(each) == len(self)
            return each[index.to(each.device)] if along else each

        if isinstance(self.more, Mapping):
            return {name: picked(each) for name, each in self.more.items()}
        return tuple(map(picked, self.more))

    def _fitted(self, given: Tensor) -> Tensor:
        if given.shape[1:] != self.points.shape[1:] or len(given) not in (1, len(self)):
            raise ValueError(f"Baselines of shape {tuple(given.shape)} do not fit points of shape {tuple(self.points.shape)}. "
                             "Give a number, one row, or one per row.")  # fmt: skip
        return given.to(self.points).expand_as(self.points)

    def blame(self, points: Tensor | None = None, index: Tensor | None = None) -> None:
        """Raises the error that says where NaN begins, for points whose scores or gradients are NaN.

        Raises:
            ValueError: Always.
        """
        points = self.points if points is None else points
        with self.asked(), torch.no_grad(), watch(self.module, "*") as seen:
            self(points, index)
        check_finite({name: output.tensor for name, output in seen.named.items()})
        raise ValueError("The target or its gradient is NaN or infinite, though every layer is finite. Ask for the logits, not "
                         "for a logarithm, root or quotient of them.")  # fmt: skip
