"""The nearest of many vectors of length 1, by their cosine: exactly, or through a graph of neighbours once there are many."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LARGE = 64 << 20  # bytes of vectors; below, one exact search takes a few milliseconds and nothing has to be built
MORE = 4  # times as many neighbours are asked of the graph, which is not exact, as are wanted


class Neighbours:
    """Vectors of length 1, shape (n, size), in the order in which they were added, and the nearest of them to others.

    Arguments:
        size: Numbers of a vector.
        large: Bytes of vectors from which on `search` builds a graph (HNSW; Malkov & Yashunin, 2018) by usearch, if that is
            installed; it then finds nearly always the nearest, in a fraction of the time. None never does.

    Example:
        >>> known = Neighbours(2)
        >>> known.add(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
        >>> which, cosines = known.search(np.array([[0.6, 0.8]], np.float32), 1)
        >>> which.tolist(), cosines.round(3).tolist()
        ([[1]], [[0.8...]])
    """

    def __init__(self, size: int, large: int | None = LARGE) -> None:
        self.size, self.large = size, large
        self._parts: list[Floats] = []
        self._graph: Any = None

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def vectors(self) -> Floats:
        """All vectors, shape (n, size)."""
        if len(self._parts) != 1:  # put together when they are asked for: adding one by one copies nothing
            self._parts = [np.concatenate([np.empty((0, self.size), np.float32), *self._parts])]
        return self._parts[0]

    def add(self, vectors: Floats) -> None:
        """Puts vectors, shape (k, size), behind the others."""
        if self._graph is not None:
            self._graph.add(np.arange(len(self), len(self) + len(vectors)), vectors)
        self._parts.append(np.ascontiguousarray(vectors, np.float32))

    def keep(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Forgets all vectors but the wanted ones, shape (n,)."""
        self._parts, self._graph = [np.ascontiguousarray(self.vectors[wanted])], None

    def search(self, queries: Floats, count: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """Which are the `count` nearest of each query, and their cosines, shape (k, count) each, the nearest first.

        There are fewer columns where there are fewer vectors.
        """
        count = min(count, len(self))
        if self.large is not None and self.vectors.nbytes > self.large and (graph := self._built()) is not None:
            near = np.array([graph.search(query, MORE * count).keys[:count] for query in queries], np.int64)
            return near, np.einsum("kcs,ks->kc", self.vectors[near], queries)
        cosines = queries @ self.vectors.T
        near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, near, 1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        return near.astype(np.int64), np.take_along_axis(cosines, near, 1)

    def _built(self) -> Any:
        """The graph of all vectors; None where usearch is not installed."""
        if self._graph is None:
            try:
                from usearch.index import Index
            except ImportError:
                return None
            self._graph = Index(ndim=self.size, metric="ip", dtype="f32")
            self._graph.add(np.arange(len(self)), self.vectors)
        return self._graph
