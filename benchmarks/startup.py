"""Seconds until `layerwise --help` has answered, as a whole process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import click


@click.command()
@click.option("--runs", default=10, show_default=True, help="How often.")
def main(runs: int) -> None:
    """Print the median and the range."""
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "layerwise", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    seconds = seconds[1:]  # the first one finds cold files
    print(f"layerwise --help: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
