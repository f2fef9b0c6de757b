"""The command line: parse, call, print. Nothing here imports torch before there is something to compute."""

from __future__ import annotations

import contextlib
import errno
import math
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from layerwise import __version__

if TYPE_CHECKING:
    from layerwise.demo import Outcome
    from layerwise.tasks import Learned, Score

Command = TypeVar("Command", bound=Callable[..., Any])


# -- errors, warnings and signals, once for all commands ---------------------------------------------------------------


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""

    number = signal.SIGTERM


class Commands(click.Group):
    """A group whose commands end in one line, whatever stops them: Error, Warning or Stopped."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; `--traceback` lets errors through as they are."""
        with _signals(), _readable_warnings():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as stopped:
                number = getattr(stopped, "number", signal.SIGINT)
                click.echo(f"\n{_how_to_go_on(ctx)}", err=True)
                ctx.exit(128 + number)
            except (click.exceptions.Exit, click.Abort, click.ClickException):
                raise
            except Exception as error:
                if ctx.params.get("traceback") or getattr(error, "errno", None) == errno.EPIPE:
                    raise
                raise _failure(error) from error


EXPECTED = ("Diverged", "MemoryError")  # by name: their module would import torch


def _failure(error: Exception) -> click.ClickException:
    """What to print of an error: its message, and for one that nobody foresaw also its kind.

    The exit code is 2 for what the user can set right, input and settings, and 1 for the rest.
    """
    asked = isinstance(error, ValueError | OSError)
    text = str(error)
    if not text or not (asked or type(error).__name__ in EXPECTED):
        text = (
            f"{type(error).__name__}: {error}\nThis should not happen. `layerwise --traceback COMMAND ...` shows where."
        )
    return Refused(text) if asked else click.ClickException(text)


class Refused(click.ClickException):
    """Input or settings that the user can set right."""

    exit_code = 2


def _how_to_go_on(ctx: click.Context) -> str:
    """The line for somebody who pressed Ctrl-C."""
    folder = ctx.meta.get("layerwise.run")
    if folder is None or not (folder / "plan.json").exists():
        return "Stopped."
    return f"Stopped; what was learned so far is saved. Go on with: layerwise train --resume --out {folder}"


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM ends a command like Ctrl-C."""

    def stop(_number: int, _frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _readable_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"Warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


# -- what can be written in an option ----------------------------------------------------------------------------------


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers of at least `low`, parted by `by`; `count` of them, or any number."""

    def __init__(self, name: str, by: str, low: int = 1, count: int | None = None) -> None:
        self.name, self.by, self.low, self.count = name, by, low, count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers as a tuple."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split(self.by)
        if all(part.strip().isdecimal() and int(part) >= self.low for part in parts) and self.count in (
            None,
            len(parts),
        ):
            return tuple(int(part) for part in parts)
        self.fail(
            f"{value!r} is not like {self.name}: whole numbers from {self.low} on, parted by {self.by!r}.", param, ctx
        )


WIDTHS = Numbers("500,500,2000", by=",")
SIZE = Numbers("28x28", by="x", count=2)


