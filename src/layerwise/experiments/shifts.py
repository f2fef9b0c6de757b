"""A CNN's parameters beside a dense net's of equal error, and the error of both as pictures are moved by whole pixels.

`python -m layerwise.experiments.shifts mnist --epochs 3`; `--quick` learns from 6,000 rows in two epochs. Prints two tables and
writes OUT/shifts.json.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from layerwise import compute
from layerwise.data import load
from layerwise.files import write_whole
from layerwise.sharing import Sharing, Sized, weight_sharing

QUICK = {"rows": 6000, "epochs": 2, "tests": 1000}


@click.command()
@click.argument("data", default="mnist")
@click.option("--epochs", default=3, show_default=True, help="Passes over the training rows, for each net.")
@click.option("--seed", default=0, show_default=True, help="Of the nets and of the rows held out.")
@click.option("--shifts", default=6, show_default=True, help="Most pixels by which pictures move.")
@click.option("--quick", is_flag=True, help="6,000 training rows, 1,000 test rows, two epochs.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/shifts"), show_default=True,
              help="Folder for shifts.json; an earlier one of the same name is replaced.")  # fmt: skip
def main(data: str, epochs: int, seed: int, shifts: int, quick: bool, out: Path) -> None:
    """Measure parameters and shifts: python -m layerwise.experiments.shifts mnist."""
    train, test = load(data, "train"), load(data, "test")
    if quick:
        train, test, epochs = train.take(slice(QUICK["rows"])), test.take(slice(QUICK["tests"])), QUICK["epochs"]
    with compute.session(seed, 1):
        found = weight_sharing(train, test, shifts=range(shifts + 1), epochs=epochs, seed=seed, say=tell)
    show(found)
    out.mkdir(parents=True, exist_ok=True)
    asked = {"data": train.describe(), "test": test.describe(), "epochs": epochs, "seed": seed}
    write_whole({out / "shifts.json": json.dumps({**asked, **asdict(found)}, indent=1)})
    click.echo(f"The figures lie in {out / 'shifts.json'}")


def tell(net: Sized) -> None:
    """A line of progress."""
    click.echo(f"{net.net} {net.layers}: {100 * net.held_out:.2f} % held out, {net.seconds:.0f} s", err=True)


def show(found: Sharing) -> None:
    """All nets, and those of equal error beside each other."""
    table = Table("net", "layers", "parameters", "held out", *(f"moved {shift}" for shift in found.shifts), box=None)
    for each in found.nets:
        layers = ", ".join(map(str, each.layers))
        errors = (f"{100 * error:.2f} %" for error in (each.held_out, *each.errors))
        table.add_row(each.net, layers, f"{each.parameters:,}", *errors)
    console = Console(width=140)
    console.print(table)
    if found.pair is None:
        console.print("No CNN of these sizes has an error as low as the best dense net's.")
        return
    dense, cnn = found.pair
    console.print(
        f"The best dense net errs on {100 * dense.held_out:.2f} % of the held-out rows with {dense.parameters:,} parameters; "
        f"the smallest CNN that errs no more ({100 * cnn.held_out:.2f} %) has {cnn.parameters:,}: "
        f"{dense.parameters / cnn.parameters:.0f} times fewer."
    )


if __name__ == "__main__":
    main()
