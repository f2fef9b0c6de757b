"""The group of all commands: errors, warnings and signals, once for all of them."""

from __future__ import annotations

import contextlib
import errno
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import click

from layerwise import __version__
from layerwise.cli.options import example


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
