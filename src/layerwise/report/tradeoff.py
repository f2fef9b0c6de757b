"""A page with the trade-off between false accepts and false rejects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from layerwise.files import write_whole
from layerwise.lens.tradeoff import Tradeoff
from layerwise.report import charts
from layerwise.report.page import asset, environment

POINTS = 200  # of the curve that are drawn


def write_tradeoff(path: Path, title: str, curve: Tradeoff, threshold: float | None) -> Path:
    """Writes the page, which fetches nothing and needs no script; returns its path. A page that is there is replaced."""
    at = None if threshold is None else curve.at(threshold)
    which = np.unique(np.linspace(0, len(curve.thresholds) - 1, POINTS).astype(int))
    points = [(100 * float(curve.accepts[i]), 100 * float(curve.rejects[i])) for i in which]
    alt = f"False rejects against false accepts; both are {100 * curve.equal_error:.1f} % at one threshold"
    chart = charts.plane(
        points, None if at is None else (100 * at[0], 100 * at[1]), x="strangers taken for somebody, %",
        y="people not known again, %", alt=alt,
    )  # fmt: skip
    page = environment().get_template("tradeoff.html.j2").render(
        title=title, style=Markup(asset("report.css")), chart=chart, curve=curve, threshold=threshold, at=at,
    )  # fmt: skip
    write_whole({path: page})
    return path
