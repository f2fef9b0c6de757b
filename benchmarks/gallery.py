"""Milliseconds until somebody is known: one photo through the net, and the nearest of 100,000 people; one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import click
import numpy as np

from layerwise import IdentityEmbedder, compute
from layerwise.gallery import Gallery
from layerwise.neighbours import Neighbours


def milliseconds(do: Callable[[int], object], times: int) -> str:
    """Median and range of calls, the first left out."""
    found = []
    for number in range(times + 1):
        began = time.perf_counter()
        do(number)
        found.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(found[1:]):.2f} ms ({min(found[1:]):.2f} to {max(found[1:]):.2f})"


def crowd(people: int, photos: int, size: int) -> np.ndarray:
    """Directions of people, and photos of each near it, shape (people * photos, size)."""
    random = np.random.default_rng(0)
    made = random.standard_normal((people, size), np.float32).repeat(photos, 0)
    made += 0.5 * random.standard_normal(made.shape, np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def nearest(known: Neighbours, vectors: np.ndarray, number: int) -> object:
    """Asks for one of the vectors."""
    return known.search(vectors[number : number + 1], 1)


@click.command()
@click.option("--people", default=100_000, show_default=True, help="How many are enrolled.")
@click.option("--photos", default=1, show_default=True, help="Of each of them.")
@click.option("--size", default=208, show_default=True, help="Numbers of an embedding.")
@click.option("--times", default=50, show_default=True, help="How often somebody is asked for.")
@click.option("--graph", is_flag=True, help="Also through usearch, once its graph is built.")
def main(people: int, photos: int, size: int, times: int, graph: bool) -> None:
    """Print medians and ranges."""
    with compute.session(0, 1):
        x = np.random.default_rng(0).random((40, 112 * 92)).astype(np.float32)
        model = IdentityEmbedder(shape=(1, 112, 92), mirror=True, epochs=1, threads=1, random_state=0)
        gallery = Gallery(model.fit(x, np.arange(40) % 8))
        gallery.enroll("somebody", x)
        print(f"a photo identified, net and all: {milliseconds(lambda n: gallery.identify(x[n % 40]), times)}")
        vectors = crowd(people, photos, size)
        for name, large in [("exactly", None), *([("through a graph", 0)] if graph else [])]:
            known = Neighbours(size, large)
            known.add(vectors)
            took = milliseconds(partial(nearest, known, vectors), times)
            print(f"the nearest of {len(vectors)} vectors, {name}: {took}")


if __name__ == "__main__":
    main()
