"""Embeddings of identity, their losses, and the trade-off between false accepts and false rejects."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor

from layerwise import IdentityEmbedder, Run, load
from layerwise.lens import tradeoff
from layerwise.metric import LOSSES, embedding_loss

PIXELS = 10


def people(count: int, photos: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each person is a smooth pattern; photos of it differ in light, contrast and noise. Shape (n, 10, 10)."""
    random = np.random.RandomState(seed)
    coarse = random.rand(count, 5, 5).repeat(2, 1).repeat(2, 2)
    y = np.arange(count).repeat(photos)
    x = coarse[y] * (0.3 + 0.7 * random.rand(len(y), 1, 1)) + 0.5 * random.rand(len(y), 1, 1)
    return (x + 0.15 * random.randn(*x.shape)).astype(np.float32), y


def embedder(**settings: Any) -> IdentityEmbedder:
    return IdentityEmbedder(
        **{"net": "cnn", "size": 16, "layers": (8,), "epochs": 30, "batch_size": 32, "rate": 5e-3, "random_state": 0}
        | settings
    )


def wrong(e: np.ndarray, y: np.ndarray) -> float:
    """Share of rows whose nearest other row is of somebody else."""
    cosines = e @ e.T - 3 * np.eye(len(e))
    return float((y[cosines.argmax(1)] != y).mean())


# -- losses ------------------------------------------------------------------------------------------------------------


def by_hand(kind: str, e: Tensor, y: Tensor, scale: float, margin: float) -> Tensor:
    """The losses that compare the rows of a batch, row by row."""
    e, found = e / e.norm(dim=1, keepdim=True), []
    for i in range(len(y)):
        own = [j for j in range(len(y)) if y[j] == y[i] and j != i]
        if not own:
            continue
        others = sorted({int(k) for k in y if k != y[i]})
        if kind == "triplet":
            far = max((e[i] - e[j]).norm() for j in own)
            near = min((e[i] - e[j]).norm() for j in range(len(y)) if y[j] != y[i])
            found.append(torch.log1p(torch.exp(scale * (far - near + margin))) / scale)
        else:
            means = [e[own].mean(0), *(e[y == k].mean(0) for k in others)]
            logits = scale * torch.stack([e[i] @ mean / mean.norm() for mean in means])
            found.append(torch.logsumexp(logits, 0) - logits[0])
    return torch.stack(found).mean()


@pytest.mark.parametrize("kind", ["prototypical", "triplet"])
def test_losses_that_compare_rows_are_those_computed_row_by_row(kind: str) -> None:
    e, y = torch.randn(9, 5, dtype=torch.float32), torch.tensor([0, 0, 0, 4, 4, 2, 2, 2, 1])  # 1 has no partner
    how = {"scale": 3.0, **({"margin": 0.3} if kind == "triplet" else {})}
    torch.testing.assert_close(embedding_loss(kind, 5, 6, **how)(e, y), by_hand(kind, e, y, 3.0, 0.3))


def test_arcface_moves_the_own_direction_away_by_the_margin() -> None:
    e, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = embedding_loss("arcface", 4, 3, margin=0.3, scale=5.0)
    unit, directions = e / e.norm(dim=1, keepdim=True), loss.weight / loss.weight.norm(dim=1, keepdim=True)
    angles = torch.arccos(unit @ directions.T)
    angles[range(6), y] = torch.minimum(angles[range(6), y] + 0.3, torch.tensor(math.pi))
    expected = torch.nn.functional.cross_entropy(5 * angles.cos(), y)
    torch.testing.assert_close(loss(e, y), expected)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_batch_without_two_rows_of_anybody_still_gives_finite_gradients(kind: str) -> None:
    e = torch.randn(3, 4).requires_grad_()
    embedding_loss(kind, 4, 3)(e, torch.tensor([0, 1, 2])).backward()
    assert e.grad is not None and e.grad.isfinite().all()


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_makes_people_who_were_never_met_easier_to_tell_apart(kind: str) -> None:
    x, y = people(24)
    old = y < 16
    learned = embedder(loss=kind, components=0).fit(x[old], y[old])
    blank = embedder(loss=kind, components=0, epochs=0).fit(x[old], y[old])
    new = ~old
    assert wrong(learned.transform(x[new]), y[new]) < wrong(blank.transform(x[new]), y[new]) - 0.03


