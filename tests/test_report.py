"""The page: drawn from report.json and nothing else, safe, self-contained, and readable by everybody everywhere."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import warnings
import wave
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from layerwise import DBNClassifier, NetworkClassifier, NetworkRegressor, RBMTransformer, explain
from layerwise.data import Dataset, Row
from layerwise.data.spectrogram import SoundRow
from layerwise.data.tokens import TextRow
from layerwise.health import HealthWarning
from layerwise.report import charts, pictures, render
from layerwise.report.page import all_scripts, asset

X, Y = load_digits(return_X_y=True)
X = X / 16
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "</script><b>", "&lt;", "' onload='x",
           "http://evil.example/", "javascript:alert(1)", "a" * 200, "日本語")  # fmt: skip
METHODS = [
    {"method": "Net", "errors": [0.2, 0.3, 0.25], "seconds": 3.0, "this": True, "note": "small"},
    {"method": "Other", "errors": [0.1, 0.25, 0.15], "seconds": 0.1},
]
SECTIONS = ["summary", "comparison", "learning", "weights", "keeping", "dreams", "mistakes", "map", "health", "method"]
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the values of <data>, and whether all that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.blocks: dict[str, str] = {}  # what scripts with an id hold
        self.inert: set[int] = set()  # elements inside templates, by their place among all
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "template" in self.open:
            self.inert.add(len(self.elements))
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and "id" in self.elements[-1][1]:
            self.blocks[self.elements[-1][1]["id"]] = data
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def overview(self) -> list[tuple[str, dict[str, str]]]:
        """The elements that are there before another page is opened."""
        return [each for at, each in enumerate(self.elements) if at not in self.inert]

    def sections(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.overview if tag == "section"]

    def leads(self, address: str) -> bool:
        """Whether the page has what `address` names."""
        unit = re.fullmatch(r"#/(.+)/unit/(\d+)", address)
        if unit:
            return int(unit[2]) < json.loads(self.blocks[f"data-{unit[1]}"])["units"]
        ids = {attributes.get("id") for _, attributes in self.elements}
        return address == "#/" or address[1:] in ids | {each.get("data-route") for each in self.all("template")}


def spoken() -> tuple[NetworkClassifier, Dataset]:
    """Made-up spectrograms of two classes, and a convolutional net that hardly knows them."""
    row, random = SoundRow.of(4000, bands=12, seconds=0.4), np.random.RandomState(0)
    y = random.randint(2, size=60)
    x = random.rand(60, *row.shape) + (np.arange(12) < 6 * y[:, None])[..., None]
    levels = (row.low or 0) + ((row.high or 0) - (row.low or 0)) * x / 2
    data = Dataset(levels.astype(np.float32), y, ("high", "low"), row, "hums")
    net = NetworkClassifier("cnn", shape=(1, *row.shape), layers=(4,), epochs=1, rate=1e-4, random_state=0)
    return net.fit(data.matrix(), data.y), data


def written() -> tuple[NetworkClassifier, Dataset]:
    """Texts of two classes, one of them hostile, and an LSTM that hardly knows them."""
    texts = np.array([f"{word} film, {HOSTILE[0]}" for word in ("good", "bad")] * 30)
    row = TextRow(form="words").fitted(texts)
    data = Dataset(texts, np.arange(60) % 2, ("liked", "not"), row, "films")
    net = NetworkClassifier("lstm", vocabulary=row.ids, layers=(4,), epochs=1, rate=1e-5, random_state=0)
    return net.fit(data.matrix(), data.y), data


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a net of images, of a table with hostile names, of a net without labels, of sounds, of texts and of values."""
    base = tmp_path_factory.mktemp("reports")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)
        quick: dict[str, Any] = {"pretrain_epochs": 3, "up_down_epochs": 1, "epochs": 5, "random_state": 0}
        net = DBNClassifier((20, 16), **quick).fit(X[:300], Y[:300])
        table = DBNClassifier((8,), visible="gaussian", **quick).fit(X[:300, 20:30], np.array(HOSTILE)[Y[:300]])
        rbm = RBMTransformer(16, epochs=3, random_state=0).fit(X[:300])
    image = Dataset((16 * X[1000:1120]).astype(np.uint8).reshape(-1, 8, 8), Y[1000:1120].astype(np.int64), tuple("0123456789"),
                    Row("image", (8, 8), low=0, high=16), "digits", "the rows from 1000 on")  # fmt: skip
    rows = Dataset(X[1000:1120, 20:30], Y[1000:1120].astype(np.int64), HOSTILE, Row("table", (10,), names=HOSTILE), HOSTILE[0],
                   HOSTILE[1])  # fmt: skip
    explain(net, image, base / "image", comparison=METHODS, training=(X[:300], Y[:300]))
    explain(table, rows, base / "hostile", comparison=[{"method": HOSTILE[1], "errors": [0.5], "note": HOSTILE[0]}])
    explain(rbm, X[1000:1050], base / "bare", row=Row("image", (8, 8), low=0, high=1))
    sound, sounds = spoken()
    explain(sound, sounds, base / "sound")
    text, texts = written()
    explain(text, texts, base / "text")
    values, columns = NetworkRegressor(layers=(6,), epochs=3, random_state=0), X[:, 20:30]
    values.fit(columns[:300], X[:300, :2] + columns[:300, :2])
    explain(
        values,
        (columns[1000:1060], X[1000:1060, :2] + columns[1000:1060, :2]),
        base / "values",
        row=rows.row,
        answers=4,
    )
    return {each.name: each for each in base.iterdir()}


