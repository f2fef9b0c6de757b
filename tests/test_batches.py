"""The order of an epoch is a function of (seed, epoch) alone, and only the rows of one batch are ever in memory."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.distributed as dist
from torch import Tensor

from layerwise.batches import Batches
from layerwise.rows import LazyRows

ROWS = 23


def numbered(**settings: object) -> Batches:
    """Rows that know their own number, in both x and y."""
    return Batches(torch.arange(float(ROWS))[:, None], torch.arange(ROWS), size=5, **settings)  # type: ignore[arg-type]


def order(batches: Iterator[tuple[Tensor, Tensor | None]]) -> list[list[int]]:
    """The row numbers of each batch; labels must have come along."""
    served = list(batches)
    assert all(torch.equal(x[:, 0].long(), y) for x, y in served)
    return [y.tolist() for _, y in served]


def test_every_row_comes_once_per_epoch() -> None:
    batches = numbered()
    assert len(batches) == 5 and batches.rows == ROWS
    for epoch in range(3):
        served = order(batches.epoch(epoch))
        assert [len(batch) for batch in served] == [5, 5, 5, 5, 3]
        assert sorted(chain(*served)) == list(range(ROWS))


def test_order_depends_on_seed_and_epoch_only() -> None:
    orders = {(seed, epoch): order(numbered(seed=seed).epoch(epoch)) for seed in range(4) for epoch in range(4)}
    distinct = {str(served) for served in orders.values()}
    assert len(distinct) == len(orders)  # not even seed and epoch swapped give one order twice
    torch.manual_seed(5)
    batches = numbered(seed=1)
    assert [order(batches.epoch(epoch)) for epoch in (3, 0, 3)] == [orders[1, epoch] for epoch in (3, 0, 3)]
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(5))  # nobody else's draws are used


@pytest.mark.parametrize("start", range(6))
def test_an_epoch_can_be_taken_up_in_the_middle(start: int) -> None:
    assert order(numbered().epoch(2, start)) == order(numbered().epoch(2))[start:]


def test_in_order_is_unshuffled_and_whole() -> None:
    assert order(numbered().in_order(10)) == [list(range(10)), list(range(10, 20)), list(range(20, 23))]


def memmap(x: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


SOURCES = {
    "tensor": lambda x, folder: torch.from_numpy(x),
    "array": lambda x, folder: x,
    "memmap": memmap,
    "uint8": lambda x, folder: x.astype(np.uint8),
    "uint8-tensor": lambda x, folder: torch.from_numpy(x.astype(np.uint8)),
    "uint8-memmap": lambda x, folder: memmap(x.astype(np.uint8), folder),
    "int64": lambda x, folder: x.astype(np.int64),
    "float32": lambda x, folder: x.astype(np.float32),
    "float16": lambda x, folder: x.astype(np.float16),
    "strided": lambda x, folder: np.repeat(x, 2, axis=1)[:, ::2],
    "sparse": lambda x, folder: scipy.sparse.csr_matrix(x),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wherever_rows_come_from_the_same_bits_are_served(source: str, dtype: torch.dtype, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (ROWS, 4)).astype(np.float64)
    settings = {"size": 5, "scale": 1 / 255, "dtype": dtype}
    expected = Batches(torch.from_numpy(x).to(dtype), **settings)
    given = Batches(SOURCES[source](x, tmp_path), **settings)
    for (first, _), (second, _) in zip(expected.epoch(1), given.epoch(1), strict=True):
        assert second.dtype == dtype and torch.equal(first, second)
    assert torch.equal(next(given.in_order(ROWS))[0], torch.from_numpy(x).to(dtype) * (1 / 255))


def large(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int = 1003, block: int = 10, **settings: object
) -> Batches:
    """Numbered rows in a memory map that counts as larger than memory, shuffled in blocks of so many rows."""
    x = np.arange(rows, dtype=np.float32)[:, None]
    monkeypatch.setattr("layerwise.rows.MEMORY", x.nbytes - 1)
    monkeypatch.setattr("layerwise.batches.BLOCK", block * 4)
    monkeypatch.setattr("layerwise.batches.WINDOW", 8)
    return Batches(memmap(x, folder), torch.arange(rows), size=7, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows, block", [(1003, 10), (1000, 10), (9, 10), (1003, 1), (1003, 2000), (80, 10)])
def test_what_is_larger_than_memory_still_comes_once_and_by_seed(
    rows: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = large(tmp_path, monkeypatch, rows, block)
    orders = [order(batches.epoch(epoch)) for epoch in range(3)]
    for served in orders:
        assert sorted(chain(*served)) == list(range(rows))
        assert [len(batch) for batch in served[:-1]] == [7] * (len(batches) - 1) and len(served) == len(batches)
        assert list(chain(*served)) != list(range(rows))
    assert orders[0] != orders[1] != orders[2]
    again = large(tmp_path, monkeypatch, rows, block)
    assert order(again.epoch(2)) == orders[2]
    other = large(tmp_path, monkeypatch, rows, block, seed=1)
    assert order(other.epoch(2)) != orders[2]
    for start in range(0, len(batches) + 1, max(1, len(batches) // 40)):  # across every window
        assert order(batches.epoch(1, start)) == orders[1][start:]


def test_what_is_larger_than_memory_is_read_in_blocks_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(chain(*order(large(tmp_path, monkeypatch, 8000).epoch(0))))
    for start in range(0, 8000, 80):  # a window of 8 blocks of 10 rows
        blocks = {row // 10 for row in rows[start : start + 80]}
        assert len(blocks) == 8 and max(blocks) - min(blocks) > 8
        assert len({row // 10 for row in rows[start : start + 7]}) > 2  # mixed, not one block after the other


def test_lazy_rows_of_a_large_map_come_in_the_order_of_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = large(tmp_path, monkeypatch)
    lazy = LazyRows.of(batches.x)
    some = np.flatnonzero(np.arange(1003) % 3)  # a validation part left out
    assert order(Batches(lazy, batches.y, size=7).epoch(4)) == order(batches.epoch(4))
    picked = Batches(lazy.picked(some), size=7)
    rows = [row for x, _ in picked.epoch(0) for row in x[:, 0].long().tolist()]
    assert sorted(rows) == some.tolist() and len({row // 15 for row in rows[:80]}) <= 16
    mixed = Batches(lazy.picked(some[::-1]), size=7)  # not in the order of the file: no blocks to gain from
    plain = Batches(np.arange(len(some)), np.arange(len(some)), size=7)
    assert [x[:, 0].tolist() for x, _ in mixed.epoch(0)] == [some[::-1][y].tolist() for _, y in plain.epoch(0)]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_is_larger_than_memory(
    world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = large(tmp_path, monkeypatch)
    whole = order(batches.epoch(4, 3))
    shares = []
    for rank in range(world):
        pretend(monkeypatch, rank, world)
        shares.append(order(batches.epoch(4, 3)))
    for batch, *parts in zip(whole, *shares):
        assert sorted(chain(*parts)) == sorted(batch)


def test_a_map_that_fits_into_memory_is_shuffled_whole(tmp_path: Path) -> None:
    x = np.arange(1000.0, dtype=np.float32)[:, None]
    for (a, _), (b, _) in zip(Batches(memmap(x, tmp_path)).epoch(1), Batches(x).epoch(1), strict=True):
        assert torch.equal(a, b)


def test_the_data_is_left_as_it_was() -> None:
    x = torch.arange(float(ROWS))[:, None]
    for served, _ in Batches(x, size=ROWS).epoch(0):
        served.zero_()
    for served, _ in Batches(x).in_order(ROWS):
        served.zero_()
    assert torch.equal(x, torch.arange(float(ROWS))[:, None])


def test_only_the_rows_of_one_batch_are_read_at_a_time() -> None:
    class Disk:
        shape = (10**9, 4)  # more rows than fit any memory
        largest = 0

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            self.largest = max(self.largest, len(index))
            return index[:, None] * np.ones(4)

    disk = Disk()
    batches = Batches(disk, size=7)
    x, _ = batches[torch.tensor([10**9 - 1, 0])]
    assert x[:, 0].tolist() == [1e9, 0] and len(batches) == -(-(10**9) // 7)
    disk.shape = (5000, 4)
    sum(len(x) for x, _ in batches.epoch(0))
    assert disk.largest == 7
    sum(len(x) for x, _ in batches.mapped(torch.relu).in_order())
    assert disk.largest == 1000


def test_rows_go_through_every_function_in_turn_without_a_graph() -> None:
    weight = torch.tensor([[2.0]], requires_grad=True)
    batches = numbered(scale=0.5).mapped(lambda x: x @ weight).mapped(lambda x: x + 1)
    for x, y in batches.epoch(0):
        assert torch.equal(x[:, 0], y.float() + 1) and not x.requires_grad  # 0.5 * 2 + 1
    assert [y.tolist() for _, y in batches.epoch(0)] == order(numbered().epoch(0))


def test_mapping_keeps_every_setting() -> None:
    batches = Batches(torch.ones(9, 1), size=4, seed=3, scale=2.0, dtype=torch.float64, device="cpu")
    mapped = batches.mapped(torch.relu)
    kept = ("x", "y", "size", "seed", "scale", "dtype", "device")
    assert [getattr(mapped, name) for name in kept] == [getattr(batches, name) for name in kept]


def pretend(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    """As if torchrun had started `world` processes and this were number `rank`."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "get_world_size", lambda: world)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("start", [0, 2])
def test_processes_share_every_batch_among_them(world: int, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = order(numbered().epoch(4, start))
    shares = []
    for rank in range(world):
        pretend(monkeypatch, rank, world)
        shares.append(order(numbered().epoch(4, start)))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_too_small_to_share_is_left_out_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(4):  # the last of the batches of 5, 5, 5, 5 and 3 rows
        pretend(monkeypatch, rank, 4)
        assert len(list(numbered().epoch(0))) == 4


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Batches(torch.empty(0, 3))
    with pytest.raises(ValueError, match=r"3 rows came with 2 labels.*-1: unlabelled"):
        Batches(torch.ones(3, 1), [0, 1])
    with pytest.raises(ValueError, match="at least one row, got size=0"):
        Batches(torch.ones(3, 1), size=0)


def test_labels_may_be_any_sequence() -> None:
    for labels in ([0, 1, -1], np.array([0, 1, -1], dtype=np.int8), torch.tensor([0, 1, -1])):
        ((_, y),) = Batches(torch.ones(3, 1), labels).in_order()
        assert y is not None and y.tolist() == [0, 1, -1]
