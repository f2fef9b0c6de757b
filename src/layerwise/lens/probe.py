"""What does a code keep of the labels: how well can a linear classifier read them off it?"""

from __future__ import annotations

import numpy as np
from torch import Tensor


def linear_probe(codes: Tensor, labels: np.ndarray, *, folds: int = 5, seed: int = 0) -> list[float]:
    """Errors, in [0, 1], of a ridge classifier on standardised codes, one per fold of a stratified cross-validation.

    A linear probe (Alain & Bengio, 2016). It is fitted on these rows only, so with few rows it is a pessimistic figure: what
    counts is how the layers compare.

    Arguments:
        codes: Shape (n, units).
        labels: Class indices, shape (n,).
        folds: At least 2; fewer are made where a class has fewer rows. Classes with a single row are left out.

    Returns:
        An error per fold; empty where fewer than two classes have two rows.

    Example:
        >>> import torch
        >>> linear_probe(torch.tensor([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1]), folds=2)
        [0.0, 0.0]
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classes, counts = np.unique(labels, return_counts=True)
    enough = np.isin(labels, classes[counts >= 2])
    if len(np.unique(labels[enough])) < 2:
        return []
    splits = StratifiedKFold(min(folds, int(counts[counts >= 2].min())), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=float(codes.shape[1])))
    rows = codes.numpy()[enough].astype(np.float64)
    with threadpool_limits(1):
        return [1 - float(share) for share in cross_val_score(model, rows, labels[enough], cv=splits)]
