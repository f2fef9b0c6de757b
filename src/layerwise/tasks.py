"""What the commands do: learn a run, test it, predict, dream. `cli` asks for these, and prints what comes back."""

from __future__ import annotations

import copy
import csv
import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from layerwise import data as sets
from layerwise.data import Dataset, Row, Story
from layerwise.data.sources import hold_out_classes, is_text, load_both, not_empty
from layerwise.data.text import BAGS, TextRow
from layerwise.estimators import ESTIMATORS, DBNClassifier, IdentityEmbedder, TextWriter
from layerwise.estimators import load as load_model
from layerwise.files import write_whole
from layerwise.gallery import Gallery
from layerwise.lens import interval
from layerwise.rows import MEMORY
from layerwise.run import Run

if TYPE_CHECKING:
    from PIL.Image import Image

MODELS = {
    "dbn": "DBNClassifier",
    "sae": "StackedAutoencoderClassifier",
    "autoencoder": "DeepAutoencoder",
    "rbm": "RBMTransformer",
    "net": "NetworkClassifier",
    "mlp": "NetworkClassifier",
    "cnn": "NetworkClassifier",
    "resnet": "NetworkClassifier",
    "lstm": "NetworkClassifier",
    "writer": "TextWriter",
    "embedder": "IdentityEmbedder",
}
NETWORKS = ("net", "mlp", "cnn", "resnet", "lstm")
CLASSIFIERS = ("dbn", "sae", *NETWORKS)
OPTIONS = ("dropout", "input_dropout")  # of a network, which its builder takes
WRITER, PROSE = "writer", ("form", "length")  # a text to write on from is read so, and by nothing else
EMBEDDER = "embedder"  # it learns on some people (labels) and is tested on others
FALSE_ACCEPTS = 0.01  # share of strangers that the threshold of an embedder lets pass
LAST = 0.1  # of such a text is held out
READING = set(inspect.signature(sets.load).parameters) - {"source", "part", "holdout", "seed", "like"}
PLAN = "plan.json"
BLOCK = 2000  # rows rebuilt at once
PIXELS = 64  # small pictures are enlarged to about this height and width
UNBALANCED = 1.5  # times the rows of the rarest class that the commonest may have
GAP = 6  # pixels between pictures


