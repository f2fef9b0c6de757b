"""Evaluate, predict, generate, write, explain: what asks a saved model."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from layerwise.cli.group import cli
from layerwise.cli.options import PATH, ROWS, UNIT, broken_option, example, option, run_argument
from layerwise.cli.printing import (
    classes_table,
    show_rebuilding,
    show_recognition,
    show_scores,
    show_surprises,
    show_table,
)


@cli.command(epilog=example("layerwise evaluate runs/digits", "layerwise evaluate runs/digits new-scans/"))
@run_argument
@click.argument("source", metavar="[DATA]", required=False)
@broken_option
def evaluate(folder: Path, source: str | None, broken: str | None) -> None:
    """Test the model in RUN on the rows that were held out when it learned, or on DATA.

    For classifiers: the error with its 95 % interval, and that of each class; where classes are of unequal size also
    balanced accuracy, macro F1, and the precision and F1 of each class. A deep belief net answers in two ways, and
    both are tested. For autoencoders: the squared error of the reconstruction per row. Of a known set, the test part is
    taken; of another file or folder, all rows. For a model that writes: how badly it foretells each character of a text.
    """
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    if learned.writes:
        story = learned.story(source)
        click.echo(f"{folder} on {story.describe()}\n")
        show_surprises(tasks.surprises(learned, story))
        return
    rows = learned.rows(source, broken=broken)
    click.echo(f"{folder} on {rows.lines()}\n")
    if learned.embeds:
        show_recognition(learned, rows)
        return
    if not learned.classes:
        show_rebuilding(tasks.rebuilding(learned, rows))
        return
    found = tasks.scores(learned, rows)
    show_scores(found)
    show_table(classes_table(found))


@cli.command(
    epilog=example(
        "layerwise write runs/story-lstm", 'layerwise write runs/story-lstm --start "It was a dark" --temperature 0.5'
    )
)
@run_argument
@option("--start", default="a line break", help="What to go on from; the model reads it first.")
@click.option(
    "--length", type=click.IntRange(1), default=500, show_default=True, help="Characters (or subwords) to write."
)
@click.option("--temperature", type=click.FloatRange(0), default=0.8, show_default=True,
              help="1 draws as the model believes, less is more careful, 0 takes the likeliest each time.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one, another text.")
def write(folder: Path, start: str | None, length: int, temperature: float, seed: int) -> None:
    """Let the model in RUN write, character by character, from where a text starts."""
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    pieces = tasks.write(learned, "\n" if start is None else start, length, temperature, seed)
    click.echo(start or "", nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


@cli.command(
    epilog=example(
        "layerwise predict runs/digits photos/", "layerwise predict runs/iris new.csv --proba --out answers.csv"
    )
)
@run_argument
@click.argument("source", metavar="DATA")
@option("--out", type=PATH, default="the terminal", help="CSV file to write; an old one is replaced.")
@click.option("--proba", is_flag=True, help="Also the probability of every class, 0 to 1, a column each.")
@broken_option
def predict(folder: Path, source: str, out: Path | None, proba: bool, broken: str | None) -> None:
    """Classify the rows of DATA with the model in RUN, as CSV.

    The columns are the row's number (from 0, in the order of the file) or, of a folder, its file; the class, and the
    probability (0 to 1) that the model gives it.
    """
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    rows = learned.rows(source, broken=broken)
    if out is None:
        tasks.predict(learned, rows, sys.stdout, proba=proba)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        count = tasks.predict(learned, rows, file, proba=proba)
    click.echo(f"{count} rows are classified in {out}")


@cli.command(
    epilog=example(
        "layerwise generate runs/digits",
        "layerwise generate runs/digits --label 3 --count 20 --out threes.png",
        "layerwise generate runs/digits --unit 2:17 --steps 1000",
    )
)
@run_argument
@option("--label", "labels", multiple=True, default="every class", help="Class to dream of; may be repeated.")
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="Rows to generate per class.")
@click.option("--unit", type=UNIT, help="Hidden unit to hold on: LAYER from 1 (lowest), INDEX from 0.")
@click.option(
    "--steps", type=click.IntRange(1), default=200, show_default=True, help="Gibbs steps at the top of the net."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the dream.")
@option("--out", type=PATH, default="generated.png (or .csv, for tables) in RUN",
              help="Picture, or CSV for tables, to write; an old one is replaced.")  # fmt: skip
def generate(
    folder: Path,
    labels: tuple[str, ...],
    count: int,
    unit: tuple[int, int] | None,
    steps: int,
    seed: int,
    out: Path | None,
) -> None:
    """Draw rows that the deep belief net in RUN dreams of: a line of COUNT pictures per class.

    The class (or a hidden unit) is held on, the top of the net settles for STEPS steps, and the layers below bring the
    result down to pixels.
    """
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    rows, names = tasks.dream(learned, labels, count, unit=unit, steps=steps, seed=seed)
    out = out or folder / ("generated.png" if learned.row.pictured else "generated.csv")
    tasks.save_rows(rows, names, learned.row, out, columns=count)
    lines = f", a line for each of {', '.join(dict.fromkeys(names))}" if len(set(names)) > 1 else ""
    click.echo(f"{len(rows)} rows are in {out}{lines}")


@cli.command(
    epilog=example(
        "layerwise explain runs/digits", "layerwise explain runs/digits scans/ --out reports/scans",
        "layerwise explain runs/digits --rows 3,17",
    )
)  # fmt: skip
@run_argument
@click.argument("source", metavar="[DATA]", required=False)
@option("--out", type=PATH, default="report in RUN", help="Folder for report.html and report.json.")
@option("--rows", type=ROWS, default="the surest mistakes, the least sure, some right ones",
        help="Rows whose answers are explained one by one, counted from 0 and parted by commas.")  # fmt: skip
@broken_option
def explain(
    folder: Path, source: str | None, out: Path | None, rows: tuple[int, ...] | None, broken: str | None
) -> None:
    """Write the report of the model in RUN: one HTML file that needs no server.

    It has an overview, a page for every layer and every unit, the layers side by side, and single answers with what they
    hung on. It looks at the rows that were held out when the model learned, or at DATA.
    """
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    page = learned.explain(source, out or folder / "report", answers=rows, broken=broken)
    click.echo(f"The report is {page}\nOpen it in a browser; it needs nothing else.")