@pytest.fixture(params=["image", "hostile", "bare", "sound", "text", "values"])
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def found_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


# -- the page is drawn from report.json --------------------------------------------------------------------------------


def test_the_page_is_a_function_of_report_json(folder: Path) -> None:
    assert render(found_in(folder)) == page_of(folder)


def numbers(value: Any) -> Iterator[float]:
    """All numbers, and the lengths of all lists."""
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, list):
        yield len(value)
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


def test_every_number_on_the_page_is_in_report_json(folder: Path) -> None:
    known, shown = set(numbers(found_in(folder))), Page(page_of(folder)).all("data")
    assert len(shown) > 50
    assert {float(each["value"]) for each in shown} <= known


def test_sections_are_those_that_apply(folders: dict[str, Path]) -> None:
    assert Page(page_of(folders["image"])).sections() == SECTIONS
    bare = Page(page_of(folders["bare"]))
    assert bare.sections() == [
        "summary",
        "learning",
        "weights",
        "keeping",
        "map",
        "health",
        "method",
    ]
    assert "RBMTransformer does not classify" in bare.text and "Not on this page" in bare.text


def test_sounds_can_be_heard_and_texts_read(folders: dict[str, Path]) -> None:
    page, found = Page(page_of(folders["sound"])), found_in(folders["sound"])
    heard = [each["src"] for each in page.all("audio")]
    assert heard and all(each.startswith("data:audio/wav;base64,") for each in heard)
    row, sounds = found["keeping"]["examples"][0], found["gallery"]["sounds"]
    with wave.open(io.BytesIO(base64.b64decode(sounds[str(row)]))) as file:
        assert file.getframerate() == 4000 and 0.3 < file.getnframes() / 4000 < 0.5
    assert "media-src data:" in page_of(folders["sound"])
    wrong = found_in(folders["text"])["mistakes"]["confused"][0]["rows"][0]
    assert ("good" if wrong % 2 == 0 else "bad") + " film" in Page(page_of(folders["text"])).text


def test_every_section_says_how_and_how_far_to_trust(folder: Path) -> None:
    for section in re.findall(r"<section id=\"(\w+)\".*?</section>", page_of(folder), re.DOTALL):
        body = re.search(rf"<section id=\"{section}\".*?</section>", page_of(folder), re.DOTALL)
        assert body is not None
        if section != "method":
            assert len(re.findall(r"<dt>(How|Trust)</dt><dd>\s*\S", body[0])) == 2, section


