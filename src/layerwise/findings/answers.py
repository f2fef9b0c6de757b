"""What the pages of single answers say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Removal:
    """The score of a row while parts are taken away (or given back) in the order of a map.

    Arguments:
        steps: Shares of the parts.
        scores: The probability of the class at these; for a contrast its share in the probability of both classes; for a number
            where it lies between that of nothing (0) and that of the row (1).
        area, random: Under the curve, and under those of random orders.
    """

    steps: list[float]
    scores: list[float]
    area: float
    random: list[float]


@dataclass(frozen=True)
class Shown:
    """A map of one answer, with its checks.

    Arguments:
        method: Its name.
        scale: The value that the deepest colour stands for, or 127 in `picture`.
        picture: int8, shape (height, width), where rows are pictures.
        values: Otherwise of each of the answer's `parts`.
        complete: The gap between its sum and the score, as a share of the score; None where no sum is promised.
        deletion, insertion, road: What happens if parts are taken away; `road` is None where there are no neighbours.
        alike: Rank correlation of the sizes of its values with those for a shuffled net, beyond what the input explains: of the
            method and the net, over some rows; None where nothing could be shuffled.
        failures: Why this map is not to be trusted, in words, by the check that it fails, as `lens.trust.Checks` has them.
    """

    method: str
    scale: float
    picture: np.ndarray | None
    values: list[float]
    complete: float | None
    deletion: Removal
    insertion: Removal
    road: Removal | None
    alike: float | None
    failures: dict[str, str]


@dataclass(frozen=True)
class MethodNote:
    """A method on all answers.

    Arguments:
        name: Of the method.
        passed, asked: Of so many maps, so many passed all checks.
        layers: What was shuffled, top first: each name with all before it.
        alike: After that, the rank correlation of the sizes of its values with the first, beyond what the input explains; mean
            over what was asked.
        refused: Why it has no maps; "" if it has.
    """

    name: str
    passed: int
    asked: int
    layers: list[str]
    alike: list[float]
    refused: str


@dataclass(frozen=True)
class Near:
    """A training row near an answer's: its place in `Answers.training`, and the distance of the two codes."""

    at: int
    distance: float


@dataclass(frozen=True)
class Part:
    """A word or column: its name, and what the row has there (a number, or in words); `join`: whether a space follows."""

    name: str
    value: float | str | None = None
    join: str = " "


@dataclass(frozen=True)
class Asked:
    """One question about an answer, and the maps that answer it.

    Arguments:
        kind: "class" and "contrast" (why it and not another); "value" of an output; "unit" of a code, and "direction": of the
            whole code, from the mean code to this one.
        number: Of the class, output or unit; -1 for a direction.
        other: The class that it is contrasted with; -1 for none.
        value, empty: What is explained, of the row and of what stands for nothing there; None for classes.
        mean, far: Mean over the rows looked at, and how many standard deviations the row is from it; None for classes.
        true: What the value should be; None where that is not known.
        maps: By method.
        agreement: Rank correlations of the maps with each other, part by part as they are shown, in their order.
    """

    kind: str
    number: int
    other: int
    value: float | None
    empty: float | None
    mean: float | None
    far: float | None
    true: float | None
    maps: list[Shown]
    agreement: list[list[float]]


@dataclass(frozen=True)
class Answer:
    """One answer.

    Arguments:
        row: Its number in the data.
        why: It is here: "asked for", "wrong", "unsure", "right" or "unlabelled"; of a model that gives no classes "off" (from
            what it should be), "far" (from the mean), "class" (the first of its class) or "between".
        true, said: Class indices, -1 = not known, or none.
        sure: The classes with the largest probabilities, largest first, and these.
        other: The class that it is contrasted with: the true one of a mistake, else the second most probable one; -1 for none.
        asked: What was asked about it, the main question first.
        near: The nearest training rows, nearest first.
        parts: Where rows are no pictures: the words or columns that the values of maps belong to.
    """

    row: int
    why: str
    true: int
    said: int
    sure: list[tuple[int, float]]
    other: int
    asked: list[Asked]
    near: list[Near] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def maps(self) -> list[Shown]:
        """What the answer hung on: the maps of the main question."""
        return self.asked[0].maps

    @property
    def contrast(self) -> list[Shown]:
        """What spoke for the answer and not for the other; empty where there is none."""
        return next((each.maps for each in self.asked if each.kind == "contrast"), [])


@dataclass(frozen=True)
class Training:
    """Training rows that are near to answers, by their `numbers` in the training data: their classes, pictures and texts."""

    numbers: list[int]
    true: list[int]
    pictures: np.ndarray | None
    texts: list[str]
    searched: int
    rows: int


@dataclass(frozen=True)
class Answers:
    """Answers looked at one by one.

    Arguments:
        each: The answers, in the order of their list.
        gives: What the model answers with: "classes", "values" or "code"; `outputs` says how many of them there are.
        page: The address of the layer whose units these are; "" if it has no page.
        methods: How each method fared.
        baseline: What stands for "nothing there", in words.
        form: How maps are shown: "picture", "words" or "columns".
        agreement: Rank correlations between methods, mean over what was asked but contrasts, in the order of the methods that
            have maps.
        layer: Whose codes say what is near; "" if no training rows were given.
        training: The training rows that are shown.
        batch: Rows that the correlations with shuffled nets are of.
    """

    each: list[Answer]
    gives: str
    outputs: int
    page: str
    methods: list[MethodNote]
    baseline: str
    form: str
    agreement: list[list[float]]
    layer: str
    training: Training | None
    batch: int

    @property
    def shown(self) -> list[int]:
        """Numbers of all rows that their pages show."""
        return [answer.row for answer in self.each]
