"""What a saved model says: predictions, dreams, texts, and the files that hold them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from layerwise.data import Dataset, Row
from layerwise.estimators import DBNClassifier
from layerwise.tasks.learned import BLOCK, Learned, suggest

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 64  # small pictures are enlarged to about this height and width
GAP = 6  # pixels between pictures


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
