"""Lazy rows are the rows of an array, read no sooner than they are asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise import DBNClassifier, DeepAutoencoder, LazyRows, RBMTransformer
from layerwise.batches import Batches
from layerwise.data import load
from layerwise.rows import some

STORED = np.random.RandomState(0).randint(0, 256, (150, 12)).astype(np.uint8)
ROWS = (STORED / 255).astype(np.float32)


class Reader:
    """Scales rows, and remembers the most that were asked for at once."""

    most = 0

    def __call__(self, index: Any) -> np.ndarray:
        rows = (STORED[index] / 255).astype(np.float32)
        self.most = max(self.most, len(rows))
        return rows


@pytest.mark.parametrize("index", [slice(None), slice(3, 90, 7), np.array([5, 5, 149, 0]), slice(0, 0)], ids=repr)
def test_they_are_the_rows_of_the_array(index: Any) -> None:
    lazy = LazyRows(Reader(), ROWS.shape)
    assert len(lazy) == 150 and np.array_equal(lazy[index], ROWS[index])
    backwards = np.arange(150)[::-1]
    assert np.array_equal(lazy.picked(backwards)[index], ROWS[::-1][index])
    assert np.array_equal(some(lazy, backwards)[index], some(ROWS, backwards)[index])


def test_blocks_are_all_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerwise.rows.BLOCK", 1000)
    reader = Reader()
    lazy = LazyRows(reader, ROWS.shape)
    assert np.array_equal(np.concatenate(list(lazy.blocks())), ROWS)
    assert (lazy.min(), lazy.max()) == (ROWS.min(), ROWS.max())
    assert reader.most == 1000 // (12 * 4)
    assert np.isnan(LazyRows(lambda index: np.full((150, 12), np.nan)[index], ROWS.shape).min())


def test_batches_of_them_are_batches_of_the_array() -> None:
    for (a, _), (b, _) in zip(Batches(LazyRows(Reader(), ROWS.shape)).epoch(3), Batches(ROWS).epoch(3), strict=True):
        assert torch.equal(a, b)


FITS = {
    "dbn": lambda: DBNClassifier((8, 8), pretrain_epochs=2, up_down_epochs=1, epochs=2, patience=1, random_state=0),
    "autoencoder": lambda: DeepAutoencoder((8, 3), pretrain_epochs=2, epochs=2, random_state=0),
    "rbm": lambda: RBMTransformer(8, epochs=2, random_state=0),
}


@pytest.mark.filterwarnings("ignore::layerwise.health.HealthWarning")  # so few steps teach little
@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_estimators_learn_the_same_bits_from_them_and_never_hold_them_all(make: Any) -> None:
    y = STORED[:, 0] // 128
    reader = Reader()
    lazy = make().fit(LazyRows(reader, ROWS.shape), y)
    assert reader.most <= 150  # these few rows are one block; a batch is 100
    held = make().fit(ROWS, y)
    ask = "predict_proba" if hasattr(held, "predict_proba") else "transform"
    assert np.array_equal(getattr(lazy, ask)(ROWS), getattr(held, ask)(ROWS))
    assert np.array_equal(getattr(lazy, ask)(LazyRows(Reader(), ROWS.shape)), getattr(held, ask)(ROWS))
    assert lazy.n_features_in_ == 12
    if hasattr(held, "score"):
        assert lazy.score(LazyRows(Reader(), ROWS.shape), y) == pytest.approx(held.score(ROWS, y))
    with pytest.raises(ValueError, match="X has 11 features, but"):
        getattr(lazy, ask)(LazyRows(lambda index: ROWS[index, :11], (150, 11)))


def test_missing_values_in_lazy_rows_are_found() -> None:
    holes = ROWS.copy()
    holes[77, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        RBMTransformer(4, epochs=1).fit(LazyRows(lambda index: holes[index], ROWS.shape))


def test_a_map_of_small_whole_numbers_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.tile(STORED, (40, 1))
    np.save(tmp_path / "rows.npy", stored)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    most = 0

    def of(x: np.ndarray) -> LazyRows:
        def read(index: Any) -> np.ndarray:
            nonlocal most
            rows = x[index].astype(np.float32)
            most = max(most, len(rows))
            return rows

        return LazyRows(read, x.shape)

    monkeypatch.setattr("layerwise.rows.BLOCK", 1000)
    monkeypatch.setattr(LazyRows, "of", of)
    lazy = RBMTransformer(4, epochs=1, batch_size=30, random_state=0).fit(mapped)
    assert 0 < most <= 1000
    held = RBMTransformer(4, epochs=1, batch_size=30, random_state=0).fit(stored.astype(np.float32))
    assert np.allclose(lazy.transform(STORED.astype(np.float32)), held.transform(STORED.astype(np.float32)))


MANY = 2500  # rows


def write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.random.RandomState(0).randint(0, 256, (MANY, 4, 4)).astype(np.uint8))
    return folder / "a.npy"


def write_csv(folder: Path) -> Path:
    lines = [f"{a:.6f},{b:.6f},{'xyz'[at % 3]}" for at, (a, b) in enumerate(np.random.RandomState(0).randn(MANY, 2))]
    (folder / "a.csv").write_text("\n".join(["a,b,word", *lines]))
    return folder / "a.csv"


def write_parquet(folder: Path) -> Path:
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    pandas.read_csv(write_csv(folder)).to_parquet(folder / "a.parquet", row_group_size=64)
    return folder / "a.parquet"


def write_pictures(folder: Path) -> Path:
    for number, picture in enumerate(np.random.RandomState(0).randint(0, 256, (MANY, 3, 3), dtype=np.uint8)):
        Image.fromarray(picture).save(folder / f"{number:04}.png")
    return folder


@pytest.mark.parametrize("write", [write_npy, write_csv, write_parquet, write_pictures])
def test_data_larger_than_memory_is_served_whole_in_every_epoch_and_learned_a_few_rows_at_a_time(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    held = load(path, "all").matrix()
    for name, size in (("rows.MEMORY", 1000), ("rows.BLOCK", 2000), ("batches.BLOCK", 160)):
        monkeypatch.setattr(f"layerwise.{name}", size)
    data = load(path, "all")
    assert isinstance(data.x, np.memmap)
    np.testing.assert_array_equal(data.matrix(), held)

    read = Counted(data.rows())
    lazy = LazyRows(read, read.rows.shape, source=data.x)
    orders = []
    for epoch in range(3):
        served = np.concatenate([x.numpy() for x, _ in Batches(lazy, size=16).epoch(epoch)])
        np.testing.assert_array_equal(np.sort(served, axis=0), np.sort(held, axis=0))
        orders.append(served.tolist())
    assert orders[0] != orders[1] != orders[2] != held.tolist()
    assert read.most == 16
    first, second = (RBMTransformer(4, epochs=1, batch_size=16, random_state=0).fit(lazy) for _ in range(2))
    np.testing.assert_array_equal(first.transform(held), second.transform(held))
    assert read.most < 2000  # of which a thousand or so are looked at in the end, whether units are dead


class Counted:
    """Reads rows, and remembers the most that were asked for at once."""

    most = 0

    def __init__(self, rows: LazyRows) -> None:
        self.rows = rows

    def __call__(self, index: Any) -> np.ndarray:
        found = self.rows[index]
        self.most = max(self.most, len(found))
        return found
