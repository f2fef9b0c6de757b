"""Labels: from what people write to whole numbers, and which rows keep theirs or are held out.

Choices are made by `RandomState`, whose numbers numpy has frozen: a split is the same with every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from layerwise.data.dataset import Array, Labels


def keep_labels(y: Array, count: int, seed: int = 0) -> Labels:
    """The labels with all but `count` set to -1 (no label), as evenly over the classes as they allow.

    Arguments:
        y: Shape (n,), whole numbers; negative ones are no label already.
        count: How many to keep.
        seed: Chooses which.

    Raises:
        ValueError: If `count` is smaller than the number of classes, or larger than the number of labels.

    Example:
        >>> kept = keep_labels(np.array([0, 0, 0, 1, 1, 2, -1]), 5)
        >>> [int((kept == label).sum()) for label in range(3)]
        [2, 2, 1]
    """
    y = np.asarray(y).astype(np.int64)
    order = np.random.RandomState(seed).permutation(np.flatnonzero(y >= 0))
    classes = np.unique(y[order])
    if not len(classes) <= count <= len(order):
        raise ValueError(
            f"{count} labels cannot be kept: there are {len(order)} labels of {len(classes)} classes. "
            f"Choose a number from {len(classes)} (one per class) to {len(order)} (all)."
        )
    # The first of each class, then the second of each, ...: no class gets two more than one that has rows left.
    turn = np.empty(len(order), np.int64)
    for label in classes:
        mine = np.flatnonzero(y[order] == label)
        turn[mine] = np.arange(len(mine))
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    kept = np.full_like(y, -1)
    kept[chosen] = y[chosen]
    return kept


def encode(parts: Sequence[Array | None]) -> tuple[list[Labels | None], tuple[str, ...]]:
    """Labels of the parts of one set as indices into its classes, -1 = no label.

    Arguments:
        parts: For each part shape (n,) or (n, 1): whole numbers, -1 = no label, or text, "" = no label;
            None where a part has no labels.

    Raises:
        ValueError: If the labels are of another shape or type, or fractions.
    """
    found = [None if labels is None else _distinct(labels) for labels in parts]
    classes = ordered(text for part in found if part is not None for text in part[0] if text)
    code = {"": -1, **{text: index for index, text in enumerate(classes)}}
    return [
        None if part is None else np.array([code[text] for text in part[0]], dtype=np.int64)[part[1]] for part in found
    ], classes


def ordered(texts: Iterable[str]) -> tuple[str, ...]:
    """Without repeats; by value if all are whole numbers, else by the alphabet."""
    found = sorted(set(texts))
    return tuple(sorted(found, key=int) if all(text.removeprefix("-").isdecimal() for text in found) else found)


def hold_out(y: Labels | None, n: int, share: float, seed: int) -> Array:
    """Which of n rows are held out for testing, shape (n,), bool.

    Each class gives its share, but keeps one row; rows without a label stay. Where no row
    has a label, any row may go.
    """
    groups = [] if y is None else [np.flatnonzero(y == label) for label in np.unique(y[y >= 0])]
    groups = groups or [np.arange(n)]
    held = np.zeros(n, dtype=bool)
    held[pick(groups, round(share * sum(map(len, groups))), seed)] = True
    return held


def pick(groups: Sequence[Array], count: int, seed: int) -> Array:
    """About `count` rows (at least one where possible) in proportion to the groups, leaving one in each."""
    sizes = np.array([len(group) for group in groups])
    count = min(max(count, 1), int((sizes - 1).sum()))
    share = count * sizes / sizes.sum()
    quota = np.minimum(np.floor(share).astype(int), sizes - 1)
    # Largest remainder, again and again: a small group may not be able to give what is its due.
    while quota.sum() < count:
        open_ = np.flatnonzero(quota < sizes - 1)
        quota[open_[np.argmax((share - quota)[open_])]] += 1
    random = np.random.RandomState(seed)
    return np.concatenate([random.permutation(group)[:some] for group, some in zip(groups, quota, strict=True)])


def _distinct(labels: Array) -> tuple[list[str], Array]:
    """The distinct labels as text, "" for none, and which of them each row has, shape (n,)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"Labels have shape (n,), one per row, but these have shape {labels.shape}. "
            "If they are one-hot, store labels.argmax(1)."
        )
    if labels.dtype.kind not in "biufUS":
        raise ValueError(f"Labels are whole numbers or text, not {labels.dtype}. Convert them before saving.")
    found, position = np.unique(labels, return_inverse=True)
    if labels.dtype.kind in "US":
        return [text.strip() for text in found.astype(np.str_).tolist()], position
    return ["" if label == -1 else str(label) for label in _whole(found)], position


def _whole(labels: Array) -> list[int]:
    """Distinct labels that are numbers, as whole ones."""
    if labels.dtype.kind == "f" and (fractions := labels[~(np.isfinite(labels) & (labels == np.floor(labels)))]).size:
        raise ValueError(
            f"Labels are classes, but these hold {fractions[0]}. Give whole numbers (-1 = no label) or text."
        )
    whole = [int(label) for label in labels]
    if whole and whole[0] < -1:
        raise ValueError(f"Labels are 0 or more, or -1 for none, but these go down to {whole[0]}. Renumber them.")
    if whole == [-1, 1]:
        raise ValueError("Labels are all 1 or -1, and -1 means no label. If it is a class here, store 0 and 1.")
    return whole