@dataclass(frozen=True)
class Plan:
    """What a run was asked to do; it lies in the run's folder as `plan.json`, and `--resume` reads it.

    Arguments:
        data: A known set, or the absolute path of a file or folder.
        model: One of `MODELS`.
        labels: How many labels are kept; None keeps all.
        holdout: Share of the rows held out for the test where the data has no split of its own.
        reading: How the data is read, options of `layerwise.data.load`: the column of labels, the size of pictures, ...
        seed: Chooses the split, the labels kept, and everything random in learning.
        settings: Parameters of the estimator, without those left at their default.
    """

    data: str
    model: str = "dbn"
    labels: int | None = None
    holdout: float = 0.2
    reading: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Plan:
        """A plan from fields and settings of the estimator side by side."""
        own = {name: value for name, value in asked.items() if name in cls.__dataclass_fields__}
        reading = {name: value for name, value in asked.items() if name in READING}
        settings = {name: value for name, value in asked.items() if name not in {*own, *reading}}
        if own.get("model") == WRITER:
            own = {"holdout": LAST} | own
        if own.get("model") == "lstm" and "form" not in reading and is_text(own["data"], reading.get("text")):
            reading["form"] = "words"  # in their order
        return cls(**own, reading=reading, settings=settings)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of the run in `folder`.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged.
        """
        if not (folder / PLAN).exists():
            raise FileNotFoundError(
                f"{folder} holds no run: {PLAN} is missing. `layerwise train DATA --out {folder}` begins one."
            )
        try:
            saved = json.loads((folder / PLAN).read_text())
            return cls(**saved | {"reading": as_read(saved["reading"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / PLAN} is damaged ({type(error).__name__}: {error}). Begin the run anew."
            ) from error

    def write(self, folder: Path) -> None:
        """Writes the plan into `folder`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole({folder / PLAN: json.dumps(asdict(self), indent=1)})

    def load(self, part: Literal["train", "test", "all"]) -> Dataset:
        """A part of the data, before labels are hidden; it is read once for training and test."""
        if part == "all":
            return sets.load(self.data, part, **self.reading)
        return self._both[0] if part == "train" else not_empty(self._both[1])

    @cached_property
    def _both(self) -> tuple[Dataset, Dataset]:
        if self.model == EMBEDDER:
            return hold_out_classes(sets.load(self.data, "all", **self.reading), self.holdout, self.seed)
        return load_both(self.data, holdout=self.holdout, seed=self.seed, **self.reading)

    def estimator(self) -> Any:
        """The estimator, untrained.

        Raises:
            ValueError: If the model has no such setting.
        """
        settings = dict(self.settings)
        for name in settings:
            if self.model not in models_with(name):
                raise ValueError(f"{self.model} has no setting {name!r}. Leave it out.")
        if self.model == "rbm" and "layers" in settings:
            widths = settings.pop("layers")
            if len(widths) != 1:
                raise ValueError(f"rbm has one hidden layer, but {len(widths)} widths came. Give one (--layers 256).")
            settings["n_components"] = widths[0]
        if self.labels is not None and self.model not in CLASSIFIERS:
            raise ValueError(f"{self.model} never looks at labels, so none can be kept or hidden. Leave labels out, or learn "
                             f"one of {', '.join(CLASSIFIERS)}.")  # fmt: skip
        if self.model == WRITER:
            settings |= {name: self.reading[name] for name in PROSE if name in self.reading}
        if self.model in (*NETWORKS, EMBEDDER):
            options = {name: settings.pop(name) for name in OPTIONS if name in settings}
            chosen = self.model not in ("net", EMBEDDER)
            settings |= {"net": self.model if chosen else "auto", "options": options or None}
        return ESTIMATORS[MODELS[self.model]](**settings, random_state=self.seed)


def as_read(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Options of reading as `load` takes them, from JSON, which knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}


def models_with(setting: str) -> list[str]:
    """The models that take a setting."""
    if setting == "layers":
        return list(MODELS)
    if setting in OPTIONS:
        return [
            "dbn",
            "sae",
            *(name for name in (*NETWORKS, WRITER, EMBEDDER) if setting == "dropout" or name == "mlp"),
        ]
    return [name for name, kind in MODELS.items() if setting in inspect.signature(ESTIMATORS[kind]).parameters]


def resumed(folder: Path, asked: Mapping[str, Any]) -> Plan:
    """The plan of the run in `folder`, which may be asked for once more, but not for something else.

    Raises:
        ValueError: If the run began with another value than `asked` has for it.
    """
    plan = Plan.read(folder)
    if plan.model == WRITER and asked.get("model") == "lstm":
        asked = {**asked, "model": WRITER}
    begun = json.loads(json.dumps({**asdict(plan), **plan.settings, **plan.reading}))
    for name, value in json.loads(json.dumps(asked)).items():
        if begun.get(name) != value:
            was = f"{name}={begun[name]!r}" if begun.get(name) is not None else f"{name} at its default"
            raise ValueError(
                f"{folder} began with {was}, not {value!r}. Leave it out to go on, or choose another folder (--out)."
            )
    return plan


