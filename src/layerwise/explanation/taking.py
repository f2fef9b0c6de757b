"""What came: a model and rows, checked against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.data.dataset import Dataset, Row
from layerwise.lens.material import Material, material
from layerwise.lens.names import wanted
from layerwise.lens.question import EMBEDDINGS
from layerwise.subject import Subject, of_estimator, of_module

Shape = tuple[int, ...]
Take = Callable[[Any, Row | None], Material]


def taken(
    model: Any, data: Any, row: Row | None, layers: str | Sequence[str] | None, outputs: str | None = None
) -> tuple[Subject, Material, Take]:
    """How the model looks to the lens, the rows, and a way to take more rows of the same kind."""
    if isinstance(model, nn.Module):
        return _by_module(model, data, row, layers, outputs)
    subject = of_estimator(model)
    if layers is not None:
        raise ValueError(f"layers=... chooses among the layers of a torch module; a {subject.name} shows all of "
                         "its own. To choose, give its network: explain(model.network_, ...).")  # fmt: skip

    if outputs not in (None, subject.gives):
        raise ValueError(f"outputs=... says what a torch module answers with; a {subject.name} gives {subject.gives}.")

    def take(data: Any, row: Row | None) -> Material:
        return _checked(subject, material(data, row, subject.classes, subject.columns, subject.values))

    return subject, take(data, row), take


def network_of(model: Any, like: Subject) -> nn.Module:
    """The torch module of a model that is to stand beside another, whose layers it must have.

    Raises:
        ValueError: If it has them not.
    """
    module = model if isinstance(model, nn.Module) else of_estimator(model).module
    wanted(module, like.stages)
    return module


def _checked(subject: Subject, came: Material) -> Material:
    """The rows, as the estimator was fitted on."""
    if came.row.size != subject.features:
        raise ValueError(
            f"The model was fitted on rows of {subject.features} features, but these have {came.row.size}. "
            "Prepare them as they were prepared for fit."
        )
    wanted = subject.columns or []
    given = [str(name) for name in getattr(came.x, "columns", wanted)]
    if wanted and given != wanted:
        raise ValueError(f"The columns are {given[:5]}, ..., but fit saw {wanted[:5]}, .... Put them in that order.")
    return came


def _by_module(
    model: nn.Module, data: Any, row: Row | None, layers: str | Sequence[str] | None, outputs: str | None
) -> tuple[Subject, Material, Take]:
    symbols = any(isinstance(part, EMBEDDINGS) for part in model.modules())
    flat, row, shapes = _laid_flat(data, row, symbols)
    if outputs is None and isinstance(data, tuple) and len(data) == 2 and np.ndim(_array(data[1])) == 2:
        outputs = "values"  # several a row: targets, which classes are not
    subject = of_module(model, _few(flat), shapes, layers, outputs)

    def take(data: Any, row: Row | None) -> Material:
        return material(_laid_flat(data, row, symbols)[0], row, subject.classes, values=subject.values)

    came = material(flat, row, subject.classes, values=subject.values)
    return subject, came, lambda data, _: take(data, came.row)


def _few(data: Any, count: int = 4) -> Tensor:
    """A few rows, in the type they came in; symbols of texts as whole numbers."""
    if isinstance(data, Dataset):
        rows = torch.from_numpy(data.matrix(slice(0, count)))
        return rows.long() if getattr(data.row, "ids", 0) else rows
    x = data[0] if isinstance(data, tuple) else data
    return torch.from_numpy(np.ascontiguousarray(x[:count]))


def _laid_flat(data: Any, row: Row | None, symbols: bool) -> tuple[Any, Row | None, list[Shape]]:
    """Rows as a matrix, how to show one, and the shapes in which a module may take them."""
    if isinstance(data, Dataset):
        return data, row or data.row, _shapes((row or data.row).shape)
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    x, y = _array(x), None if y is None else _array(y)
    if x.ndim < 2 or not len(x):
        raise ValueError(
            f"Rows have shape (n, ...) with n >= 1, but these have {x.shape}. Pass X or (X, y), a row per example."
        )
    shape = tuple(int(side) for side in x.shape[1:])
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    others = [each for each in _shapes(row.shape) if each != shape] if row else []
    return (flat, y) if y is not None else flat, row or _guessed(x, symbols), [shape, *others]


def _array(values: Any) -> np.ndarray:
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _shapes(shape: Shape) -> list[Shape]:
    """As channels, flat, or as it is."""
    channels = [(1, *shape)] if len(shape) == 2 else []
    return list(dict.fromkeys([*channels, *([shape] if len(shape) == 3 else []), (math.prod(shape),), shape]))


def _guessed(x: np.ndarray, symbols: bool) -> Row | None:
    """How rows of numbers may be shown: (1 or 3, height, width) and (height, width) as pictures."""
    if x.ndim == 2:
        return Row("text", (x.shape[1],)) if symbols and x.dtype.kind in "iu" else None
    low, high = float(x.min()), float(x.max())
    shape = tuple(int(side) for side in (x.shape[2:] if x.ndim == 4 and x.shape[1] == 1 else x.shape[1:]))
    pictured = len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)
    if not pictured or not low < high:
        return Row("table", (math.prod(shape),))
    return Row("image", shape, low=low, high=high)
