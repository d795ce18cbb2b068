"""Opens the page and the pictures of `loadgen timeline` in a real browser, from files and with no network."""

import contextlib
import json
import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
# One client at a time: the first holds the worker for 300 ms.
TRACE = [
    dict(t=0, event="start", model="sequential", mode="echo", address="127.0.0.1:1", pid=1),
    dict(t=1, event="wait", call="accept4", **{"for": ["listener"]}),
    dict(t=50, event="wake", call="accept4", ready=["listener"], ns=49_000_000),
    dict(t=50.02, event="accept", client=1, fd=5),
    dict(t=50.03, event="wait", call="recvfrom", client=1, **{"for": ["client 1"]}),
    dict(t=350, event="wake", call="recvfrom", ready=["client 1 readable"], ns=299_970_000),
    dict(t=350.01, event="read", client=1, bytes=6),
    dict(t=350.03, event="write", client=1, bytes=6),
    dict(t=350.05, event="close", client=1, why="the client <b>has</b> closed"),
    dict(t=350.06, event="wait", call="accept4", **{"for": ["listener"]}),
    dict(t=400, event="wake", call="accept4", ready=["a request to stop"], ns=49_000_000),
    dict(t=400.01, event="exit", why="the server stops"),
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("timeline")
    lines = [{"t_ns": int(1e12 + line.pop("t") * 1e6), "worker": "main", **line} for line in map(dict, TRACE)]
    (directory / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([BINARIES / "loadgen", "timeline", "trace.jsonl"], cwd=directory, check=True,
                   stdout=subprocess.DEVNULL, timeout=100)
    return directory


@contextlib.contextmanager
def opened(browser, path, look):
    context = browser.new_context(
        offline=True, color_scheme="dark" if look == "dark" else "light",
        viewport={"width": 390, "height": 800} if look == "phone" else {"width": 1280, "height": 900})
    page = context.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith("file:") else None)
    page.goto(path.as_uri())
    yield page
    assert faults == []
    context.close()


@pytest.fixture(params=["light", "dark", "phone"])
def page(request, drawn, browser):
    with opened(browser, drawn / "timeline.html", request.param) as page:
        yield page


def blocked(page):
    return page.locator("#picture rect.blocked")


def test_all_is_in_view_and_nothing_sticks_out(page):
    assert page.locator("#picture text.name").all_text_contents() == ["client 1", "main"]
    assert blocked(page).count() == 1
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0


def test_what_is_pointed_at_says_what_it_is_and_how_long(page):
    blocked(page).hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "main is blocked in recvfrom for client 1: 300 ms" in tip.inner_text()
    assert tip.inner_text() == page.locator("#said").inner_text()
    box, stage = tip.bounding_box(), page.locator("#stage").bounding_box()
    assert box["x"] >= stage["x"] and box["x"] + box["width"] <= stage["x"] + stage["width"] + 1


def test_text_of_the_trace_is_only_text(page):
    assert page.locator("#picture b, #tip b, #said b").count() == 0


def test_zoom_by_wheel_and_buttons(page):
    before = blocked(page).bounding_box()["width"]
    page.locator("#in").click()
    page.locator("#in").click()
    wider = blocked(page).bounding_box()["width"]
    # It fills the window, and is cut where the window ends.
    assert wider > before
    ticks = page.locator("#picture .grid text").all_text_contents()
    assert len(ticks) >= 2 and "0" not in ticks, ticks
    page.locator("#all").click()
    assert abs(blocked(page).bounding_box()["width"] - before) < 1
    blocked(page).hover()
    page.mouse.wheel(0, -300)
    assert blocked(page).bounding_box()["width"] > before
    page.locator("#all").click()


def test_time_to_scale(page):
    lane = page.locator("#picture rect.works")
    stretched = [box["width"] for box in (one.bounding_box() for one in lane.all()) if box]
    page.locator("#scale").check()
    plain = [box["width"] for box in (one.bounding_box() for one in lane.all()) if box]
    assert max(plain) < max(stretched), "what takes microseconds is thin"
    room = blocked(page).bounding_box()["width"] / page.locator("#picture rect.waits").first.bounding_box()["width"]
    assert 5.5 < room < 6.7, "300 ms and 49 ms"


def test_the_keyboard_does_all(page):
    page.locator("#picture").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#said").inner_text().startswith("client 1 is connected")
    page.keyboard.press("ArrowDown")
    said = page.locator("#said").inner_text()
    assert said.startswith("main "), said
    before = blocked(page).bounding_box()["width"]
    page.keyboard.press("+")
    assert blocked(page).bounding_box()["width"] > before
    page.keyboard.press("0")
    assert abs(blocked(page).bounding_box()["width"] - before) < 1
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize("look", ["light", "dark"])
def test_a_picture_in_a_document_has_the_readers_colours(drawn, browser, look, tmp_path):
    (tmp_path / "document.html").write_text('<!doctype html><img src="timeline.svg" alt="">')
    (tmp_path / "timeline.svg").write_bytes((drawn / "timeline.svg").read_bytes())
    with opened(browser, drawn / "timeline.svg", look) as page:
        colour = page.locator(".page").evaluate("page => getComputedStyle(page).fill")
        assert colour == ("rgb(15, 19, 24)" if look == "dark" else "rgb(255, 255, 255)")
    with opened(browser, tmp_path / "document.html", look) as page:
        assert page.locator("img").evaluate("img => img.complete && img.naturalWidth") == 800


def test_pictures_are_well_formed(drawn):
    pictures = [drawn / "timeline.svg", *(ROOT / "docs" / "pictures").glob("*.svg")]
    for picture in pictures:
        root = ElementTree.parse(picture).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg", picture
        assert root.get("aria-label"), picture