def test_the_best_method_is_marked_also_when_it_is_not_ours(folders: dict[str, Path]) -> None:
    text = page_of(folders["image"])
    best = re.findall(r'<tr class="best">.*?</tr>', text, re.DOTALL)
    assert len(best) == 1 and "Other" in best[0] and "this page" not in best[0]
    assert "not the model of this page" in text


# -- it is safe and holds all it needs ---------------------------------------------------------------------------------


def test_nothing_is_fetched(folder: Path) -> None:
    page = Page(page_of(folder))
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert re.match(r"(data:|#|$)", attributes.get(name, "")), attributes
        assert not any(name.startswith("on") for name in attributes)
    for block in page.blocks.values():
        assert all(
            address.startswith("data:image/png;base64,") for address in re.findall(r'"address":"([^"]{20,})"', block)
        )
    assert not re.search(
        r"url\((?!\"\$\{sheet\.address\}\")|@import|fetch\(|XMLHttpRequest|WebSocket",
        asset("report.css") + all_scripts(),
    )
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_hostile_names_are_text(folders: dict[str, Path]) -> None:
    page = Page(page_of(folders["hostile"]))
    assert not page.wrong and not page.open
    blocks = [each for each in page.all("script") if each.get("type") == "application/json"]
    assert len(page.all("script")) == len(blocks) + 1 and not any(each.get("src") == "x" for each in page.all("img"))
    for name in HOSTILE:
        assert name in page.text or name in "".join(value for _, a in page.elements for value in a.values())
    assert json.loads(page.blocks["gallery"])["classes"] == sorted(HOSTILE)


def test_html_is_well_formed_and_told_to_those_who_do_not_see_it(folder: Path) -> None:
    page = Page(page_of(folder))
    assert not page.wrong and not page.open
    assert all("alt" in each for each in page.all("img"))
    assert all(each.get("aria-label") is not None for each in page.all("svg"))
    assert all("scope" in each for each in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(page.leads(each["href"]) for each in page.all("a") if "href" in each)
    levels = [int(tag[1]) for tag, _ in page.overview if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_letters_stand_out_from_their_ground(scheme: int) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    blocks = re.findall(r":root \{(.*?)\}", asset("report.css"), re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[0] + (blocks[1] if scheme else "")))
    for ground in ("paper", "sheet"):
        for ink in ("ink", "muted", "accent", "warn", "above-text", "below-text"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["accent-soft"]) >= 4.5
    assert min(contrast("#ffffff", colours[cell]) for cell in ("right3", "right4")) >= 4.5


# -- answers -----------------------------------------------------------------------------------------------------------


def templates(folder: Path) -> dict[str, str]:
    return dict(
        re.findall(r'<template data-route="(/answers?(?:/\d+)?)".*?>(.*?)</template>', page_of(folder), re.DOTALL)
    )


@pytest.mark.parametrize("name", ["image", "hostile", "sound", "text", "bare", "values"])
def test_every_answer_has_a_page_and_every_map_its_checks(folders: dict[str, Path], name: str) -> None:
    pages, answers = templates(folders[name]), found_in(folders[name])["answers"]
    assert set(pages) == {"/answers"} | {f"/answer/{answer['row']}" for answer in answers["each"]}
    for answer in answers["each"]:
        page = pages[f"/answer/{answer['row']}"]
        assert f'href="#/answer/{answer["row"]}"' in pages["/answers"]
        cards = re.findall(r'<article class="map-card.*?</article>', page, re.DOTALL)
        for card, shown in zip(cards, [shown for asked in answer["asked"] for shown in asked["maps"]], strict=True):
            assert "taken away" in card and "given back" in card and "shuffled net" in card
            assert ("not to be trusted" in card) == ('class="map-card failed"' in card) == bool(shown["failures"])
            assert all(
                str(Page(f"<p>{reason}</p>").text)[1:20] in Page(card).text for reason in shown["failures"].values()
            )
        assert ("<audio" in page) == (name == "sound")
        assert ("nothing there</th>" in page) == (name in ("bare", "values"))
        for asked in answer["asked"] if name == "bare" else []:
            address = f"#/{answers['page']}/unit/{asked['number']}"
            assert asked["kind"] == "direction" or f'href="{address}"' in page
    for note in answers["methods"]:
        assert not note["refused"] or note["refused"] in Page(pages["/answers"]).text


def test_what_gives_no_answer_has_no_pages_of_answers(folders: dict[str, Path]) -> None:
    told = found_in(folders["image"]) | {"answers": None}
    assert 'data-route="/answer' not in render(told) and 'data-route="/ladder' in render(told)


def test_how_well_values_are_foretold_stands_at_the_top(folders: dict[str, Path]) -> None:
    summary = re.search(r'<section id="summary".*?</section>', page_of(folders["values"]), re.DOTALL)
    assert summary is not None and summary[0].count("Variance explained, output") == 2


# -- charts and pictures -----------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_even_and_reach_around(low: float, span: float, about: int) -> None:
    ticks = charts.nice_ticks(low, low + span, about)
    slack = 1e-6 * (abs(low) + span)
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack and 2 <= len(ticks) <= about + 3
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0], rtol=1e-3)