def suited(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, an lstm taken for a writer where the data is one long text, without labels."""
    writes = asked.get("model") == "lstm" and "data" in asked and sets.prose(asked["data"]) is not None
    return {**asked, **({"model": WRITER} if writes else {})}


def locate(source: str) -> str:
    """A known name as it is, and a path made absolute, so that the run is understood from everywhere."""
    path = Path(source).expanduser()
    return source if is_known(source) or not path.exists() else str(path.absolute())


def is_known(source: str) -> bool:
    """Whether a known set has that name."""
    return any(source == record.name for record in sets.known())


# -- learning ----------------------------------------------------------------------------------------------------------


def check_new(folder: Path) -> None:
    """Raises a FileExistsError if there is anything in `folder`."""
    if (folder / PLAN).exists() or (folder / "model.json").exists():
        raise FileExistsError(f"{folder} holds a run already, and nothing is overwritten. Go on with it (--resume), or choose "
                              "another folder (--out).")  # fmt: skip
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already, and nothing is overwritten. Choose another folder (--out).")


def prepare(plan: Plan) -> tuple[Any, Any]:
    """The untrained estimator and the training rows, with all labels but `plan.labels` hidden, or for a writer the
    beginning of its text; both are checked.

    Raises:
        ValueError: If the plan does not fit the data or the model.
    """
    if plan.model == WRITER:
        text = story(plan)[0]
        return plan.estimator(), text
    estimator, training = plan.estimator(), plan.load("train")
    if plan.model in NETWORKS:
        suit(estimator, training.row)
    if plan.model == EMBEDDER:
        suit_embedder(estimator, training.row, plan)
        return estimator, training
    if plan.model not in CLASSIFIERS:
        return estimator, training
    if not training.labelled or training.y is None:
        raise ValueError(f"{training.name} has no labels, which {plan.model} needs. Name their column (--label), sort the "
                         "files into one folder per class, or learn without labels (--model autoencoder).")  # fmt: skip
    if len(present(training)) < 2:
        raise ValueError(f"{training.name} has labels of one class only, {present(training).pop()!r}. A classifier tells two "
                         "apart, or more: label rows of another class, too, or use --model autoencoder.")  # fmt: skip
    absent = sorted(present(plan.load("test")) - present(training))
    if absent:
        raise ValueError(f"{training.name}: the test part has the class {absent[0]!r}, but no training row has it. "
                         "Split the data so that every class is in the training part.")  # fmt: skip
    if plan.labels is not None:
        training = replace(training, y=sets.keep_labels(training.y, plan.labels, plan.seed))
    return estimator, training


def story(plan: Plan) -> tuple[Story, Story]:
    """The beginning of the text, to learn from, and the end that is held out.

    Raises:
        ValueError: If the data is no text without labels, or is to be read in a way that such a text is not.
    """
    for name, value in plan.reading.items():
        if name not in PROSE:
            raise ValueError(f"{name}={value!r} was given, but {WRITER} reads its text on and on. Leave it out.")
    return long_text(plan.data).split(plan.holdout)


def long_text(source: str) -> Story:
    """The text at `source`.

    Raises:
        ValueError: If there is none, or it has labels.
    """
    found = sets.prose(source)
    if found is None:
        sets.load(source, "all")  # says what is wrong if it cannot be read at all
        raise ValueError(f"{source} is no text without labels, from which {WRITER} learns: a .txt file, a folder or zip of "
                         "them, or a known set of text. Choose another --model.")  # fmt: skip
    return found


def suit(network: Any, row: Row) -> None:
    """Tells an untrained network what a row is: its shape, and how many symbols there are.

    Raises:
        ValueError: If a recurrent network would be shown rows that are no sequences.
    """
    if network.net == "lstm":
        _check_sequence(row)
    if vocabulary := getattr(row, "vocabulary", ()):
        network.set_params(vocabulary=len(vocabulary) + 2)  # padding and the unknown come first
    network.set_params(
        shape=(1, *row.shape) if row.pictured and len(row.shape) == 2 and network.net != "lstm" else row.shape
    )
    if network.net == "lstm" and row.kind == "sound":
        network.set_params(options=dict(network.options or {}) | {"swap": True})
    if network.augment == "auto":
        network.set_params(augment=row.kind if row.pictured else None)


def suit_embedder(embedder: Any, row: Row, plan: Plan) -> None:
    """Tells an untrained embedder what a row is; a photo's mirror image is of the same person."""
    if "augment" not in plan.settings and row.pictured:
        embedder.set_params(augment="auto")
    suit(embedder, row)
    embedder.set_params(mirror=row.kind == "image", normalise="rows" if row.pictured else "columns")


def _check_sequence(row: Row) -> None:
    what = (
        f"{BAGS[row.form]} has lost the order of the words. Choose form='words', 'characters' or 'subwords' (--form words)"
        if isinstance(row, TextRow) and row.form in BAGS
        else "a row of a table has no order. Choose another network (--model mlp)"
        if row.kind == "table"
        else "pictures in colour are none. Choose another network (--model cnn)"
        if len(row.shape) == 3
        else ""
    )
    if what:
        raise ValueError(f"An lstm reads sequences, and {what}.")


def learn(
    plan: Plan, folder: Path, *, interval: float = 60.0, progress: bool = True, say: Callable[[str], None] | None = None
) -> Any:
    """Learns the plan in `folder`, from where it stands there, and saves the model; returns the fitted estimator.

    `interval` is in seconds, between checkpoints; `say` is told what is learned from what.
    """
    estimator, training = prepare(plan)
    if say is not None:
        say(f"{training.lines()}\nLearning {estimator} in {folder}")
    begun = (folder / PLAN).exists()
    plan.write(folder)
    try:
        run = Run(folder, resume=True, interval=interval, progress=progress)
        fit(estimator, training, run)
    except Exception:
        if not begun:
            _forget(folder)
        raise
    estimator.data_ = describe(training, plan)
    if plan.model == EMBEDDER:
        estimator.threshold_ = set_threshold(estimator, plan.load("test"))
    estimator.save(folder, overwrite=True)
    return estimator


def set_threshold(embedder: Any, others: Dataset) -> float | None:
    """The score at which few of the people whom the embedder never met are taken for each other; None if they are too few."""
    gallery = Gallery(embedder)
    assert others.y is not None
    gallery.enroll([others.classes[label] for label in others.y], others.matrix())
    try:
        gallery.calibrate(FALSE_ACCEPTS)
    except ValueError:  # nobody has two rows
        return None
    return gallery.threshold


def _forget(folder: Path) -> None:
    """Removes what a run left that failed before it learned anything, so that its name is free again."""
    if any((folder / "checkpoints").glob("*.safetensors")):
        return
    for file in (folder / PLAN, folder / "log.jsonl"):
        file.unlink(missing_ok=True)
    for empty in (folder / "checkpoints", folder):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


def fit(estimator: Any, training: Dataset | Story, run: Run) -> Any:
    """Fits the estimator to the rows or the text; a classifier then speaks of the classes by their names."""
    if isinstance(training, Story):
        return estimator.fit(training.text, run=run)
    if not estimator.__sklearn_tags__().target_tags.required:
        return estimator.fit(_rows(training), run=run)
    assert training.y is not None
    # Codes in the order of the names: the estimators keep their classes sorted, and take -1 for no label.
    names = np.array(training.classes, dtype=np.str_)
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    estimator.fit(_rows(training), np.where(training.y < 0, -1, rank[training.y]), run=run)
    known = "people_" if hasattr(estimator, "people_") else "classes_"
    setattr(estimator, known, names[order][getattr(estimator, known)])
    return estimator


def _rows(training: Dataset) -> Any:
    """All rows, in memory while they fit, else read batch by batch."""
    large = 4 * len(training) * training.row.size > MEMORY
    return training.rows() if large else training.matrix()


def describe(training: Dataset | Story, plan: Plan) -> dict[str, Any]:
    """What the data was, for `model.json`."""
    if isinstance(training, Story):
        return {
            "name": training.name, "note": training.note, "characters": len(training), "source": plan.data,
            "holdout": plan.holdout, "seed": plan.seed, "reading": dict(plan.reading),
        }  # fmt: skip
    return {
        "name": training.name, "note": training.note, "rows": len(training), "labelled": training.labelled,
        "classes": list(training.classes), "row": training.row.to_dict(), "source": plan.data, "holdout": plan.holdout,
        "seed": plan.seed, "reading": dict(plan.reading),
    }  # fmt: skip


# -- a learned run and the rows it is shown ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Learned:
    """A saved model, and what it knows of its data; `held_out` are its test rows if they are read already."""

    model: Any
    folder: Path
    held_out: Dataset | None = None

    @classmethod
    def load(cls, folder: str | Path, plan: Plan | None = None) -> Learned:
        """The model that lies in `folder`; `plan` is the one that it was learned by just now.

        Raises:
            FileNotFoundError: If there is none, or it is not finished.
            ValueError: If it is damaged.
        """
        folder = Path(folder)
        if (folder / PLAN).exists() and not (folder / "model.json").exists():
            raise FileNotFoundError(
                f"{folder} is not finished yet. Go on with it: layerwise train --resume --out {folder}"
            )
        return cls(load_model(folder), folder, None if plan is None or plan.model == WRITER else plan.load("test"))

    @property
    def about(self) -> dict[str, Any]:
        """What was noted of the data; empty for a model that was saved from Python."""
        return dict(getattr(self.model, "data_", {}))

    @property
    def row(self) -> Row:
        """What a row is."""
        saved = self.about.get("row")
        return Row.from_dict(saved) if saved else Row("table", (int(self.model.n_features_in_),))

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty for a model that knows none."""
        return [str(name) for name in getattr(self.model, "classes_", ())]

    @property
    def writes(self) -> bool:
        """Whether it reads one long text and takes no rows."""
        return isinstance(self.model, TextWriter)

    @property
    def embeds(self) -> bool:
        """Whether it makes embeddings that tell people apart."""
        return isinstance(self.model, IdentityEmbedder)

    def story(self, source: str | None = None) -> Story:
        """The text that was held out when it learned, or all of the one at `source`."""
        about = self.about
        if source is not None and locate(source) != about.get("source"):
            return long_text(source)
        if "source" not in about:
            raise ValueError(f"{self.folder} does not say which text it learned from. Name the text to read.")
        return long_text(about["source"]).split(about["holdout"])[1]

    def test_rows(self) -> Dataset:
        """The rows that were held out when it learned."""
        if self.held_out is not None:
            return self.held_out
        about = self.about
        if "source" not in about:
            raise ValueError(f"{self.folder} does not say which data it learned from. Name the data to look at.")
        how = as_read(about["reading"])
        if self.embeds:
            both = sets.load(about["source"], "all", **how, like=self.row)
            return hold_out_classes(both, about["holdout"], about["seed"])[1]
        return sets.load(
            about["source"],
            "test",
            holdout=about["holdout"],
            seed=about["seed"],
            **how,
            like=Row.from_dict(about["row"]),
        )

    def rows(self, source: str | None, **how: Any) -> Dataset:
        """Rows for the model: its own test rows, the test part of a known set, or all rows of a file or folder.

        Arguments:
            source: None for its own test rows.
            how: Options of `layerwise.data.load` for other rows: broken="skip".

        Raises:
            ValueError: If they are no rows that it can take, or it takes none.
        """
        if self.writes:
            raise ValueError(f"{self.folder} holds a {type(self.model).__name__}, which reads a text on and on and takes no "
                             f"rows. Let it write (layerwise write {self.folder}), or evaluate it.")  # fmt: skip
        if source is None or locate(source) == self.about.get("source"):
            return self.test_rows()
        if is_known(source):
            return self.fitting(sets.load(source, "test", like=self.row, **how))
        if self.row.kind == "table" and Path(source).suffix.lower() not in (".npz", ".npy"):
            # Whether the column of labels is in it or not.
            how = how | {"label": self.about.get("reading", {}).get("label")}
        return self.fitting(sets.load(source, "all", like=self.row, **how))

    def fitting(self, data: Dataset) -> Dataset:
        """The rows in the shape that the model learned: pictures grey or in colour. Tables are read so (`load(like=...)`)."""
        own, came = self.row, data.row
        if own.kind == came.kind == "image" and len(own.shape) != len(came.shape):
            data = recoloured(data)
        alike = (data.row.kind, data.row.shape) == (own.kind, own.shape) or not self.about
        if not alike or data.row.size != self.model.n_features_in_:
            raise ValueError(f"{data.name} has rows of {_shape(came)}, but the model learned rows of {_shape(own)}. "
                             "Give it data of the same kind.")  # fmt: skip
        return data

    def codes(self, data: Dataset) -> np.ndarray:
        """The labels as indices into `classes`, shape (n,), -1 = no label.

        Raises:
            ValueError: If a row has a class that the model does not know.
        """
        if data.y is None:
            return np.full(len(data), -1)
        known = {name: index for index, name in enumerate(self.classes)}
        unknown = sorted(present(data) - set(known))
        if unknown:
            raise ValueError(f"{data.name} has rows of the class {unknown[0]!r}{_and_more(unknown)}, which the model does "
                             f"not know. {suggest(unknown[0], self.classes)}")  # fmt: skip
        return np.array([*(known.get(name, -1) for name in data.classes), -1])[data.y]

    def explain(self, source: str | None, out: Path, **how: Any) -> Path:
        """Writes the report of the model, looking at `rows(source, **how)`; returns the page."""
        from layerwise.explanation import explain

        mine = source is None and (self.folder / PLAN).exists()
        training = prepare(Plan.read(self.folder))[1] if mine else None
        return explain(self.model, self.rows(source, **how), out, training=training)


def recoloured(data: Dataset) -> Dataset:
    """Colour pictures in grey (ITU-R BT.601, as Pillow does it), and grey ones in colour."""
    x = np.asarray(data.x)
    if data.row.shape[0] == 3 and x.ndim == 4:
        x = np.tensordot(x, np.array([0.299, 0.587, 0.114]), (1, 0))
    else:
        x = np.repeat(x[:, None], 3, axis=1)
    return replace(data, x=x, row=replace(data.row, shape=x.shape[1:]))


def present(data: Dataset) -> set[str]:
    """The classes that rows have."""
    return set() if data.y is None else {data.classes[label] for label in np.unique(data.y) if label >= 0}


def suggest(name: str, names: Sequence[str]) -> str:
    """The nearest of the names, and all of them."""
    near = get_close_matches(name.lower(), [each.lower() for each in names], n=1)
    meant = [each for each in names if near and each.lower() == near[0]]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return (f"Did you mean {meant[0]}? " if meant else "") + f"It knows {shown}."


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _shape(row: Row) -> str:
    if row.kind == "table":
        return f"{row.size} columns"
    return " x ".join(map(str, row.shape[-2:])) + (" pixels in colour" if len(row.shape) == 3 else " grey pixels")


# -- testing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassScore:
    """Of the rows of a class: how many, how many of them wrong, and how the class fares when the model names it.

    Arguments:
        precision: Share of the rows called so that are so, in [0, 1]; 0 where none is called so.
        f1: Harmonic mean of precision and recall.
    """

    name: str
    rows: int
    wrong: int
    precision: float
    f1: float

    @property
    def recall(self) -> float:
        """Share of its rows that are called so."""
        return 1 - self.wrong / self.rows


@dataclass(frozen=True)
class Score:
    """How often a classifier is wrong.

    Arguments:
        head: Which of its answers were asked for: "network" or "generative".
        rows, wrong: Labelled rows, and those it got wrong.
        per_class: Of every class that has rows.
    """

    head: str
    rows: int
    wrong: int
    per_class: tuple[ClassScore, ...]

    @property
    def error(self) -> float:
        """Share of wrong rows."""
        return self.wrong / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the error rate (Wilson, 1927)."""
        return interval(self.wrong, self.rows)

    @property
    def baseline(self) -> float:
        """The error of always naming the commonest class."""
        return 1 - max(each.rows for each in self.per_class) / self.rows

    @property
    def unbalanced(self) -> bool:
        """Whether the commonest class has more than 1.5 times the rows of the rarest, so that one error rate hides classes."""
        sizes = [each.rows for each in self.per_class]
        return max(sizes) > UNBALANCED * min(sizes)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the share of their rows that is right: chance is one over their number."""
        return sum(each.recall for each in self.per_class) / len(self.per_class)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of F1."""
        return sum(each.f1 for each in self.per_class) / len(self.per_class)


@dataclass(frozen=True)
class Rebuilding:
    """Squared error per row, summed over the features in the data's own units, of an autoencoder; images lie in [0, 1].

    `baseline` is that of the mean row.
    """

    rows: int
    error: float
    baseline: float


def scores(learned: Learned, data: Dataset) -> list[Score]:
    """The error of every head of a classifier on the labelled rows: the network's first, or that which it answers with.

    Raises:
        ValueError: If no row has a label, or one has a class that the model does not know.
    """
    y = learned.codes(data)
    known = np.flatnonzero(y >= 0)
    if not len(known):
        raise ValueError(f"{data.name} has no labels to compare with. Use predict, or name their column.")
    rows = data.matrix(known)
    return [_score(learned, head, rows, y[known]) for head in heads(learned.model)]


def heads(model: Any) -> list[str]:
    """The ways to ask a classifier, its own first."""
    if not isinstance(model, DBNClassifier) or model.pretrain is None:
        return ["network"]
    return sorted(("network", "generative"), key=lambda head: head != model.classify)


def _score(learned: Learned, head: str, rows: np.ndarray, y: np.ndarray) -> Score:
    model = copy.copy(learned.model)
    if isinstance(model, DBNClassifier):
        model.classify = head
    said = model.predict_log_proba(rows).argmax(1)
    codes, sizes = np.unique(y, return_counts=True)
    precision, _, f1, _ = precision_recall_fscore_support(y, said, labels=codes, zero_division=0.0)
    wrong = [int((said[y == code] != code).sum()) for code in codes]
    each = zip(codes, sizes.tolist(), wrong, precision.tolist(), f1.tolist(), strict=True)
    per_class = tuple(ClassScore(learned.classes[code], *figures) for code, *figures in each)
    return Score(head, len(y), sum(wrong), per_class)


def surprises(learned: Learned, story: Story) -> list[tuple[str, float, float]]:
    """(what foretold the text, nats per character, perplexity per symbol) of the writer and of those who see no order.

    The frequencies are the text's own, so no table of frequencies does better.
    """
    found = learned.model.evaluate(story.text)
    counts = np.array(list(Counter(story.text[1:]).values()))
    shares = counts / counts.sum()
    frequencies, kinds = float(-(shares * np.log(shares)).sum()), len(set(story.text))
    return [
        ("the model", found.nats, found.perplexity),
        ("frequencies of its characters", frequencies, float(np.exp(frequencies))),
        ("guessing", float(np.log(kinds)), float(kinds)),
    ]


def rebuilding(learned: Learned, data: Dataset) -> Rebuilding:
    """How well the model rebuilds the rows from its codes."""
    total = 0.0
    mean = sum(data.matrix(slice(at, at + BLOCK)).sum(0, dtype=np.float64) for at in range(0, len(data), BLOCK)) / len(
        data
    )
    scatter = 0.0
    for at in range(0, len(data), BLOCK):
        rows = data.matrix(slice(at, at + BLOCK))
        back = learned.model.inverse_transform(learned.model.transform(rows))
        total += float(np.square(rows - back, dtype=np.float64).sum())
        scatter += float(np.square(rows - mean).sum())
    return Rebuilding(len(data), total / len(data), scatter / len(data))


# -- predicting and dreaming -------------------------------------------------------------------------------------------


def predict(learned: Learned, data: Dataset, file: TextIO, *, proba: bool = False) -> int:
    """Writes the class of each row as CSV: row (from 0) or file, prediction, its probability, with `proba` that of each class.

    Returns:
        How many rows there were.

    Raises:
        ValueError: If the model knows no classes.
    """
    if not learned.classes:
        raise ValueError(f"{learned.folder} holds a {type(learned.model).__name__}, which knows no classes. dbn and sae do: "
                         "layerwise train DATA --model sae")  # fmt: skip
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        [
            "row" if data.files is None else "file",
            "prediction",
            "probability",
            *(f"p({name})" for name in learned.classes if proba),
        ]
    )
    for at in range(0, len(data), BLOCK):
        p = np.exp(learned.model.predict_log_proba(data.matrix(slice(at, at + BLOCK))))
        for number, each in enumerate(p, start=at):
            best = int(each.argmax())
            every = [f"{value:.4f}" for value in each] if proba else []
            which = number if data.files is None else data.files[number]
            table.writerow([which, learned.classes[best], f"{each[best]:.4f}", *every])
    return len(data)


