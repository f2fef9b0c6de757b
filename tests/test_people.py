"""The commands about people: learn on some, enroll others, say who somebody is, set the threshold, forget."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from layerwise import Gallery, load
from layerwise.cli import cli
from layerwise.data import load as load_data
from layerwise.tasks import EMBEDDER, Plan, learn


def lw(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def good(*arguments: object) -> str:
    result = lw(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def bad(*arguments: object) -> str:
    result = lw(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def portrait(person: int, photo: int) -> np.ndarray:
    """A pattern of 12 x 12 pixels, in some light, with some noise."""
    pattern, random = np.random.RandomState(person).rand(6, 6), np.random.RandomState(1000 * person + photo + 1)
    light = 90 + 100 * random.rand() * pattern.repeat(2, 0).repeat(2, 1) + 40 * random.rand()
    return light + 6 * random.randn(12, 12)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "faces"
    for person in range(10):
        for photo in range(6):
            save(folder / f"person{person}" / f"{photo}.png", portrait(person, photo))
    return folder


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "faces"
    said = good("train", faces, "--model", "embedder", "--layers", "8", "--epochs", 10, "--out", out, "-q")
    assert "2 people whom the model never met, 12 rows" in said and "layerwise enroll" in said
    return out


@pytest.fixture
def people(run: Path, tmp_path: Path) -> Path:
    """Two people, of three photos each, whom the model never met."""
    for person in (20, 21):
        photos = [save(tmp_path / f"p{person}" / f"{photo}.png", portrait(person, photo)) for photo in range(3)]
        good("enroll", tmp_path / "people", f"name {person}", *photos, "--model", run)
    return tmp_path / "people"


def test_the_people_of_the_test_are_not_those_learned_from(run: Path, faces: Path) -> None:
    plan = Plan.read(run)
    train, test = plan.load("train"), plan.load("test")
    learned = {train.classes[label] for label in np.unique(train.y)}
    assert learned == set(load(run).people_)
    assert not learned & {test.classes[label] for label in np.unique(test.y)} and len(train) + len(test) == 60


def test_evaluate_tells_the_same_and_writes_the_tradeoff(run: Path, faces: Path) -> None:
    assert "2 people whom the model never met" in good("evaluate", run)
    said = good("evaluate", run, faces / ".." / "faces")
    assert "equal error rate" not in said or "10 people" in said


def test_who_was_enrolled_is_known_and_the_gallery_lists_them(people: Path, tmp_path: Path) -> None:
    asked = [save(tmp_path / f"asked{person}.png", portrait(person, 9)) for person in (20, 21)]
    Gallery.load(people).save(people, overwrite=True)
    gallery = json.loads((people / "gallery.json").read_text())
    gallery["threshold"] = -1.0
    (people / "gallery.json").write_text(json.dumps(gallery))
    said = good("identify", people, *asked)
    assert f"{asked[0]} name 20" in said and f"{asked[1]} name 21" in said
    assert "name 20 3 name 21 3 2 people" in good("gallery", "list", people)


def test_a_stranger_is_unknown_above_the_calibrated_threshold(people: Path, tmp_path: Path) -> None:
    for photo in range(8):
        save(tmp_path / "strangers" / f"{photo}.png", portrait(40 + photo, 0))
    said = good("gallery", "calibrate", people, tmp_path / "strangers", "--false-accepts", 0.2)
    assert "of 8 strangers" in said
    lines = [line.split() for line in lw("identify", people, tmp_path / "strangers").output.splitlines()]
    assert sum("unknown" in words for words in lines) >= 7  # a fifth of 8 at most
    page = (people / "tradeoff.html").read_text()
    assert "<svg" in page and "http" not in page.replace("http-equiv", "")


def test_a_name_enrolled_again_gets_photos_and_the_command_says_so(people: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "more.png", portrait(20, 5))
    assert "1 photo enrolled" in (said := good("enroll", people, "name 20", photo))
    assert "beside 3 from before: 4 in all" in said


def test_who_is_removed_is_out_of_the_files(people: Path) -> None:
    assert "name 20 and 3 embeddings are forgotten" in good("gallery", "remove", people, "name 20")
    assert "name 20" not in (people / "gallery.json").read_text() and len(Gallery.load(people)) == 3


def test_what_was_done_to_a_photo_of_another_size_or_mode_is_told(people: Path, tmp_path: Path) -> None:
    colour = np.repeat(portrait(20, 7).repeat(2, 0).repeat(2, 1)[..., None], 3, 2) * [1, 0.9, 0.8]
    said = good("identify", people, save(tmp_path / "colour.png", colour))
    assert "resized to 12 x 12" in said and "made grey" in said


def test_nothing_of_a_photo_is_in_the_gallery(people: Path) -> None:
    """32 bits for each number of an embedding, and for each photo a number: no room for 144 pixels."""
    gallery = Gallery.load(people)
    size = gallery.model.transform(np.random.RandomState(0).rand(1, 144)).shape[1]
    assert (people / "embeddings.safetensors").stat().st_size < 6 * (4 * size + 8) + 500
    assert sorted(file.name for file in people.iterdir()) == ["embeddings.safetensors", "gallery.json"]


def test_bad_input_is_told(people: Path, run: Path, tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.png", np.full((12, 12), 80))
    photo = save(tmp_path / "a.png", portrait(20, 8))
    assert "no contrast" in bad("enroll", people, "a", flat)
    assert "no contrast" in bad("identify", people, flat)
    assert "name the run whose model" in bad("enroll", tmp_path / "new", "a", photo)
    assert not (tmp_path / "new").exists()
    assert "nobody called 'name 2'" in bad("gallery", "remove", people, "name 2")
    assert "neither a known set nor a path" in bad("identify", people, tmp_path / "missing.png")
    assert "holds no gallery" in bad("identify", tmp_path / "new", photo)
    assert "is no gallery" in bad("enroll", tmp_path / "p20", "a", photo, "--model", run)
    good("gallery", "remove", people, "name 20")
    good("gallery", "remove", people, "name 21")
    assert "gallery is empty" in bad("identify", people, photo)


def test_a_gallery_of_another_model_is_refused(people: Path, faces: Path, tmp_path: Path) -> None:
    learn(Plan(str(faces), EMBEDDER, settings={"layers": (4,), "epochs": 1}), tmp_path / "other", progress=False)
    photo = save(tmp_path / "a.png", portrait(20, 8))
    assert "made by another model" in bad("identify", people, photo, "--model", tmp_path / "other")
    assert "made by another model" in bad("enroll", people, "a", photo, "--model", tmp_path / "other")


def test_a_model_without_embeddings_and_too_few_people_are_refused(faces: Path, tmp_path: Path) -> None:
    learn(Plan(str(faces), "cnn", settings={"layers": (4,), "epochs": 1}), tmp_path / "net", progress=False)
    photo = save(tmp_path / "a.png", portrait(20, 8))
    assert "makes no embeddings" in bad("enroll", tmp_path / "new", "a", photo, "--model", tmp_path / "net")
    for person in range(3):
        shutil.copytree(faces / f"person{person}", tmp_path / "few" / f"person{person}")
    assert "at least 4 are needed" in bad(
        "train", tmp_path / "few", "--model", "embedder", "--out", tmp_path / "few-run"
    )


def test_voices_and_rows_of_numbers_are_known_as_well(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    y = np.arange(12).repeat(6)
    x = random.rand(12, 8)[y] * [1, 50, 1, 1, 1, 1, 1, 0.01] + 0.05 * random.rand(72, 8) * [1, 50, 1, 1, 1, 1, 1, 0.01]
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    np.savez(tmp_path / "one.npz", x=x[:3] + 1e-6)
    run = tmp_path / "run"
    good("train", tmp_path / "rows.npz", "--model", "embedder", "--epochs", 5, "--out", run, "-q")
    good("enroll", tmp_path / "known", "zero", tmp_path / "one.npz", "--model", run)
    assert "zero" in good("identify", tmp_path / "known", tmp_path / "one.npz")


def test_an_interrupted_run_goes_on_by_people_too(faces: Path, tmp_path: Path) -> None:
    plan = Plan(str(faces), EMBEDDER, settings={"layers": (4,), "epochs": 2})
    once = learn(plan, tmp_path / "a", progress=False)
    again = learn(plan, tmp_path / "a", progress=False)
    rows = load_data(faces, "all").matrix()
    np.testing.assert_array_equal(once.transform(rows), again.transform(rows))
