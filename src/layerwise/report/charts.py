"""Charts as SVG inside the page: readable without JavaScript, coloured by the page's own style sheet, in print too.

All are drawn 320 units wide, about as wide as a telephone, so that the letters stay legible wherever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape

Scale = Callable[[float], float]
WIDTH, HEIGHT = 320, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 26, 36


def line_chart(series: Sequence[dict[str, Any]], *, x: str, y: str, alt: str, from_zero: bool = True) -> Markup:
    """Curves over epochs 1, 2, ...

    Arguments:
        series: Each with `name`, `values` and `style` (a class of the style sheet).
        x, y: What the axes are, with their units.
        alt: The chart in words.
    """
    values = [value for each in series for value in each["values"]]
    ticks = nice_ticks(min(0.0, min(values)) if from_zero else min(values), max(values))
    epochs = max(len(each["values"]) for each in series)
    down, across = linear(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP), linear(1, max(epochs, 2), LEFT, WIDTH - RIGHT)
    parts = [_grid(ticks, down, WIDTH), *_epochs(epochs, across)]
    for each in series:
        points = [(across(epoch), down(value)) for epoch, value in enumerate(each["values"], start=1)]
        parts.append(_line(points, each["style"]) if len(points) > 1 else Markup())
        parts.append(_dot(*points[-1], each["style"]))
    return svg(parts + _axis_names(x, y), alt)


def _epochs(epochs: int, across: Scale) -> list[Markup]:
    wanted = sorted({1, epochs, *(round(tick) for tick in nice_ticks(1, epochs) if 1 < tick < 0.92 * epochs)})
    return [text(across(tick), HEIGHT - BOTTOM + 15, tick, "tick", "middle") for tick in wanted]


def plane(
    points: Sequence[tuple[float, float]], mark: tuple[float, float] | None, *, x: str, y: str, alt: str
) -> Markup:
    """A curve through points (x, y) from 0 on, with a dot at `mark`."""
    ends = [max(1e-9, *(point[axis] for point in points)) for axis in (0, 1)]
    level, upright = nice_ticks(0, ends[0]), nice_ticks(0, ends[1])
    across, down = linear(0, level[-1], LEFT, WIDTH - RIGHT), linear(0, upright[-1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(upright, down, WIDTH)]
    parts += [text(across(tick), HEIGHT - BOTTOM + 15, number(tick), "tick", "middle") for tick in level]
    parts.append(_line([(across(at), down(value)) for at, value in points], "train"))
    parts += [_dot(across(mark[0]), down(mark[1]), "train")] if mark else []
    return svg(parts + _axis_names(x, y), alt)


def over_layers(
    series: Sequence[dict[str, Any]],
    names: Sequence[str],
    *,
    y: str,
    alt: str,
    log: bool = False,
    top: float | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Figures over the layers of a net, from the input on.

    Arguments:
        series: Each with `values` and `style`, and perhaps `low` and `high`, the ends of a band. None is no figure.
        names: Of the layers.
        log: Whether the scale is logarithmic; then a value of 0 is left out.
        top: The largest value that there can be; the scale goes from 0 to it. None for as far as the values go.
        marks: Values to compare with, and their names.
    """
    tilted = 6.2 * max(map(len, names)) > (WIDTH - LEFT - RIGHT) / max(len(names), 1)
    below = 12 + min(80.0, 4.6 * max(map(len, names))) if tilted else 0.0
    height, base = HEIGHT + below, HEIGHT - 24.0
    across = linear(0, max(len(names) - 1, 1), LEFT + 18, WIDTH - RIGHT - 18)
    every = [
        value
        for each in series
        for key in ("values", "low", "high")
        for value in each.get(key) or ()
        if value is not None
    ]
    place, parts = _log_scale(every, base) if log else _plain_scale([*every, *(at for at, _ in marks)], top, base)
    parts += [_layer_name(across(at), base + 15, name, tilted) for at, name in enumerate(names)]
    parts += [piece for at, name in marks for piece in _level(place(at), name)]
    for each in series:
        usable = [at for at, value in enumerate(each["values"]) if value is not None and (value > 0 or not log)]
        if each.get("low"):
            ends = [(across(at), place(each["low"][at]), place(each["high"][at])) for at in usable]
            parts.append(_band(ends, each["style"]))
        points = [(across(at), place(each["values"][at])) for at in usable]
        parts += [
            _line(points, each["style"]) if len(points) > 1 else Markup(),
            *(_dot(*point, each["style"]) for point in points),
        ]
    return svg([*parts, text(0, 10, y, "name", "start")], alt, height)


