"""`explain`: what the lens finds in a fitted model, gathered for the report. The one place where the two meet.

`_subject` says how each estimator looks to the lens; a new kind of model needs a few lines there and nothing else.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from layerwise import __version__, compute, lens
from layerwise.data.dataset import Dataset, Row
from layerwise.estimators import ESTIMATORS, DBNClassifier, DeepAutoencoder, StackedAutoencoderClassifier
from layerwise.findings import (
    CodeMap,
    Confused,
    Curve,
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
    Setting,
    Strongest,
    Weights,
)
from layerwise.health import Activity
from layerwise.lens.material import Material, material
from layerwise.report import check_out, write
from layerwise.stack import Stack
from layerwise.units import Bernoulli, Rectified, Units

LOOK = 2000  # rows whose codes are held at once
MAP = 1000  # rows on the map
UNITS = 100  # units shown per layer
PIXELS = 250_000  # values drawn per layer
COLUMNS = 40  # columns of a table shown
EXAMPLES = 10  # rows rebuilt, classes dreamed of at once
STEPS = 200  # Gibbs steps of a dream
CLASSES = 20  # classes in the confusion matrix
WORDS = {
    "DBNClassifier": "a deep belief net",
    "StackedAutoencoderClassifier": "a stack of autoencoders",
    "DeepAutoencoder": "a deep autoencoder",
    "RBMTransformer": "a Boltzmann machine",
}


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
        model: A fitted DBNClassifier, StackedAutoencoderClassifier, DeepAutoencoder or RBMTransformer.
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
    subject = _subject(model)
    came = _material(model, data, row)
    with compute.session(seed, compute.choose_threads(model.threads, subject.work)):
        return _Gathering(model, subject, came, training, seed).all(methods, title)


# -- the model, as the lens sees it ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Subject:
    """A module with named stages, bottom first, and what the lens may ask of it.

    Arguments:
        what: Words for it.
        stages: Names of the hidden stages in `module`; units: their kinds.
        weights: Of every stage, the outputs included, each of shape (inputs, units).
        scale: Standard deviations of the data's features where the lowest stage standardises, shape (features,).
        stack: What encodes and decodes, if there is such a thing; generative: words for it.
    """

    what: str
    module: nn.Module
    stages: list[str]
    units: list[Units]
    weights: list[Tensor]
    scale: Tensor | None
    stack: Stack | None
    generative: str

    @property
    def work(self) -> float:
        """Multiply-adds of a batch's widest product."""
        return 100.0 * max(weight.numel() for weight in self.weights)

    @property
    def labels(self) -> list[str]:
        """Names of the hidden layers, for people."""
        return [f"Layer {number}" for number in range(1, len(self.stages) + 1)]


def _subject(model: Any) -> _Subject:
    if type(model).__name__ not in ESTIMATORS or not isinstance(model, ESTIMATORS[type(model).__name__]):
        raise TypeError(
            f"explain takes one of {', '.join(ESTIMATORS)}, fitted, but got {type(model).__name__}. A model in a pipeline is "
            "its last step: explain(pipeline[-1], pipeline[:-1].transform(X), ...)."
        )
    check_is_fitted(model, "stack_")
    stack: Stack = model.stack_
    units = [layer.above for layer in stack.layers]
    standard = stack.layers[0].standard
    scale = None if standard is None else standard.std.cpu()
    classifies = hasattr(model, "classes_")
    learned = model.pretrain is not None if hasattr(model, "pretrain") else True
    kept = stack if learned or not classifies else None
    words = "the pre-trained stack, before back-propagation" if classifies else "the model itself"
    if classifies and getattr(model, "classify", "network") == "network":
        network = model.network_
        weights = [weight.cpu() for weight in lens.linear_weights(network).values()]
        names = [name for name, _ in network.named_children()][: len(units)]
        what = "the tuned network, which gives the answers" if learned else "the network, which gives the answers"
        return _Subject(what, network, names, units, weights, scale, kept, words)
    weights = [layer.weight.detach()[: getattr(layer, "features", None)].cpu() for layer in stack.layers]  # type: ignore[index]
    what = "the generative stack, which gives the answers" if classifies else "the model's way up"
    return _Subject(what, stack, [str(n) for n in range(len(units))], units, weights, scale, kept, words)


