"""Shallow rivals as scikit-learn pipelines, each with the care that its users would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse
from scipy.fft import dct
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import ComplementNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.validation import check_is_fitted, validate_data

from layerwise.data.labels import pick


def rivals(kind: str = "image", seed: int = 0, shape: Sequence[int] | None = None) -> dict[str, Any]:
    """Unfitted classifiers by name: logistic regression, SVM, gradient boosting, nearest neighbours; for text, naive Bayes.

    They learn from labelled rows only, from the features that a practitioner would use: pixels, which stay in proportion;
    standardised columns; of spectrograms the mean, spread and movement of cepstral coefficients (`Cepstra`); TF-IDF or counts
    as they come, with linear models and complement naive Bayes (Rennie et al., 2003). What has to be chosen is chosen by
    cross-validation inside `fit`, on the rows it is given (ten thousand of them, where there are more: `Folds`): the
    strength of the logistic regression, C and gamma of the SVM, the number of neighbours, the smoothing of naive Bayes.

    Arguments:
        kind: What a row is: "image", "table", "sound" or "text".
        seed: Of the folds, and of the columns that a boosted tree looks at.
        shape: Of a spectrogram, (bands, frames).

    Raises:
        ValueError: If the kind is unknown, or a sound has no shape.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> rivals("table")["nearest neighbours"].fit(X, y).score(X, y) > 0.9
        True
    """
    if kind not in ("image", "table", "sound", "text"):
        raise ValueError(f"kind is 'image', 'table', 'sound' or 'text', got {kind!r}.")
    if kind == "sound" and shape is None:
        raise ValueError("Rivals for sound need the shape of a spectrogram: shape=(bands, frames).")
    boosting = HistGradientBoostingClassifier(
        # A tenth of the columns per split makes the trees differ where rows are few (100 digits: error 19 % to 14 %).
        learning_rate=0.15, min_samples_leaf=2 if kind in ("image", "sound") else 20, l2_regularization=1.0, random_state=seed,
        max_features=0.1 if kind != "table" else 0.5,
    )  # fmt: skip
    if kind == "text":
        return _for_text(boosting, seed)
    features: list[tuple[str, Any]] = [("cepstra", Cepstra(tuple(shape or ())))] if kind == "sound" else []
    scale = [*features, *([("standard", StandardScaler())] if kind != "image" else [])]
    return {
        # Standardised pixels, too: gradient steps of all weights are then of one size.
        "logistic regression": _tuned(
            Pipeline([*features, ("standard", StandardScaler()), ("logistic", LogisticRegression(max_iter=2000))]),
            {"logistic__C": [0.001, 0.01, 0.1, 1, 10]}, seed,
        ),
        "SVM (RBF kernel)": _tuned(
            Pipeline([*scale, ("unit", UnitSpread()), ("svm", SVC())]),
            {"svm__C": [1, 10, 100], "svm__gamma": [0.1, 0.3, 1, 3, 10]}, seed,
        ),
        "gradient boosting": Pipeline([*features, ("boosting", boosting)]) if features else boosting,
        "nearest neighbours": _tuned(
            Pipeline([*scale, ("neighbours", KNeighborsClassifier())]), {"neighbours__n_neighbors": [1, 3, 5]}, seed
        ),
    }  # fmt: skip


def _for_text(boosting: Any, seed: int) -> dict[str, Any]:
    """Rivals for TF-IDF rows, whose length of 1 makes cosine and Euclidean neighbours the same."""
    return {
        "logistic regression": _sparse(_tuned(LogisticRegression(max_iter=2000), {"C": [1, 10, 100]}, seed)),
        "SVM (linear)": _sparse(_tuned(LinearSVC(), {"C": [0.1, 0.3, 1, 3]}, seed)),
        "naive Bayes": _sparse(_tuned(ComplementNB(), {"alpha": SMOOTHING}, seed)),
        "gradient boosting": boosting,
        "nearest neighbours": _sparse(_tuned(KNeighborsClassifier(), {"n_neighbors": [1, 5, 15]}, seed)),
    }


SMOOTHING = [0.01, 0.03, 0.1, 0.3, 1, 3]


def _sparse(classifier: Any) -> Pipeline:
    """The classifier, shown rows without their zeros, which are nearly all of a text's."""
    return Pipeline([("sparse", FunctionTransformer(sparse.csr_array, accept_sparse=True)), ("classifier", classifier)])


def rivals_of_all_rows(kind: str = "image", seed: int = 0) -> dict[str, Any]:
    """Unfitted classifiers by name that learn from all rows: y is -1 where there is no label.

    They are the fair rivals of whatever learns from rows without a label: label spreading (`spreading`); for text also
    complement naive Bayes that takes its own answers, where it gives them 0.6 or more, for labels, until no more come or
    fifty times (self-training: Yarowsky, 1995). On held-out TF-IDF rows of AG News expectation maximisation (Nigam et al.,
    2000) was as good; on counts with ten labels per class it was better.

    Arguments:
        kind: What a row is: "image", "table", "sound" or "text".
        seed: Of the folds by which the smoothing of naive Bayes is chosen, on rows with a label.

    Example:
        >>> list(rivals_of_all_rows("text"))
        ['label spreading', 'naive Bayes, self-training']
    """
    found: dict[str, Any] = {"label spreading": spreading()}
    if kind == "text":
        bayes = SelfTrainingClassifier(ComplementNB(), threshold=0.6, max_iter=50)
        chosen = GridSearchCV(bayes, {"estimator__alpha": SMOOTHING}, cv=Folds(seed, partly=True))
        found["naive Bayes, self-training"] = _sparse(chosen)
    return found