class Types(click.ParamType):  # type: ignore[type-arg]
    """COLUMN=TYPE, several parted by commas, as a mapping."""

    name = "COLUMN=TYPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """The types by column."""
        if isinstance(value, dict):
            return value
        pairs = [part.rpartition("=") for part in str(value).split(",")]
        if all(column and kind for column, _, kind in pairs):
            return {column.strip(): kind.strip() for column, _, kind in pairs}
        self.fail(f"{value!r} is not like COLUMN=TYPE,COLUMN=TYPE.", param, ctx)


TYPES = Types()
UNIT = Numbers("LAYER:INDEX", by=":", low=0, count=2)
SHARE = click.FloatRange(0, 1, max_open=True)
PATH = click.Path(path_type=Path)

# (flag, parameter of the estimator, type, its default, help). None means the estimator's own default.
SETTINGS: tuple[tuple[str, str, Any, str, str], ...] = (
    ("--layers", "layers", WIDTHS, "dbn 500,500,2000; sae 500,500,500; autoencoder 1000,500,250,30; rbm 256; "
     "net and mlp 512,512; cnn and resnet and embedder 32,64,128; lstm 128; writer 512",
     "Units (or feature maps) of each hidden layer, bottom first, parted by commas."),
    ("--pretrain", "pretrain", click.Choice(["greedy", "none"]), "greedy; networks and embedder none",
     "Learn layer by layer first, or start at random weights (the baseline)."),
    ("--pretrain-epochs", "pretrain_epochs", click.IntRange(1), "auto: 20, more where rows are few",
     "Passes over all rows, for each layer."),
    ("--pretrain-rate", "pretrain_rate", click.FloatRange(0, min_open=True),
     "by the kind of units; sae and networks and embedder 0.001",
     "Learning rate of the layers."),
    ("--epochs", "epochs", click.IntRange(1), "auto: 20, more where rows are few; embedder 60",
     "Passes of tuning by back-propagation, over the labelled rows; for rbm: passes over all rows."),
    ("--rate", "rate", click.FloatRange(0, min_open=True), "0.001; writer and embedder 0.002; rbm by the kind of units",
     "Learning rate of tuning."),
    ("--up-down", "up_down_epochs", click.IntRange(0), "10", "Passes of wake-sleep over all rows; 0 leaves it out (dbn)."),
    ("--up-down-rate", "up_down_rate", click.FloatRange(0, min_open=True), "0.01", "Learning rate of wake-sleep (dbn)."),
    ("--dropout", "dropout", SHARE, "0.0; writer and embedder 0.3",
     "Share of hidden units that are silent in a step of tuning, 0 to 1."),
    ("--input-dropout", "input_dropout", SHARE, "0.0", "Share of inputs that are silent in a step of tuning, 0 to 1."),
    ("--noise", "noise", click.Choice(["masking", "gaussian", "salt-and-pepper", "none"]), "masking",
     "What corrupts the input of each layer (sae)."),
    ("--noise-amount", "amount", click.FloatRange(0), "0.25",
     "Share of corrupted inputs, or the standard deviation of gaussian noise (sae)."),
    ("--sparsity", "sparsity", click.FloatRange(0, 1, min_open=True, max_open=True), "none",
     "Wanted mean activity of hidden units, 0 to 1."),
    ("--cd-steps", "steps", click.IntRange(1), "1", "Gibbs steps of contrastive divergence (dbn, rbm)."),
    ("--hidden", "hidden", click.Choice(["bernoulli", "rectified"]), "bernoulli", "Kind of the hidden units."),
    ("--visible", "visible", click.Choice(["auto", "bernoulli", "gaussian"]), "auto",
     "Kind of the units that hold the data; auto is bernoulli for data in [0, 1], else gaussian."),
    ("--classify", "classify", click.Choice(["network", "generative"]), "network",
     "What answers: the tuned network, or the generative model's free energy (dbn)."),
    ("--augment", "augment", click.Choice(["auto", "none"]), "none; embedder auto",
     "Change rows while learning as suits their kind: pictures are shifted (in colour, flipped too), sounds masked; networks."),
    ("--loss", "loss",
     click.Choice(["cross-entropy", "focal", "squared error", "softmax", "arcface", "prototypical", "triplet"]),
     "cross-entropy; autoencoder squared error; embedder arcface",
     "What tuning makes small; focal and, for labels, squared error are for networks, the last four for embedder."),
    ("--smoothing", "smoothing", SHARE, "0.0", "Share of each label that is spread over all classes (networks)."),
    ("--class-weight", "class_weight", click.Choice(["balanced", "none"]), "none",
     "balanced: rows of rare classes count more (networks)."),
    ("--start", "initialisation", click.Choice(["auto", "normal", "xavier", "he", "orthogonal"]), "auto",
     "How the weights of a network start; auto: he before rectified units, else xavier."),
    ("--weight-decay", "weight_decay", click.FloatRange(0), "0.0002; sae and networks and writer 0.0; embedder 0.05",
     "L2 penalty on the weights."),
    ("--batch-size", "batch_size", click.IntRange(1), "100; networks 128; writer 32; embedder 50",
     "Rows per step, or readers of a text side by side."),
    ("--patience", "patience", click.IntRange(1), "none",
     "Epochs without improvement on a tenth of the labelled rows before tuning stops."),
    ("--device", "device", str, "by the size of the work", "cpu, cuda, ..."),
    ("--threads", "threads", click.IntRange(1), "by the size of the work", "CPU threads."),
    ("--precision", "precision", click.Choice(["auto", "float32", "bfloat16"]),
     "auto: bfloat16 for large work on hardware that has it",
     "Numbers in matrix products while learning; bfloat16 takes half the time for them on hardware that has it."),
)  # fmt: skip


def option(*names: str, default: str, help: str, **rest: Any) -> Callable[[Command], Command]:
    """An option whose default is chosen further down, and told here in words."""
    return click.option(*names, help=f"{help}  [default: {default}]", **rest)


def settings(command: Command) -> Command:
    """The options that go to the estimator as they are."""
    for flag, name, kind, default, text in reversed(SETTINGS):
        command = option(flag, name, type=kind, default=default, help=text)(command)
    return command


def reading(command: Command) -> Command:
    """The options that say how data is read and split."""
    for add in reversed(READING):
        command = add(command)
    return command


READING = (
    option("--label", metavar="COLUMN", default="label, class, target or y, if there is one",
        help="Name or number (from 1; -1 is the last) of a table's column of labels; '' for none."),
    option("--types", type=TYPES, metavar="COLUMN=TYPE,...", default="as they look",
        help="What columns of a table are, where that is guessed wrong: number, category, date, or leave out."),
    option("--text", metavar="COLUMN,...", default="none", help="Columns of a table that are text to be read."),
    option("--form", type=click.Choice(["tfidf", "counts", "characters", "words", "subwords"]),
        default="tfidf; for lstm words", help="What text becomes: weights of words, or symbols in order."),
    option("--length", type=click.IntRange(1), default="what 95 % of the texts have",
        help="Symbols of a text in order; longer ones are cut. Of a text to write on from: of a window (128)."),
    option("--hertz", type=click.IntRange(1), default="the most common one", help="Sound is resampled to it, in Hz."),
    option("--seconds", type=click.FloatRange(0, min_open=True), default="what 95 % of the clips have",
        help="Of a clip: shorter ones are padded, longer ones cut."),
    option("--bands", type=click.IntRange(1), default="40", help="Mel bands of a spectrogram."),
    option("--broken", type=click.Choice(["stop", "skip"]), default="stop",
        help="What to do about a file of a folder that cannot be read."),
    option("--holdout", type=click.FloatRange(0, 1, min_open=True, max_open=True), default="0.2",
        help="Share of the rows held out for the test, 0 to 1, where the data has no split of its own."),
    option("--size", type=SIZE, default="the most common one", help="Height x width in pixels of a folder's pictures."),
    option("--seed", type=click.IntRange(0), default="0", help="Of the split, the labels kept, and all learning."),
)  # fmt: skip


WORDS = {"network": "network", "generative": "generative model"}

run_argument = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
broken_option = option("--broken", type=click.Choice(["stop", "skip"]), default="stop",
                       help="What to do about a file of a folder that cannot be read.")  # fmt: skip
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress, only results.")


def example(*lines: str) -> str:
    """An epilog of examples."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