def test_charts_take_what_is_extreme() -> None:
    drawn = [
        charts.line_chart([{"values": [0.0], "style": "train"}], x="x", y="y", alt="one epoch"),
        charts.line_chart([{"values": [1e9, 1e-9, -5.0], "style": "train"}], x="x", y="y", alt="wide"),
        charts.over_layers(
            [{"values": [0.0, 1e-30], "style": "train"}], ["a", "b"], log=True, y="y", alt="nothing arrives"
        ),
        charts.over_layers(
            [{"values": [None, 0.0], "low": [None, 0.0], "high": [None, 1e9], "style": "train"}],
            ["a", "b" * 99],
            y="y",
            alt="a gap",
        ),
        charts.table_of([[None, 2.0], [-1.0, 1.0]], ["a", "b" * 99], alt="beyond its ends"),
        charts.over_layers([{"values": [0.0], "style": "train"}], ["a"], log=True, y="y", alt="nothing at all"),
        charts.bars([{"name": "a", "value": 0.0, "shown": "0", "style": "plain"}], top=0.0, x="x", alt="none"),
        charts.histogram([0.0, 1.0], [0], x="x", y="y", alt="empty"),
        charts.scatter([(1.0, 1.0)], ["c0"], [], alt="one row"),
        charts.strip([0.0], 0.0, 1.0, "ours", alt="perfect"),
    ]
    for each in drawn:
        assert not Page(each).wrong and "nan" not in each and "inf" not in each


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_pictures_hold_what_was_drawn(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(opened(pictures.plain_picture(pixels))), pixels)


def test_signed_pictures_show_sign_by_colour_and_size_by_cover() -> None:
    values = np.arange(-127, 128, dtype=np.int16).astype(np.int8)[None]
    drawn = np.asarray(opened(pictures.signed_picture(values)).convert("RGBA"))[0]
    assert drawn[127, 3] == 0 and drawn[0, 3] == drawn[254, 3] == 255  # nothing at zero, everything at the ends
    assert (np.diff(drawn[127:, 3].astype(int)) >= 0).all() and (np.diff(drawn[:128, 3].astype(int)) <= 0).all()
    assert tuple(drawn[254, :3]) == pictures.ABOVE and tuple(drawn[0, :3]) == pictures.BELOW


