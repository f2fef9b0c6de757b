"""A gallery knows people whom its model never met, says when it does not, and keeps no photos."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from layerwise import Gallery, IdentityEmbedder, NetworkClassifier
from layerwise.gallery import UNKNOWN
from layerwise.neighbours import Neighbours

SHAPE = (10, 10)


def people(count: int, photos: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Each person is a pattern; photos of it differ in light and noise. Shape (n, 10, 10)."""
    random = np.random.RandomState(0)
    y = np.arange(count).repeat(photos)
    x = random.rand(count, *SHAPE)[y] * (0.5 + 0.5 * random.rand(len(y), 1, 1)) + 0.1 * random.rand(len(y), *SHAPE)
    return x.astype(np.float32), y


PHOTOS, WHO = people(20)
NAMES = np.array([f"person {number}" for number in range(20)])


def learn(seed: int = 0) -> IdentityEmbedder:
    model = IdentityEmbedder("cnn", layers=(8,), size=16, components=0, epochs=10, rate=5e-3, random_state=seed)
    return model.fit(PHOTOS[WHO < 8], WHO[WHO < 8])


@pytest.fixture(scope="module")
def model() -> IdentityEmbedder:
    return learn()


@pytest.fixture
def gallery(model: IdentityEmbedder) -> Gallery:
    """People 8 to 13, of three photos each."""
    made = Gallery(model)
    for person in range(8, 14):
        made.enroll(NAMES[person], PHOTOS[person == WHO][:3])
    return made


# -- knowing people ----------------------------------------------------------------------------------------------------


def test_people_whom_the_model_never_met_are_known_again(gallery: Gallery) -> None:
    asked = np.concatenate([PHOTOS[person == WHO][3:] for person in range(8, 14)])
    answers = gallery.identify_all(asked)
    right = [answer.name == name for answer, name in zip(answers, NAMES[8:14].repeat(3), strict=True)]
    assert np.mean(right) > 0.9


