"""What the overview says: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from layerwise.findings.layers import Probed


@dataclass(frozen=True)
class Setting:
    """A setting of the model; `changed` if it is not the default."""

    name: str
    value: str
    changed: bool


@dataclass(frozen=True)
class Model:
    """The model: `depth` hidden layers, `widths` from the data to the top, and the `kinds` of their units.

    `parameters` are those of what is `looked_at`; `generative` is what rebuilds and dreams. `seconds` and `epochs` are of all
    stages of learning together.
    """

    name: str
    depth: int
    widths: list[int]
    kinds: list[str]
    outputs: int
    parameters: int
    seconds: float
    epochs: int
    settings: list[Setting]
    versions: dict[str, str]
    looked_at: str
    generative: str


@dataclass(frozen=True)
class Data:
    """The rows given to `explain`, and the training rows, if they were given too; `shared` counts rows in both."""

    name: str
    note: str
    rows: int
    labelled: int
    kind: str
    shape: list[int]
    low: float
    high: float
    per_class: list[int]
    looked_at: int
    trained_rows: int | None = None
    trained_labelled: int | None = None
    shared: int | None = None


@dataclass(frozen=True)
class Score:
    """Errors in [0, 1] of the model on the labelled rows, with its 95 % interval, and of always saying the largest class."""

    rows: int
    wrong: int
    error: float
    low: float
    high: float
    baseline: float
    commonest: int


@dataclass(frozen=True)
class Fit:
    """How well a model that gives values foretells those of rows whose targets are known, per output, in their own units.

    `error` is the root mean square, `spread` that of always saying the mean of these targets; `explained` is the share of the
    variance that is no error, which may be below 0.
    """

    rows: int
    error: list[float]
    spread: list[float]
    explained: list[float]


@dataclass(frozen=True)
class Method:
    """A row of the comparison: errors in [0, 1], one per draw; `verdict` as `lens.Ranked` has it."""

    method: str
    errors: list[float]
    error: float
    sd: float | None
    seconds: float | None
    note: str
    verdict: str
    behind: float
    doubt: float | None
    this: bool


@dataclass(frozen=True)
class Curve:
    """A stage of learning: the figure of each epoch, and that on held-out rows where there is one."""

    name: str
    figure: str
    train: list[float]
    valid: list[float] | None
    seconds: float
    stopped: str


@dataclass(frozen=True)
class Strongest:
    """The rows (numbers in the data) that excite a unit most, with its states."""

    unit: int
    rows: list[int]
    states: list[float]


@dataclass(frozen=True)
class Weights:
    """What the units of a layer look for.

    Arguments:
        unit: Numbers of the units shown, from 0, those with the largest weights first.
        scale: The weight that the deepest colour stands for; larger ones, a share of `clipped`, are drawn like it.
        pictures: int8, -127 to 127 for -scale to scale, shape (units, height, width) or (units, height, width, 3).
        table: For tables, weights of shape (units, columns shown).
        columns: For tables, the names of the columns shown.
        filters: Whether pictures are filters of a convolution, smaller than a row; without pictures nothing is drawn.
    """

    label: str
    units: int
    inputs: int
    projected: bool
    unit: list[int]
    names: list[str]
    scale: float
    clipped: float
    all_columns: int
    strongest: list[Strongest]
    pictures: np.ndarray | None = None
    table: np.ndarray | None = None
    columns: list[str] = field(default_factory=list)
    filters: bool = False


@dataclass(frozen=True)
class Kept:
    """What a layer keeps: of the input (squared error, share of the variance) and of the labels (a linear probe)."""

    label: str
    error: float | None
    share: float | None
    probe: Probed | None


@dataclass(frozen=True)
class Keeping:
    """What all layers keep; `pictures` are the `examples` as rebuilt from each layer, shape (layers, examples, h, w).

    For tables, `explained` is the share of each of the first `columns` that each layer rebuilds, shape (layers, columns).

    Squared errors are in the data's own units, or if `standardised` in standard deviations of the columns.
    """

    layers: list[Kept]
    baseline: float | None
    rows: int
    examples: list[int]
    tuned_whole: bool
    standardised: bool
    pictures: np.ndarray | None = None
    columns: list[str] = field(default_factory=list)
    all_columns: int = 0
    explained: np.ndarray | None = None


@dataclass(frozen=True)
class Dreams:
    """Rows that the model generated, `each` for every class after `steps` Gibbs steps; `agree` counts those it knows again.

    `pictures` has shape (classes, each, h, w); for tables, `means` and `real` are mean rows per class in standard deviations.
    """

    classes: list[int]
    each: int
    steps: int
    agree: list[int]
    dreamed: int
    recognised: int
    pictures: np.ndarray | None = None
    columns: list[str] = field(default_factory=list)
    means: np.ndarray | None = None
    real: np.ndarray | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Confused:
    """Rows of class `true` called `said`: how many, and those the model was surest of."""

    true: int
    said: int
    count: int
    rows: list[int]
    sure: list[float]


@dataclass(frozen=True)
class Mistakes:
    """The confusion matrix, true classes down, `classes` being those shown; and the most frequent confusions."""

    classes: list[int]
    matrix: list[list[int]]
    confused: list[Confused]
    left_out: int


@dataclass(frozen=True)
class Panel:
    """A flat map of `space` by `method`: a point per row, in the order of the map's rows."""

    space: str
    method: str
    points: np.ndarray
    middles: np.ndarray
    trust: float | None
    neighbours: int
    shown: float | None
    perplexity: float | None


@dataclass(frozen=True)
class CodeMap:
    """Maps of the same rows (their numbers in the data)."""

    rows: list[int]
    panels: list[Panel]


@dataclass(frozen=True)
class LayerHealth:
    """How the units of a layer behave: counts of dead, saturated and constant ones, and a histogram of all states.

    `defined`: whether units of this kind can be dead; `moved`: how far tuning moved the weights, as a share of their length.
    """

    label: str
    units: int
    kind: str
    defined: bool
    dead: int
    saturated: int
    constant: int
    mean: float
    edges: list[float]
    counts: list[int]
    moved: float | None
    advice: str


@dataclass(frozen=True)
class Gradient:
    """Root mean square of the loss's gradient by a stage's weights, before and after tuning."""

    stage: str
    start: float
    end: float


@dataclass(frozen=True)
class Health:
    """The health of every layer over `rows` rows, and the gradients that tuning saw."""

    rows: int
    layers: list[LayerHealth]
    gradients: list[Gradient]


@dataclass(frozen=True)
class Gallery:
    """The rows that the page shows, by their `numbers` in the data.

    Arguments:
        true, said: Class indices, -1 = not known.
        sure: Probability of the class said.
        pictures: uint8, shape (rows, height, width) or (rows, height, width, 3).
        unusual: For tables, per row, the columns furthest from their mean: (name, value, standard deviations).
        texts: For texts, what each row says.
        sounds: For sounds, by the number of the row, a WAV file in base64; of some rows only.
    """

    numbers: list[int]
    true: list[int]
    said: list[int]
    sure: list[float]
    pictures: np.ndarray | None
    unusual: list[list[tuple[str, float, float]]]
    texts: list[str] = field(default_factory=list)
    sounds: dict[str, str] = field(default_factory=dict)
