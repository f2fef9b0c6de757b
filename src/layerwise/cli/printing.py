"""Results as tables on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from layerwise.tasks import Learned, Score

WORDS = {"network": "network", "generative": "generative model"}


def percent(share: float) -> str:
    """A share, 0 to 1, in per cent."""
    return f"{100 * share:.1f} %"


def new_table(*columns: str) -> Any:
    """A table without lines; columns of figures are set to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    figures = {"error", "s.d.", "seconds", "wrong", "rows", "classes", "missing"}
    for name in columns:
        right = name in figures or name.startswith(("error", "precision", "F1", "balanced", "macro"))
        table.add_column(name, justify="right" if right else "left", header_style="bold")
    return table


def show_table(table: Any) -> None:
    """Prints a table: in colour on a terminal, else plain and wide enough for its text."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
    console.print()


def show_next(*commands: str) -> None:
    """Prints what may be called next."""
    click.echo("Next:" + "".join(f"\n  {command}" for command in commands))


def classes_table(found: list[Score]) -> Any:
    """A line per class; with precision and F1 where the classes are of unequal size."""
    names = [f" of the {WORDS[score.head]}" if len(found) > 1 else "" for score in found]
    more = ("precision", "F1") if found[0].unbalanced else ()
    table = new_table("class", "rows", *(figure + name for name in names for figure in ("error", *more)))
    for each in zip(*(score.per_class for score in found), strict=True):
        figures = [(percent(1 - one.recall), *map(percent, (one.precision, one.f1)[: len(more)])) for one in each]
        table.add_row(each[0].name, str(each[0].rows), *(figure for head in figures for figure in head))
    return table


def show_scores(found: list[Score]) -> None:
    """Prints the error of each way to ask a classifier, and of always naming the commonest class."""
    table = new_table("answers", "error", "95 % interval", "wrong", "rows")
    for number, score in enumerate(found):
        low, high = score.interval
        said = " (what predict says)" if number == 0 and len(found) > 1 else ""
        span = f"{100 * low:.1f} to {percent(high)}"
        table.add_row(WORDS[score.head] + said, percent(score.error), span, str(score.wrong), str(score.rows))
    table.add_row("always the commonest class", percent(found[0].baseline), "", "", str(found[0].rows))
    show_table(table)
    if found[0].unbalanced:
        click.echo("The classes are of unequal size, so see also:\n")
        show_table(_balance_table(found))


def _balance_table(found: list[Score]) -> Any:
    table = new_table("answers", "balanced accuracy", "macro F1")
    for score in found:
        table.add_row(WORDS[score.head], percent(score.balanced_accuracy), percent(score.macro_f1))
    table.add_row("always the commonest class", percent(1 / len(found[0].per_class)), "")
    return table


def show_recognition(learned: Learned, rows: Any) -> None:
    """Prints how often people whom the model never met are taken for others."""
    from layerwise import people

    found, page = people.judged(learned, rows)
    click.echo(
        f"{found.people} people whom the model never met, {found.rows} rows; some of each are enrolled, the others asked:\n"
    )
    table = new_table("enrolled of each", "error")
    for count, error in found.errors.items():
        table.add_row(str(count), percent(error))
    if found.equal_error is not None:
        table.add_row(
            f"half of them strangers, {found.enrolled} enrolled: equal error rate", percent(found.equal_error)
        )
    show_table(table)
    if page is not None:
        click.echo(f"The trade-off between false accepts and false rejects: {page}")


def show_rebuilding(found: Any) -> None:
    """Prints how well rows are rebuilt, beside their mean."""
    table = new_table("rebuilt by", "squared error per row", "of the variance", "rows")
    share = percent(found.error / found.baseline) if found.baseline else ""
    table.add_row("the model", f"{found.error:.4g}", share, str(found.rows))
    table.add_row("the mean row", f"{found.baseline:.4g}", percent(1.0), str(found.rows))
    show_table(table)


def show_surprises(found: list[tuple[str, float, float]]) -> None:
    """Prints how well a text was foretold, beside what sees no order."""
    table = new_table("foretold by", "nats per character", "bits per character", "perplexity")
    for name, nats, perplexity in found:
        table.add_row(name, f"{nats:.4f}", f"{nats / math.log(2):.4f}", f"{perplexity:.3f}")
    show_table(table)