# -- the estimator -----------------------------------------------------------------------------------------------------


@parametrize_with_checks([IdentityEmbedder(size=4, layers=(8,), epochs=2, random_state=0)])
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "settings",
    [{}, {"net": "mlp"}, {"net": "resnet", "options": {"blocks": 1}}, {"net": "lstm"}, {"normalise": "columns"},
     {"mirror": True, "augment": "image"}, {"pretrain": "greedy", "pretrain_epochs": 1}, {"side": 5}, {"components": 0},
     {"patience": 2, "validation_fraction": 0.3}],
    ids=str,
)  # fmt: skip
def test_every_setting_gives_unit_embeddings_that_a_saved_model_repeats_to_the_bit(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    x, y = people(6)
    model = embedder(**{"epochs": 2} | settings).fit(x, y)
    e = model.transform(x)
    np.testing.assert_allclose((e**2).sum(1), 1, rtol=1e-5)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(x), e)
    assert again.people_.tolist() == list(range(6))


def test_light_and_contrast_of_a_row_do_not_count() -> None:
    x, y = people(6)
    model = embedder(epochs=2).fit(x, y)
    np.testing.assert_allclose(model.transform(0.5 * x + 0.2), model.transform(x), atol=1e-4)
    columns = embedder(epochs=2, normalise="columns").fit(x, y)
    assert not np.allclose(columns.transform(0.5 * x + 0.2), columns.transform(x), atol=1e-2)


def test_a_mirror_image_has_the_same_embedding() -> None:
    x, y = people(6)
    model = embedder(epochs=2, mirror=True).fit(x, y)
    np.testing.assert_allclose(model.transform(x[:, :, ::-1]), model.transform(x), atol=1e-5)


def test_a_broken_off_model_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Also what the loss itself has learned is in the checkpoint."""

    class Cut(Run):
        left = 7

        def show(self, text: str) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    x, y = people(8)
    with pytest.raises(KeyboardInterrupt):
        embedder(epochs=6).fit(x, y, run=Cut(tmp_path, interval=0))
    resumed = embedder(epochs=6).fit(x, y, run=Run(tmp_path, resume=True))
    whole = embedder(epochs=6).fit(x, y)
    np.testing.assert_array_equal(resumed.transform(x), whole.transform(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "contrastive"}, "softmax, arcface"),
        ({"loss": "softmax", "margin": 0.2}, "no such setting"),
        ({"scale": 0.0}, "scale is above 0"),
        ({"normalise": "none"}, "'rows' or 'columns'"),
        ({"size": 0}, "at least 1"),
        ({"net": "mlp", "mirror": True}, "mirror image"),
    ],
)
def test_bad_settings_say_what_to_do(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        embedder(**settings).fit(*people(4))


# -- the trade-off -----------------------------------------------------------------------------------------------------


def test_the_tradeoff_counts_what_a_threshold_does() -> None:
    random = np.random.RandomState(0)
    known, strangers = random.randn(40).round(1) + 1, random.randn(60).round(1)
    right = random.rand(40) < 0.9
    curve = tradeoff(known, strangers, right)
    for threshold in [*curve.thresholds, -5.0, 0.123, 9.0]:
        accepts, rejects = curve.at(threshold)
        assert accepts == pytest.approx((strangers >= threshold).mean())
        assert rejects == pytest.approx(((known < threshold) | ~right).mean())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_the_threshold_is_the_lowest_that_keeps_the_rate(share: float) -> None:
    random = np.random.RandomState(1)
    curve = tradeoff(random.randn(50) + 1, random.randn(50))
    threshold = curve.threshold(share)
    assert curve.at(threshold)[0] <= share
    lower = curve.thresholds[curve.thresholds < threshold]
    assert len(lower) and curve.at(lower[-1])[0] > share


def test_the_equal_error_of_scores_that_part_is_zero_and_of_the_same_scores_a_half() -> None:
    assert tradeoff([0.9, 0.8], [0.1, 0.2]).equal_error == 0
    same = np.linspace(0, 1, 101)
    assert tradeoff(same, same).equal_error == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("known", "strangers"), [([], [0.1]), ([0.1], []), ([float("nan")], [0.1])])
def test_a_tradeoff_of_nothing_is_refused(known: list[float], strangers: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        tradeoff(known, strangers)
