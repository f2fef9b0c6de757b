"""What an LSTM reaches on tiny Shakespeare: nats per character on the last tenth, learned from the first nine.

`python -m layerwise.experiments.writing RECIPE --seed S` learns the first nine tenths and meets the last one once;
`--hold-out SHARE` learns from less of them and measures on their last share instead: settings were chosen so. Each run
adds a line of JSON to OUT/results.jsonl, and takes up where it was stopped when it is called again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from layerwise.data import prose
from layerwise.estimators import TextWriter
from layerwise.experiments.mnist import report
from layerwise.run import Run

LAST = 0.1  # of the text is the test

RECIPES: dict[str, dict[str, Any]] = {
    "lstm": {"layers": (512,), "dropout": 0.3, "rate": 3e-3, "epochs": 12},
}


def parts(hold_out: float) -> tuple[str, str]:
    """The text to learn from, and the one to measure on."""
    story = prose("tinyshakespeare")
    assert story is not None
    learned, other = story.split(LAST)
    if hold_out:
        learned, other = learned.split(hold_out)
    return learned.text, other.text


def measure(name: str, settings: dict[str, Any], seed: int, hold_out: float, threads: int, out: Path) -> dict[str, Any]:
    """Learns a recipe and measures its surprise."""
    learned, other = parts(hold_out)
    folder = out / f"{name}-{seed}{f'-held-{hold_out}' if hold_out else ''}"
    writer = TextWriter(**settings, random_state=seed, threads=threads)
    writer.fit(learned, run=Run(folder, resume=True, progress=True))
    writer.save(folder, overwrite=True)
    began = time.perf_counter()
    found, seen = writer.evaluate(other), writer.evaluate(learned[-len(other) :])
    return {
        "nats": found.nats, "bits": found.bits, "perplexity": found.perplexity, "nats_learned": seen.nats,
        "parameters": writer.parameters_, "characters": found.characters,
        "seconds": sum(entry["seconds"] for history in writer.histories_ for entry in history.epochs),
        "answer_seconds": time.perf_counter() - began,
    }  # fmt: skip


@click.command()
@click.argument("name", metavar="RECIPE", type=click.Choice(list(RECIPES)))
@click.option("--seed", default=0, show_default=True, help="Of the net and its training.")
@click.option("--hold-out", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Share of the first nine tenths to keep apart and to measure on instead of the last tenth.")  # fmt: skip
@click.option("--epochs", default=0, help="Passes over the text; 0 takes the ones of the results page.")
@click.option(
    "--settings", default="{}", help="Other settings of TextWriter, as JSON; they belong to a folder of their own."
)
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/writing"), show_default=True,
              help="Folder for checkpoints and results.")  # fmt: skip
def main(name: str, seed: int, hold_out: float, epochs: int, settings: str, threads: int, out: Path) -> None:
    """Learn RECIPE once: python -m layerwise.experiments.writing lstm --seed 0."""
    how = RECIPES[name] | ({"epochs": epochs} if epochs else {}) | json.loads(settings)
    measured = measure(name, how, seed, hold_out, threads, out)
    report(
        out, {"experiment": name, "seed": seed, "hold_out": hold_out, "epochs": epochs, "threads": threads, **measured}
    )


if __name__ == "__main__":
    main()
