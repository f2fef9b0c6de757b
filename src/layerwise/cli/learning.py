"""Demo, train, compare: what learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerwise.cli.group import cli
from layerwise.cli.options import PATH, SETTINGS, example, option, quiet_option, reading, settings
from layerwise.cli.printing import (
    new_table,
    percent,
    show_next,
    show_rebuilding,
    show_recognition,
    show_scores,
    show_surprises,
    show_table,
)

if TYPE_CHECKING:
    from layerwise.demo import Outcome
    from layerwise.tasks import Learned


@cli.command(epilog=example("layerwise demo", "layerwise demo --labels 50 --draws 10 --out few-labels"))
@click.option("--out", type=PATH, default=Path("layerwise-demo"), show_default=True,
              help="Folder for the report, the model and the figures. An earlier demo's files in it are replaced.")  # fmt: skip
@click.option("--draws", type=click.IntRange(1), default=5, show_default=True,
              help="How often the labels to keep are drawn anew, and everything is learned again.")  # fmt: skip
@click.option(
    "--labels", type=click.IntRange(20), default=100, show_default=True, help="Labels that are kept, of 1297 rows."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@option("--processes", type=click.IntRange(1), default="one per CPU, at most 4",
              help="Processes that learn side by side; the figures do not depend on it.")  # fmt: skip
@quiet_option
def demo(out: Path, draws: int, labels: int, seed: int, processes: int | None, quiet: bool) -> None:
    """Learn handwritten digits from few labels, beside shallow rivals, and write a report.

    Of scikit-learn's digits 1297 are to learn from, but only 100 of them keep their label. A deep belief net learns
    from all 1297, most of its rivals from the 100; 500 other digits are the test. It takes less than a minute on two
    CPUs. In --out are then report.html, the figures (demo.json), dreams.png, and the net (model/).
    """
    say: Callable[[str], None] = (lambda _: None) if quiet else click.echo
    say(f"Handwritten digits, {labels} labels: a deep belief net learns from all rows, labelled or not, most rivals from the "
        "labelled ones.\nLoading PyTorch and scikit-learn ...")  # fmt: skip
    from layerwise.demo import run

    _show_demo(run(out, draws=draws, labels=labels, seed=seed, processes=processes, say=say))


def _show_demo(outcome: Outcome) -> None:
    table = new_table("", "error", "s.d.", "seconds", "learned from")
    for method in outcome.methods:
        table.add_row(
            method["method"], percent(outcome.mean(method)), f"{100 * outcome.sd(method):.1f}", f"{method['seconds']:.1f}",
            method["note"], style="bold" if method.get("this") else None,
        )  # fmt: skip
    click.echo(f"\n{outcome.heading}:\n")
    show_table(table)
    for line in outcome.conclusions:
        click.echo(line)
    click.echo(f"\nThe report:  {outcome.report}\nDreams:      {outcome.dreams}\nThe model:   {outcome.model}")
    show_next(
        f"layerwise evaluate {outcome.model}", f"layerwise generate {outcome.model} --label 3", "layerwise train --help"
    )


@cli.command(
    epilog=example(
        "layerwise train digits --labels 100 --layers 200,200",
        "layerwise train mnist --model dbn --layers 500,500,2000 --labels 1000 --out runs/digits",
        "layerwise train photos/ --size 32x32 --model sae --noise gaussian --noise-amount 0.1",
        "layerwise train table.csv --label species --holdout 0.3 --pretrain none",
        "layerwise train mnist --model autoencoder --layers 1000,500,250,30",
        "layerwise train story.txt --model lstm",
        "layerwise train --resume --out runs/digits",
    )
)
@click.argument("source", metavar="[DATA]", required=False)
@option(
    "--model", default="dbn",
    type=click.Choice(["dbn", "sae", "autoencoder", "rbm", "net", "mlp", "cnn", "resnet", "lstm", "writer", "embedder"]),
    help="A deep belief net, stacked autoencoders with a classifier, a deep autoencoder, one Boltzmann machine; or a network: "
         "dense (mlp), convolutional, residual, recurrent, or what suits the rows (net). From a plain text an lstm learns "
         "to write (writer); an embedder learns on some people to tell others apart.",
)  # fmt: skip
@option("--out", type=PATH, default="runs/DATA-MODEL", help="Folder of the run: model, log, checkpoints.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out where it was stopped, to the same bits.")
@option("--labels", type=click.IntRange(2), default="all",
              help="Labels to keep, as many of each class; the others are hidden.")  # fmt: skip
@reading
@settings
@click.option("--checkpoint-every", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
              help="Seconds between checkpoints.")  # fmt: skip
@quiet_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    source: str | None,
    out: Path | None,
    resume: bool,
    checkpoint_every: float,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a model on DATA and save it.

    DATA is a known set (`layerwise data list`), an .npz or .npy file, a CSV, an idx file, or a folder of images with one
    sub-folder per class. Rows without a label teach the layers, too. A part is held out, and tested once, at the end.
    """
    if source is None and not (resume and out):
        raise click.UsageError(
            "Say what to learn from: layerwise train DATA. (To go on with a run: --resume --out RUN.)"
        )
    folder = out or Path("runs") / f"{Path(str(source)).absolute().stem}-{options['model'] or 'dbn'}"
    ctx.meta["layerwise.run"] = folder
    if not quiet:
        click.echo("Loading PyTorch ...")
    from layerwise import tasks

    asked = {name: None if value == "none" else value for name, value in options.items() if value is not None}
    asked |= {} if source is None else {"data": tasks.locate(source)}
    if not resume:
        tasks.check_new(folder)
    asked = tasks.suited(asked)
    plan = tasks.resumed(folder, asked) if resume else tasks.Plan.of(asked)
    for flag, name, *_ in SETTINGS:
        if name in asked and plan.model not in (able := tasks.models_with(name)):
            raise click.UsageError(
                f"{flag} is not for --model {plan.model}, only for {' and '.join(able)}. Leave it out."
            )
    if (folder / "model.json").exists():
        click.echo(f"{folder} is finished already.")
    else:
        tasks.learn(plan, folder, interval=checkpoint_every, progress=not quiet, say=None if quiet else click.echo)
    _show_learned(tasks.Learned.load(folder, plan))


