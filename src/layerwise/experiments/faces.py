"""People whom the net never met: how well an embedding learned on half of the ORL faces tells the other half apart.

`python -m layerwise.experiments.faces faces --method METHOD` draws `--splits` random halves of the 40 people (seeds `--first`,
...), learns on one and tests on the other: 5, 3 or 1 photos of everybody are enrolled and the rest identified; and with 5
photos of half of them enrolled, the equal error rate of "unknown", where half of the queries are of strangers. Which photos
and who are drawn `--draws` times for each split. `speakers` does the same with the spoken digits: each split leaves out
three of the six speakers. Settings were chosen on splits from 1000 on. Each split adds a line of JSON to OUT/results.jsonl.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from layerwise import compute
from layerwise.baselines import Cepstra
from layerwise.data import Dataset, cache_folder, load
from layerwise.data.sound import fsdd_speakers
from layerwise.estimators import IdentityEmbedder
from layerwise.experiments.mnist import report
from layerwise.lens import recognition

Embed = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # learn from (x, y), embed others, with a seed

FACE: Mapping[str, Any] = {"shape": (1, 112, 92), "mirror": True, "augment": "image"}
VOICE: Mapping[str, Any] = {"augment": "sound", "epochs": 6, "batch_size": 64, "side": None}
GROWN: Mapping[str, Any] = {"pretrain": "greedy", "pretrain_epochs": 20}

METHODS: dict[str, Mapping[str, Any]] = {
    "embedder": {},
    "softmax": {"loss": "softmax"},
    "prototypical": {"loss": "prototypical"},
    "triplet": {"loss": "triplet"},
    "no-components": {"components": 0},
    "no-augment": {"augment": None},
    "grown": GROWN,
    "untrained": {"epochs": 0},
}


def deep(settings: Mapping[str, Any]) -> Embed:
    """An embedder with these settings."""

    def embed(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
        return IdentityEmbedder(**settings, random_state=seed, threads=1).fit(x, y).transform(other)

    return embed


def pixels(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Nothing is learned: the rows as they are."""
    return other


def eigenfaces(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """All principal components of the learning half (Turk & Pentland, 1991)."""
    return PCA(150, random_state=seed).fit(x).transform(other)


def fisherfaces(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Discriminant directions of 80 principal components (Belhumeur et al., 1997), of light-free rows, with shrinkage."""
    x, other = own_contrast(x), own_contrast(other)
    components = PCA(80, random_state=seed).fit(x)
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1).fit(components.transform(x), y)
    return unit(discriminant.transform(components.transform(other)))


def cepstra(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Means and spreads of cepstral coefficients, standardised over the clips learned from."""
    made = Cepstra(VOICE_SHAPE).fit(x)
    mean, std = made.transform(x).mean(0), made.transform(x).std(0)
    return unit((made.transform(other) - mean) / std)


def discriminated(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Discriminant directions of the cepstral features."""
    made = Cepstra(VOICE_SHAPE).fit(x)
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1).fit(made.transform(x), y)
    return unit(discriminant.transform(made.transform(other)))


def mean_bands(x: np.ndarray, y: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """The mean of each band over time, centred on that of the clips learned from."""
    bands = [rows.reshape(-1, *VOICE_SHAPE).mean(2) for rows in (x, other)]
    return unit(bands[1] - bands[0].mean(0))


VOICE_SHAPE = (40, 67)
RIVALS: dict[str, dict[str, Embed]] = {
    "faces": {"pixels": pixels, "eigenfaces": eigenfaces, "fisherfaces": fisherfaces},
    "speakers": {"cepstra": cepstra, "cepstra-lda": discriminated, "mean-bands": mean_bands},
}


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


def own_contrast(rows: np.ndarray) -> np.ndarray:
    """Rows with a mean of 0 and a deviation of 1 each."""
    rows = rows - rows.mean(1, keepdims=True)
    return rows / rows.std(1, keepdims=True)


# -- what is measured --------------------------------------------------------------------------------------------------


def measured(e: np.ndarray, y: np.ndarray, enrolled: tuple[int, ...], draws: int) -> dict[str, float]:
    """Errors and the equal error rate, in %; that only where half of the people are more than one or two."""
    found = recognition(e, y, enrolled, draws)
    figures = {f"error_{count}": 100 * error for count, error in found.errors.items()}
    return figures | ({} if found.equal_error is None else {"equal_error": 100 * found.equal_error})


def rows_of(what: str) -> tuple[np.ndarray, np.ndarray]:
    """All rows and who they are of, codes from 0."""
    both = (
        load("orl_faces" if what == "faces" else "fsdd", "train"),
        load("orl_faces" if what == "faces" else "fsdd", "test"),
    )
    x = np.concatenate([part.matrix() for part in both])
    if what == "faces":
        return x, np.concatenate([labels(part) for part in both])
    who = np.concatenate(fsdd_speakers(cache_folder() / "fsdd"))
    return x, np.unique(who, return_inverse=True)[1]


def labels(part: Dataset) -> np.ndarray:
    """The labels of a part that has some."""
    assert part.y is not None
    return part.y


@click.command()
@click.argument("what", type=click.Choice(list(RIVALS)))
@click.option("--method", default="embedder", show_default=True,
              help=f"One of {', '.join(METHODS)}; for faces {', '.join(RIVALS['faces'])}; for speakers "
                   f"{', '.join(RIVALS['speakers'])}.")  # fmt: skip
@click.option("--splits", type=click.IntRange(1), default=20, show_default=True, help="Random halves of the people.")
@click.option("--first", default=0, show_default=True, help="Seed of the first split.")
@click.option(
    "--draws", type=click.IntRange(1), default=10, show_default=True, help="Choices of what is enrolled, per split."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/faces"), show_default=True,
              help="Folder for results.jsonl.")  # fmt: skip
def main(what: str, method: str, splits: int, first: int, draws: int, out: Path) -> None:
    """Measure METHOD on people whom it never met: python -m layerwise.experiments.faces faces --method fisherfaces."""
    rivals, form = RIVALS[what], FACE if what == "faces" else {**VOICE, "shape": VOICE_SHAPE}
    if method not in rivals and method not in METHODS:
        raise click.BadParameter(f"{method!r} is none of {', '.join([*METHODS, *rivals])}.", param_hint="--method")
    embed = rivals[method] if method in rivals else deep({**form, **METHODS[method]})
    x, y = rows_of(what)
    for seed in range(first, first + splits):
        learned = np.random.RandomState(seed).permutation(y.max() + 1)[: (y.max() + 1) // 2]
        old = np.isin(y, learned)
        began = time.perf_counter(), time.process_time()
        with compute.session(seed, 1):
            e = embed(x[old], y[old], x[~old], seed)
        seconds = {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
        figures = measured(e, y[~old], (5, 3, 1) if what == "faces" else (3,), draws)
        report(out, {"experiment": f"{what} {method}", "seed": seed, "draws": draws, **figures, **seconds})


if __name__ == "__main__":
    main()
