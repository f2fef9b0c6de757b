"""From a plan to a saved model: the rows to learn from, the network that suits them, the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import data as sets
from layerwise.data import Dataset, Row, Story
from layerwise.data.tokens import BAGS, TextRow
from layerwise.gallery import Gallery
from layerwise.rows import MEMORY
from layerwise.run import Run
from layerwise.tasks.plan import CLASSIFIERS, EMBEDDER, NETWORKS, PLAN, PROSE, WRITER, Plan

FALSE_ACCEPTS = 0.01  # share of strangers that the threshold of an embedder lets pass


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


def present(data: Dataset) -> set[str]:
    """The classes that rows have."""
    return set() if data.y is None else {data.classes[label] for label in np.unique(data.y) if label >= 0}
