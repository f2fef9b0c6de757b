"""Peak memory: pre-training 16 layers against 2, and learning from a 4 GB file.

Counted is what the process itself holds (RssAnon and RssShmem of /proc/self/status, looked at 50 times a second): pages of a
mapped file are the system's to take back. Each case runs in a process of its own. Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np

ROWS, WIDTH = 60_000, 500


class Peak(threading.Thread):
    """Watches the memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_mib, self.mib = held(), 0.0

    def run(self) -> None:
        """Looks until the process ends."""
        while True:
            self.mib = max(self.mib, held())
            time.sleep(0.02)


def held() -> float:
    """MiB that this process holds beyond mapped files."""
    status = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem"))) / 1024


def depth(layers: int) -> None:
    """Greedy pre-training of so many layers of one width on 60,000 rows, one epoch each."""
    import torch

    from layerwise import RBM, Batches, Stack, Training, compute

    with compute.session(0, 1):
        x = torch.rand(ROWS, WIDTH).lt_(0.2)
        stack = Stack(*(RBM(WIDTH, WIDTH) for _ in range(layers)))
        stack.pretrain(Batches(x.float()), Training(epochs=1, rate=0.01))


def large(file: str, out: str) -> None:
    """`layerwise train FILE`, two layers, one epoch each."""
    from layerwise.cli import cli

    asked = ["train", file, "--model", "autoencoder", "--layers", "200,50", "--pretrain-epochs", "1", "--epochs", "1"]
    cli([*asked, "--batch-size", "1000", "--threads", "1", "--out", out, "--quiet"], standalone_mode=False)


def measured(case: str, *arguments: str) -> dict[str, float]:
    """Peak MiB and seconds of a case, in a process of its own."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return {"MiB": json.loads(done.stdout.splitlines()[-1]), "seconds": time.perf_counter() - began}


def write_digits(path: Path, gigabytes: float) -> None:
    """A .npy of made-up 28 x 28 pictures, a block at a time."""
    block = (np.random.RandomState(0).rand(10_000, 28, 28) * 255 * (np.random.rand(10_000, 28, 28) < 0.2)).astype("u1")
    count = int(gigabytes * 2**30 / block[0].nbytes)
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 28, 28))
    for start in range(0, count, len(block)):
        file[start : start + len(block)] = block[: min(len(block), count - start)]
    file.flush()


@click.command()
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of the file.")
@click.option("--case", type=click.Choice(["depth", "large"]), hidden=True)
@click.argument("arguments", nargs=-1)
def main(gigabytes: float, case: str | None, arguments: tuple[str, ...]) -> None:
    """Measure both and print them."""
    if case is not None:
        peak = Peak()
        peak.start()
        depth(int(arguments[0])) if case == "depth" else large(*arguments)
        print(json.dumps(peak.mib))
        return
    shallow, deep = measured("depth", "2"), measured("depth", "16")
    print(f"pre-training 2 layers:  {shallow['MiB']:.0f} MiB   ({shallow['seconds']:.0f} s)")
    print(f"pre-training 16 layers: {deep['MiB']:.0f} MiB   ({deep['seconds']:.0f} s)")
    print(f"ratio: {deep['MiB'] / shallow['MiB']:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.npy"
        write_digits(file, gigabytes)
        found = measured("large", str(file), str(Path(folder) / "run"))
        print(
            f"learning from {file.stat().st_size / 2**30:.1f} GB: {found['MiB']:.0f} MiB   ({found['seconds']:.0f} s)"
        )


if __name__ == "__main__":
    main()