def _material(model: Any, data: Any, row: Row | None) -> Material:
    columns = getattr(model, "feature_names_in_", None)
    came = material(data, row, getattr(model, "classes_", None), columns)
    if came.row.size != model.n_features_in_:
        raise ValueError(
            f"The model was fitted on rows of {model.n_features_in_} features, but these have {came.row.size}. "
            "Prepare them as they were prepared for fit."
        )
    given = [str(name) for name in came.x.columns] if hasattr(came.x, "columns") and columns is not None else None
    if given is not None and given != [str(name) for name in columns]:
        raise ValueError(
            f"The columns are {given[:5]}..., but the model was fitted on {list(columns)[:5]}.... Put them in its order."
        )
    return came


# -- the comparison ----------------------------------------------------------------------------------------------------

KEYS = {"method", "errors", "error", "sd", "seconds", "note", "this"}


def _comparison(methods: Sequence[Mapping[str, Any]]) -> list[Method]:
    """The methods, best first."""
    draws = [_draws(number, method) for number, method in enumerate(methods, start=1)]
    found = [
        Method(
            method=str(method["method"]), errors=errors, error=math.fsum(errors) / len(errors),
            sd=_sd(errors, method.get("sd")), seconds=method.get("seconds"), note=str(method.get("note", "")),
            verdict=ranked.verdict, behind=ranked.behind, doubt=ranked.doubt, this=bool(method.get("this", False)),
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


def _sd(errors: list[float], given: float | None) -> float | None:
    return float(np.std(errors, ddof=1)) if len(errors) > 1 else given


# -- the sections ------------------------------------------------------------------------------------------------------


class _Gathering:
    """One call of `gather`: the model, the rows looked at with their codes, and what was left out so far."""

    def __init__(self, model: Any, subject: _Subject, came: Material, training: Any, seed: int) -> None:
        self.model, self.subject, self.came, self.training, self.seed = model, subject, came, training, seed
        self.left_out: dict[str, str] = {}
        shuffled = np.random.RandomState(seed).permutation(len(came))
        self.look, self.mapped = np.sort(shuffled[:LOOK]), np.sort(shuffled[:MAP])
        self.rows = came.tensor(self.look)
        self.codes = list(lens.capture(subject.module, subject.stages, self.rows).values())
        self.said, self.sure = self._answers()

    def all(self, methods: list[Method], title: str | None) -> Explanation:
        weights, keeping, dreams = self._weights(), self._keeping(), self._dreams()
        mistakes, drawn = self._mistakes(), self._map()
        shown = [row for each in weights for unit in each.strongest for row in unit.rows]
        shown += keeping.examples if keeping else []
        shown += [row for each in (mistakes.confused if mistakes else ()) for row in each.rows]
        shown += drawn.rows if drawn else []
        learner, source = WORDS[type(self.model).__name__], f" from {self.came.name}" if self.came.name else ""
        return Explanation(
            title=title or f"What {learner} learned{source}",
            made=datetime.now(UTC).isoformat(timespec="minutes"), seed=self.seed, model=self._model(), data=self._data(),
            classes=list(self.came.classes), score=self._score(), comparison=methods, curves=_curves(self.model),
            weights=weights, keeping=keeping, dreams=dreams, mistakes=mistakes, map=drawn, health=self._health(),
            gallery=self._gallery(shown), left_out=self.left_out,
        )  # fmt: skip

    @property
    def column_scale(self) -> Tensor | None:
        """Units of a table's columns, shape (features,), in which they are comparable; None for images."""
        if self.came.pictured:
            return None
        spread = self.rows.double().std(0, unbiased=False).float()
        return torch.where(spread > 0, spread, torch.ones_like(spread))

    def _answers(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The class (index) that the model gives each row, and its probability, both of shape (n,); None if it gives none."""
        if not hasattr(self.model, "classes_"):
            return None, None
        said, sure = [], []
        for start in range(0, len(self.came), LOOK):
            log_p = _quietly(self.model.predict_log_proba, self.came.rows(slice(start, start + LOOK)))
            said.append(log_p.argmax(1))
            sure.append(np.exp(log_p.max(1)))
        return np.concatenate(said), np.concatenate(sure)

    # What was learned from what

    def _model(self) -> Model:
        model, subject = self.model, self.subject
        return Model(
            name=type(model).__name__, widths=[model.n_features_in_, *(int(code.shape[1]) for code in self.codes)],
            kinds=[model.visible_, *(units.name.lower() for units in subject.units)],
            outputs=len(self.came.classes) if hasattr(model, "classes_") else 0,
            parameters=sum(p.numel() for p in subject.module.parameters()),
            seconds=sum(entry["seconds"] for history in model.histories_ for entry in history.epochs),
            epochs=sum(len(history.epochs) for history in model.histories_), settings=_settings(model), versions=_versions(),
            pretrained=subject.stack is not None, looked_at=subject.what, generative=subject.generative,
        )  # fmt: skip

    def _data(self) -> Data:
        came = self.came
        per_class = (
            np.bincount(came.y[came.known], minlength=len(came.classes)) if came.y is not None else np.zeros(0, int)
        )
        facts = Data(
            name=came.name, note=came.note, rows=len(came), labelled=None if came.y is None else len(came.known),
            kind=came.row.kind, shape=list(came.row.shape), low=float(self.rows.min()), high=float(self.rows.max()),
            per_class=per_class.tolist(), looked_at=len(self.look),
        )  # fmt: skip
        if self.training is None:
            return facts
        learned = _material(self.model, self.training, came.row if not isinstance(self.training, Dataset) else None)
        return Data(
            **vars(facts) | {
                "trained_rows": len(learned), "trained_labelled": None if learned.y is None else len(learned.known),
                "shared": _shared(came, learned),
            }
        )  # fmt: skip

    def _score(self) -> Score | None:
        known, y = self.came.known, self.came.y
        if self.said is None or y is None or not len(known):
            return None
        wrong = int((self.said[known] != y[known]).sum())
        low, high = lens.interval(wrong, len(known))
        counts = np.bincount(y[known], minlength=len(self.came.classes))
        return Score(
            rows=len(known), wrong=wrong, error=wrong / len(known), low=low, high=high,
            baseline=1 - int(counts.max()) / len(known), commonest=int(counts.argmax()),
        )  # fmt: skip

    # What units look for

    def _weights(self) -> list[Weights]:
        weights, found = self.subject.weights, []
        for depth, weight in enumerate(weights, start=1):
            hidden = depth <= len(self.codes)
            count = min(UNITS, max(PIXELS // self.came.row.size, 8))
            units = lens.strongest_units(weight, count) if hidden else list(range(weight.shape[1]))[:count]
            label = f"Layer {depth}" if hidden else "Output"
            names = [] if hidden else [self.came.classes[unit] for unit in units]
            found.append(self._filters(label, lens.project(weights[:depth], units), weight, units, names, depth))
        return found

    def _filters(
        self, label: str, filters: Tensor, weight: Tensor, units: list[int], names: list[str], depth: int
    ) -> Weights:
        image = self.came.pictured
        if image and self.subject.scale is not None:
            filters = filters * self.subject.scale  # a step of the standardised input, in the data's own units
        scale = float(torch.quantile(filters.abs().flatten()[:16_000_000], 0.995)) or 1.0
        top = torch.argsort(filters.square().sum(0), descending=True)[:COLUMNS].sort().values.tolist()
        return Weights(
            label=label, units=int(weight.shape[1]), inputs=int(weight.shape[0]), projected=depth > 1, unit=units, names=names,
            scale=scale, clipped=float((filters.abs() > scale).float().mean()),
            pictures=_signed(filters / scale, self.came.row.shape) if image else None,
            table=None if image else filters[:, top].numpy(), columns=[] if image else [self.came.columns[c] for c in top],
            all_columns=self.came.row.size, strongest=[] if names else self._strongest(depth, units),
        )  # fmt: skip

    def _strongest(self, depth: int, units: list[int], shown: int = 8, rows: int = 6) -> list[Strongest]:
        index, states = lens.strongest_rows(self.codes[depth - 1], units[:shown], rows)
        return [
            Strongest(unit, self.look[which.numpy()].tolist(), state.tolist())
            for unit, which, state in zip(units, index, states, strict=False)
        ]

    # What layers keep

    def _keeping(self) -> Keeping:
        stack, labels = self.subject.stack, self.subject.labels
        if stack is None:
            self.left_out["Reconstructions"] = (
                "the model was fitted with pretrain=None: no layer learned to rebuild its input"
            )
        depths = range(1, len(labels) + 1) if stack else ()
        rebuilt = [lens.rebuild(_rebuilder(stack, depth), self.rows, scale=self.column_scale) for depth in depths]
        probes = self._probes()
        layers = [Kept("Input", None, None, *_mean_sd(probes[0]))] + [
            Kept(label, each and each.error, each and each.share, *_mean_sd(probe))
            for label, each, probe in zip(labels, rebuilt or [None] * len(labels), probes[1:], strict=True)
        ]
        examples = self._examples()
        top = np.arange(self.came.row.size)[:COLUMNS]
        return Keeping(
            layers=layers, baseline=rebuilt[0].baseline if rebuilt else None, rows=len(self.look),
            probe_rows=len(self._probed()), folds=len(probes[0]), examples=examples,
            pictures=self._rebuilt_pictures(stack, examples) if stack and self.came.pictured else None,
            columns=[] if self.came.pictured or not rebuilt else [self.came.columns[c] for c in top],
            explained=None if self.came.pictured or not rebuilt else np.stack([each.explained[top] for each in rebuilt]),
            tuned_whole=isinstance(self.model, DeepAutoencoder), standardised=self.column_scale is not None,
        )  # fmt: skip

    def _probed(self) -> np.ndarray:
        """Labelled rows of the map, as positions in `look`."""
        at = np.searchsorted(self.look, self.mapped)
        return at[self.came.y[self.mapped] >= 0] if self.came.y is not None else at[:0]

    def _probes(self) -> list[list[float]]:
        """Errors of a linear probe on the input and on each layer's codes."""
        at = self._probed()
        if self.came.y is None or not len(at):
            self.left_out["Linear probes"] = "no row has a label"
            return [[] for _ in range(len(self.codes) + 1)]
        labels = self.came.y[self.look][at]
        return [lens.linear_probe(codes[at], labels, seed=self.seed) for codes in (self.rows, *self.codes)]

    def _examples(self) -> list[int]:
        """The first row of each class, or the first rows: not picked by what they look like."""
        if self.came.y is None:
            return self.look[:EXAMPLES].tolist()
        first = {
            int(label): int(row) for row, label in reversed(list(zip(self.look, self.came.y[self.look], strict=True)))
        }
        return [first[label] for label in sorted(first) if label >= 0][:EXAMPLES] or self.look[:EXAMPLES].tolist()

    def _rebuilt_pictures(self, stack: Stack, examples: list[int]) -> np.ndarray:
        rows = self.came.tensor(examples)
        with torch.no_grad():
            return np.stack([self.came.pictures(_rebuilder(stack, depth)(rows)) for depth in range(1, len(stack) + 1)])

    # What it imagines

    def _dreams(self, each: int = 10) -> Dreams | None:
        if not isinstance(self.model, DBNClassifier):
            name = type(self.model).__name__
            self.left_out["Dreams"] = (
                f"{name} holds no model of rows with their classes to draw from; a DBNClassifier does"
            )
            return None
        if self.model.pretrain is None:
            self.left_out["Dreams"] = (
                "the model was fitted with pretrain=None: there is no generative model to draw from"
            )
            return None
        count = min(len(self.model.classes_), EXAMPLES)
        labels = np.repeat(self.model.classes_[:count], each)
        rows = self.model.generate(len(labels), label=labels, steps=STEPS, random_state=self.seed)
        said = _quietly(self.model.predict, rows)
        agree = (said == labels).reshape(count, each).sum(1).tolist()
        dreams = Dreams(list(range(count)), each, STEPS, agree)
        if self.came.pictured:
            pictures = self.came.pictures(rows)
            return replace(dreams, pictures=pictures.reshape(count, each, *pictures.shape[1:]))
        return self._dreamed_means(dreams, rows)

    def _dreamed_means(self, dreams: Dreams, rows: np.ndarray) -> Dreams:
        """With the mean row per class of the dreams and of real rows, in standard deviations of each column."""
        assert self.column_scale is not None
        centre, spread, count = self.rows.mean(0).numpy(), self.column_scale.numpy(), len(dreams.classes)
        labels = self.came.y[self.look] if self.came.y is not None else np.full(len(self.look), -1)
        real = np.full((count, len(centre)), np.nan)
        for label in np.unique(labels[(labels >= 0) & (labels < count)]):
            real[label] = (self.rows.numpy()[labels == label].mean(0) - centre) / spread
        means = (rows.reshape(count, dreams.each, -1).mean(1) - centre) / spread
        top = np.sort(np.argsort(-(np.nan_to_num(real).std(0) + means.std(0)), kind="stable")[:COLUMNS])
        scale = float(max(np.abs(means).max(), np.abs(np.nan_to_num(real)).max()))
        columns = [self.came.columns[c] for c in top]
        return replace(dreams, columns=columns, means=means[:, top], real=real[:, top], scale=scale)

    # Where it is wrong

    def _mistakes(self) -> Mistakes | None:
        known, y = self.came.known, self.came.y
        if self.said is None or self.sure is None:
            self.left_out["Mistakes"] = f"{type(self.model).__name__} does not classify"
            return None
        if y is None or not len(known):
            self.left_out["Mistakes"] = "no row has a label, so there is nothing to compare the answers with"
            return None
        true, said = y[known], self.said[known]
        matrix = lens.confusion(true, said, len(self.came.classes))
        wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        kept = np.sort(np.argsort(-wrong, kind="stable")[:CLASSES])
        pairs = lens.most_confused(true, said, self.sure[known], pairs=8, rows=6)
        confused = [Confused(p.true, p.said, p.count, known[p.rows].tolist(), p.sure) for p in pairs]
        return Mistakes(kept.tolist(), matrix[np.ix_(kept, kept)].tolist(), confused, len(matrix) - len(kept))

    # How codes lie

    def _map(self) -> CodeMap | None:
        at = np.searchsorted(self.look, self.mapped)
        top = f"Code of layer {len(self.codes)}"
        panels = []
        scale = self.column_scale
        for space, rows in ((top, self.codes[-1]), ("Input", self.rows if scale is None else self.rows / scale)):
            for method in ("t-SNE", "PCA"):
                panel = self._panel(space, method, rows[at].numpy())
                panels += [panel] if panel else []
        return CodeMap(self.mapped.tolist(), panels) if panels else None

    def _panel(self, space: str, method: str, codes: np.ndarray) -> Panel | None:
        try:
            flat = lens.flatten(codes, "pca" if method == "PCA" else "tsne", seed=self.seed)
        except ValueError as error:
            self.left_out[f"Map of the {space[0].lower()}{space[1:]}"] = str(error)
            return None
        labels = self.came.y[self.mapped] if self.came.y is not None else np.full(len(self.mapped), -1)
        middles = lens.middles(flat.points, labels, len(self.came.classes))
        return Panel(space, method, flat.points, middles, flat.trust, flat.neighbours, flat.shown)

    # How healthy it is

    def _health(self) -> Health:
        gradients = getattr(self.model, "gradients_", {})
        if not gradients:
            self.left_out["Gradients"] = f"{type(self.model).__name__} does not measure them while it learns"
        moved = self._moved()
        layers = [
            _layer_health(label, codes, units, far)
            for label, codes, units, far in zip(self.subject.labels, self.codes, self.subject.units, moved, strict=True)
        ]
        return Health(len(self.look), layers, [Gradient(stage, *ends) for stage, ends in gradients.items()])

    def _moved(self) -> list[float | None]:
        """How far tuning moved each hidden layer's weights from where pre-training left them, as a share of their length."""
        subject = self.subject
        if subject.stack is None or subject.module is subject.stack:
            return [None] * len(self.codes)
        before = [layer.weight.detach()[: getattr(layer, "features", None)].cpu() for layer in subject.stack.layers]  # type: ignore[index]
        return [
            float((after - start).norm() / start.norm().clamp_min(1e-12))
            for start, after in zip(before, subject.weights, strict=False)
        ]

    # The rows shown

    def _gallery(self, shown: Sequence[int]) -> Gallery:
        numbers = np.unique(np.asarray(shown, dtype=np.int64)) if len(shown) else self.look[:1]
        true = self.came.y[numbers] if self.came.y is not None else np.full(len(numbers), -1)
        said = self.said[numbers] if self.said is not None else np.full(len(numbers), -1)
        sure = [None] * len(numbers) if self.sure is None else self.sure[numbers].tolist()
        rows = self.came.rows(numbers)
        pictures = self.came.pictures(rows) if self.came.pictured else None
        return Gallery(
            numbers.tolist(),
            true.tolist(),
            said.tolist(),
            sure,
            pictures,
            [] if pictures is not None else self._unusual(rows),
        )

    def _unusual(self, rows: np.ndarray, count: int = 5) -> list[list[tuple[str, float, float]]]:
        centre, spread = self.rows.double().mean(0).numpy(), self.rows.double().std(0).numpy()
        far = (rows - centre) / np.where(spread > 0, spread, np.inf)
        order = np.argsort(-np.abs(far), axis=1, kind="stable")[:, :count]
        names = self.came.columns
        return [
            [(names[c], float(row[c]), float(z[c])) for c in top] for row, z, top in zip(rows, far, order, strict=True)
        ]


def _quietly(ask: Callable[[Any], Any], rows: np.ndarray) -> Any:
    """`ask(rows)` without the warning that an array has no column names: they were checked."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(ask(rows))


def _rebuilder(stack: Stack | None, depth: int) -> Callable[[Tensor], Tensor]:
    assert stack is not None
    place = next(stack.parameters()).device
    return lambda x: stack.reconstruct(x.to(place), depth).cpu()


def _mean_sd(values: list[float]) -> tuple[float | None, float | None]:
    return (float(np.mean(values)), float(np.std(values, ddof=1))) if len(values) > 1 else (None, None)


def _signed(filters: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Filters in units of their scale as int8 pictures, colour last."""
    pictures = (filters.clamp(-1, 1) * 127).round().to(torch.int8).numpy().reshape(-1, *shape)
    return np.moveaxis(pictures, 1, -1) if len(shape) == 3 else pictures


def _layer_health(label: str, codes: Tensor, units: Units, moved: float | None) -> LayerHealth:
    seen = Activity.of(codes.split(500), units)
    spread = lens.spread(codes, units.low, units.high)
    return LayerHealth(
        label=label, units=int(codes.shape[1]), kind=units.name.lower(), defined=isinstance(units, Bernoulli | Rectified),
        dead=int(seen.dead.sum()), saturated=int(seen.saturated.sum()), constant=int(seen.constant.sum()),
        mean=float(seen.mean.mean()), edges=spread.edges, counts=spread.counts, moved=moved, advice=seen.advice(label),
    )  # fmt: skip


def _curves(model: Any) -> list[Curve]:
    """A curve per stage; passes of `partial_fit`, which bear the same name, are one stage."""
    stages: dict[str, list[Any]] = {}
    for history in model.histories_:
        stages.setdefault(history.name, []).append(history)
    found = []
    for name, histories in stages.items():
        epochs = [entry for history in histories for entry in history.epochs]
        if not epochs:
            continue
        valid = [entry["valid"] for entry in epochs] if all("valid" in entry for entry in epochs) else None
        train, seconds = [entry["figure"] for entry in epochs], sum(entry["seconds"] for entry in epochs)
        found.append(Curve(name.capitalize(), _figure(model, name), train, valid, seconds, histories[-1].stopped))
    return found


def _figure(model: Any, stage: str) -> str:
    """What the figure of a stage is, with its unit."""
    if stage == "tuning":
        if isinstance(model, DeepAutoencoder):
            return "squared error per row" if model.loss == "squared" else "nats per row to rebuild it"
        return "cross-entropy, nats per row"
    linear = isinstance(model, DeepAutoencoder) and len(model.layers_) == 1 and model.visible_ == "gaussian"
    return (
        "nats per row to rebuild it"
        if isinstance(model, StackedAutoencoderClassifier) or linear
        else "squared error per row"
    )


def _settings(model: Any) -> list[Setting]:
    defaults = type(model)().get_params(deep=False)
    left = {"verbose", "device", "threads"}
    given = model.get_params(deep=False)
    return [
        Setting(name, str(value), str(value) != str(defaults[name]))
        for name, value in given.items()
        if name not in left
    ]


def _versions() -> dict[str, str]:
    return {"layerwise": __version__, "Python": platform.python_version()} | {
        name: version(name) for name in ("torch", "scikit-learn", "numpy")
    }


def _shared(came: Material, learned: Material) -> int:
    """How many rows of `came` are among `learned`, value by value as float32."""
    seen = set()
    for start in range(0, len(learned), LOOK):
        seen.update(_keys(learned, start))
    return sum(key in seen for start in range(0, len(came), LOOK) for key in _keys(came, start))


def _keys(rows: Material, start: int) -> list[int]:
    return [hash(each.numpy().tobytes()) for each in rows.tensor(slice(start, start + LOOK))]