def learns_from_all_rows(classifier: Any) -> bool:
    """Whether a shallow classifier learns from rows without a label, too.

    Example:
        >>> [learns_from_all_rows(each) for each in (spreading(), rivals("text")["naive Bayes"])]
        [True, False]
    """
    if isinstance(classifier, Pipeline):
        return learns_from_all_rows(classifier[-1])
    if isinstance(classifier, GridSearchCV):
        return learns_from_all_rows(classifier.estimator)
    return isinstance(classifier, LabelSpreading | SelfTrainingClassifier)


class Cepstra(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """What is usually kept of a spectrogram: mean and spread over time of its cepstral coefficients and of their changes.

    Cepstral coefficients are the cosine transform of a frame's log bands (Davis & Mermelstein, 1980); silence that was put
    behind a clip is left out.

    Arguments:
        shape: (bands, frames) of a row.
        count: Coefficients kept.

    Example:
        >>> Cepstra((20, 30)).fit_transform(np.random.RandomState(0).rand(4, 600)).shape
        (4, 52)
    """

    def __init__(self, shape: tuple[int, ...] = (40, 100), count: int = 13) -> None:
        self.shape = shape
        self.count = count

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns nothing."""
        validate_data(self, X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of spectrograms X, shape (n, bands * frames): shape (n, 4 * count)."""
        X = validate_data(self, X, reset=False)
        cepstra = dct(X.reshape(-1, *self.shape), axis=1, norm="ortho")[:, : self.count]
        loud = X.reshape(-1, *self.shape).max(1) > 0
        steps = np.arange(1, self.shape[1] + 1)
        inside = steps <= np.maximum(1, (loud * steps).max(1))[:, None]
        parts = []
        for each in (cepstra, np.gradient(cepstra, axis=2)):
            weight = inside[:, None] / inside.sum(1)[:, None, None]
            mean = (each * weight).sum(2)
            parts += [mean, np.sqrt((np.square(each - mean[..., None]) * weight).sum(2))]
        return np.concatenate(parts, 1)


def spreading() -> LabelSpreading:
    """Label spreading (Zhou et al., 2004): shallow, but learns from all rows; y is -1 where there is no label.

    Labels flow between the 7 nearest neighbours.
    """
    return LabelSpreading(kernel="knn", n_neighbors=7, alpha=0.8, max_iter=100)


def _tuned(pipeline: Any, grid: dict[str, list[float]], seed: int) -> GridSearchCV:
    return GridSearchCV(pipeline, grid, cv=Folds(seed))


class UnitSpread(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Divides rows by one number, so that two random rows are about sqrt(2) apart: gamma of about 1 suits any data.

    Columns keep their proportions: a pixel that hardly varies stays small.

    Example:
        >>> UnitSpread().fit_transform(np.array([[0.0, 0.0], [4.0, 0.0]])).tolist()
        [[0.0, 0.0], [2.0, 0.0]]
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Takes the root of the summed variances of the columns of X, shape (n, features)."""
        X = validate_data(self, X, dtype="numeric")
        self.scale_ = float(np.sqrt(X.var(0).sum())) or 1.0
        return self

    def transform(self, X: Any) -> np.ndarray:
        """X in units of that scale, the shape of X."""
        check_is_fitted(self)
        return validate_data(self, X, dtype="numeric", reset=False) / self.scale_


class Folds(BaseCrossValidator):
    """Up to five stratified, shuffled folds: as many as the smallest class has rows; a class of one row only trains.

    Of very many rows some are enough to choose by, drawn evenly over the classes: what a support vector machine takes grows
    with their square.

    Arguments:
        seed: Of the shuffle, and of the rows drawn.
        partly: Whether rows of the label -1 have none: they only train, in every fold.
        most: Labelled rows to choose by, at most.

    Example:
        >>> Folds(0).get_n_splits(y=[0, 0, 1, 1, 1])
        2
    """

    def __init__(self, seed: int = 0, partly: bool = False, most: int = 10000) -> None:
        self.seed, self.partly, self.most = seed, partly, most

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many folds the labels y allow."""
        y = np.asarray(y)
        counts = np.unique(y[self._drawn(y)], return_counts=True)[1]
        return int(min(5, max(2, counts.min())))

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices of training and validation rows, fold by fold."""
        y = np.asarray(y)
        drawn = self._drawn(y)
        codes, counts = np.unique(y[drawn], return_inverse=True, return_counts=True)[1:]
        several = counts[codes] > 1
        if not several.any():
            raise ValueError(f"Each of the {len(counts)} classes has one labelled row: nothing can be chosen by "
                             "cross-validation. Give at least one class two.")  # fmt: skip
        others = np.concatenate([drawn[~several], np.setdiff1d(np.arange(len(y)), self._labelled(y))])
        shared = drawn[several]
        folds = StratifiedKFold(self.get_n_splits(y=y), shuffle=True, random_state=self.seed)
        for train, test in folds.split(shared, y[shared]):
            yield np.concatenate([shared[train], others]), shared[test]

    def _labelled(self, y: np.ndarray) -> np.ndarray:
        return np.flatnonzero(y != -1) if self.partly else np.arange(len(y))

    def _drawn(self, y: np.ndarray) -> np.ndarray:
        """The labelled rows to choose by."""
        known = self._labelled(y)
        if len(known) <= self.most:
            return known
        codes = np.unique(y[known], return_inverse=True)[1]
        groups = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
        return known[np.sort(pick(groups, self.most, self.seed))]