def dream(
    learned: Learned, labels: Sequence[str], count: int, *, unit: tuple[int, int] | None = None, steps: int = 200,
    seed: int = 0,
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Rows that the model generates, `count` for each label, shape (k, features), and the label of each ("": none).

    Without labels and unit, every class is dreamed of.

    Raises:
        ValueError: If the model cannot dream, or does not know a label or the unit.
    """
    model = learned.model
    if not isinstance(model, DBNClassifier):
        raise ValueError(f"{learned.folder} holds a {type(model).__name__}, which does not generate. A deep belief net does: "
                         "layerwise train DATA --model dbn")  # fmt: skip
    for label in labels:
        if label not in learned.classes:
            raise ValueError(f"The model knows no class {label!r}. {suggest(label, learned.classes)}")
    names = list(labels) or ([] if unit else learned.classes)
    if not names:
        return model.generate(count, unit=unit, steps=steps, random_state=seed), [""] * count
    wanted = np.repeat([learned.classes.index(name) for name in names], count)
    rows = model.generate(len(wanted), label=model.classes_[wanted], unit=unit, steps=steps, random_state=seed)
    return rows, [learned.classes[index] for index in wanted]


def write(learned: Learned, start: str, length: int, temperature: float, seed: int) -> Iterator[str]:
    """What the model writes after `start`, piece by piece.

    Raises:
        ValueError: If it is no model that writes, or cannot go on from there.
    """
    if not learned.writes:
        raise ValueError(f"{learned.folder} holds a {type(learned.model).__name__}, which does not write. An lstm that has "
                         "read a text does: layerwise train story.txt --model lstm")  # fmt: skip
    pieces: Iterator[str] = learned.model.write(start, length, temperature=temperature, random_state=seed)
    return pieces


def save_rows(values: np.ndarray, labels: Sequence[str], row: Row, out: Path, columns: int) -> Path:
    """Writes rows as a picture of `columns` across, or, where a row is no image, as CSV with their labels."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if row.pictured:
        grid(values, row, columns).save(out)
        return out
    names = list(row.names) or [f"column {number}" for number in range(1, row.size + 1)]
    with out.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*names, *(["label"] if any(labels) else [])])
        for each, label in zip(values, labels, strict=True):
            table.writerow([*(f"{value:.6g}" for value in each), *([label] if label else [])])
    return out


def grid(values: np.ndarray, row: Row, columns: int) -> Image:
    """Images side by side, `columns` across, on mid grey; small ones are enlarged, their pixels kept square.

    Example:
        >>> grid(np.zeros((4, 64)), Row("image", (8, 8), 0, 1), columns=2).size
        (146, 146)
    """
    from PIL import Image

    factor = max(1, PIXELS // max(row.shape[-2:]))
    height, width = (side * factor for side in row.shape[-2:])
    across, down = columns * (width + GAP) + GAP, -(-len(values) // columns) * (height + GAP) + GAP
    sheet = Image.new("L" if len(row.shape) == 2 else "RGB", (across, down), "grey")
    for number, each in enumerate(values):
        picture = row.picture(each).resize((width, height), Image.Resampling.NEAREST)
        line, column = divmod(number, columns)
        sheet.paste(picture, (GAP + column * (width + GAP), GAP + line * (height + GAP)))
    return sheet
