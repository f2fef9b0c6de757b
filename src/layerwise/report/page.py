"""The page: templates, style and script put together into one file that fetches nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from layerwise.findings import unpack
from layerwise.report import charts, pictures

GENERATOR = '<meta name="generator" content="layerwise'
TILE, SMALL, NARROW, LARGE, WIDE = 48, 32, 27, 168, 214  # pixels: about how wide a picture is shown
COLOURS = 10
SCRIPTS = ("tools", "map", "units", "routes")  # assets/*.js, in the order in which they build on each other
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
THIN = "\u202f"  # narrow space that does not break


def render(found: dict[str, Any]) -> str:
    """The page as HTML, given what `Explanation.to_dict` returns or `report.json` holds.

    Everything that a data set could bring along (names of classes, columns, notes) is escaped; the page's security policy
    allows no address outside, and no script but its own.
    """
    style, script = asset("report.css"), all_scripts()
    look = {"Page": Page(found), "found": found, "charts": charts, "signed_picture": pictures.signed_picture}
    return environment().get_template("report.html.j2").render(
        look, style=Markup(style), script=Markup(script), policy=_policy(script), **found
    )  # fmt: skip


def asset(name: str) -> str:
    """The text of a file in `report/assets`."""
    return resources.files("layerwise.report").joinpath("assets", name).read_text(encoding="utf-8")


def all_scripts() -> str:
    """The one script of the page, made of all files of `SCRIPTS`."""
    return "".join(['"use strict";\n(() => {\n', *(asset(f"{name}.js") for name in SCRIPTS), "})();\n"])


def _policy(script: str) -> str:
    """What the page may load: nothing; pictures, styles and the one script are inside it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def environment() -> jinja2.Environment:
    """Where templates are found, and what they may call."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("layerwise.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
    )  # fmt: skip
    filters = (
        breakable,
        digits,
        figure,
        fixed,
        largest,
        percent,
        plural,
        points,
        shade,
        short,
        signed,
        time,
        turned,
        whole,
    )
    environment.filters |= {each.__name__: each for each in filters}
    return environment


# -- numbers: each stands in a <data> element with its exact value ------------------------------------------------------


def tagged(value: float, words: str) -> Markup:
    """The words, with the value as report.json has it.

    Example:
        >>> print(tagged(0.0342, "3 %"))
        <data value="0.0342">3 %</data>
    """
    return Markup('<data value="{}">{}</data>').format(repr(value), words)


def figure(value: float | None, count: int = 3) -> Markup:
    """A number with so many digits.

    Example:
        >>> figure(0.01234).striptags(), figure(None).striptags()
        ('0.0123', '–')
    """
    return Markup("–") if value is None else tagged(value, digits(value, count))


def digits(value: float, count: int = 3) -> str:
    """A number with so many digits, as plain text.

    Example:
        >>> digits(0.01234), digits(-0.00001234), digits(2.0)
        ('0.0123', '−1.23 × 10⁻⁵', '2.00')
    """
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{count - 1}e}".split("e")
        words = f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"
    else:
        places = max(count - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
        words = f"{value:,.{places}f}"
    return words.replace(",", THIN).replace("-", "−")


def percent(value: float | None, places: int = 1) -> Markup:
    """A share as per cent.

    Example:
        >>> percent(0.0342).striptags()
        '3.4 %'
    """
    if value is None:
        return Markup("–")
    return tagged(value, f"{100 * value:.{places}f}{THIN}%".replace("-", "−"))


def short(value: float) -> Markup:
    """A number with up to four digits, as on an axis.

    Example:
        >>> short(1.0).striptags(), short(0.123456).striptags()
        ('1', '0.1235')
    """
    return tagged(value, charts.number(float(f"{value:.4g}")))


def points(value: float) -> Markup:
    """A difference of shares, in percentage points.

    Example:
        >>> points(0.0123).striptags()
        '1.2'
    """
    return tagged(value, f"{100 * value:.1f}".replace("-", "−"))


def fixed(value: float | None, places: int = 3) -> Markup:
    """A number with so many places.

    Example:
        >>> fixed(0.9996).striptags(), fixed(-0.0001).striptags()
        ('1.000', '0.000')
    """
    return Markup("–") if value is None else tagged(value, f"{value:z.{places}f}".replace("-", "−"))


def whole(value: int | None) -> Markup:
    """A count.

    Example:
        >>> whole(60000).striptags()
        '60 000'
    """
    return Markup("–") if value is None else tagged(value, f"{value:,}".replace(",", THIN))


def signed(value: float | None, places: int = 2) -> Markup:
    """A number with its sign.

    Example:
        >>> signed(-0.5).striptags()
        '−0.50'
    """
    return Markup("–") if value is None else tagged(value, f"{value:+.{places}f}".replace("-", "−"))


def time(seconds: float | None) -> Markup:
    """Seconds as people say them.

    Example:
        >>> time(4.21).striptags(), time(200.0).striptags(), time(9000.0).striptags()
        ('4.2 s', '3.3 min', '2.5 h')
    """
    if seconds is None:
        return Markup("–")
    size, unit = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
    amount = seconds / size
    return tagged(seconds, f"{amount:.0f}{THIN}{unit}" if amount >= 100 else f"{amount:.2g}{THIN}{unit}")


def plural(count: int, one: str, many: str = "") -> Markup:
    """A count with its noun.

    Example:
        >>> plural(1, "row").striptags(), plural(2, "class", "classes").striptags()
        ('1 row', '2 classes')
    """
    return whole(count) + Markup("\u00a0") + escape(one if count == 1 else many or one + "s")


def breakable(name: str) -> Markup:
    """A name that may go on in the next line behind its dots and underscores.

    Example:
        >>> breakable("layer_norm.0")
        Markup('layer_<wbr>norm.<wbr>0')
    """
    return Markup("<wbr>").join(re.findall(r"[^._]*[._]?", name)[:-1])


def in_words(value: str) -> str:
    """The first letter small, as inside a sentence."""
    return value[:1].lower() + value[1:]


# -- tables ------------------------------------------------------------------------------------------------------------


def turned(rows: list[list[Any]]) -> list[list[Any]]:
    """Columns for rows.

    Example:
        >>> turned([[1, 2], [3, 4]])
        [[1, 3], [2, 4]]
    """
    return [list(column) for column in zip(*rows, strict=True)]


def largest(values: list[float], names: list[str], count: int) -> list[tuple[str, float]]:
    """The names of the largest values, whatever their sign.

    Example:
        >>> largest([0.1, -2.0, 1.0], ["a", "b", "c"], 2)
        [('b', -2.0), ('c', 1.0)]
    """
    return sorted(zip(names, values, strict=True), key=lambda each: -abs(each[1]))[:count]


def shade(count: int, total: int, right: bool) -> str:
    """The style of a cell of the confusion matrix, by its share of the row.

    Example:
        >>> shade(95, 100, True), shade(2, 100, False), shade(0, 100, False)
        ('right4', 'wrong1', 'zero')
    """
    limits = (0.5, 0.8, 0.9) if right else (0.03, 0.08, 0.2)
    return (
        "zero" if not count else f"{'right' if right else 'wrong'}{1 + sum(count > limit * total for limit in limits)}"
    )


def _sweep(rung: dict[str, Any], about: str) -> list[dict[str, Any]]:
    """The bounds by samples of a layer's information, for all noises."""
    return [each for each in rung["information"] if each["about"] == about and each["method"] == "samples"]


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