@pytest.mark.parametrize("shape", [(7, 3, 2), (1, 3, 2), (10, 2, 2, 3)])
def test_a_sheet_holds_every_picture_at_its_place(shape: tuple[int, ...]) -> None:
    all_of_them = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    address, across = pictures.sheet(all_of_them)
    sheet, (height, width) = np.asarray(opened(address)), shape[1:3]
    for at, each in enumerate(all_of_them):
        y, x = at // across * height, at % across * width
        assert np.array_equal(sheet[y : y + height, x : x + width], each)


# -- in a browser ------------------------------------------------------------------------------------------------------

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens a report from disk, offline; what the console says and what is asked of the network must stay empty."""
    contexts, said, asked = [], [], []

    def go(folder: Path, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: asked.append(request.url) if not request.url.startswith(("file:", "data:")) else 0,
        )
        page.goto((folder / "report.html").as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == [] and asked == []


@pytest.mark.browser
def test_the_page_opens_from_disk_without_a_network(visit: Any, folder: Path) -> None:
    page = visit(folder)
    assert page.title() and page.locator("section:visible").count() >= 7
    loaded = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert all(loaded) and (loaded or folder.name == "text")  # an LSTM of words has nothing to draw


@pytest.mark.browser
def test_nothing_sticks_out_sideways(visit: Any, folder: Path) -> None:
    page = visit(folder, 360, "dark")
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    for width in (360, 600, 768, 1119, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width < 1120:  # the contents stay in view, so they must be one line
            assert page.evaluate("document.querySelector('.contents').offsetHeight") < 64


@pytest.mark.browser
@pytest.mark.parametrize("name", ["image", "sound", "text", "hostile", "bare", "values"])
def test_pages_of_answers_open_by_their_address_and_fit(visit: Any, folders: dict[str, Path], name: str) -> None:
    page, answers = visit(folders[name], 360), found_in(folders[name])["answers"]["each"]
    first, second = answers[0]["row"], answers[1]["row"]
    page.goto(f"{(folders[name] / 'report.html').as_uri()}#/answer/{first}")
    assert f"Row {first}" in page.locator("h1:visible").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("link", name="next →").click()
    assert f"Row {second}" in page.locator("h1:visible").inner_text()
    page.get_by_role("link", name="Answers").last.click()
    assert page.locator(".answer-list a:visible").count() == len(answers)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.browser
def test_pointing_at_a_row_shows_it(visit: Any, folders: dict[str, Path]) -> None:
    page, gallery = visit(folders["image"]), found_in(folders["image"])
    at = 17
    row = gallery["map"]["rows"][at]
    page.locator(".map-frame").first.scroll_into_view_if_needed()
    page.locator(".map-frame").first.locator("circle").nth(at).hover(force=True)
    tip = page.locator("#tip")
    assert tip.is_visible() and "answer:" in tip.inner_text()
    shown = int(re.search(r"row (\d+)", tip.inner_text())[1])  # type: ignore[index]  # maybe a neighbour that lies on top
    column, line = page.evaluate("['--i', '--j'].map(name => +tip.querySelector('.pic').style.getPropertyValue(name))")
    sheet = np.asarray(
        opened(page.evaluate("getComputedStyle(tip.querySelector('.pic')).backgroundImage.slice(5, -2)"))
    )
    drawn = sheet[8 * line : 8 * line + 8, 8 * column : 8 * column + 8]
    assert np.array_equal(drawn, np.rint(255 * X[1000 + shown].reshape(8, 8)))
    assert abs(gallery["map"]["rows"].index(shown) - at) < len(gallery["map"]["rows"]) and row >= 0
    page.mouse.move(0, 0)
    assert not tip.is_visible()


@pytest.mark.browser
def test_maps_answer_to_the_keyboard_and_classes_can_be_picked_out(visit: Any, folders: dict[str, Path]) -> None:
    page = visit(folders["image"])
    page.locator(".legend button").nth(3).focus()
    page.keyboard.press("Enter")
    assert page.locator(".legend button").nth(3).get_attribute("aria-pressed") == "true"
    faded = page.locator(".map-frame").first.locator("circle.faded").count()
    assert faded == sum(true != 3 for true in Y[1000:1120])
    page.keyboard.press("Enter")
    assert page.locator("circle.faded").count() == 0
    page.locator(".map-frame").nth(1).focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator("#tip").is_visible() and page.locator("#tip").inner_text() != first
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


@pytest.mark.browser
def test_maps_show_any_layer_and_open_the_pages_of_answers(visit: Any, folders: dict[str, Path]) -> None:
    page, found = visit(folders["image"]), found_in(folders["image"])
    panels = {(panel["space"], panel["method"]): panel for panel in found["map"]["panels"]}
    spaces = page.locator("#space option").all_inner_texts()
    assert (
        spaces == ["Input", "Code of layer 1", "Code of layer 2"] and page.locator("#space").input_value() == spaces[-1]
    )
    page.select_option("#space", "Input")
    frame = page.locator('.map-frame[data-method="PCA"]')
    drawn = np.array(
        frame.locator("circle").evaluate_all(
            "all => all.map(dot => [+dot.getAttribute('cx'), +dot.getAttribute('cy')])"
        )
    )
    points = panels["Input", "PCA"]["points"]
    assert np.abs(drawn - charts.placed(points, points)).max() <= 0.051
    assert "Input, PCA" in page.locator(".map figcaption").all_inner_texts()[1]
    page.check("#pictured")
    assert frame.locator(".pictures .pic").count() > 20
    page.uncheck("#pictured")
    rows, paged = found["map"]["rows"], [answer["row"] for answer in found["answers"]["each"]]
    assert set(paged) <= set(rows) and frame.locator(".paged").count() == len(paged)
    frame.locator("circle").nth(rows.index(paged[0])).click(force=True)
    page.wait_for_function("location.hash.startsWith('#/answer/')")  # or that of a neighbour on top of it
    assert int(page.evaluate("location.hash").rpartition("/")[2]) in paged


@pytest.mark.browser
def test_the_page_can_be_read_without_scripts(browser: Any, folders: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((folders["image"] / "report.html").as_uri())
    assert page.locator("section").count() == len(SECTIONS) and page.locator("svg.chart").count() > 10
    assert page.locator("#tip").is_hidden()
    context.close()


# -- pages with addresses of their own ---------------------------------------------------------------------------------


def visible(page: Any) -> str:
    """The heading of the page that is seen."""
    return page.locator("h1:visible").inner_text()


@pytest.mark.browser
def test_every_page_opens_by_its_address_and_every_link_leads_somewhere(visit: Any, folder: Path) -> None:
    page, ways = visit(folder), {"#/"}
    base, seen = (folder / "report.html").as_uri(), set()
    while ways - seen and len(seen) < 60:
        way = min(ways - seen, key=lambda each: (each.count("/"), each))
        seen.add(way)
        page.goto(base + way)
        assert visible(page) and "no such page" not in visible(page).lower(), way
        ways |= {
            each
            for each in page.locator("a:visible").evaluate_all("all => all.map(a => a.hash)")
            if each.startswith("#/")
        }
    assert any("/unit/" in each for each in seen)


@pytest.mark.browser
def test_back_leads_to_where_one_was(visit: Any, folders: dict[str, Path]) -> None:
    page = visit(folders["image"])
    overview = page.title()
    page.locator('.contents a[href="#/layer1"]').click()
    assert visible(page) == "Layer 1" and page.title() == f"Layer 1 · {overview}"
    assert page.locator('.contents a[aria-current="page"]').get_attribute("href") == "#/layer1"
    page.locator('a[href="#/layer1/unit/7"]:visible').first.click()
    assert "Unit 7" in visible(page)
    page.go_back()
    assert visible(page) == "Layer 1"
    page.go_back()
    assert page.locator("#overview").is_visible() and page.title() == overview


@pytest.mark.browser
@pytest.mark.parametrize("way", ["#/nowhere", "#/layer1/unit/999", "#/layer9/unit/1", "#/answer/x"])
def test_an_unknown_address_is_told(visit: Any, folders: dict[str, Path], way: str) -> None:
    page = visit(folders["image"])
    page.goto((folders["image"] / "report.html").as_uri() + way)
    assert visible(page) == "There is no such page"
    page.get_by_role("link", name="Go to the overview").click()
    assert page.locator("#overview").is_visible()


@pytest.mark.browser
def test_a_section_of_the_overview_opens_by_its_address(visit: Any, folders: dict[str, Path]) -> None:
    page = visit(folders["image"])
    page.goto((folders["image"] / "report.html").as_uri() + "#/layer1")
    page.locator('.contents a[href="#health"]').click()
    assert page.locator("#health").is_visible() and page.locator("#health").bounding_box()["y"] < 450


@pytest.mark.browser
def test_units_can_be_put_in_order(visit: Any, folders: dict[str, Path]) -> None:
    page, layer = visit(folders["image"]), found_in(folders["image"])["layers"][0]
    page.goto((folders["image"] / "report.html").as_uri() + "#/layer1")
    tiles = page.locator(".units a")
    assert tiles.count() == layer["units"] == 20
    for name, figure in (
        ("selectivity", np.abs(np.array(layer["told"]["auc"]) - 0.5)),
        ("activity", np.array(layer["active"])),
    ):
        page.get_by_role("button", name=name).click()
        shown = [int(each.rsplit("/", 1)[1]) for each in tiles.evaluate_all("all => all.map(a => a.hash)")]
        assert sorted(shown) == list(range(20)) and (np.diff(figure[shown]) <= 1e-9).all()


@pytest.mark.browser
def test_a_unit_has_its_rows_classes_connections_and_what_changes(visit: Any, folders: dict[str, Path]) -> None:
    page, layer = visit(folders["image"]), found_in(folders["image"])["layers"][1]
    page.goto((folders["image"] / "report.html").as_uri() + "#/layer2/unit/5")
    assert page.title().startswith("Unit 5 of Layer 2")
    kinds = ("strongest", "typical", "weakest")
    shown = page.locator(".rows:visible small").all_inner_texts()
    assert [int(each.rsplit(" ", 1)[1]) for each in shown] == [row for kind in kinds for row in layer[kind][5]]
    inputs = page.locator(".wires:visible").first.locator("a").evaluate_all("all => all.map(a => a.hash)")
    assert inputs == [f"#/layer1/unit/{unit}" for unit in layer["inputs"]["units"][5]][: len(inputs)] and inputs
    off = page.locator("#page table tbody tr").first.locator("td").nth(1).inner_text()
    assert off.startswith(f"{100 * layer['ablation']['changed'][0]['accuracy'][5]:.1f}")
    moved = page.locator("#page [data-slot=ablation] .wires a").evaluate_all("all => all.map(a => a.hash)")
    above = layer["ablation"]
    assert moved == [f"#/{above['address']}/unit/{unit}" for unit in above["changed"][0]["most"][5]] and len(moved) == 5
    if layer["dreamed"] is not None:
        slot, shown = page.locator("#page [data-slot=dreamed]"), layer["dreamed"]
        assert (
            slot.locator(".pic").count() == shown["each"] if 5 in shown["unit"] else slot.locator("code").is_visible()
        )
    assert page.locator("#page .framed .box").count() == 12 and page.locator("#page .pic.large").is_visible()
    page.locator(".wires:visible a").first.click()
    assert page.url.endswith(inputs[0]) and visible(page) == f"Unit {inputs[0].rsplit('/', 1)[1]}"


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_sticks_out_sideways(visit: Any, folder: Path, width: int) -> None:
    page, layers = visit(folder, width), found_in(folder)["layers"]
    for way in ["#/ladder", *(f"#/{each['address']}" for each in layers), f"#/{layers[-1]['address']}/unit/1"]:
        page.goto((folder / "report.html").as_uri() + way)
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, way
