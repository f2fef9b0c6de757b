"""How any torch module looks to the lens: which of its parts are layers, how it takes rows, and whether it gives classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise import lens
from layerwise.layer import Layer
from layerwise.lens.names import part_of, wanted
from layerwise.lens.question import EMBEDDINGS, looks_up
from layerwise.lens.running import evaluating, run, to_module
from layerwise.lens.targets import answers
from layerwise.lens.vitals import kind_of
from layerwise.stack import Stack
from layerwise.subject.subject import Subject, cross_entropy
from layerwise.units import Bernoulli, Gaussian, Rectified, Units

MOST = 24  # layers that are looked at unless they are named
PASSING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Identity, nn.Unflatten)
OUTPUTS = {"classes": "scores of classes", "values": "values", "code": "a code"}
KINDS: dict[type[Units], str] = {Bernoulli: "states in [0, 1]", Rectified: "rectified", Gaussian: "real-valued"}


def of_module(
    module: nn.Module,
    rows: Tensor,
    shapes: Sequence[tuple[int, ...]],
    layers: str | Sequence[str] | None = None,
    outputs: str | None = None,
) -> Subject:
    """The subject that a module is, told by what it does to a few rows.

    Arguments:
        module: Any module that answers row by row.
        rows: A few rows, shape (n, features): whole numbers for a module that takes those.
        shapes: Shapes of a row in which the module may take it; the first with which it runs is used.
        layers: Names or globs of layers; None for the natural ones (`layerwise.lens.reached`), without dropout and the like and
            without the output.
        outputs: What the numbers are that it answers with, one of `OUTPUTS`; None takes several for scores of classes and one
            for a value, but what a layer of this library makes for a code.

    Raises:
        ValueError: If the module does not run on the rows, or as `layerwise.lens.stream`.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(), nn.Linear(3, 2)).eval()
        >>> found = of_module(net, torch.rand(5, 4), [(4,)])
        >>> found.stages, found.kinds, list(found.classes)
        (['0', '1'], ['real-valued', 'rectified'], [0, 1])
    """
    whole = not rows.is_floating_point() and any(isinstance(part, EMBEDDINGS) for part in module.modules())
    rows = rows.long() if whole else rows.float()
    shape, output = _tried(module, rows, shapes)
    given = rows.reshape(len(rows), *shape)
    symbols = _symbols(module, given) if whole else None
    stages, last, left = _stages(module, given, layers, output)
    seen = next(lens.stream(module, stages, given, finite=False))
    kinds = [kind_of(part_of(module, name), seen[name].rows())[0] for name in seen]
    if outputs is None and isinstance(module, Layer | Stack):
        outputs = "code"
    why, gives, count = _given(output, len(rows), outputs)
    classes = range(count) if gives == "classes" else None
    name = type(module).__name__
    return Subject(
        name=name, words=name, what="the module", module=module,
        stages=list(seen), output=last,
        labels=[_label(name) for name in seen], units=kinds, visible="symbols" if whole else "numbers",
        kinds=[_kind(kind, each) for kind, each in zip(kinds, seen.values(), strict=True)],
        features=math.prod(shape), shape=shape, whole=whole, symbols=symbols,
        work=100.0 * sum(p.numel() for p in module.parameters()), weights=_dense(module, list(seen), math.prod(shape)),
        filters=_filters(module, list(seen)), gives=gives, classes=classes,
        mean=torch.zeros(count) if gives == "values" else None,
        deviation=torch.ones(count) if gives == "values" else None,
        loss=None if classes is None else cross_entropy,
        log_proba=None if classes is None else _log_proba(module, shape, whole),
        missing={"Dreams": "a module that is given as it is holds no model of rows to draw from",
                 "Reconstructions": "a module that is given as it is has no way back down",
                 "Gradients": "how the module "
                 "learned is not known here", **({"Mistakes": why} if why else {}), **left},
    )  # fmt: skip


def _kind(kind: Units, seen: lens.Seen) -> str:
    return KINDS[type(kind)] + (" maps" if len(seen.positions) == 2 else " features of steps" if seen.positions else "")


def _label(name: str) -> str:
    return f"Layer {name}" if name.isdecimal() else name or "The whole"


def _symbols(module: nn.Module, rows: Tensor) -> int:
    """How many symbols there are, for rows of whole numbers as the module takes them."""
    embedding = module.get_submodule(looks_up(module, rows) or "")
    return embedding.num_embeddings if isinstance(embedding, EMBEDDINGS) else int(rows.max()) + 1


@torch.no_grad()
def _tried(module: nn.Module, rows: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], Any]:
    """The first shape that the module takes, and what it answers."""
    said = []
    with evaluating(module):
        for shape in shapes:
            try:
                return shape, run(module, to_module(module, rows.reshape(len(rows), *shape)))
            except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
                said.append(f"{shape}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise ValueError(
        "The module does not run on rows of shape "
        + "; ".join(said)
        + ". Give rows in the shape that it takes, or wrap a "
        "module that takes several inputs, or named ones, in one that takes rows."
    )


def _stages(
    module: nn.Module, rows: Tensor, layers: str | Sequence[str] | None, output: Any
) -> tuple[list[str], str | None, dict[str, str]]:
    """Names of the layers to look at, of the part that gives the answers, if it is one, and what was left out."""
    if layers is not None:
        names = [layers] if isinstance(layers, str) else list(layers)
        wanted(module, names)  # refuses what matches nothing before the work begins
        return list(next(lens.stream(module, names, rows, finite=False))), None, {}
    parts = dict(module.named_modules())
    names = [name for name in lens.reached(module, rows) if not isinstance(parts[name], PASSING)] or [""]
    seen = next(lens.stream(module, names, rows, finite=False))
    names = list(seen)
    top, last, answer = seen[names[-1]].values, None, _answer(output, len(rows))
    if len(names) > 1 and answer is not None and top.shape == answer.shape and torch.equal(top, answer.cpu()):
        *names, last = names
    if len(names) <= MOST:
        return names, last, {}
    kept = [names[at] for at in np.linspace(0, len(names) - 1, MOST).round().astype(int)]
    return (
        kept,
        last,
        {"Layers": f"{MOST} of {len(names)} layers are shown, evenly apart; others can be named with layers=..."},
    )


def _answer(output: Any, rows: int) -> Tensor | None:
    """The tensor with the answers, if it is clear which of several that is."""
    try:
        return answers(output, rows)
    except ValueError:
        return None


def _given(output: Any, rows: int, outputs: str | None) -> tuple[str, str, int]:
    """Why there are no classes; what is there instead, if anything; and how many numbers a row is answered with."""
    if outputs not in (None, *OUTPUTS):
        raise ValueError(f"outputs={outputs!r} is none of {', '.join(map(repr, OUTPUTS))}.")
    try:
        answer = answers(output, rows)
    except ValueError as error:
        return str(error), "", 0
    shape = tuple(answer.shape[1:])
    if len(shape) > 1 or not answer.is_floating_point():
        return f"the module answers {shape or 'one number'} per row, which is no score per class", "", 0
    count = shape[0] if shape else 1
    if count < 2 and outputs in (None, "classes"):
        return "the module answers one number per row: it does not classify", "values", 1
    if outputs in (None, "classes"):
        return "", "classes", count
    return f"the module is said to answer with {OUTPUTS[outputs]}", outputs, count


def _log_proba(module: nn.Module, shape: tuple[int, ...], whole: bool) -> Callable[[np.ndarray], np.ndarray]:
    @torch.no_grad()
    def log_proba(rows: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).reshape(len(rows), *shape)
        with evaluating(module):
            found = answers(run(module, to_module(module, x.long() if whole else x)), len(rows)).float().cpu()
        if (found >= 0).all() and torch.allclose(found.sum(1), torch.ones(len(found)), atol=1e-3):
            return found.clamp_min(1e-30).log().numpy()  # probabilities already
        return found.log_softmax(1).numpy()

    return log_proba


def _dense(module: nn.Module, stages: list[str], features: int) -> list[Tensor | None]:
    """Weights (inputs, units) per layer and of the output, if the module is a chain of linear maps; else an empty list."""
    parts = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    weighty = [part for part in module.modules() if not list(part.children()) and list(part.parameters(recurse=False))]
    sizes = [features, *(part.out_features for _, part in parts)]
    joined = all(part.in_features == below for (_, part), below in zip(parts, sizes, strict=False))
    if (
        not parts
        or not joined
        or any(not isinstance(part, nn.Linear | nn.modules.batchnorm._BatchNorm) for part in weighty)
    ):
        return []
    own = [[part for name, part in parts if f"{name}.".startswith(f"{stage}.")] for stage in stages]
    if any(len(each) > 1 for each in own) or not own[0]:
        return []
    out = [part for _, part in parts if part not in [each for one in own for each in one]]
    if out and (len(out) > 1 or out[0] is not parts[-1][1]):
        return []
    return [each[0].weight.detach().T.float().cpu() if each else None for each in [*own, *([out] if out else [])]]


def _filters(module: nn.Module, stages: list[str]) -> Tensor | None:
    """Of the lowest convolution, if that is in the lowest layer."""
    lowest = part_of(module, stages[0])
    found = [part for part in (lowest.modules() if lowest is not None else ()) if isinstance(part, nn.Conv2d)]
    return found[0].weight.detach().float().cpu() if found else None
