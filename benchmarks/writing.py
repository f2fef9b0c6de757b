"""Characters per second of a net that writes, on one core: ours, and one call of the modules for each character.

Seconds are those of the processor: all is done on one thread, so that other work on the machine counts little.
The weights are random, as many as those of the nets of the results page: what they are makes no difference to the time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import click
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from layerwise import compute
from layerwise.language import Reader, Stepper, continuation

KINDS = 66  # characters of tiny Shakespeare, and the unknown one


def ours(net: Reader, length: int) -> Iterator[int]:
    """What `layerwise write` calls."""
    return continuation(Stepper(net), [1], length, 0.8, seed=0, never=1)


@torch.inference_mode()
def modules(net: Reader, length: int) -> Iterator[int]:
    """The loop that most people write by hand."""
    symbol, state = torch.ones(1, 1, dtype=torch.long), None
    for _ in range(length):
        logits, state = net.read(symbol, state)
        symbol = torch.multinomial((logits[:, -1] / 0.8).softmax(-1), 1)
        yield int(symbol)


@click.command()
@click.option("--length", default=2000, show_default=True, help="Characters of a turn.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each.")
def main(length: int, rounds: int) -> None:
    """Print medians, and the range."""
    ways: dict[str, Callable[[Reader, int], Iterator[int]]] = {"layerwise write": ours, "torch modules": modules}
    table = Table("LSTM", "", "characters per second", "lowest", "highest", box=None)
    for units in ((512,), (512, 512)):
        with compute.session(0, 1), threadpool_limits(1):
            net = Reader(KINDS, units).eval()
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, write in ways.items():
                    began = time.process_time()
                    written = sum(1 for _ in write(net, length))
                    found[name].append(written / (time.process_time() - began))
        for name, rates in found.items():
            figures = (f"{figure:.0f}" for figure in (statistics.median(rates), min(rates), max(rates)))
            table.add_row(" + ".join(map(str, units)), name, *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
