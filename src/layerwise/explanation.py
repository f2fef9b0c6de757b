"""`explain`: what the lens finds in a fitted model, gathered for the report. The one place where the two meet."""

from __future__ import annotations

import itertools
import math
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise import __version__, compute, lens
from layerwise.data.dataset import Row
from layerwise.findings import (
    CodeMap,
    Confused,
    Data,
    Dreams,
    Explanation,
    Gallery,
    Gradient,
    Health,
    Keeping,
    Kept,
    LayerHealth,
    Method,
    Mistakes,
    Model,
    Panel,
    Score,
    Strongest,
    Weights,
)
from layerwise.health import Activity
from layerwise.lens.material import Material, material
from layerwise.report import check_out, write
from layerwise.stack import Stack
from layerwise.subject import Subject, code_of, curves, settings, states_of, subject_of
from layerwise.units import Bernoulli, Rectified, Units

LOOK = 2000  # rows whose codes are held at once
MAP = 1000  # rows on the map, and under the linear probe
UNITS = 100  # units shown per layer
PIXELS = 250_000  # values drawn per layer
COLUMNS = 40  # columns of a table shown
EXAMPLES = 10  # rows rebuilt, classes dreamed of
EACH = 10  # dreams per class
STEPS = 200  # Gibbs steps of a dream
CLASSES = 20  # classes in the confusion matrix
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
    methods = _comparison(comparison or ())
    subject = subject_of(model)
    came = _material(model, data, row)
    learned = None if training is None else _material(model, training, None)  # counted, never drawn
    with compute.session(seed, compute.choose_threads(model.threads, subject.work)):
        return _Gathering(model, subject, came, learned, seed).all(methods, title)


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


# -- the comparison ----------------------------------------------------------------------------------------------------

KEYS = {"method", "errors", "error", "sd", "seconds", "note", "this"}