# -- what templates ask of the findings --------------------------------------------------------------------------------


class Page:
    """Look-ups and pictures for the templates; holds no figures of its own."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        gallery = found["gallery"]
        self.at = {number: at for at, number in enumerate(gallery["numbers"])}
        self.thumbnails = None if gallery["pictures"] is None else unpack(gallery["pictures"])

    @property
    def image(self) -> bool:
        """Whether rows have pictures."""
        return self.thumbnails is not None

    @functools.cached_property
    def sheet(self) -> tuple[str, int]:
        """All pictures of rows in one, and how many stand beside each other in it."""
        assert self.thumbnails is not None
        return pictures.sheet(self.thumbnails)

    @property
    def on_black(self) -> bool:
        """Whether the ground of most pictures of rows is dark."""
        return self.thumbnails is not None and float(np.median(self.thumbnails)) < 128

    def place(self, number: int) -> tuple[int, int]:
        """Column and line of a row's picture on the sheet."""
        line, column = divmod(self.at[number], self.sheet[1])
        return column, line

    @property
    def tall(self) -> float:
        """Height of a row's picture over its width."""
        assert self.thumbnails is not None
        return float(self.thumbnails.shape[1]) / float(self.thumbnails.shape[2])

    def alt(self, number: int) -> str:
        """A row in words."""
        return f"row {number}" + (f", {self.name(self.true(number))}" if self.true(number) >= 0 else "")

    def name(self, code: int) -> str:
        """The name of a class."""
        return str(self.found["classes"][code])

    def text(self, number: int, letters: int = 160) -> str:
        """What a row says, if it is a text."""
        texts = self.found["gallery"]["texts"]
        return charts.shortened(texts[self.at[number]], letters) if texts else ""

    def sound(self, number: int) -> str:
        """The address of a row that can be heard; "" of others."""
        sound = self.found["gallery"]["sounds"].get(str(number), "")
        return f"data:audio/wav;base64,{sound}" if sound else ""

    def true(self, number: int) -> int:
        """The class of a row, -1 if it has no label."""
        return int(self.found["gallery"]["true"][self.at[number]])

    def classes_of(self, rows: list[int]) -> str:
        """The classes of some rows, the most frequent first, in words."""
        counts = Counter(self.true(row) for row in rows if self.true(row) >= 0).most_common()
        return ", ".join(f"{count} × {self.name(code)}" for code, count in counts)

    def unpack(self, packed: dict[str, Any]) -> np.ndarray:
        """An array of pictures."""
        return unpack(packed)

    def plain_pictures(self, packed: dict[str, Any]) -> Any:
        """The addresses of all pictures in an array, nested like it."""
        return self._nested(unpack(packed), len(packed["shape"]) - (self.thumbnails.ndim - 1))  # type: ignore[union-attr]

    def _nested(self, array: np.ndarray, depth: int) -> Any:
        return pictures.plain_picture(array) if depth == 0 else [self._nested(each, depth - 1) for each in array]

    def width(self, packed: dict[str, Any] | None = None, wanted: int = TILE) -> int:
        """How wide a picture is shown: a whole multiple of its pixels near `wanted`; large ones up to 2 `wanted`."""
        own = int((packed or self.found["gallery"]["pictures"])["shape"][2])
        return min(own, 2 * wanted) if own > wanted else own * round(wanted / own)

    @property
    def widths(self) -> dict[str, int]:
        """How wide pictures of weights and of rows are shown, also on narrow screens."""
        weights = self.found["weights"][0]["pictures"] or self.found["gallery"]["pictures"]
        return {
            "weights": self.width(weights), "weights-narrow": self.width(weights, NARROW), "row": self.width(),
            "row-narrow": self.width(wanted=NARROW), "small": self.width(wanted=SMALL),
            "large": self.width(wanted=LARGE if self.tall > 0.7 else WIDE),
        }  # fmt: skip

    def colour(self, code: int) -> str:
        """The style of a class."""
        return "none" if code < 0 else f"c{code % COLOURS}"

    def heat(self, values: list[list[float | None]], scale: float) -> str:
        """Signed values, one row per inner list, as a picture; the deepest colour stands for `scale` and more."""
        array = np.array([[0.0 if value is None else value for value in row] for row in values])
        return pictures.signed_picture(np.rint((array / (scale or 1)).clip(-1, 1) * 127).astype(np.int8))

    def points(self, panel: dict[str, Any]) -> Markup:
        """A panel of the map."""
        rows = self.found["map"]["rows"]
        styles = [self._style(row) for row in rows]
        labels = [
            (charts.shortened(self.name(code), 16), self.colour(code), place) for code, place in self._middles(panel)
        ]
        words = f"Map of the {in_words(panel['space'])} by {panel['method']}: {len(rows)} rows, coloured by class"
        return charts.scatter(panel["points"], styles, labels, alt=words)

    def _middles(self, panel: dict[str, Any]) -> list[tuple[int, list[float]]]:
        """Classes whose names stand on the map, and where; none where there are too many."""
        found = [(code, place) for code, place in enumerate(panel["middles"]) if place[0] is not None]
        return found if len(found) <= 20 else []

    def map_data(self) -> dict[str, Any]:
        """What the script needs to show other layers on the map: places on the plane, in tenths."""
        panels = [self._plane(panel) for panel in self.found["map"]["panels"]]
        paged = {answer["row"] for answer in (self.found["answers"] or {"each": []})["each"]}
        rows = self.found["map"]["rows"]
        return {"rows": rows, "panels": panels, "paged": [row for row in rows if row in paged]}

    def _plane(self, panel: dict[str, Any]) -> dict[str, Any]:
        def tenths(wanted: list[list[float]]) -> list[int]:
            return [round(10 * each) for place in charts.placed(panel["points"], wanted) for each in place]

        shown = "" if panel["shown"] is None else f"; {percent(panel['shown'], 0).striptags()} of the variance"
        said = f"trustworthiness {fixed(panel['trust']).striptags()}{shown}"
        middles = [place for _, place in self._middles(panel)]
        return {"space": panel["space"], "method": panel["method"], "said": said, "points": tenths(panel["points"]),
                "middles": tenths(middles)}  # fmt: skip

    def _style(self, row: int) -> str:
        true, said = self.true(row), self.found["gallery"]["said"][self.at[row]]
        return self.colour(true) + (" wrong" if -1 not in (true, said) and true != said else "")

    @property
    def on_map(self) -> list[int]:
        """Classes that rows of the map have."""
        return sorted({self.true(row) for row in self.found["map"]["rows"]} - {-1})

    # Answers

    @functools.cached_property
    def trained(self) -> list[str]:
        """The addresses of the pictures of training rows."""
        return [pictures.plain_picture(each) for each in unpack(self.found["answers"]["training"]["pictures"])]

    def main_maps(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """The maps of what was asked about an answer, but for contrasts."""
        return [shown for asked in answer["asked"] if asked["kind"] != "contrast" for shown in asked["maps"]]

    def coloured(self, shown: dict[str, Any], parts: list[dict[str, Any]]) -> Markup:
        """Words, coloured by the values of a map."""
        word, scale = Markup('<span class="{}" style="--v: {:.2f}" title="{}">{}</span>{}'), shown["scale"] or 1
        return Markup("").join(
            word.format("up" if value >= 0 else "down", abs(value) / scale, digits(value), part["name"], part["join"])
            for part, value in zip(parts, shown["values"], strict=True)
        )  # fmt: skip

    def gap(self, share: float | None) -> Markup:
        """How far a map misses its sum; nothing where none is promised."""
        if share is None:
            return Markup("")
        return tagged(share, f"gap {'under 0.1' if share < 0.001 else f'{100 * share:.1f}'}{THIN}%")

    def sentence(self, reasons: Iterable[str]) -> str:
        """Reasons as one sentence."""
        told = "; ".join(reasons)
        return told[:1].upper() + told[1:] + "."

    def in_words(self, name: str) -> str:
        """As inside a sentence."""
        return in_words(name)

    # Layers

    def series(self, figure: str, styles: list[str], share: float) -> list[dict[str, Any]]:
        """A figure of all sides of the ladder over the layers; empty if none has it."""
        found = []
        for side, style in zip(self.found["ladder"]["sides"], itertools.cycle(styles)):
            if figure in side["bands"]:
                bands = side["bands"][figure]
                mean, low, high = ([_times(each[at], share) for each in bands] for at in range(3))
                found.append(
                    {"values": mean, "style": style} | ({"low": low, "high": high} if side["nets"] > 1 else {})
                )
        return found

    def probes(self, styles: list[str]) -> list[dict[str, Any]]:
        """Accuracies of the linear probes in per cent: with the interval of this net, of others, and for shuffled labels."""
        series, probes = self.series("probe", styles, 100), [rung["probe"] for rung in self.found["ladder"]["rungs"]]

        def of(key: str) -> list[float | None]:
            return [_times(probe[key] if probe else None, 100) for probe in probes]

        if "low" not in series[0]:
            series[0] |= {"low": of("low"), "high": of("high")}
        return [{"values": of("null"), "style": "null"}, *series]

    def told(self, about: str) -> dict[str, Any] | None:
        """Bounds of an information over the layers, for the least noise at which no bound is at its cap."""
        layers = [_sweep(rung, about) for rung in self.found["ladder"]["rungs"]]
        if not any(layers):
            return None
        at = self.noise
        middle = [each[at] if each else None for each in layers]
        series = [{"values": [each and each["lower"] for each in middle], "low": [each and each["lower"] for each in middle],
                   "high": [each and each["upper"] for each in middle], "style": "train"}]  # fmt: skip
        if about == "T;Y":
            series.insert(0, {"values": [each and each["null"] for each in middle], "style": "null"})
        first = next(each for each in middle if each)
        known = [each["upper"] for each in middle if each]
        cap = first["cap"] if about == "T;Y" or max(known) > 0.5 * first["cap"] else None
        share = self.found["ladder"]["shares"][at]
        return {"series": series, "cap": cap, "rows": first["rows"], "share": share}

    @property
    def noise(self) -> int:
        """Which noise of the sweep is drawn: the least at which no layer's information about the input is at its cap."""
        ladder = self.found["ladder"]
        sweeps = [sweep for rung in ladder["rungs"] if (sweep := _sweep(rung, "X;T"))]
        capped = [any(sweep[at]["capped"] for sweep in sweeps) for at in range(len(ladder["shares"]))]
        return capped.index(False) if False in capped else len(capped) - 1

    def gallery_data(self) -> dict[str, Any]:
        """What the script says about a row."""
        gallery = self.found["gallery"]
        data = {key: gallery[key] for key in ("numbers", "true", "said", "sure", "unusual")}
        data |= {
            "classes": self.found["classes"],
            "texts": [self.text(row) for row in gallery["numbers"]] if gallery["texts"] else [],
        }
        return data if self.thumbnails is None else data | {"across": self.sheet[1]}

    def layer_data(self, layer: dict[str, Any]) -> dict[str, Any]:
        """What the script says about the units of a layer; its pictures as sheets."""
        left = ("weights", "boxes", "liked", "dreamed")
        data = {key: value for key, value in layer.items() if key not in left}
        data |= {"boxes": unpack(layer["boxes"]).tolist() if layer["boxes"] else None, "code": self._code(layer)}
        data["sheet"] = self._sheet(unpack(layer["weights"]), True) if layer["weights"] else None
        for name in ("liked", "dreamed"):
            if layer[name]:
                found = {key: value for key, value in layer[name].items() if key != "pictures"}
                drawn = layer[name]["pictures"]
                data[name] = found | {"sheet": self._sheet(unpack(drawn), False) if drawn else None}
        return data

    @staticmethod
    def _sheet(array: np.ndarray, signed: bool) -> dict[str, Any]:
        address, across = pictures.sheet(array, signed=signed)
        return {"address": address, "across": across, "shape": array.shape[1] / array.shape[2], "width": array.shape[2]}

    def _code(self, layer: dict[str, Any]) -> str:
        """The line of Python that finds what a unit likes best; # stands for its number."""
        data = self.found["data"]
        shape = f"picture={tuple(data['shape'])}, " if self.image else ""
        low, high = (charts.number(data[end]).replace("\N{MINUS SIGN}", "-") for end in ("low", "high"))
        return f'lens.favourites(net, "{layer["name"]}", #, rows.shape[1:], {shape}low={low}, high={high})'

    @staticmethod
    def block(value: Any) -> Markup:
        """Data for the script: JSON that cannot end the element it stands in."""
        return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
