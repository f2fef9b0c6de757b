"""What can be written in an option, and the options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


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
ROWS = Numbers("3,17", by=",", low=0)
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
    ("--pieces", "pieces", click.IntRange(0), "0",
     "Cut each number's range into so many pieces at most, and learn from how far through each it is (mlp): for tables whose "
     "numbers have thresholds."),
    ("--embedding", "embedding", click.IntRange(0), "0",
     "Features that are learned of each number's pieces before numbers meet (mlp, with --pieces)."),
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
    option("--fit", type=click.Choice(["pad", "stretch"]), default="pad",
        help="How clips get their length: padded and cut, or what is heard of them stretched and squeezed."),
    option("--broken", type=click.Choice(["stop", "skip"]), default="stop",
        help="What to do about a file of a folder that cannot be read."),
    option("--holdout", type=click.FloatRange(0, 1, min_open=True, max_open=True), default="0.2",
        help="Share of the rows held out for the test, 0 to 1, where the data has no split of its own."),
    option("--size", type=SIZE, default="the most common one", help="Height x width in pixels of a folder's pictures."),
    option("--seed", type=click.IntRange(0), default="0", help="Of the split, the labels kept, and all learning."),
)  # fmt: skip

run_argument = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
broken_option = option("--broken", type=click.Choice(["stop", "skip"]), default="stop",
                       help="What to do about a file of a folder that cannot be read.")  # fmt: skip
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress, only results.")


def example(*lines: str) -> str:
    """An epilog of examples."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