def test_the_answer_is_whose_photo_is_nearest(gallery: Gallery, model: IdentityEmbedder) -> None:
    held = np.concatenate([PHOTOS[person == WHO][:3] for person in range(8, 14)])
    cosines = model.transform(PHOTOS) @ model.transform(held).T
    for answer, row in zip(gallery.identify_all(PHOTOS), cosines, strict=True):
        assert answer.nearest == NAMES[8 + row.argmax() // 3]
        assert answer.score == pytest.approx(row.max(), abs=1e-5)


def test_below_the_threshold_somebody_is_unknown(gallery: Gallery) -> None:
    score = gallery.identify(PHOTOS[-1]).score
    gallery.threshold = score
    assert gallery.identify(PHOTOS[-1]).name != UNKNOWN
    gallery.threshold = score + 1e-4
    assert gallery.identify(PHOTOS[-1]).name == UNKNOWN
    assert gallery.identify(PHOTOS[-1]).nearest != UNKNOWN


def test_a_name_enrolled_again_gets_more_photos(gallery: Gallery) -> None:
    assert gallery.enroll(NAMES[8], PHOTOS[WHO == 8][3:5]) == 5
    assert gallery.people[NAMES[8]] == 5 and len(gallery) == 20


def test_names_for_each_photo_are_the_same_as_one_after_another(gallery: Gallery, model: IdentityEmbedder) -> None:
    at_once = Gallery(model)
    which = np.concatenate([np.flatnonzero(person == WHO)[:3] for person in range(8, 14)])
    at_once.enroll(NAMES[WHO[which]].tolist(), PHOTOS[which])
    assert at_once.people == gallery.people
    assert [a.name for a in at_once.identify_all(PHOTOS)] == [a.name for a in gallery.identify_all(PHOTOS)]


def test_who_is_removed_is_forgotten_and_the_others_are_not(gallery: Gallery) -> None:
    before = gallery.identify_all(PHOTOS)
    assert gallery.remove(NAMES[10]) == 3
    assert NAMES[10] not in gallery.people and len(gallery) == 15
    for old, new in zip(before, gallery.identify_all(PHOTOS), strict=True):
        assert new.nearest != NAMES[10]
        if old.nearest != NAMES[10]:
            assert (new.name, new.nearest) == (old.name, old.nearest) and new.score == pytest.approx(
                old.score, abs=1e-6
            )
    gallery.enroll(NAMES[10], PHOTOS[WHO == 10][:3])
    assert [a.nearest for a in gallery.identify_all(PHOTOS)] == [a.nearest for a in before]


# -- the threshold -----------------------------------------------------------------------------------------------------


def test_the_threshold_keeps_the_stated_rate_of_strangers(gallery: Gallery) -> None:
    strangers = PHOTOS[WHO >= 14]
    curve = gallery.calibrate(0.1, strangers)
    taken = [answer.name != UNKNOWN for answer in gallery.identify_all(strangers)]
    assert np.mean(taken) <= 0.1 and curve.strangers == len(strangers)


def test_without_strangers_everybody_plays_one_while_their_photos_are_left_out(gallery: Gallery) -> None:
    curve = gallery.calibrate(0.2)
    accepted = 0
    for person in range(8, 14):
        mine = PHOTOS[person == WHO][:3]
        gallery.remove(NAMES[person])
        accepted += sum(answer.name != UNKNOWN for answer in gallery.identify_all(mine))
        gallery.enroll(NAMES[person], mine)
    assert accepted / 18 == pytest.approx(curve.at(gallery.threshold or 0.0)[0], abs=1e-9)
    assert curve.known == curve.strangers == 18


def test_a_rate_finer_than_the_trials_is_told(gallery: Gallery) -> None:
    with pytest.warns(UserWarning, match="cannot be told from 18 trials"):
        gallery.calibrate(0.001)


def test_a_threshold_of_the_model_is_taken_over(model: IdentityEmbedder) -> None:
    other = learn()
    other.threshold_ = 0.25
    assert Gallery(other).threshold == 0.25
    assert Gallery(other, threshold=0.5).threshold == 0.5 and Gallery(model).threshold is None


# -- as files ----------------------------------------------------------------------------------------------------------


def test_a_saved_gallery_answers_alike_and_holds_no_photos(gallery: Gallery, tmp_path: Path) -> None:
    gallery.threshold = 0.9
    path = gallery.save(tmp_path / "people")
    again = Gallery.load(path, gallery.model)
    assert again.identify_all(PHOTOS) == gallery.identify_all(PHOTOS) and again.people == gallery.people
    assert {name: value.shape for name, value in load_file(path / "embeddings.safetensors").items()} == {
        "embeddings": (18, 16), "who": (18,)
    }  # fmt: skip
    assert set(json.loads((path / "gallery.json").read_text())) == {
        "format", "model", "fingerprint", "threshold", "people",
    }  # fmt: skip


def test_a_gallery_finds_its_model_by_itself(tmp_path: Path, model: IdentityEmbedder) -> None:
    gallery = Gallery(model.save(tmp_path / "model"))
    gallery.enroll("a", PHOTOS[0])
    gallery.save(tmp_path / "people")
    assert Gallery.load(tmp_path / "people").identify(PHOTOS[1]).name == "a"


def test_an_empty_gallery_can_be_saved_and_filled_later(tmp_path: Path, model: IdentityEmbedder) -> None:
    again = Gallery.load(Gallery(model).save(tmp_path / "people"), model)
    assert again.enroll("a", PHOTOS[:2]) == 2


def test_a_gallery_of_another_model_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    path = gallery.save(tmp_path / "people")
    with pytest.raises(ValueError, match="made by another model"):
        Gallery.load(path, learn(seed=1))


def test_nothing_is_overwritten_unasked(gallery: Gallery, tmp_path: Path) -> None:
    path = gallery.save(tmp_path / "people")
    with pytest.raises(FileExistsError, match="holds a gallery already"):
        gallery.save(path)
    gallery.save(path, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        gallery.save(tmp_path / "file")


@pytest.mark.parametrize("name", ["gallery.json", "embeddings.safetensors"])
def test_a_damaged_gallery_is_refused(gallery: Gallery, name: str, tmp_path: Path) -> None:
    path = gallery.save(tmp_path / "people")
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        Gallery.load(path, gallery.model)
    with pytest.raises(FileNotFoundError, match="holds no gallery"):
        Gallery.load(tmp_path, gallery.model)


# -- bad input ---------------------------------------------------------------------------------------------------------

BAD: list[tuple[Callable[[Gallery], Any], str]] = [
    (lambda g: g.identify(np.full(SHAPE, 0.3)), "Photo 1 of 1 has no contrast: all its values are 0.3"),
    (lambda g: g.enroll("a", np.stack([PHOTOS[0], np.zeros(SHAPE)])), "Photo 2 of 2 has no contrast"),
    (lambda g: g.identify(PHOTOS[0][:5]), r"shape \(5, 10\) came, but the model takes 1 x 10 x 10 \(100 values\)"),
    (lambda g: g.identify(np.stack([PHOTOS[0]] * 3, -1)), r"shape \(10, 10, 3\) came"),
    (lambda g: g.identify(np.full(SHAPE, "x")), "arrays of numbers"),
    (lambda g: g.identify(np.where(np.eye(10), np.nan, PHOTOS[0])), "NaN"),
    (lambda g: g.identify(PHOTOS[:2]), "2 photos came, not one"),
    (lambda g: g.remove("person 88"), "nobody called 'person 88'.*Did you mean person 8"),
    (lambda g: g.enroll(" ", PHOTOS[0]), "is no name"),
    (lambda g: g.enroll(UNKNOWN, PHOTOS[0]), "is no name"),
    (lambda g: g.enroll(["a", "b"], PHOTOS[:3]), "3 photos came with 2 names"),
    (lambda g: g.calibrate(1.5), "false-accept rate is a share"),
    (lambda g: Gallery(g.model).identify(PHOTOS[0]), "gallery is empty"),
    (lambda g: Gallery(g.model).remove("a"), "nobody called 'a'"),
    (lambda g: Gallery(g.model).calibrate(), "Nobody in the gallery has two photos"),
    (lambda g: Gallery(NetworkClassifier()), "makes no embeddings"),
]


@pytest.mark.parametrize(("do", "words"), BAD, ids=[words[:30] for _, words in BAD])
def test_bad_input_is_told_and_changes_nothing(gallery: Gallery, do: Callable[[Gallery], Any], words: str) -> None:
    before = gallery.people
    with pytest.raises(ValueError, match=words), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid rate
        do(gallery)
    assert gallery.people == before


def test_one_person_alone_plays_no_stranger(model: IdentityEmbedder) -> None:
    gallery = Gallery(model)
    gallery.enroll("a", PHOTOS[:3])
    with pytest.raises(ValueError, match="One person alone"):
        gallery.calibrate()
    assert gallery.calibrate(0.5, PHOTOS[WHO == 9]).strangers == 6


# -- neighbours --------------------------------------------------------------------------------------------------------


def unit(rows: int, size: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.RandomState(seed).randn(rows, size).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_neighbours_are_those_of_all_cosines_sorted() -> None:
    known, asked = Neighbours(8), unit(5, seed=1)
    known.add(unit(60)[:20])
    known.add(unit(60)[20:])
    which, cosines = known.search(asked, 4)
    every = asked @ unit(60).T
    np.testing.assert_array_equal(which, np.argsort(-every, axis=1)[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-every, axis=1)[:, :4], atol=1e-6)
    assert known.search(asked, 99)[0].shape == (5, 60)


def test_a_graph_finds_nearly_what_all_cosines_find() -> None:
    pytest.importorskip("usearch")
    exact, graph = Neighbours(8), Neighbours(8, large=0)
    for known in (exact, graph):
        known.add(unit(1500))
        known.search(unit(1), 1)  # builds the graph, to which the others are added
        known.add(unit(500, seed=2))
    asked = unit(200, seed=1)
    assert (graph.search(asked, 1)[0] == exact.search(asked, 1)[0]).mean() > 0.95
    kept = np.arange(2000) % 2 == 0
    graph.keep(kept)
    assert len(graph) == 1000
    np.testing.assert_allclose(graph.search(graph.vectors[:50], 1)[1], 1, atol=1e-5)
