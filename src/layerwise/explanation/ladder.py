"""Layer by layer: gradient, health, rank, probe, reconstruction, information and similarity, beside other nets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from layerwise import lens
from layerwise.explanation.look import Look, address
from layerwise.findings import Ladder, Living, Probed, Rung, Side
from layerwise.lens.information import SHARES
from layerwise.lens.similarity import Alignment

ROWS = 10_000  # rows that are looked at
NUMBERS = 64_000_000  # and numbers in them
THIS = "this net"


def of(look: Look, more: Sequence[nn.Module], beside: Mapping[str, Sequence[nn.Module]]) -> Ladder | None:
    """The ladder of the net and of others with the same layers; None (with the reason) for too few rows.

    Arguments:
        look: At the net.
        more: Further nets of the same kind, for bands.
        beside: Other kinds of nets, by name.
    """
    subject = look.subject
    index = np.sort(np.random.RandomState(look.seed).permutation(len(look.came))[: _count(subject.features)])
    nets = [subject.module, *more, *(net for each in beside.values() for net in each)]
    try:
        found = lens.ladder(
            nets, subject.given(look.came.tensor(index)), look.came.y[index] if len(look.came.known) else None,
            layers=subject.stages, loss=subject.loss, seed=look.seed,
        )  # fmt: skip
    except ValueError as error:
        look.left_out["Ladder"] = str(error)
        return None
    look.left_out.update(_in_short(found.left_out, len(found.layers)))
    if not len(look.came.known):
        look.left_out["Linear probes"] = "no row has a label"
    ends = np.cumsum([0, 1 + len(more), *(len(each) for each in beside.values())])
    names = [THIS if not more else f"{1 + len(more)} nets like this one", *beside]
    parts = [slice(int(low), int(high)) for low, high in zip(ends, ends[1:], strict=False)]
    return Ladder(
        rows=len(index), rungs=[_rung(look, at, rung) for at, rung in enumerate(found.nets[0])],
        sides=[_side(name, found, part) for name, part in zip(names, parts, strict=True)],
        between={name: _diagonal((found.between or [])[part.start - 1]) for name, part in zip(names, parts, strict=True)
                 if part.start},
        shares=list(SHARES),
        processing=[step for step in found.processing[0] if step.verdict == "broken"], calibration=found.calibration,
    )  # fmt: skip


def _in_short(left_out: Mapping[str, str], layers: int) -> dict[str, str]:
    """One line in place of the same reason for every layer."""
    short = {"Probe": "Linear probes", "Information": "Information"}
    told = Counter((what.partition(" of ")[0], why) for what, why in left_out.items())
    whole = {key for key, count in told.items() if count == layers}
    each = {what: why for what, why in left_out.items() if (what.partition(" of ")[0], why) not in whole}
    return {**{short[kind]: why for kind, why in whole}, **each}


def _count(features: int) -> int:
    return max(100, min(ROWS, NUMBERS // features))


def _diagonal(found: Alignment) -> list[float]:
    return [float(value) for value in found.value.diagonal()]


def _rung(look: Look, at: int, rung: lens.Rung) -> Rung:
    label = look.input_name if at == 0 else look.subject.labels[at - 1]
    where = "" if at == 0 else address(look.subject.stages[at - 1])
    reading, lives = rung.reading, rung.vitals
    probe = None if reading is None else Probed(
        reading.accuracy, reading.low, reading.high, reading.chance, reading.null, reading.null_high, reading.fitted,
        reading.held
    )  # fmt: skip
    life = None if lives is None else Living(
        lives.units, lives.rows, lives.kind, lives.guessed, lives.dead, lives.saturated, lives.constant,
        None if math.isnan(lives.flat) else lives.flat, lives.rank, lives.rank_cap, lives.gradient, lives.states, lives.weights,
    )  # fmt: skip
    rebuilt = None if rung.rebuilt is None else rung.rebuilt.share
    return Rung(label, where, rung.width, rung.groups, life, probe, rebuilt, list(rung.information))


def _side(name: str, found: lens.Ladder, part: slice) -> Side:
    ladder = lens.Ladder(found.layers, found.nets[part], found.similarity[part], None, [], [], {})
    bands = {
        figure: [(band.mean, *band.ends) for band in each]
        for figure, each in ladder.figures.items()
        if any(not math.isnan(band.mean) for band in each)
    }
    alike = found.similarity[part.start]
    return Side(name, part.stop - part.start, bands, alike.value, alike.error)
