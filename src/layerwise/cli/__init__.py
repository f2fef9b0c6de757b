"""The command line: parse, call, print. Nothing here imports torch before there is something to compute."""

from layerwise.cli import data, learning, people, using  # they bring their commands into the group
from layerwise.cli.group import cli
from layerwise.cli.options import SETTINGS

__all__ = ["SETTINGS", "cli", "data", "learning", "main", "people", "using"]


def main() -> None:
    """The entry point of `layerwise`."""
    cli(prog_name="layerwise")