def _comparison(methods: Sequence[Mapping[str, Any]]) -> list[Method]:
    """The methods, best first."""
    draws = [_draws(number, method) for number, method in enumerate(methods, start=1)]
    found = [
        Method(
            method=str(method["method"]), errors=errors, error=math.fsum(errors) / len(errors),
            sd=float(np.std(errors, ddof=1)) if len(errors) > 1 else method.get("sd"), seconds=method.get("seconds"),
            note=str(method.get("note", "")), verdict=ranked.verdict, behind=ranked.behind, doubt=ranked.doubt,
            this=bool(method.get("this", False)),
        )
        for method, errors, ranked in zip(methods, draws, lens.rank(draws) if draws else [], strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda method: method.error)


def _draws(number: int, method: Mapping[str, Any]) -> list[float]:
    if "method" not in method or not {"errors", "error"} & set(method) or set(method) - KEYS:
        raise ValueError(
            f"Method {number} of the comparison has the keys {sorted(map(str, method))}. It needs 'method' and 'errors' (or "
            f"'error'), and may have {sorted(KEYS - {'method', 'errors', 'error'})}."
        )
    errors = [float(error) for error in method.get("errors", ())] or [float(method.get("error", math.nan))]
    if not all(0 <= error <= 1 for error in errors):
        raise ValueError(
            f"Errors of {method['method']!r} are shares of wrong rows in [0, 1], but got {errors[:5]}. Divide per cent by 100."
        )
    return errors


# -- the sections ------------------------------------------------------------------------------------------------------


class _Gathering:
    """One call of `gather`: the model, the rows looked at with their codes, and what was left out so far."""

    def __init__(self, model: Any, subject: Subject, came: Material, learned: Material | None, seed: int) -> None:
        self.model, self.subject, self.came, self.learned, self.seed = model, subject, came, learned, seed
        self.left_out: dict[str, str] = {}
        shuffled = np.random.RandomState(seed).permutation(len(came))
        self.look, self.mapped = np.sort(shuffled[:LOOK]), np.sort(shuffled[:MAP])
        self.on_map = np.searchsorted(self.look, self.mapped)  # the map's rows, as positions in `look`
        self.rows = came.tensor(self.look)
        self.codes, self.states = _codes(subject, self.rows)
        self.input = _counted(self.rows, subject.symbols) if subject.symbols else self.rows
        self.said, self.sure = self._answers()
        self.column_scale = None if came.pictured else _spread(self.input)

    def all(self, methods: list[Method], title: str | None) -> Explanation:
        weights, keeping, dreams = self._weights(), self._keeping(), self._dreams()
        mistakes, drawn = self._mistakes(), self._map()
        shown = [row for each in weights for unit in each.strongest for row in unit.rows] + keeping.examples
        shown += [row for each in (mistakes.confused if mistakes else ()) for row in each.rows]
        shown += drawn.rows if drawn else []
        heard = list(dict.fromkeys(keeping.examples + _surest(mistakes)))[:SOUNDS]
        source = f" from {self.came.name}" if self.came.name else ""
        return Explanation(
            title=title or f"What {self.subject.words} learned{source}",
            made=datetime.now(UTC).isoformat(timespec="minutes"), seed=self.seed, model=self._model(), data=self._data(),
            classes=list(self.came.classes), score=self._score(), comparison=methods, curves=curves(self.model),
            weights=weights, keeping=keeping, dreams=dreams, mistakes=mistakes, map=drawn, health=self._health(),
            gallery=self._gallery(shown, heard), left_out=self.left_out,
        )  # fmt: skip

    def _answers(self) -> tuple[np.ndarray, np.ndarray]:
        """The class (index) that the model gives each row, and its probability, both of shape (n,); -1 and NaN if none."""
        said, sure = np.full(len(self.came), -1), np.full(len(self.came), np.nan)
        for start in range(0, len(self.came) if self.subject.classifies else 0, LOOK):
            part = slice(start, start + LOOK)
            log_p = _quietly(self.model.predict_log_proba, self.came.rows(part))
            said[part], sure[part] = log_p.argmax(1), np.exp(log_p.max(1))
        return said, sure

    # What was learned from what

    def _model(self) -> Model:
        model, subject = self.model, self.subject
        versions = {name: version(name) for name in ("torch", "scikit-learn", "numpy")}
        return Model(
            name=subject.name, depth=len(self.codes),
            widths=[model.n_features_in_, *(int(states.shape[1]) for states in self.states)],
            kinds=[subject.visible, *subject.kinds],
            outputs=len(self.came.classes) if subject.classifies else 0,
            parameters=sum(p.numel() for p in subject.module.parameters()),
            seconds=sum(entry["seconds"] for history in model.histories_ for entry in history.epochs),
            epochs=sum(len(history.epochs) for history in model.histories_), settings=settings(model),
            versions={"layerwise": __version__, "Python": platform.python_version()} | versions,
            looked_at=subject.what, generative=subject.generative,
        )  # fmt: skip

    def _data(self) -> Data:
        came, learned = self.came, self.learned
        return Data(
            name=came.name, note=came.note, rows=len(came), labelled=len(came.known), kind=came.row.kind,
            shape=list(came.row.shape), low=float(self.rows.min()), high=float(self.rows.max()),
            per_class=np.bincount(came.y[came.known], minlength=len(came.classes)).tolist(), looked_at=len(self.look),
            trained_rows=None if learned is None else len(learned),
            trained_labelled=None if learned is None else len(learned.known),
            shared=None if learned is None else _shared(came, learned),
        )  # fmt: skip

    def _score(self) -> Score | None:
        known = self.came.known
        if not self.subject.classifies or not len(known):
            return None
        true = self.came.y[known]
        wrong, counts = int((self.said[known] != true).sum()), np.bincount(true)
        low, high = lens.interval(wrong, len(known))
        return Score(
            rows=len(known), wrong=wrong, error=wrong / len(known), low=low, high=high,
            baseline=1 - int(counts.max()) / len(known), commonest=int(counts.argmax()),
        )  # fmt: skip

    # What units look for

    def _weights(self) -> list[Weights]:
        if not self.subject.weights:
            return [self._units(depth) for depth in range(1, len(self.codes) + 1)]
        count = min(UNITS, max(PIXELS // self.came.row.size, 8))
        return [self._layer(depth, count) for depth in range(1, len(self.subject.weights) + 1)]

    def _layer(self, depth: int, count: int) -> Weights:
        """The filters of `count` units of a layer, as pictures, or for tables as the columns that matter most."""
        came, subject, weight = self.came, self.subject, self.subject.weights[depth - 1]
        hidden = depth <= len(self.codes)
        units = lens.strongest_units(weight, count) if hidden else list(range(weight.shape[1]))[:count]
        filters = lens.project(subject.weights[:depth], units)
        if came.pictured and subject.scale is not None:
            filters = filters * subject.scale  # a step of the standardised input, in the data's own units
        scale = float(np.quantile(filters.abs().numpy(), 0.995)) or 1.0
        layer = Weights(
            label=subject.labels[depth - 1] if hidden else "Output", units=int(weight.shape[1]), inputs=int(weight.shape[0]),
            projected=depth > 1, unit=units, names=[] if hidden else [came.classes[unit] for unit in units], scale=scale,
            clipped=float((filters.abs() > scale).float().mean()), all_columns=came.row.size,
            strongest=self._strongest(depth, units) if hidden else [],
        )  # fmt: skip
        if came.pictured:
            return replace(layer, pictures=_signed(filters / scale, came.row.shape, came.row.kind))
        top = filters.square().sum(0).argsort(descending=True)[:COLUMNS].sort().values.numpy()
        return replace(layer, table=filters.numpy()[:, top], columns=self._columns(top))

    def _units(self, depth: int) -> Weights:
        """A layer that is no matrix: the filters, if it is the lowest and convolves pictures, and the rows that excite it."""
        states, filters = self.states[depth - 1], self.subject.filters
        shown = filters is not None and depth == 1 and self.came.pictured and filters.shape[1] in (1, 3)
        units = list(range(states.shape[1]))[:UNITS]
        layer = Weights(
            label=self.subject.labels[depth - 1], units=int(states.shape[1]), inputs=0, projected=False, unit=units, names=[],
            scale=0.0, clipped=0.0, all_columns=0, strongest=self._strongest(depth, units), filters=True,
        )  # fmt: skip
        if not shown or filters is None:
            return layer
        units = lens.strongest_units(filters.flatten(1).T, UNITS)
        scale = float(filters.abs().max()) or 1.0
        shape = tuple(filters.shape[2:]) if filters.shape[1] == 1 else tuple(filters.shape[1:])
        return replace(
            layer, unit=units, strongest=self._strongest(1, units), scale=scale,
            inputs=filters[0].numel(), pictures=_signed(filters[units] / scale, shape, self.came.row.kind),
        )  # fmt: skip

    def _columns(self, index: np.ndarray) -> list[str]:
        return [self.came.columns[column] for column in index]

    def _strongest(self, depth: int, units: list[int], shown: int = 8, rows: int = 6) -> list[Strongest]:
        index, states = lens.strongest_rows(self.states[depth - 1], units[:shown], rows)
        numbers = self.look[index.numpy()].tolist()
        return [Strongest(*each) for each in zip(units, numbers, states.tolist(), strict=False)]

    # What layers keep

    def _keeping(self) -> Keeping:
        rebuilt, probes = self._rebuilt(), self._probes()
        layers = [Kept("Symbol counts" if self.subject.symbols else "Input", None, None, *_mean_sd(probes[0]))]
        for number, label in enumerate(self.subject.labels):
            error, share = (rebuilt[number].error, rebuilt[number].share) if rebuilt else (None, None)
            layers.append(Kept(label, error, share, *_mean_sd(probes[number + 1])))
        examples = self._examples()
        keeping = Keeping(
            layers=layers, baseline=rebuilt[0].baseline if rebuilt else None, rows=len(self.look),
            probe_rows=len(self._probed()), folds=len(probes[0]), examples=examples,
            tuned_whole=self.subject.tuned_whole, standardised=self.column_scale is not None,
        )  # fmt: skip
        if not rebuilt:
            return keeping
        if self.came.pictured:
            return replace(keeping, pictures=self._rebuilt_pictures(examples))
        first = np.arange(self.came.row.size)[:COLUMNS]
        explained = np.stack([each.explained[first] for each in rebuilt])
        return replace(keeping, explained=explained, all_columns=self.came.row.size, columns=self._columns(first))

    def _rebuilt(self) -> list[lens.Rebuilt]:
        """How well the rows are rebuilt from each layer."""
        stack = self.subject.stack
        if stack is None:
            learned = getattr(self.model, "pretrain", None) is not None
            self.left_out["Reconstructions"] = (
                "what stages learned to lead down with while they were pre-trained is not kept"
                if learned
                else "fitted with pretrain=None, no layer learned to rebuild its input"
            )
            return []
        depths = range(1, len(self.codes) + 1)
        return [lens.rebuild(_rebuilder(stack, depth), self.rows, scale=self.column_scale) for depth in depths]

    def _rebuilt_pictures(self, examples: list[int]) -> np.ndarray:
        assert self.subject.stack is not None
        rows, stack = self.came.tensor(examples), self.subject.stack
        with torch.no_grad():
            return np.stack([self.came.pictures(_rebuilder(stack, depth)(rows)) for depth in range(1, len(stack) + 1)])

    def _probed(self) -> np.ndarray:
        """Labelled rows of the map, as positions in `look`."""
        return self.on_map[self.came.y[self.mapped] >= 0]

    def _probes(self) -> list[list[float]]:
        """Errors of a linear probe on the input and on each layer's codes."""
        at = self._probed()
        labels = self.came.y[self.look[at]]
        probes = [lens.linear_probe(codes[at], labels, seed=self.seed) for codes in (self.input, *self.codes)]
        if not probes[0]:
            self.left_out["Linear probes"] = "no two classes have two labelled rows each"
        return probes

    def _examples(self) -> list[int]:
        """The first row of each class, or the first rows: not picked by what they look like."""
        classes, first = np.unique(self.came.y[self.look], return_index=True)
        found = self.look[first[classes >= 0]][:EXAMPLES].tolist()
        return found or self.look[:EXAMPLES].tolist()

    # What it imagines

    def _dreams(self) -> Dreams | None:
        if not self.subject.dreams:
            pretrain = getattr(self.model, "pretrain", "")
            self.left_out["Dreams"] = (
                "fitted with pretrain=None, there is no generative model to draw from"
                if pretrain is None and hasattr(self.model, "generate")
                else f"{self.subject.name} holds no model of rows and their classes to draw from; a DBNClassifier does"
            )
            return None
        count = min(len(self.model.classes_), EXAMPLES)
        labels = np.repeat(self.model.classes_[:count], EACH)
        rows = self.model.generate(len(labels), label=labels, steps=STEPS, random_state=self.seed)
        agree = (_quietly(self.model.predict, rows) == labels).reshape(count, EACH).sum(1)
        dreams = Dreams(list(range(count)), EACH, STEPS, agree.tolist(), len(rows), int(agree.sum()))
        if not self.came.pictured:
            return self._dreamed_means(dreams, rows)
        pictures = self.came.pictures(rows)
        return replace(dreams, pictures=pictures.reshape(count, EACH, *pictures.shape[1:]))

    def _dreamed_means(self, dreams: Dreams, rows: np.ndarray) -> Dreams:
        """With the mean row per class of the dreams and of real rows, in standard deviations of each column."""
        count, labels, scaled = len(dreams.classes), self.came.y[self.look], self._scaled(self.rows.numpy())
        real = np.full((count, self.came.row.size), np.nan)
        for label in np.unique(labels[(labels >= 0) & (labels < count)]):
            real[label] = scaled[labels == label].mean(0)
        means, seen = self._scaled(rows).reshape(count, dreams.each, -1).mean(1), np.nan_to_num(real)
        top = np.sort(np.argsort(-(seen.std(0) + means.std(0)), kind="stable")[:COLUMNS])
        scale = float(max(np.abs(means).max(), np.abs(seen).max()))
        return replace(dreams, means=means[:, top], real=real[:, top], scale=scale, columns=self._columns(top))

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        """Rows of a table in standard deviations from the mean of those looked at."""
        assert self.column_scale is not None
        return (rows - self.rows.mean(0).numpy()) / self.column_scale.numpy()

    # Where it is wrong

    def _mistakes(self) -> Mistakes | None:
        known = self.came.known
        if not self.subject.classifies or not len(known):
            self.left_out["Mistakes"] = (
                "no row has a label, so there is nothing to compare the answers with"
                if self.subject.classifies
                else f"{self.subject.name} does not classify"
            )
            return None
        true, said = self.came.y[known], self.said[known]
        matrix = lens.confusion(true, said, len(self.came.classes))
        wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        kept = np.sort(np.argsort(-wrong, kind="stable")[:CLASSES])
        pairs = lens.most_confused(true, said, self.sure[known], pairs=8, rows=6)
        confused = [Confused(p.true, p.said, p.count, known[p.rows].tolist(), p.sure) for p in pairs]
        return Mistakes(kept.tolist(), matrix[np.ix_(kept, kept)].tolist(), confused, len(matrix) - len(kept))

    # How codes lie

    def _map(self) -> CodeMap | None:
        raw = self.input if self.column_scale is None else self.input / self.column_scale
        spaces = (
            (f"Code of layer {len(self.codes)}", self.codes[-1]),
            ("Symbol counts" if self.subject.symbols else "Input", raw),
        )
        panels = [self._panel(space, method, rows) for space, rows in spaces for method in ("t-SNE", "PCA")]
        drawn = [panel for panel in panels if panel]
        return CodeMap(self.mapped.tolist(), drawn) if drawn else None

    def _panel(self, space: str, method: str, rows: Tensor) -> Panel | None:
        try:
            flat = lens.flatten(rows[self.on_map].numpy(), "pca" if method == "PCA" else "tsne", seed=self.seed)
        except ValueError as error:
            self.left_out[f"Map of the {space[0].lower()}{space[1:]}"] = str(error)
            return None
        middles = lens.middles(flat.points, self.came.y[self.mapped], len(self.came.classes))
        return Panel(space, method, flat.points, middles, flat.trust, flat.neighbours, flat.shown, flat.perplexity)

    # How healthy it is

    def _health(self) -> Health:
        subject, gradients = self.subject, getattr(self.model, "gradients_", {})
        if not gradients:
            self.left_out["Gradients"] = f"{subject.name} does not measure them while it learns"
        layers = [
            _layer_health(*each)
            for each in zip(subject.labels, self.states, subject.units, subject.kinds, self._moved(), strict=True)
        ]  # fmt: skip
        return Health(len(self.look), layers, [Gradient(stage, *ends) for stage, ends in gradients.items()])

    def _moved(self) -> list[float | None]:
        """How far tuning moved each hidden layer's weights from where pre-training left them, as a share of their length."""
        if self.subject.start is None:
            return [None] * len(self.codes)
        both = zip(self.subject.start, self.subject.weights, strict=False)
        return [float((after - before).norm() / before.norm().clamp_min(1e-12)) for before, after in both]

    # The rows shown

    def _gallery(self, shown: Sequence[int], heard: Sequence[int]) -> Gallery:
        numbers = np.unique(np.asarray(shown, dtype=np.int64))
        rows, pictured = self.came.rows(numbers), self.came.pictured
        return Gallery(
            numbers=numbers.tolist(), true=self.came.y[numbers].tolist(), said=self.said[numbers].tolist(),
            sure=self.sure[numbers].tolist(), pictures=self.came.pictures(rows) if pictured else None,
            unusual=self._unusual(rows) if self.came.row.kind == "table" else [], texts=self.came.texts(numbers),
            sounds={str(row): sound for row, sound in zip(heard, self.came.sounds(heard), strict=True)},
        )  # fmt: skip

    def _unusual(self, rows: np.ndarray, count: int = 5) -> list[list[tuple[str, float, float]]]:
        far, names = self._scaled(rows), self.came.columns
        order = np.argsort(-np.abs(far), axis=1, kind="stable")[:, :count]
        return [
            [(names[c], float(row[c]), float(z[c])) for c in top] for row, z, top in zip(rows, far, order, strict=True)
        ]


def _surest(mistakes: Mistakes | None) -> list[int]:
    """The surest rows of each confusion, and then the next."""
    rows = [each.rows for each in mistakes.confused] if mistakes else []
    return [row for line in itertools.zip_longest(*rows) for row in line if row is not None]


@torch.no_grad()
def _codes(subject: Subject, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Of every stage the codes of the rows, shape (n, numbers), and the states of its units, shape (n, units)."""
    codes: dict[str, list[Tensor]] = {name: [] for name in subject.stages}
    states: dict[str, list[Tensor]] = {name: [] for name in subject.stages}
    for batch in lens.stream(subject.module, subject.stages, rows, size=250):
        for name, seen in batch.items():
            codes[name].append(code_of(seen.values.float()))
            states[name].append(states_of(seen.values.float()))
    return [torch.cat(each) for each in codes.values()], [torch.cat(each) for each in states.values()]


def _counted(rows: Tensor, symbols: int) -> Tensor:
    """How often each symbol but padding is in each row, shape (n, symbols)."""
    return torch.zeros(len(rows), symbols).scatter_add_(1, rows.long(), (rows > 0).float())


def _quietly(ask: Callable[[Any], Any], rows: np.ndarray) -> Any:
    """`ask(rows)` without the warning that an array has no column names: they were checked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(ask(rows))


def _spread(rows: Tensor) -> Tensor:
    """Standard deviations of the columns, shape (features,), 1 where nothing varies."""
    spread = rows.double().std(0, unbiased=False).float()
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _rebuilder(stack: Stack, depth: int) -> Callable[[Tensor], Tensor]:
    place = next(stack.parameters()).device
    return lambda x: stack.reconstruct(x.to(place), depth).cpu()


def _mean_sd(values: list[float]) -> tuple[float | None, float | None]:
    return (float(np.mean(values)), float(np.std(values, ddof=1))) if len(values) > 1 else (None, None)


def _signed(filters: Tensor, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Filters in units of their scale as int8 pictures, colour last; low frequencies of sounds at the bottom."""
    pictures = (filters.clamp(-1, 1) * 127).round().to(torch.int8).numpy().reshape(-1, *shape)
    pictures = pictures[:, ::-1] if kind == "sound" else pictures
    return np.moveaxis(pictures, 1, -1) if len(shape) == 3 else pictures


def _layer_health(label: str, codes: Tensor, units: Units, kind: str, moved: float | None) -> LayerHealth:
    seen = Activity.of(codes.split(500), units)
    spread = lens.spread(codes, units.low, units.high)
    return LayerHealth(
        label=label, units=int(codes.shape[1]), kind=kind, defined=isinstance(units, Bernoulli | Rectified),
        dead=int(seen.dead.sum()), saturated=int(seen.saturated.sum()), constant=int(seen.constant.sum()),
        mean=float(seen.mean.mean()), edges=spread.edges, counts=spread.counts, moved=moved, advice=seen.advice(label),
    )  # fmt: skip


def _shared(came: Material, learned: Material) -> int:
    """How many rows of `came` are among `learned`, value by value as float32."""
    seen = {key for start in range(0, len(learned), LOOK) for key in _keys(learned, start)}
    return sum(key in seen for start in range(0, len(came), LOOK) for key in _keys(came, start))


def _keys(rows: Material, start: int) -> list[int]:
    return [hash(each.numpy().tobytes()) for each in rows.tensor(slice(start, start + LOOK))]
