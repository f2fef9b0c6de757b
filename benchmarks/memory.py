"""Peak memory: pre-training 16 layers against 2, and learning from a 4 GB file, a Parquet table, a folder of pictures.

The table and the folder are measured at half their size and at the whole (`--streams`): memory must not grow with them.

Counted is what the process itself holds (RssAnon and RssShmem of /proc/self/status, looked at 50 times a second): pages of a
mapped file are the system's to take back. Each case runs in a process of its own. Linux only.
"""

from __future__ import annotations

import io
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


def large(file: str, out: str, *more: str) -> None:
    """`layerwise train FILE`, two layers, one epoch each."""
    from layerwise.cli import cli

    asked = ["train", file, "--model", "autoencoder", "--layers", "200,50", "--pretrain-epochs", "1", "--epochs", "1"]
    cli([*asked, "--batch-size", "1000", "--threads", "1", "--out", out, "--quiet", *more], standalone_mode=False)


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


def write_table(path: Path, gigabytes: float) -> None:
    """A Parquet file of made-up numbers, categories and labels, a row group at a time, `gigabytes` on disk."""
    import pyarrow
    from pyarrow import parquet

    random, rows = np.random.RandomState(0), 100_000
    words, classes = np.array(["farm", "office", "sea"]), np.array(["no", "yes"])
    writer = None
    while writer is None or path.stat().st_size < gigabytes * 2**30:
        columns = {f"n{number}": random.randn(rows).astype(np.float32) for number in range(20)}
        columns |= {"work": words[random.randint(3, size=rows)], "class": classes[random.randint(2, size=rows)]}
        table = pyarrow.table(columns)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def write_pictures(folder: Path, gigabytes: float) -> None:
    """Made-up photographs of 128 x 128 in two classes: a few different ones, many times, `gigabytes` on disk."""
    from PIL import Image

    random = np.random.RandomState(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    blobs = []
    for _ in range(16):
        picture = Image.fromarray(random.randint(0, 256, (16, 16, 3), dtype=np.uint8)).resize((128, 128))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95)
        blobs.append(file.getvalue())
    count = int(gigabytes * 2**30 / np.mean([len(blob) for blob in blobs]))
    for number in range(count):
        (folder / "ab"[number % 2] / f"{number:06}.jpg").write_bytes(blobs[number % len(blobs)])


def streams(gigabytes: float) -> None:
    """Prints the peak of `layerwise train` on a table and on a folder of pictures, of half the size and of the whole."""
    for share in (0.5, 1.0):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "large.parquet"
            write_table(file, share * gigabytes)
            found = measured("large", str(file), str(Path(folder) / "run"))
            _show("Parquet table", file.stat().st_size, found)
        with tempfile.TemporaryDirectory() as folder:
            pictures = Path(folder) / "pictures"
            write_pictures(pictures, share * gigabytes)
            size = sum(each.stat().st_size for each in pictures.rglob("*.jpg"))
            found = measured("large", str(pictures), str(Path(folder) / "run"), "--size", "64x64")
            _show("folder of pictures, --size 64x64", size, found)


def _show(what: str, size: int, found: dict[str, float]) -> None:
    print(f"{what}, {size / 2**30:.2f} GB: {found['MiB']:.0f} MiB   ({found['seconds']:.0f} s)", flush=True)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of the file.")
@click.option("--streams", "streamed", is_flag=True, help="Only learning from a table and from a folder of pictures.")
@click.option("--case", type=click.Choice(["depth", "large"]), hidden=True)
@click.argument("arguments", nargs=-1)
def main(gigabytes: float, streamed: bool, case: str | None, arguments: tuple[str, ...]) -> None:
    """Measure and print."""
    if case is not None:
        peak = Peak()
        peak.start()
        depth(int(arguments[0])) if case == "depth" else large(*arguments)
        print(json.dumps(peak.mib))
        return
    if streamed:
        streams(gigabytes)
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
