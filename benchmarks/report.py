"""Seconds, memory, size and first paint of the report of a trained 784-500-500-2000-10 net on 10,000 rows, all pages.

    python benchmarks/report.py [--out FOLDER] [--passes 2]

The net is trained on the MNIST training part (LAYERWISE_DATA) by plain torch, which is not timed. The report is written by a
process of its own, so that its memory is its own. First paint is that of headless chromium, if it and Playwright are there.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from layerwise import explain
from layerwise.data import load


def made() -> nn.Sequential:
    """The net of Hinton & Salakhutdinov (2006), with rectified units."""
    net, sizes = nn.Sequential(), (784, 500, 500, 2000)
    for number, (below, above) in enumerate(zip(sizes, sizes[1:]), start=1):
        net.add_module(f"layer{number}", nn.Sequential(nn.Linear(below, above), nn.ReLU()))
    net.add_module("output", nn.Linear(2000, 10))
    return net.eval()


def train(passes: int) -> nn.Sequential:
    """Adam on the 60,000 training images."""
    torch.manual_seed(0)
    net, data = made(), load("mnist", "train")
    x, y = torch.from_numpy(data.matrix()), torch.from_numpy(data.y)
    how = torch.optim.Adam(net.parameters())
    for _ in range(passes):
        for at in torch.randperm(len(x)).split(128):
            how.zero_grad()
            F.cross_entropy(net(x[at]), y[at]).backward()
            how.step()
    return net


def first_paint(page: Path, address: str = "") -> float | None:
    """Seconds until chromium paints something; None if it is not there."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page()
        shown.goto(page.as_uri() + address)
        shown.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        found = shown.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        browser.close()
    return float(found)


def write(weights: Path, out: Path) -> None:
    """The part that is measured."""
    net = made()
    net.load_state_dict(torch.load(weights, weights_only=True))
    clock, processor = time.perf_counter(), time.process_time()
    explain(net, load("mnist", "test"), out)
    print(f"{time.perf_counter() - clock:.1f} s, {time.process_time() - processor:.1f} s of processor time")
    print(f"peak memory {peak():.0f} MiB")


def peak() -> float:
    """MiB that this process held at most. (On Linux ru_maxrss would count what its parent held when it was started, too.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Trains, writes and opens the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.weights and given.out:
        write(given.weights, given.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        weights, out = Path(folder) / "net.pt", given.out or Path(folder) / "report"
        torch.save(train(given.passes).state_dict(), weights)
        subprocess.run([sys.executable, __file__, "--weights", str(weights), "--out", str(out)], check=True)
        for file in sorted(out.iterdir()):
            print(f"{file.name} {file.stat().st_size / 1e6:.1f} MB")
        for address in ("", "#/layer3", "#/layer3/unit/417"):
            print(f"first paint of {address or 'the overview'}: {first_paint(out / 'report.html', address)} s")


if __name__ == "__main__":
    main()