def _show_learned(learned: Learned) -> None:
    from layerwise import tasks

    if learned.writes:
        click.echo()
        show_surprises(tasks.surprises(learned, learned.story()))
        click.echo(f"The model lies in {learned.folder}")
        show_next(f"layerwise write {learned.folder}", f"layerwise evaluate {learned.folder}")
        return
    rows = learned.test_rows()
    click.echo()
    if learned.embeds:
        show_recognition(learned, rows)
        click.echo(f"The model lies in {learned.folder}")
        show_next(f"layerwise enroll people NAME PHOTO ... --model {learned.folder}")
        return
    if learned.classes and rows.labelled:
        show_scores(tasks.scores(learned, rows))
    elif learned.classes:
        click.echo(f"{rows.name}: no held-out row has a label, so there is no error to tell.")
    else:
        show_rebuilding(tasks.rebuilding(learned, rows))
    folder = learned.folder
    click.echo(f"The model lies in {folder}")
    dreams = [f"layerwise generate {folder}"] if hasattr(learned.model, "generate") else []
    show_next(f"layerwise evaluate {folder}", *dreams, f"layerwise explain {folder}")


@cli.command(
    epilog=example(
        "layerwise compare digits --labels 100", "layerwise compare table.csv --seconds-each 30 --seeds 5",
        "layerwise compare recordings/ --method 'convolutional net' --method 'SVM (RBF kernel)'",
    )
)  # fmt: skip
@click.argument("source", metavar="DATA")
@option("--out", type=PATH, default="runs/DATA-compare", help="Folder for compare.json.")
@option("--labels", type=click.IntRange(2), default="all",
              help="Labels to keep, as many of each class; the others are hidden.")  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="How often everything is learned again."
)
@click.option("--seconds-each", "budget", type=click.FloatRange(1), default=60.0, show_default=True,
              help="Seconds that a method may learn, for each seed.")  # fmt: skip
@click.option("--method", "methods", multiple=True, help="A method of the table; may be repeated.  [default: all]")
@reading
@quiet_option
def compare(
    source: str, out: Path | None, seeds: int, budget: float, methods: tuple[str, ...], quiet: bool, **options: Any
) -> None:
    """Compare shallow rivals and networks on DATA, and say what to take.

    Logistic regression, an SVM, gradient boosting and nearest neighbours, with the features that suit the data, and our
    networks with and without pre-training learn from the same rows within the same seconds. The table tells error, spread,
    seconds, size and memory; the advice is plain, also where a shallow rival wins.
    """
    from layerwise import tasks

    out = out or Path("runs") / f"{Path(source).absolute().stem}-compare"
    asked = {name: value for name, value in options.items() if value is not None}
    plan = tasks.Plan.of(asked | {"data": tasks.locate(source), "model": "net"})
    tasks.check_new(out)
    click.echo("Loading PyTorch and scikit-learn ...")
    from layerwise import compare as comparing

    say: Callable[[str], None] | None = None if quiet else lambda line: click.echo(line, err=True)
    found = comparing.compare(plan, seeds=seeds, budget=budget, methods=methods, say=say)
    path = comparing.write(found, out)
    _show_comparison(found)
    click.echo(f"The figures lie in {path}")


def _show_comparison(found: Any) -> None:
    click.echo(f"\n{found.data}; {found.seeds} seed{'s' * (found.seeds > 1)}, {found.budget:g} s each:\n")
    table = new_table("method", "error", "s.d.", "seconds", "numbers", "MiB", "learned from")
    for entry in found.entries:
        if not entry.errors:
            table.add_row(entry.method, "-", "", "", "", "", entry.why)
            continue
        seconds = sum(entry.seconds) / len(entry.seconds)
        spread = "" if entry.spread is None else f"{100 * entry.spread:.2f}"
        table.add_row(
            entry.method, f"{100 * entry.error:.2f} %", spread, f"{seconds:.1f}", f"{entry.parameters:,}",
            f"{entry.memory:.0f}",
            entry.learned_from + (f" ({entry.why} in a further seed)" if entry.why else ""),
        )  # fmt: skip
    show_table(table)
    for line in found.advice:
        click.echo(line)
