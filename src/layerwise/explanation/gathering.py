"""`explain` and `gather`: one look at a model, and all sections of its report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from layerwise import compute
from layerwise.data.dataset import Row
from layerwise.explanation import answers as answering
from layerwise.explanation import comparison as comparing
from layerwise.explanation import dreams, gallery, health, keeping, ladder, layers, maps, mistakes, origin, weights
from layerwise.explanation.look import Look
from layerwise.explanation.taking import network_of, taken
from layerwise.findings import Explanation, Ladder, Method
from layerwise.lens.running import evaluating
from layerwise.report import check_out, write

SOUNDS = 40  # clips that can be heard


def explain(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    row: Row | None = None,
    layers: str | Sequence[str] | None = None,
    outputs: str | None = None,
    answers: int | Sequence[int] | None = None,
    beside: Mapping[str, Any] | None = None,
    comparison: Sequence[Mapping[str, Any]] | None = None,
    training: Any = None,
    title: str | None = None,
    seed: int = 0,
) -> Path:
    """Writes the report of a model: `report.html`, one page that needs nothing else, and `report.json` beside it.

    Arguments:
        model: Any torch module that answers row by row, which is left as it was; or a fitted DBNClassifier,
            StackedAutoencoderClassifier, NetworkClassifier, NetworkRegressor, DeepAutoencoder or RBMTransformer. Of a list of
            several the first is explained; the others, from other seeds, make bands on the ladder of layers.
        data: Rows to look at, best rows that the model did not learn from: a `layerwise.data.Dataset`, (X, y) or X. Estimators
            take X as `fit` did, shape (n, features), and y holds the model's classes; a module takes rows in its own shape,
            (n, ...), whole numbers for those that it embeds, and y holds the numbers of its outputs. -1 means no label. Of a
            model that gives values y holds these, shape (n,) or (n, values), NaN where they are not known.
        out: Folder to write into; it is made. Only an earlier report of ours is replaced.
        row: How to show a row of X, such as `Row("image", (8, 8), low=0, high=1)`: `low` is drawn black and `high` white.
            None means the Dataset's own; (n, 1 or 3, height, width) are taken for pictures, and else rows for a table.
        layers: Names or globs of a module's layers to look at; None for its natural parts. Estimators show all of theirs.
        outputs: What a module answers a row with: "classes" (scores of them), "values", or a "code". None takes several numbers
            for classes, or for values if y has several a row, one for a value, and what layers of this library make for a code.
        answers: How many answers have a page of their own with what they hung on, or the numbers of their rows. None means
            about 24 of classes or one value: mistakes that are most sure, what is least sure, and right rows of each class. 12,
            each with several questions, of values and codes. 0 leaves the pages out.
        beside: Other nets with the same layers, to stand beside this one on the ladder of layers, by a name such as "random
            weights" or "not pre-trained"; each may be a list, which makes a band.
        comparison: Methods to show beside this one, as mappings with "method" (a name) and "errors" (test errors in [0, 1],
            one per draw), and optionally "seconds", "note", and "this": True for the model of this page. In place of
            "errors" there may be "error" and "sd".
        training: The rows that the model learned from, as `data`: they are counted, and looked for among the rows of `data`.
        title: Of the page.
        seed: Of everything random: the rows looked at, dreams, t-SNE.

    Returns:
        The path of `report.html`.

    Raises:
        sklearn.exceptions.NotFittedError: If the model is not fitted.
        TypeError: If it is none of the models above.
        ValueError: If the rows do not fit the model, the labels or `row`, or there are none; if a layer is not there, or not
            reached by the rows, or nothing but NaN comes out of all layers.
        FileExistsError: If `out` is a file, or holds files of those names that are no earlier report.

    Example:
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> from layerwise import RBMTransformer
        >>> X, y = load_iris(return_X_y=True)
        >>> rbm = RBMTransformer(4, epochs=1, random_state=0).fit(X)
        >>> explain(rbm, (X[::5], y[::5]), tempfile.mkdtemp()).name
        'report.html'
    """
    out = check_out(out)
    found = gather(
        model,
        data,
        row=row,
        layers=layers,
        outputs=outputs,
        answers=answers,
        beside=beside,
        comparison=comparison,
        training=training,
        title=title,
        seed=seed,
    )
    return write(found.to_dict(), out)


def gather(
    model: Any,
    data: Any,
    *,
    row: Row | None = None,
    layers: str | Sequence[str] | None = None,
    outputs: str | None = None,
    answers: int | Sequence[int] | None = None,
    beside: Mapping[str, Any] | None = None,
    comparison: Sequence[Mapping[str, Any]] | None = None,
    training: Any = None,
    title: str | None = None,
    seed: int = 0,
) -> Explanation:
    """What `explain` writes, as data. Arguments and errors as there."""
    methods = comparing.of(comparison or ())
    with contextlib.ExitStack() as undo:
        first, *more = model if isinstance(model, list | tuple) else [model]
        training_mode = isinstance(first, nn.Module) and first.training
        if isinstance(first, nn.Module):
            undo.enter_context(evaluating(first))
        subject, came, take = taken(first, data, row, layers, outputs)
        if training_mode:
            subject = replace(subject, note="the module was in training mode and is looked at in evaluation mode")
        nets = [network_of(each, subject) for each in more]
        others = {
            name: [network_of(each, subject) for each in (nets if isinstance(nets, list | tuple) else [nets])]
            for name, nets in (beside or {}).items()
        }
        learned = None if training is None else take(training, None)  # counted, never drawn
        undo.enter_context(compute.session(seed, compute.choose_threads(subject.threads, subject.work)))
        look = Look(subject, came, learned, seed)
        return _told(look, ladder.of(look, nets, others), answers, methods, title)


def _told(
    look: Look, climbed: Ladder | None, asked: int | Sequence[int] | None, methods: list[Method], title: str | None
) -> Explanation:
    units, kept, dreamed = weights.of(look), keeping.of(look, climbed), dreams.of(look)
    wrong, answered = mistakes.of(look), answering.of(look, asked)
    drawn = maps.of(look, answered.shown if answered else ())
    pages = layers.of(look)
    shown = [row for each in units for unit in each.strongest for row in unit.rows] + kept.examples
    shown += [row for each in (wrong.confused if wrong else ()) for row in each.rows]
    shown += (drawn.rows if drawn else []) + (answered.shown if answered else [])
    heard = kept.examples + (answered.shown if answered else []) + mistakes.surest(wrong)
    heard = list(dict.fromkeys(heard))[:SOUNDS]
    shown += [
        row
        for each in pages
        for kind in (each.strongest, each.typical, each.weakest)
        for row in np.unique(kind).tolist()
    ]
    source = f" from {look.came.name}" if look.came.name else ""
    return Explanation(
        title=title or f"What {look.subject.words} learned{source}",
        made=datetime.now(UTC).isoformat(timespec="minutes"), seed=look.seed, model=origin.model(look),
        data=origin.data(look), classes=list(look.came.classes), score=mistakes.score(look), fit=mistakes.fit(look),
        comparison=methods, curves=look.subject.curves,
        weights=units, keeping=kept, dreams=dreamed, mistakes=wrong, map=drawn, health=health.of(look),
        ladder=climbed, layers=pages, answers=answered,
        gallery=gallery.of(look, shown, heard), left_out=look.left_out,
    )  # fmt: skip
