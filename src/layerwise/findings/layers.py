"""What the pages of layers and of their units say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LayerPage:
    """A layer and all of its units; what is said of units are arrays with one row per unit.

    Arguments:
        name: Of the sub-module; `label` is for people, `address` stands in addresses of pages.
        kind: Of the units.
        strongest: Numbers of the rows that excite each unit most, shape (units, rows), with the `states`, same shape.
    """

    name: str
    label: str
    address: str
    units: int
    kind: str
    strongest: np.ndarray
    states: np.ndarray