def _log_scale(values: Sequence[float], base: float) -> tuple[Scale, list[Markup]]:
    used = [value for value in values if value > 0] or [0.1, 1.0]
    first = math.floor(math.log10(min(used)))
    last = max(math.ceil(math.log10(max(used))), first + 1)
    down = linear(first, last, base, TOP)
    powers = range(first, last + 1, max(1, -(-(last - first) // 6)))
    rules = Markup().join(_rule(down(power), LEFT, WIDTH - RIGHT) for power in powers)
    return (lambda value: down(math.log10(max(value, 10.0**first)))), [
        Markup('<g class="grid">{}</g>').format(rules),
        *(_power(power, down(power)) for power in powers),
    ]


def _plain_scale(values: Sequence[float], top: float | None, base: float) -> tuple[Scale, list[Markup]]:
    low, high = min([0.0, *values]), max([0.0, *values]) if top is None else top
    ticks = nice_ticks(low, high or 1.0)
    down = linear(ticks[0], ticks[-1], base, TOP)
    return down, [_grid(ticks, down, WIDTH)]


def _layer_name(x: float, y: float, name: str, tilted: bool) -> Markup:
    if not tilted:
        return text(x, y, name, "tick", "middle")
    turned = '<text class="tick" x="{0}" y="{1}" text-anchor="end" transform="rotate(-40 {0} {1})">{2}</text>'
    return Markup(turned).format(f(x + 4), f(y - 4), shortened(name))


def _level(y: float, name: str) -> list[Markup]:
    return [
        Markup('<path class="mark" d="M{0} {2}H{1}"/>').format(LEFT, f(WIDTH - RIGHT), f(y)),
        text(WIDTH - RIGHT, y - 4, name, "tick over", "end"),
    ]


def _band(ends: Sequence[tuple[float, float, float]], style: str) -> Markup:
    """Between two curves; for a single place a bar."""
    if len(ends) == 1:
        ((x, low, high),) = ends
        ends = [(x - 3, low, high), (x + 3, low, high)]
    there = "L".join(f"{f(x)} {f(low)}" for x, low, _ in ends)
    back = "L".join(f"{f(x)} {f(high)}" for x, _, high in reversed(ends))
    return Markup('<path class="band {}" d="M{}L{}Z"/>').format(style, there, back)


def table_of(values: Sequence[Sequence[float | None]], names: Sequence[str], *, alt: str) -> Markup:
    """A square table of values in [0, 1], such as the similarity of layers with each other: the darker the larger."""
    left = 8 + min(110.0, 6.2 * max(map(len, names)))
    side = min((WIDTH - left) / len(names), 44.0)
    parts, figures = [], side >= 26
    for line, row in enumerate(values):
        parts.append(text(left - 6, side * (line + 0.5) + 4, shortened(names[line]), "tick", "end"))
        for column, value in enumerate(row):
            if value is None:
                continue
            share = min(max(value, 0.0), 1.0)
            parts.append(Markup('<rect class="cell" x="{}" y="{}" width="{}" height="{}" style="--share: {}"/>').format(
                f(left + side * column), f(side * line), f(side - 1), f(side - 1), f"{share:.2f}"))  # fmt: skip
            if figures:
                style = "inside cell-text" if share > 0.55 else "cell-text"
                parts.append(
                    text(
                        left + side * (column + 0.5),
                        side * (line + 0.5) + 3.5,
                        f"{value:.2f}".lstrip("0") if value < 0.995 else "1",
                        style,
                        "middle",
                    )
                )
    parts += [
        Markup('<text class="tick" x="{0}" y="{1}" text-anchor="end" transform="rotate(-40 {0} {1})">{2}</text>').format(
            f(left + side * (column + 0.7)), f(side * len(names) + 10), shortened(name)) for column, name in enumerate(names)
    ]  # fmt: skip
    return svg(
        parts, alt, side * len(names) + 16 + 4.4 * min(max(map(len, names)), 18), max(WIDTH, left + side * len(names))
    )


def shortened(name: str, letters: int = 18) -> str:
    """A name that fits; of the dotted name of a part its end, which tells it from others.

    Example:
        >>> shortened("a very long name of a class"), shortened("bert.encoder.layer.11")
        ('a very long name …', '…encoder.layer.11')
    """
    if len(name) <= letters:
        return name
    for at, sign in enumerate(name):
        if sign == "." and " " not in name and len(name) - at <= letters:
            return "…" + name[at + 1 :]
    return name[: letters - 1] + "…"


def _power(power: int, at: float) -> Markup:
    return Markup(
        '<text class="tick" x="{}" y="{}" text-anchor="end">10<tspan dy="-4" class="power">{}</tspan></text>'
    ).format(LEFT - 6, f(at + 4), str(power).replace("-", "−"))


def bars(
    rows: Sequence[dict[str, Any]], *, top: float, x: str, alt: str, mark: tuple[float, str] | None = None
) -> Markup:
    """Horizontal bars from 0 to `top`; each row has `name`, `value`, `shown` (the value in words) and `style`.

    `mark` is a value to compare with, and its name.
    """
    name_width = 8 + 6.4 * max(len(str(row["name"])) for row in rows)
    left, step, above = min(110.0, max(LEFT, name_width)), 27, 22 if mark else 6
    height = above + step * len(rows) + 34
    ticks = nice_ticks(0, top, 4)
    across = linear(0, ticks[-1], left, WIDTH - RIGHT - 6)
    base = above + step * len(rows)
    parts = [Markup('<path class="axis" d="M{0} {1}V{2}"/>').format(f(left), above - 4, base)]
    for at, row in enumerate(rows):
        y, end = above + step * at + 4, across(min(row["value"], ticks[-1]))
        parts.append(text(left - 8, y + 13, row["name"], "label", "end"))
        width = max(end - left, 1)
        parts.append(
            Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="18" rx="2"/>').format(
                row["style"], f(left), y, f(width)
            )
        )
        inside = width > 7.2 * len(str(row["shown"])) + 12
        at_end = (end - 7, "value inside", "end") if inside else (end + 6, "value", "start")
        parts.append(text(at_end[0], y + 13, row["shown"], at_end[1], at_end[2]))
    if mark:
        parts += _mark(across(min(mark[0], ticks[-1])), mark[1], base)
    parts += [text(across(tick), base + 14, number(tick), "tick", "middle") for tick in ticks]
    parts.append(text((left + WIDTH - RIGHT) / 2, base + 30, x, "name", "middle"))
    return svg(parts, alt, height)


def _mark(at: float, name: str, base: float) -> list[Markup]:
    anchor = "end" if at > WIDTH / 2 else "start"
    return [
        Markup('<path class="mark" d="M{0} 16V{1}"/>').format(f(at), base),
        text(at, 11, name, "tick", anchor),
    ]


def histogram(edges: Sequence[float], counts: Sequence[int], *, x: str, y: str, alt: str) -> Markup:
    """Which share of all values lies in each bin."""
    height, total = 160, sum(counts) or 1
    shares = [count / total for count in counts]
    across = linear(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    ticks = nice_ticks(0, max(shares) * 100, 3)
    down = linear(0, ticks[-1], height - BOTTOM, TOP)
    parts = [_grid(ticks, down, WIDTH, percent=True)]
    for low, high, share in zip(edges, edges[1:], shares, strict=False):
        if share:
            top, width = down(100 * share), across(high) - across(low) - 1
            rect = '<rect class="bar plain" x="{}" y="{}" width="{}" height="{}"/>'
            parts.append(Markup(rect).format(f(across(low) + 0.5), f(top), f(width), f(height - BOTTOM - top)))
    inner = [tick for tick in nice_ticks(edges[0], edges[-1], 4) if edges[0] <= tick <= edges[-1] + 1e-9]
    parts += [text(across(tick), height - BOTTOM + 15, number(tick), "tick", "middle") for tick in inner]
    return svg(parts + _axis_names(x, y, height), alt, height)


PLANE, MARGIN = 400, 14  # of a plane of points


def placed(points: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Where some places lie on the plane of `points`, which fill it, of equal scale both ways.

    Example:
        >>> placed([(0, 0), (1, 2)], [(0.5, 1.0), (0.5, 2.0)])
        [(200.0, 200.0), (200.0, 14.0)]
    """
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    reach = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    across = linear((max(xs) + min(xs) - reach) / 2, (max(xs) + min(xs) + reach) / 2, MARGIN, PLANE - MARGIN)
    down = linear((max(ys) + min(ys) - reach) / 2, (max(ys) + min(ys) + reach) / 2, PLANE - MARGIN, MARGIN)
    return [(across(x), down(y)) for x, y in wanted]


def scatter(
    points: Sequence[Sequence[float]], styles: Sequence[str], labels: Sequence[tuple[str, str, Any]], *, alt: str
) -> Markup:
    """Points on a plane without axes, as large as fits, of equal scale both ways; labels are (name, style, (x, y)).

    The i-th circle is the i-th point, so that a script can say more about it.
    """
    size = PLANE
    dot = Markup('<circle class="{}" cx="{}" cy="{}" r="3"/>')
    dots = [dot.format(style, f(x), f(y)) for (x, y), style in zip(placed(points, points), styles, strict=True)]
    names = []
    for (name, style, _), (x, y) in zip(labels, placed(points, [each[2] for each in labels]), strict=True):
        half = min(5.0 * len(name) + 4, size / 2)  # names near an edge are moved inside
        names.append(text(min(max(x, half), size - half), y + 6, name, f"middle {style}", "middle"))
    return svg([Markup('<g class="dots">{}</g>').format(Markup("").join(dots)), *names], alt, size, size, "scatter")


def strip(errors: Sequence[float], mean: float, top: float, style: str, alt: str) -> Markup:
    """One method of a comparison, on a scale from 0 to `top`: a dot per draw, and a bar to their mean."""
    width, height = 240, 22
    across = linear(0, top, 1, width - 5)
    parts = [Markup('<rect class="to {}" x="1" y="3" width="{}" height="16"/>').format(style, f(across(mean) - 1))]
    dots = errors if len(errors) > 1 else []
    parts += [
        Markup('<circle class="draw {}" cx="{}" cy="11" r="3"/>').format(style, f(across(error))) for error in dots
    ]
    parts.append(Markup('<path class="mean {}" d="M{} 1v20"/>').format(style, f(across(mean))))
    return svg(parts, alt, height, width, "strip")


def layers(rows: Sequence[tuple[str, str, int]], *, alt: str) -> Markup:
    """The net from the data at the bottom to the answers at the top: a bar per layer; rows are (name, kind, units)."""
    step, widest = 46, 132.0
    most = max(units for _, _, units in rows)
    height = step * len(rows) - 14
    parts = []
    for at, (name, kind, units) in enumerate(reversed(rows)):
        y, width = at * step + 1, max(widest * math.sqrt(units / most), 10)
        style = "data" if at == len(rows) - 1 else "hidden"
        rect = '<rect class="layer {}" x="{}" y="{}" width="{}" height="26" rx="4"/>'
        parts.append(Markup(rect).format(style, f(70 - width / 2), y, f(width)))
        if at < len(rows) - 1:
            parts.append(Markup('<path class="arrow" d="M70 {0}v-9m-4 4l4-4l4 4"/>').format(y + 26 + 15))
        parts.append(text(152, y + 12, name, "label", "start"))
        parts.append(text(152, y + 25, kind, "tick", "start"))
    return svg(parts, alt, height, 300, "net")


# -- the pieces --------------------------------------------------------------------------------------------------------


def svg(parts: Sequence[Markup], alt: str, height: float = HEIGHT, width: float = WIDTH, style: str = "") -> Markup:
    """The whole, with its words for those who do not see it."""
    head = Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(style, f(width), f(height), alt) + Markup("").join(parts) + Markup("</svg>")


def text(x: float, y: float, words: object, style: str, anchor: str) -> Markup:
    """A line of text; `anchor` is "start", "middle" or "end"."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, f(x), f(y), anchor, escape(words)
    )


def _grid(ticks: Sequence[float], down: Scale, width: float, percent: bool = False) -> Markup:
    """Horizontal rules with their numbers."""
    rules = Markup().join(_rule(down(tick), LEFT, width - RIGHT) for tick in ticks)
    sign = " %" if percent else ""
    numbers = Markup().join(text(LEFT - 6, down(tick) + 4, number(tick) + sign, "tick", "end") for tick in ticks)
    return Markup('<g class="grid">{}</g>').format(rules) + numbers


def _rule(y: float, left: float, right: float) -> Markup:
    return Markup('<path d="M{0} {2}H{1}"/>').format(f(left), f(right), f(y))


def _line(points: Sequence[tuple[float, float]], style: str) -> Markup:
    path = "L".join(f"{f(x)} {f(y)}" for x, y in points)
    return Markup('<path class="line {}" d="M{}"/>').format(style, path)


def _dot(x: float, y: float, style: str) -> Markup:
    return Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>').format(style, f(x), f(y))


def _axis_names(x: str, y: str, height: float = HEIGHT) -> list[Markup]:
    """The horizontal axis is named below, the vertical one above it: upright, to be read without turning the head."""
    below = [text((LEFT + WIDTH - RIGHT) / 2, height - 5, x, "name", "middle")] if x else []
    return [*below, text(0, 10, y, "name", "start")]


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Maps [low, high] to [start, end]."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, evenly apart, from at or below `low` to at or above `high`.

    Example:
        >>> nice_ticks(0, 8.3)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / about))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = max(0, 1 - math.floor(math.log10(step)))
    return [round(number * step, places) for number in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """A tick's number.

    Example:
        >>> number(0.25), number(-2000.0), number(0.00001)
        ('0.25', '−2 000', '1e−5')
    """
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:,.10g}".replace(",", "\u202f").replace("-", "−").replace("\u202f", " ")


def f(value: float) -> str:
    """A coordinate.

    Example:
        >>> f(3.14159), f(2.0)
        ('3.1', '2')
    """
    return f"{value:.1f}".removesuffix(".0")