# -- the commands ------------------------------------------------------------------------------------------------------


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LAYERWISE"},
    epilog=example("layerwise demo", "layerwise train digits --labels 100 --layers 200,200", "layerwise train --help"),
)  # fmt: skip
@click.version_option(__version__, prog_name="layerwise")
@click.option("--traceback", is_flag=True, help="Show where in the code an error arose (or set LAYERWISE_TRACEBACK=1).")
def cli(traceback: bool) -> None:
    """Learn a deep network one layer at a time, and see what each layer has learned.

    Start with `layerwise demo`: it needs no data and no network, and takes less than a minute.
    """


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
    table = _table("", "error", "s.d.", "seconds", "learned from")
    for method in outcome.methods:
        table.add_row(
            method["method"], _percent(outcome.mean(method)), f"{100 * outcome.sd(method):.1f}", f"{method['seconds']:.1f}",
            method["note"], style="bold" if method.get("this") else None,
        )  # fmt: skip
    click.echo(f"\n{outcome.heading}:\n")
    _show(table)
    for line in outcome.conclusions:
        click.echo(line)
    click.echo(f"\nThe report:  {outcome.report}\nDreams:      {outcome.dreams}\nThe model:   {outcome.model}")
    _next(
        f"layerwise evaluate {outcome.model}", f"layerwise generate {outcome.model} --label 3", "layerwise train --help"
    )


