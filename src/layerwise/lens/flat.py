"""How do codes lie: which rows are neighbours? Drawn flat, with a figure that says how far the flat picture can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

NEIGHBOURS = 10
STEPS = 500  # of t-SNE; a thousand look and score the same and take twice as long


@dataclass(frozen=True)
class Flat:
    """Rows on a plane.

    Arguments:
        points: Shape (n, 2).
        trust: Trustworthiness in [0, 1] (Venna & Kaski, 2001): 1 if the nearest neighbours on the plane are near in the code
            too, about 0.5 for points thrown at random.
        neighbours: How many nearest ones it looks at.
        shown: Share of the codes' variance that the plane holds; NaN for t-SNE and UMAP, which do not project.
        perplexity: Of t-SNE: about how many neighbours a row has; NaN for others.
    """

    points: np.ndarray
    trust: float
    neighbours: int
    shown: float
    perplexity: float

    @property
    def placed(self) -> np.ndarray:
        """The points about their middle, the farther coordinate at 1: maps of any method then fill the same square."""
        centred = self.points - (self.points.min(0) + self.points.max(0)) / 2
        return centred / np.abs(centred).max()


def flatten(
    codes: np.ndarray, method: Literal["pca", "tsne", "umap"], *, standardise: bool = False, seed: int = 0
) -> Flat:
    """Puts codes on a plane by principal components, t-SNE (van der Maaten & Hinton, 2008) or UMAP (McInnes et al., 2018).

    t-SNE and UMAP see the distances of at most 50 principal components, and start from the first two, so that the places of
    far groups mean something too.

    Arguments:
        codes: Shape (n, units), n >= 5.
        method: "umap" needs the package umap-learn.
        standardise: Whether each unit is measured in its own standard deviations, so that loud units do not decide alone.
        seed: The same seed gives the same points.

    Raises:
        ValueError: If there are fewer than 5 rows, all are alike, a value is not finite, or umap-learn is not installed.

    Example:
        >>> flatten(np.random.default_rng(0).random((20, 5)), "pca").points.shape
        (20, 2)
    """
    from threadpoolctl import threadpool_limits

    codes = np.asarray(codes, dtype=np.float64)
    if len(codes) < 5:
        raise ValueError(f"A map needs at least 5 rows, got {len(codes)}.")
    if not np.isfinite(codes).all():
        raise ValueError("The codes hold NaN or infinite values: there is no map of them.")
    if not np.ptp(codes, axis=0).max() > 0:
        raise ValueError("All rows have the same code: there is nothing to map. See the health of the layer.")
    if standardise:
        spread = codes.std(0)
        codes = (codes - codes.mean(0)) / np.where(spread > 1e-9 * np.abs(codes).max(0), spread, np.inf)
    with threadpool_limits(1):  # of the same bits on any number of cores, and small products gain nothing from more
        return _flatten(codes, method, seed)


def _flatten(codes: np.ndarray, method: str, seed: int) -> Flat:
    from sklearn.decomposition import PCA
    from sklearn.manifold import trustworthiness

    pca = PCA(min(50, *codes.shape), svd_solver="full" if min(codes.shape) < 500 else "randomized", random_state=seed)
    scores = pca.fit_transform(codes)
    scores = scores if scores.shape[1] > 1 else np.column_stack([scores, np.zeros(len(scores))])
    perplexity = min(30.0, (len(scores) - 1) / 3)
    if method == "pca":
        points = scores[:, :2]
    else:
        points = _tsne(scores, perplexity, seed) if method == "tsne" else _umap(scores, seed)
    near = min(NEIGHBOURS, (len(codes) - 1) // 2)
    return Flat(
        points=points, trust=float(trustworthiness(codes, points, n_neighbors=near)), neighbours=near,
        shown=float(pca.explained_variance_ratio_[:2].sum()) if method == "pca" else float("nan"),
        perplexity=perplexity if method == "tsne" else float("nan"),
    )  # fmt: skip


def _tsne(scores: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = (scores[:, :2] / max(scores[:, 0].std(), 1e-12) * 1e-4).astype(np.float32)
    tsne = TSNE(init=start, perplexity=perplexity, max_iter=STEPS, random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(scores.astype(np.float32)), dtype=np.float64)


def _umap(scores: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        raise ValueError('UMAP is not installed: pip install umap-learn, or take method="tsne".') from None
    start = scores[:, :2] / max(scores[:, 0].std(), 1e-12)
    umap = UMAP(n_neighbors=min(15, len(scores) - 1), init=start, random_state=seed, n_jobs=1)
    return np.asarray(umap.fit_transform(scores), dtype=np.float64)


def middles(points: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The median place of each class, shape (classes, 2); NaN for a class without rows.

    Example:
        >>> middles(np.array([[0.0, 0.0], [2.0, 4.0]]), np.array([0, 0]), 2).tolist()
        [[1.0, 2.0], [nan, nan]]
    """
    found = np.full((classes, 2), np.nan)
    for label in np.unique(labels[labels >= 0]):
        found[label] = np.median(points[labels == label], axis=0)
    return found
