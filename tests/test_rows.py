"""Lazy rows are the rows of an array, read no sooner than they are asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from layerwise import DBNClassifier, DeepAutoencoder, LazyRows, RBMTransformer
from layerwise.batches import Batches
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