@cli.group(epilog=example("layerwise data list", "layerwise data get mnist", "layerwise data show table.csv"))
def data() -> None:
    """Data sets: list the known ones, download one, show how any is read."""


@data.command("list", epilog=example("layerwise data list"))
def list_() -> None:
    """List the known data sets. Nothing is downloaded."""
    from layerwise.data import cache_folder, known

    table = _table("name", "rows: train + test", "a row", "classes", "here", "what it is", "licence")
    for record in known():
        rows, shape = " + ".join(map(str, record.rows)), " x ".join(map(str, record.shape))
        here = "embedded" if not record.files else "no" if record.missing else "yes"
        table.add_row(record.name, rows, shape, str(len(record.classes)), here, record.about, record.licence)
    _show(table)
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
    table = _table("column", "type", "missing", "values")
    for line in columns(found):
        table.add_row(line.column, line.type, str(line.missing), line.values)
    if table.row_count:
        _show(table)
    table = _table("class", "rows")
    for name, count in classes(found):
        table.add_row(name, str(count))
    if table.row_count:
        _show(table)


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
        _show_surprises(tasks.surprises(learned, learned.story()))
        click.echo(f"The model lies in {learned.folder}")
        _next(f"layerwise write {learned.folder}", f"layerwise evaluate {learned.folder}")
        return
    rows = learned.test_rows()
    click.echo()
    if learned.embeds:
        _show_recognition(learned, rows)
        click.echo(f"The model lies in {learned.folder}")
        _next(f"layerwise enroll people NAME PHOTO ... --model {learned.folder}")
        return
    if learned.classes and rows.labelled:
        _show_scores(tasks.scores(learned, rows))
    elif learned.classes:
        click.echo(f"{rows.name}: no held-out row has a label, so there is no error to tell.")
    else:
        _show_rebuilding(tasks.rebuilding(learned, rows))
    folder = learned.folder
    click.echo(f"The model lies in {folder}")
    dreams = [f"layerwise generate {folder}"] if hasattr(learned.model, "generate") else []
    _next(f"layerwise evaluate {folder}", *dreams, f"layerwise explain {folder}")


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
    click.echo(f"\n{found.data}; {found.seeds} seeds, {found.budget:g} s each:\n")
    table = _table("method", "error", "s.d.", "seconds", "numbers", "MiB", "learned from")
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
    _show(table)
    for line in found.advice:
        click.echo(line)


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
        _show_surprises(tasks.surprises(learned, story))
        return
    rows = learned.rows(source, broken=broken)
    click.echo(f"{folder} on {rows.lines()}\n")
    if learned.embeds:
        _show_recognition(learned, rows)
        return
    if not learned.classes:
        _show_rebuilding(tasks.rebuilding(learned, rows))
        return
    found = tasks.scores(learned, rows)
    _show_scores(found)
    _show(_classes_table(found))


def _classes_table(found: list[Score]) -> Any:
    """A line per class; with precision and F1 where the classes are of unequal size."""
    names = [f" of the {WORDS[score.head]}" if len(found) > 1 else "" for score in found]
    more = ("precision", "F1") if found[0].unbalanced else ()
    table = _table("class", "rows", *(figure + name for name in names for figure in ("error", *more)))
    for each in zip(*(score.per_class for score in found), strict=True):
        figures = [(_percent(1 - one.recall), *map(_percent, (one.precision, one.f1)[: len(more)])) for one in each]
        table.add_row(each[0].name, str(each[0].rows), *(figure for head in figures for figure in head))
    return table


def _show_scores(found: list[Score]) -> None:
    table = _table("answers", "error", "95 % interval", "wrong", "rows")
    for number, score in enumerate(found):
        low, high = score.interval
        said = " (what predict says)" if number == 0 and len(found) > 1 else ""
        span = f"{100 * low:.1f} to {_percent(high)}"
        table.add_row(WORDS[score.head] + said, _percent(score.error), span, str(score.wrong), str(score.rows))
    table.add_row("always the commonest class", _percent(found[0].baseline), "", "", str(found[0].rows))
    _show(table)
    if found[0].unbalanced:
        click.echo("The classes are of unequal size, so see also:\n")
        _show(_balance_table(found))


