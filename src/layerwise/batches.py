"""Batches of rows, in memory or from disk, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from layerwise.rows import too_large

BLOCK = 1 << 20  # bytes that are next to each other in a file and read together
WINDOW = 128  # blocks whose rows are mixed

Through = Callable[[Tensor], Tensor]


class Batches:
    """Rows x, shape (n, ...), with labels y, shape (n,) or None, served `size` at a time.

    x may be a tensor, an array, a memory map, `LazyRows` or a scipy sparse matrix, of floats or of whole numbers, served
    as `dtype`; only the rows of one batch are ever copied. `scale` multiplies them (pixels: 1 / 255), `through` sends
    them through a frozen function, such as the layers below. Because the order of epoch k is a function of (seed, k), a
    run can be taken up in the middle of an epoch. Under `torchrun` each process takes its share of every batch.

    Rows of a memory map larger than `rows.MEMORY` would be read from disk one by one. Of these, blocks of neighbours come
    in random order, and the rows of 128 blocks at a time are shuffled among themselves: every row still comes once.

    Example:
        >>> batches = Batches(torch.arange(6.0)[:, None], size=4, seed=0)
        >>> len(batches), sum(len(x) for x, _ in batches.epoch(0))
        (2, 6)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        size: int = 100,
        seed: int = 0,
        scale: float = 1.0,
        through: Through | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        rows = x.shape[0] if hasattr(x, "shape") else len(x)  # a sparse matrix has no len
        if rows == 0:
            raise ValueError("There are no rows to learn from.")
        if y is not None and len(y) != rows:
            raise ValueError(
                f"{rows} rows came with {len(y)} labels; there must be one label per row (-1: unlabelled)."
            )
        if size < 1:
            raise ValueError(f"A batch holds at least one row, got size={size}.")
        self.x, self.size, self.seed, self.scale, self.through = x, size, seed, scale, through
        self.y = None if y is None else torch.as_tensor(np.asarray(y) if not isinstance(y, Tensor) else y)
        self.device, self.dtype = torch.device(device), dtype

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.x.shape[0] if hasattr(self.x, "shape") else len(self.x)

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The shuffled batches of epoch `number`, from batch `start` on: (rows, labels or None)."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for index in self._order(number, start):
            if len(index) >= world:  # a last batch too small to share is left out by everybody alike
                yield self[index[rank::world]]

    def in_order(self, size: int = 1000) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All rows once, unshuffled, `size` at a time."""
        for index in torch.arange(self.rows).split(size):
            yield self[index]

    def _order(self, number: int, start: int) -> Iterator[Tensor]:
        """Which rows are in each batch of an epoch, from batch `start` on."""
        if row := too_large(self.x):
            return self._blockwise(number, start, max(1, BLOCK // row))
        return iter(_shuffled(self.rows, self.seed, number).split(self.size)[start:])

    def _blockwise(self, number: int, start: int, block: int) -> Iterator[Tensor]:
        """The same, `block` rows next to each other at a time."""
        skip, held = start * self.size, torch.empty(0, dtype=torch.long)
        for window, blocks in enumerate(_shuffled(-(-self.rows // block), self.seed, number).split(WINDOW)):
            index = (blocks[:, None] * block + torch.arange(block)).flatten()
            index = index[index < self.rows]
            if skip >= len(index):
                skip -= len(index)
                continue
            index, skip = index[_shuffled(len(index), self.seed, number, window)][skip:], 0
            *whole, held = torch.cat([held, index]).split(self.size)
            yield from whole
        if len(held):
            yield held

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self._take(index).to(self.device)
        x = x.to(self.dtype)
        if self.scale != 1.0:
            x = x * self.scale
        if self.through is not None:
            with torch.no_grad():
                x = self.through(x)
        return x, None if self.y is None else self.y[index].to(self.device)

    def _take(self, index: Tensor) -> Tensor:
        if isinstance(self.x, Tensor):
            return self.x[index.to(self.x.device)]
        rows = self.x[index.numpy()]
        rows = (
            rows.toarray() if hasattr(rows, "toarray") else np.ascontiguousarray(rows)
        )  # scipy's sparse rows are filled
        return torch.from_numpy(rows)

    def mapped(self, through: Through) -> Batches:
        """The same batches, sent through one more function."""
        first = self.through
        joined = through if first is None else (lambda x: through(first(x)))
        return Batches(
            self.x, self.y, size=self.size, seed=self.seed, scale=self.scale, through=joined, device=self.device,
            dtype=self.dtype,
        )  # fmt: skip


def _shuffled(count: int, *seeds: int) -> Tensor:
    """The numbers below `count` in an order that depends on the seeds only."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(hash(seeds) % 2**63))
