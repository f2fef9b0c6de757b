"""`explain` and `gather`: one look at a model, and all sections of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import compute
from layerwise.data.dataset import Row
from layerwise.explanation import answers, dreams, gallery, health, keeping, layers, maps, mistakes, origin, weights
from layerwise.explanation import comparison as comparing
from layerwise.explanation.look import Look
from layerwise.findings import Explanation, Method
from layerwise.lens.material import Material, material
from layerwise.report import check_out, write
from layerwise.subject import curves, subject_of

SOUNDS = 40  # clips that can be heard


def explain(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    row: Row | None = None,
    comparison: Sequence[Mapping[str, Any]] | None = None,
    training: Any = None,
    title: str | None = None,
    seed: int = 0,
) -> Path:
    """Writes the report of a fitted model: `report.html`, one page that needs nothing else, and `report.json` beside it.

    Arguments:
        model: A fitted DBNClassifier, StackedAutoencoderClassifier, NetworkClassifier, NetworkRegressor, DeepAutoencoder or
            RBMTransformer.
        data: Rows to look at, best rows that the model did not learn from: a `layerwise.data.Dataset`, (X, y) or X, shape
            (n, features), as `fit` took them; y holds the model's classes, -1 where there is no label.
        out: Folder to write into; it is made. Only an earlier report of ours is replaced.
        row: How to show a row of X, such as `Row("image", (8, 8), low=0, high=1)`: `low` is drawn black and `high` white.
            None means the Dataset's own, or a table.
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
        ValueError: If the rows do not fit the model, the labels or `row`, or there are none.
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
    found = gather(model, data, row=row, comparison=comparison, training=training, title=title, seed=seed)
    return write(found.to_dict(), out)


def gather(
    model: Any,
    data: Any,
    *,
    row: Row | None = None,
    comparison: Sequence[Mapping[str, Any]] | None = None,
    training: Any = None,
    title: str | None = None,
    seed: int = 0,
) -> Explanation:
    """What `explain` writes, as data. Arguments and errors as there."""
    methods = comparing.of(comparison or ())
    subject = subject_of(model)
    came = _material(model, data, row)
    learned = None if training is None else _material(model, training, None)  # counted, never drawn
    with compute.session(seed, compute.choose_threads(model.threads, subject.work)):
        return _told(Look(model, subject, came, learned, seed), methods, title)


def _told(look: Look, methods: list[Method], title: str | None) -> Explanation:
    units, kept, dreamed = weights.of(look), keeping.of(look), dreams.of(look)
    wrong, drawn, answered = mistakes.of(look), maps.of(look), answers.of(look)
    pages = layers.of(look)
    shown = [row for each in units for unit in each.strongest for row in unit.rows] + kept.examples
    shown += [row for each in (wrong.confused if wrong else ()) for row in each.rows]
    shown += (drawn.rows if drawn else []) + (answered.shown if answered else [])
    heard = list(dict.fromkeys(kept.examples + mistakes.surest(wrong)))[:SOUNDS]
    shown += [row for each in pages for row in np.unique(each.strongest).tolist()]
    source = f" from {look.came.name}" if look.came.name else ""
    return Explanation(
        title=title or f"What {look.subject.words} learned{source}",
        made=datetime.now(UTC).isoformat(timespec="minutes"), seed=look.seed, model=origin.model(look),
        data=origin.data(look),
        classes=list(look.came.classes), score=mistakes.score(look), comparison=methods, curves=curves(look.model),
        weights=units, keeping=kept, dreams=dreamed, mistakes=wrong, map=drawn, health=health.of(look),
        layers=pages, answers=answered,
        gallery=gallery.of(look, shown, heard), left_out=look.left_out,
    )  # fmt: skip


def _material(model: Any, data: Any, row: Row | None) -> Material:
    """The rows, checked against the model."""
    columns = getattr(model, "feature_names_in_", None)
    came = material(data, row, getattr(model, "classes_", None), columns)
    if came.row.size != model.n_features_in_:
        raise ValueError(
            f"The model was fitted on rows of {model.n_features_in_} features, but these have {came.row.size}. "
            "Prepare them as they were prepared for fit."
        )
    wanted = [] if columns is None else [str(name) for name in columns]
    given = [str(name) for name in getattr(came.x, "columns", wanted)]
    if wanted and given != wanted:
        raise ValueError(f"The columns are {given[:5]}, ..., but fit saw {wanted[:5]}, .... Put them in that order.")
    return came
