"""What all classifiers share: labels as codes, -1 for none, and answers from log probabilities."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted


class Labelled(ClassifierMixin, abc.ABC):
    """A classifier whose `classes_` are those of y without -1, and that answers by `_classify`."""

    classes_: np.ndarray

    @abc.abstractmethod
    def _classify(self, X: Any) -> np.ndarray:
        """Log probabilities, shape (n, classes)."""

    def _class_codes(self, y: Any) -> np.ndarray:
        """Class indices, shape (n,), with -1 for unlabelled rows; sets `classes_`."""
        self.classes_, codes = class_codes(y)
        return codes

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Log probabilities, shape (n, classes), in the order of `classes_`."""
        check_is_fitted(self)
        return self._classify(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (n, classes), in the order of `classes_`."""
        check_is_fitted(self)
        return np.exp(self._classify(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, shape (n,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_log_proba(X).argmax(1)]


def class_codes(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """The classes of y without -1, sorted, and the class index of each row, shape (n,), with -1 for unlabelled rows.

    Raises:
        ValueError: If y holds no classes, or fewer than two.

    Example:
        >>> class_codes([5, -1, 7])[1].tolist()
        [0, -1, 1]
    """
    check_classification_targets(y)
    y = np.asarray(y)
    classes = np.unique(y)
    numeric = classes.dtype.kind in "if"
    if numeric and (classes == -1).any() and len(classes) > 2:
        classes = classes[classes != -1]
    if len(classes) < 2:
        raise ValueError(f"A classifier needs two classes or more, but y holds only one class: {classes.tolist()}.")
    codes = np.searchsorted(classes, y).clip(0, len(classes) - 1)
    return classes, np.where(classes[codes] == y, codes, -1).astype(np.int64)
