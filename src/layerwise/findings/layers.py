"""What the ladder, and the pages of layers and of their units say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerwise.lens.activity import Spread
from layerwise.lens.calibration import Calibrated, Step
from layerwise.lens.information import Information


@dataclass(frozen=True)
class Probed:
    """A linear probe of the labels, as `layerwise.lens.Reading` has it: accuracies in [0, 1] on rows held out."""

    accuracy: float
    low: float
    high: float
    chance: float
    null: float
    null_high: float
    fitted: int
    held: int


@dataclass(frozen=True)
class Living:
    """The health of a layer, as `layerwise.lens.Vitals` has it."""

    units: int
    rows: int
    kind: str
    guessed: bool
    dead: int
    saturated: int
    constant: int
    flat: float | None
    rank: float
    rank_cap: int
    gradient: float | None
    states: Spread
    weights: Spread | None


@dataclass(frozen=True)
class Rung:
    """A layer of the ladder, of the net that the page is about.

    Arguments:
        label: For people; `address` is that of its page, empty for the input.
        width: Numbers per row; `groups`: into how many random sums they were put before probing, if they were.
        rebuilt: Share of the input's variance that a linear map rebuilds, on rows held out.
        information: All bounds, for a sweep of noise.
    """

    label: str
    address: str
    width: int
    groups: int | None
    life: Living | None
    probe: Probed | None
    rebuilt: float | None
    information: list[Information]


@dataclass(frozen=True)
class Side:
    """One kind of net on the ladder: `bands` gives figures of each layer as (mean, least, largest) over so many `nets`.

    `similarity` is the CKA of all layers but the input with each other, of the first of the nets; `error` its standard error.
    """

    name: str
    nets: int
    bands: dict[str, list[tuple[float, float, float]]]
    similarity: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Ladder:
    """Layer by layer, what each has become; over `rows` rows. `sides` has the net of the page (or several) first.

    `between` is the CKA of each layer of the first net with the same one of the first net of the other sides, by its name.
    `shares` are the noises of `Rung.information`, in mean variances of the units.
    """

    rows: int
    rungs: list[Rung]
    sides: list[Side]
    between: dict[str, list[float]]
    shares: list[float]
    processing: list[Step]
    calibration: list[Calibrated]


@dataclass(frozen=True)
class Wires:
    """The strongest connections of each unit to another layer: units of it, mean and share of what they carry, (units, k)."""

    label: str
    address: str
    units: np.ndarray
    mean: np.ndarray
    share: np.ndarray
    rows: int


@dataclass(frozen=True)
class Changed:
    """What the net does with each unit's state multiplied by `factor`.

    Arguments:
        unit: Which units were tried.
        accuracy: Over all rows, shape (tried,); `classes` per class, shape (tried, classes). None without labels.
        flipped: Share of the rows that get another class, shape (tried,); None of a model that gives none.
        moved: How far what the net gives moves (root mean square over rows and outputs), as a share of how far it varies,
            shape (tried,).
        above: The same of the next layer's states. None if there is no next layer.
        most: Units of the next layer that move most, shape (tried, k), and `far`, how far, in their standard deviations.
    """

    factor: float
    unit: np.ndarray
    accuracy: np.ndarray | None
    classes: np.ndarray | None
    flipped: np.ndarray | None
    moved: np.ndarray
    above: np.ndarray | None
    most: np.ndarray | None
    far: np.ndarray | None


@dataclass(frozen=True)
class Ablation:
    """Accuracy of the net as it is, over all `rows` and per class; and with units changed.

    `note` says why not all of them were; "" if they were. `label` and `address` are those of the next layer, "" for none.
    """

    rows: int
    accuracy: float | None
    classes: np.ndarray | None
    changed: list[Changed]
    note: str
    label: str
    address: str


@dataclass(frozen=True)
class Liked:
    """The inputs that some units like best, as `layerwise.lens.Favourite` has it.

    Arguments:
        unit: Which.
        pictures: uint8, shape (units * starts, height, width[, 3]): those of each unit best first. None for no pictures.
        columns: For what has no picture, indices of the columns furthest from the mean row, (units, k); `values` there.
        agreement, states, random, stuck: Shape (units,).
    """

    unit: list[int]
    starts: int
    pictures: np.ndarray | None
    columns: np.ndarray | None
    values: np.ndarray | None
    agreement: np.ndarray
    states: np.ndarray
    random: np.ndarray
    stuck: np.ndarray


@dataclass(frozen=True)
class Dreamed:
    """What the generative net dreams with some units held on, one at a time.

    Arguments:
        unit: Which.
        each: Rows per unit, after so many Gibbs `steps` in the top layer.
        pictures: uint8, shape (units * each, height, width[, 3]). None for no pictures.
        columns: For what has no picture, indices of the columns whose mean is furthest from that of the rows, shape (units, k);
            how far, in standard deviations of the rows, in `values`.
        call: The line of Python that draws those of another unit; # stands for its number.
    """

    unit: list[int]
    each: int
    steps: int
    pictures: np.ndarray | None
    columns: np.ndarray | None
    values: np.ndarray | None
    call: str


@dataclass(frozen=True)
class Told:
    """Which class each unit tells from the rest, as `layerwise.lens.Selectivity` has it; `means` has a row per unit."""

    best: np.ndarray
    auc: np.ndarray
    means: np.ndarray
    null: float
    classes: np.ndarray
    rows: int


@dataclass(frozen=True)
class LayerPage:
    """A layer and all of its units; what is said of units are arrays with one row per unit.

    Arguments:
        name: Of the sub-module; `label` is for people, `address` stands in addresses of pages.
        kind: Of the units.
        weights: int8 pictures, shape (units, height, width[, 3]), -127 to 127 for -`scale` to `scale`; what they are of says
            `pictured`: "weights", "projected" weights, or "filters".
        columns: For rows without a picture, the columns with the largest (projected) weights, (units, k), with those `values`.
        names: Of the columns.
        strongest, typical, weakest: For each unit numbers of rows, shape (units, k); `states` has theirs, side by side.
        out_of: Out of how many rows.
        active: Share of the rows that switch the unit on, shape (units,).
        boxes: Part of each strongest and typical row that excited the unit: its upper, lower, left and right end in 255ths
            of the picture, shape (units, rows, 4).
        left_out: What could not be said, and why.
    """

    name: str
    label: str
    address: str
    units: int
    kind: str
    pictured: str
    weights: np.ndarray | None
    scale: float
    columns: np.ndarray | None
    values: np.ndarray | None
    names: list[str]
    strongest: np.ndarray
    typical: np.ndarray
    weakest: np.ndarray
    states: np.ndarray
    out_of: int
    active: np.ndarray
    boxes: np.ndarray | None
    told: Told | None
    inputs: Wires | None
    outputs: Wires | None
    nearest: np.ndarray
    likeness: np.ndarray
    ablation: Ablation | None
    liked: Liked | None
    dreamed: Dreamed | None
    left_out: dict[str, str]
