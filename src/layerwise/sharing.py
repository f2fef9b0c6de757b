"""What the sharing of weights brings: the parameters that a CNN needs for a dense net's error, and how both bear shifts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from layerwise.data import Dataset
from layerwise.data.labels import hold_out
from layerwise.estimators import NetworkClassifier

DENSE = ((16,), (32,), (64,), (128,), (256,), (512,))
CONVOLUTIONAL = ((2, 4), (4, 8), (8, 16), (16, 32))
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
APART = 0.1  # share of the training rows that are held out


@dataclass(frozen=True)
class Sized:
    """A net of some size: its parameters, and its errors in [0, 1].

    Arguments:
        net: "mlp" or "cnn".
        layers: Units or feature maps per layer.
        held_out: Error on the training rows held out, by which nets are matched.
        errors: On the test rows, moved by each of the shifts in turn.
    """

    net: str
    layers: tuple[int, ...]
    parameters: int
    held_out: float
    errors: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Sharing:
    """Dense and convolutional nets of several sizes, learned and measured alike; `shifts` are in pixels."""

    nets: tuple[Sized, ...]
    shifts: tuple[int, ...]

    @property
    def pair(self) -> tuple[Sized, Sized] | None:
        """The dense net with the lowest held-out error, and the smallest CNN with none higher; None if no CNN is as good.

        Of dense nets with the same error, the smallest.
        """
        dense = min(
            (each for each in self.nets if each.net == "mlp"), key=lambda each: (each.held_out, each.parameters)
        )
        equal = [each for each in self.nets if each.net == "cnn" and each.held_out <= dense.held_out]
        return (dense, min(equal, key=lambda each: each.parameters)) if equal else None


def shifted(x: np.ndarray, shape: Sequence[int], down: int, right: int) -> np.ndarray:
    """Rows x, shape (n, pixels) of pictures of `shape`, moved by whole pixels; zeros come in.

    Example:
        >>> shifted(np.array([[1, 2, 3, 4]]), (2, 2), 0, 1)
        array([[0, 1, 0, 3]])
    """
    pictures, moved = x.reshape(len(x), *shape), np.zeros_like(x).reshape(len(x), *shape)
    height, width = shape[-2:]
    to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    come = (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
    moved[(..., *to)] = pictures[(..., *come)]
    return moved.reshape(x.shape)


def shift_errors(
    predict: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    shape: Sequence[int],
    shifts: Sequence[int],
) -> list[float]:
    """Error in [0, 1] on rows moved by each of `shifts` pixels: the mean over up, down, left and right.

    Arguments:
        predict: Gives a label per row.
        x, y: Rows, shape (n, pixels), and their labels, shape (n,).
        shape: Of a picture, (height, width) or (channels, height, width).

    Raises:
        ValueError: If a shift is negative, or leaves nothing of the pictures.

    Example:
        >>> dot = np.array([[1.0, 0.0, 0.0]])
        >>> shift_errors(lambda x: x[:, 0].astype(int), dot, np.array([1]), (1, 3), [0])
        [0.0]
    """
    if any(not 0 <= shift < min(shape[-2:]) for shift in shifts):
        raise ValueError(
            f"Pictures of {shape[-2]} x {shape[-1]} pixels move by 0 to {min(shape[-2:]) - 1}, not {list(shifts)}."
        )
    errors = []
    for shift in shifts:
        moved = (shifted(x, shape, shift * down, shift * right) for down, right in (DIRECTIONS if shift else [(0, 0)]))
        errors.append(float(np.mean([np.mean(predict(rows) != y) for rows in moved])))
    return errors


def weight_sharing(
    train: Dataset,
    test: Dataset,
    *,
    dense: Sequence[Sequence[int]] = DENSE,
    convolutional: Sequence[Sequence[int]] = CONVOLUTIONAL,
    shifts: Sequence[int] = range(7),
    epochs: int = 3,
    seed: int = 0,
    say: Callable[[Sized], None] = lambda _: None,
) -> Sharing:
    """Trains dense and convolutional nets of several sizes on the same rows and measures them, also on moved pictures.

    None is shown moved pictures while it learns. A tenth of the training rows is held out; by their error nets are matched
    (`Sharing.pair`), so that the test labels choose nothing.

    Arguments:
        train, test: Labelled pictures.
        dense, convolutional: Units, or feature maps, per layer of each net. CNNs have no dense hidden layer.
        shifts: Pixels by which the test pictures are moved.
        epochs: Passes over the rows for each net.
        say: Told of each net when it is measured.

    Raises:
        ValueError: If rows have no picture or no label.

    Example:
        >>> from layerwise.data import load
        >>> found = weight_sharing(load("digits", "train"), load("digits", "test"), dense=[(8,)], convolutional=[(4,)],
        ...                        shifts=[0, 1], epochs=1)
        >>> [(each.net, each.parameters, len(each.errors)) for each in found.nets]
        [('mlp', 610, 2), ('cnn', 694, 2)]
    """
    train, test = _labelled(train), _labelled(test)
    out = hold_out(train.y, len(train), APART, seed)
    kept, apart, measured = ((part.matrix(), part.y) for part in (train.take(~out), train.take(out), test))
    nets: list[Sized] = []
    for net, sizes in (("mlp", dense), ("cnn", convolutional)):
        for layers in sizes:
            options = {"hidden": ()} if net == "cnn" else None
            shape = train.row.shape
            model = NetworkClassifier(
                net, shape=shape, layers=tuple(layers), options=options, epochs=epochs, random_state=seed
            )
            model.fit(*kept)
            errors = shift_errors(model.predict, *measured, shape, shifts)  # type: ignore[arg-type]
            held_out = float(np.mean(model.predict(apart[0]) != apart[1]))
            seconds = sum(entry["seconds"] for history in model.histories_ for entry in history.epochs)
            nets.append(Sized(net, tuple(layers), model.parameters_, held_out, tuple(errors), seconds))
            say(nets[-1])
    return Sharing(tuple(nets), tuple(shifts))


def _labelled(data: Dataset) -> Dataset:
    if not data.row.pictured or data.y is None or not data.labelled:
        raise ValueError(f"{data.name}: only labelled pictures are moved. Take a set such as mnist.")
    return data.take(data.y >= 0)
