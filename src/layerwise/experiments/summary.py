"""Mean and standard deviation over the seeds of what the experiments measured, from OUT/results.jsonl and OUT/labels.jsonl.

Example: python -m layerwise.experiments.summary runs/mnist
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ASKED = ("experiment", "method", "labels", "hold_out", "epochs", "precision")  # what makes two lines the same setting
NO_FIGURE = (*ASKED, "seed", "draw", "draws", "threads", "torch", "numpy", "machine")


@click.command()
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(out: Path) -> None:
    """Print a table of everything in OUT."""
    lines = [
        json.loads(line)
        for name in ("results.jsonl", "labels.jsonl")
        if (out / name).exists()
        for line in (out / name).read_text().splitlines()
    ]
    table = Table("experiment", "figure", "mean", "s.d.", "lowest", "highest", "runs", box=None)
    for setting, figure, values in summary(lines):
        spread = f"{statistics.stdev(values):.3g}" if len(values) > 1 else "-"
        ends = (f"{end(values):.4g}" for end in (min, max))
        table.add_row(setting, figure, f"{statistics.fmean(values):.4g}", spread, *ends, str(len(values)))
    Console(width=None if Console().is_terminal else 140).print(table)


def summary(lines: Iterable[dict[str, Any]]) -> list[tuple[str, str, list[float]]]:
    """(setting, figure, values over the seeds and draws); of a seed that was run twice the last run counts.

    Example:
        >>> summary([{"experiment": "a", "seed": 0, "error": 1.0}, {"experiment": "a", "seed": 1, "error": 2.0}])
        [('a', 'error', [1.0, 2.0])]
    """
    found: dict[tuple[str, str], dict[Any, float]] = defaultdict(dict)
    for line in lines:
        asked = [f"{line[key]}" if key in ASKED[:2] else f"{key}={line[key]}" for key in ASKED if line.get(key)]
        for figure in (key for key in line if key not in NO_FIGURE):
            found[", ".join(asked), figure][line["seed"], line.get("draw")] = line[figure]
    return [(setting, figure, list(values.values())) for (setting, figure), values in found.items()]


if __name__ == "__main__":
    main()
