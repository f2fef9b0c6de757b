"""Data sets: list the known ones, download one, show how any is read."""

from __future__ import annotations

from typing import Any

import click

from layerwise.cli.group import cli
from layerwise.cli.options import example, quiet_option, reading
from layerwise.cli.printing import new_table, show_table


@cli.group(epilog=example("layerwise data list", "layerwise data get mnist", "layerwise data show table.csv"))
def data() -> None:
    """Data sets: list the known ones, download one, show how any is read."""


@data.command("list", epilog=example("layerwise data list"))
def list_() -> None:
    """List the known data sets. Nothing is downloaded."""
    from layerwise.data import cache_folder, known

    table = new_table("name", "rows: train + test", "a row", "classes", "here", "what it is", "licence")
    for record in known():
        rows, shape = " + ".join(map(str, record.rows)), " x ".join(map(str, record.shape))
        here = "embedded" if not record.files else "no" if record.missing else "yes"
        table.add_row(record.name, rows, shape, str(len(record.classes)), here, record.about, record.licence)
    show_table(table)
    click.echo(f"Files are kept in {cache_folder()} (LAYERWISE_DATA names another folder).")


@data.command(epilog=example("layerwise data get mnist", "LAYERWISE_DATA=/big/disk layerwise data get fashion_mnist"))
@click.argument("name")
@quiet_option
def get(name: str, quiet: bool) -> None:
    """Download the known data set NAME, and verify its checksum."""
    from layerwise.data import get as fetch
    from layerwise.data import known

    folder = fetch(name, progress=not quiet)
    embedded = not next(record for record in known() if record.name == name).files
    where = "embedded: there is nothing to get" if embedded else f"in {folder}, complete and as published"
    click.echo(f"{name} is {where}.")


@data.command(
    epilog=example(
        "layerwise data show table.csv", "layerwise data show table.csv --types zip=category,id='leave out' --label price",
        "layerwise data show recordings/ --broken skip",
    )
)  # fmt: skip
@click.argument("source", metavar="DATA")
@reading
def show(source: str, **options: Any) -> None:
    """Show how DATA is read: what was done to its rows, its classes, and what each column of a table was taken for.

    The options are those of `layerwise train`: what is shown is what a model would learn from. Nothing is learned.
    """
    from layerwise.data import load
    from layerwise.data.overview import classes, columns

    found = load(source, "all", **{name: value for name, value in options.items() if value is not None})
    click.echo(f"{found.lines()}\n")
    table = new_table("column", "type", "missing", "values")
    for line in columns(found):
        table.add_row(line.column, line.type, str(line.missing), line.values)
    if table.row_count:
        show_table(table)
    table = new_table("class", "rows")
    for name, count in classes(found):
        table.add_row(name, str(count))
    if table.row_count:
        show_table(table)