def _balance_table(found: list[Score]) -> Any:
    table = _table("answers", "balanced accuracy", "macro F1")
    for score in found:
        table.add_row(WORDS[score.head], _percent(score.balanced_accuracy), _percent(score.macro_f1))
    table.add_row("always the commonest class", _percent(1 / len(found[0].per_class)), "")
    return table


def _show_recognition(learned: Learned, rows: Any) -> None:
    from layerwise import people

    found, page = people.judged(learned, rows)
    click.echo(
        f"{found.people} people whom the model never met, {found.rows} rows; some of each are enrolled, the others asked:\n"
    )
    table = _table("enrolled of each", "error")
    for count, error in found.errors.items():
        table.add_row(str(count), _percent(error))
    if found.equal_error is not None:
        table.add_row(
            f"half of them strangers, {found.enrolled} enrolled: equal error rate", _percent(found.equal_error)
        )
    _show(table)
    if page is not None:
        click.echo(f"The trade-off between false accepts and false rejects: {page}")


def _show_rebuilding(found: Any) -> None:
    table = _table("rebuilt by", "squared error per row", "of the variance", "rows")
    share = _percent(found.error / found.baseline) if found.baseline else ""
    table.add_row("the model", f"{found.error:.4g}", share, str(found.rows))
    table.add_row("the mean row", f"{found.baseline:.4g}", _percent(1.0), str(found.rows))
    _show(table)


def _show_surprises(found: list[tuple[str, float, float]]) -> None:
    table = _table("foretold by", "nats per character", "bits per character", "perplexity")
    for name, nats, perplexity in found:
        table.add_row(name, f"{nats:.4f}", f"{nats / math.log(2):.4f}", f"{perplexity:.3f}")
    _show(table)


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
    table = _table("photo", "name", "score", "nearest")
    for file, answer in answers:
        table.add_row(file, answer.name, f"{answer.score:.3f}", answer.nearest)
    _show(table)


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
    table = _table("name", "photos")
    for name, count in opened.people.items():
        table.add_row(name, str(count))
    _show(table)
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
        f"The threshold is {opened.threshold:.3f}: {_percent(accepts)} of {curve.strangers} strangers are taken for somebody, "
        f"{_percent(rejects)} of {curve.known} photos not known again.\nThe equal error rate is {_percent(curve.equal_error)}. "
        f"The trade-off: {page}"
    )


@cli.command(
    epilog=example("layerwise explain runs/digits", "layerwise explain runs/digits scans/ --out reports/scans")
)
@run_argument
@click.argument("source", metavar="[DATA]", required=False)
@option("--out", type=PATH, default="report in RUN", help="Folder for report.html and report.json.")
@broken_option
def explain(folder: Path, source: str | None, out: Path | None, broken: str | None) -> None:
    """Write the report of the model in RUN: one HTML page that needs no server.

    It looks at the rows that were held out when the model learned, or at DATA.
    """
    from layerwise import tasks

    learned = tasks.Learned.load(folder)
    page = learned.explain(source, out or folder / "report", broken=broken)
    click.echo(f"The report is {page}\nOpen it in a browser; it needs nothing else.")


# -- printing ----------------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(*columns: str) -> Any:
    """A table without lines; columns of figures are set to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    figures = {"error", "s.d.", "seconds", "wrong", "rows", "classes", "missing"}
    for name in columns:
        right = name in figures or name.startswith(("error", "precision", "F1", "balanced", "macro"))
        table.add_column(name, justify="right" if right else "left", header_style="bold")
    return table


def _show(table: Any) -> None:
    """Prints a table: in colour on a terminal, else plain and wide enough for its text."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
    console.print()


def _next(*commands: str) -> None:
    click.echo("Next:" + "".join(f"\n  {command}" for command in commands))


def main() -> None:
    """The entry point of `layerwise`."""
    cli(prog_name="layerwise")
