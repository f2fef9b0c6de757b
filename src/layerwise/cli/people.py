"""Enroll, identify, gallery: who was met, and who comes again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from layerwise.cli.group import cli
from layerwise.cli.options import PATH, example, option
from layerwise.cli.printing import new_table, percent, show_table


@cli.command(
    epilog=example(
        "layerwise enroll people anna anna-1.png anna-2.png --model runs/faces",
        "layerwise enroll people ben photos-of-ben/",
    )
)
@click.argument("folder", metavar="GALLERY", type=PATH)
@click.argument("name")
@click.argument("photos", metavar="PHOTOS...", nargs=-1, required=True)
@option("--model", type=PATH, default="the one that made the gallery", help="Run whose model makes the embeddings.")
def enroll(folder: Path, name: str, photos: tuple[str, ...], model: Path | None) -> None:
    """Remember NAME by PHOTOS in GALLERY, a folder that begins with the first.

    PHOTOS are cropped faces (or clips, or tables of rows), files or folders of them. Nothing is learned anew. The gallery
    holds names and embeddings, and no photos.
    """
    from layerwise import people

    done = people.enroll(folder, name, photos, model)
    _notes(done.notes)
    before = done.held - done.added
    more = f", beside {before} from before: {done.held} in all" if before else ""
    click.echo(f"{done.name}: {done.added} {'photo' if done.added == 1 else 'photos'} enrolled in {folder}{more}")


@cli.command(epilog=example("layerwise identify people who.png", "layerwise identify people door/ --model runs/faces"))
@click.argument("folder", metavar="GALLERY", type=PATH)
@click.argument("photos", metavar="PHOTOS...", nargs=-1, required=True)
@option("--model", type=PATH, default="the one that made the gallery", help="Where its model lies, if it was moved.")
def identify(folder: Path, photos: tuple[str, ...], model: Path | None) -> None:
    """Say who is on each of PHOTOS, or "unknown", with a score: the cosine to the nearest photo enrolled, -1 to 1."""
    from layerwise import people

    answers, notes = people.identify(folder, photos, model)
    _notes(notes)
    table = new_table("photo", "name", "score", "nearest")
    for file, answer in answers:
        table.add_row(file, answer.name, f"{answer.score:.3f}", answer.nearest)
    show_table(table)


def _notes(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"Note: {note}", err=True)


@cli.group(epilog=example("layerwise gallery list people", "layerwise gallery remove people anna"))
def gallery() -> None:
    """Who is in a gallery; forget somebody; when somebody is unknown."""


@gallery.command("list", epilog=example("layerwise gallery list people"))
@click.argument("folder", metavar="GALLERY", type=PATH)
def list_people(folder: Path) -> None:
    """List who is enrolled in GALLERY, and by how many photos."""
    from layerwise import people

    opened = people.open_gallery(folder)
    table = new_table("name", "photos")
    for name, count in opened.people.items():
        table.add_row(name, str(count))
    show_table(table)
    limit = "none is set, nobody is unknown" if opened.threshold is None else f"{opened.threshold:.3f}"
    click.echo(f"{len(opened.people)} people; threshold: {limit}")


@gallery.command(epilog=example("layerwise gallery remove people anna"))
@click.argument("folder", metavar="GALLERY", type=PATH)
@click.argument("name")
def remove(folder: Path, name: str) -> None:
    """Forget NAME: the name and all embeddings of its photos go out of GALLERY."""
    from layerwise import people

    opened = people.open_gallery(folder)
    count = opened.remove(name)
    opened.save(folder, overwrite=True)
    click.echo(f"{name} and {count} {'embedding' if count == 1 else 'embeddings'} are forgotten.")


@gallery.command(
    epilog=example(
        "layerwise gallery calibrate people", "layerwise gallery calibrate people strangers/ --false-accepts 0.001"
    )
)
@click.argument("folder", metavar="GALLERY", type=PATH)
@click.argument("source", metavar="[STRANGERS]", required=False)
@click.option("--false-accepts", type=click.FloatRange(0, 1, max_open=True), default=0.01, show_default=True,
              help="Share of strangers that may be taken for somebody, 0 to 1.")  # fmt: skip
def calibrate(folder: Path, source: str | None, false_accepts: float) -> None:
    """Set the threshold below which somebody is unknown, so that few strangers are taken for somebody.

    STRANGERS are photos of people who are not enrolled; without them everybody in GALLERY plays the stranger once, while
    their own photos are left out. The trade-off at every threshold is drawn in GALLERY/tradeoff.html.
    """
    from layerwise import people

    opened, curve, page = people.calibrate(folder, source, false_accepts)
    assert opened.threshold is not None
    accepts, rejects = curve.at(opened.threshold)
    click.echo(
        f"The threshold is {opened.threshold:.3f}: {percent(accepts)} of {curve.strangers} strangers are taken for somebody, "
        f"{percent(rejects)} of {curve.known} photos not known again.\nThe equal error rate is {percent(curve.equal_error)}. "
        f"The trade-off: {page}"
    )
