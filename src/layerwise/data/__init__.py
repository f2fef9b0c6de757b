"""Data of every kind as rows of numbers of known range, and back again.

`load` reads a known set or a path into a `Dataset`; its `Row` says what one row is and how to show it to a person.
One file per kind: `arrays` (.npz, .npy, idx), `tables` (CSV), `images` (folders); `catalogue` holds the known sets.
"""

from layerwise.data.catalogue import Known, KnownFile, cache_folder, get, known
from layerwise.data.dataset import Dataset, Row
from layerwise.data.labels import keep_labels
from layerwise.data.prose import Story, prose
from layerwise.data.sources import load

__all__ = [
    "Dataset",
    "Known",
    "KnownFile",
    "Row",
    "Story",
    "cache_folder",
    "get",
    "keep_labels",
    "known",
    "load",
    "prose",
]
