"""From what should maps of spoken digits be measured: silence, the mean of each band, or the mean spectrogram?

    python benchmarks/sound_reference.py [--rows 12]

A small CNN learns the official training clips of fsdd (LAYERWISE_DATA), stretched to one length; test clips drawn at random are
explained by four methods from each reference, with the checks of the report.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import torch

from layerwise import NetworkClassifier
from layerwise.data import load
from layerwise.explanation.start import FromStart
from layerwise.lens.attribution import together

METHODS = ("Gradient × input", "Integrated gradients", "DeepLift", "Occlusion")


def main() -> None:
    """Trains, and prints a line per reference and method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=12)
    count = parser.parse_args().rows
    train, test = (load("fsdd", part, fit="stretch") for part in ("train", "test"))
    shape = train.row.shape
    net = NetworkClassifier("cnn", shape=(1, *shape), layers=(16, 32, 32), epochs=12, random_state=0)
    net.fit(train.matrix(), train.y)
    print(f"error on {len(test)} clips: {1 - net.score(test.matrix(), test.y):.1%}")
    x, clips = torch.from_numpy(train.matrix()), torch.from_numpy(test.matrix())
    chosen = clips[np.random.RandomState(0).permutation(len(clips))[:count]]
    mean = x.mean(0)
    bands = mean.view(shape).mean(1, keepdim=True).expand(shape).flatten()
    for name, reference in {"silence": torch.zeros_like(mean), "band means": bands, "mean spectrogram": mean}.items():
        module = FromStart(net.network_, None, reference).eval()
        rows = (chosen - reference).view(-1, 1, *shape)
        with torch.no_grad():
            said = module(rows).argmax(1).tolist()
            empty = module(torch.zeros_like(rows[:1])).softmax(1)[0]
        print(f"{name}: the net says class {int(empty.argmax())} to it, {float(empty.max()):.2f}")
        methods = {each: method for each, method in together.usual(module, rows).items() if each in METHODS}
        for attempt in together.side_by_side(methods, rows, said):
            assert attempt.map is not None, attempt.refused
            checks = attempt.map.checks
            failed = Counter(check for row in checks.rows for check in row.failures)
            curves = {"deletion": checks.deletion, "insertion": checks.insertion, "ROAD": checks.road}
            areas = ", ".join(
                f"{check} {c.area:.3f} (random {np.mean(c.random):.3f})" for check, c in curves.items() if c
            )
            print(
                f"  {attempt.name}: {sum(row.passed for row in checks.rows)} of {count} pass; {areas}; {dict(failed)}"
            )


if __name__ == "__main__":
    main()
