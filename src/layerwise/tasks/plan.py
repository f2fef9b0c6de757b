"""What a run is asked to do: its data, its model, its settings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from layerwise import data as sets
from layerwise.data import Dataset
from layerwise.data.sources import hold_out_classes, is_text, load_both, not_empty
from layerwise.estimators import ESTIMATORS
from layerwise.files import write_whole

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
WRITER, PROSE = "writer", ("form", "length")  # a text to write on from is read so, and by nothing else
EMBEDDER = "embedder"  # it learns on some people (labels) and is tested on others
OPTIONS = {  # of a network, which its builder takes, and the models that have them
    "dropout": ("dbn", "sae", *NETWORKS, WRITER, EMBEDDER),
    "input_dropout": ("dbn", "sae", "mlp"),
    "pieces": ("mlp",),
    "embedding": ("mlp",),
}
LAST = 0.1  # of such a text is held out
READING = set(inspect.signature(sets.load).parameters) - {"source", "part", "holdout", "seed", "like"}
PLAN = "plan.json"


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
        return list(OPTIONS[setting])
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
