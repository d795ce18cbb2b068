"""Opens a real report.html in a real browser, from a file and with no network."""

import contextlib
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
CHARTS = ["percentiles", "load", "connections", "idle", "heat", "cpu", "syscalls", "switches", "memory"]
# Every chart of the page has something to draw.
PROFILE = """
about = "small, and of every kind"
line_up = "lineup.toml"
trials = 2
warmup = "100ms"
duration = "1s"
drain = "1s"

[[scenario]]
name = "active"
question = "How many?"
vary = { connections = [2, 20] }
rank = "rate"

[[scenario]]
name = "load"
question = "How fast?"
# At 700 a second two trials have the 1,000 requests that a p99 needs.
# One loop with 50 us of work answers at most 40,000 in the second and its drain, on any machine.
server_flags = ["--work", "50us"]
warmup = "0s"
connections = 10
vary = { rate = [700.0, 2000.0, 50000.0] }
rank = "p99"

[[scenario]]
name = "idle"
question = "Who sleeps?"
connections = 2
vary = { idle = [0, 200] }
rank = "p50"
"""
LINE_UP = """
[[server]]
name = "epoll"
crate = "epoll"
about = "one epoll loop & <level>-triggered"

[[server]]
name = "poll"
crate = "poll"
about = "one poll loop"

[[server]]
name = "missing"
crate = "no-such"
about = "is not there"
"""


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bench")
    (directory / "profile.toml").write_text(PROFILE)
    (directory / "lineup.toml").write_text(LINE_UP)
    subprocess.run(
        [BINARIES / "loadgen", "bench", "--scenario-file", directory / "profile.toml",
         "--servers-dir", BINARIES, "--out", directory / "run"],
        check=True, stdout=subprocess.DEVNULL, timeout=300)
    return directory / "run"


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def spoilt(run, tmp_path_factory):
    """The same run with results of which there is more to say."""
    directory = tmp_path_factory.mktemp("spoilt") / "run"
    shutil.copytree(run, directory)

    def change(place, **values):
        for path in (directory / place).glob("trial-*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | values))

    valid = {"verdict": "VALID", "causes": []}
    missed = "rate-not-reached: 100 of 2000 requests/s were answered"
    change("active/poll/connections-20", verdict="INVALID", causes=["generator-late", "machine-stolen"], notes=[])
    change("active/poll/connections-2", verdict="FAILED", causes=["wrong-answers"], notes=[], failed=6, mismatches=6)
    change("active/epoll/connections-2", **valid, notes=[], connections_answered=1, connections_unanswered=1)
    change("active/epoll/connections-20", **valid, notes=["drift: answers +30 %"], failed=2)
    change("load/epoll/rate-700", **valid, notes=[])
    change("load/epoll/rate-2000", **valid, notes=[missed], rate=1000.0)
    change("load/epoll/rate-50000", **valid, notes=[missed], rate=1100.0)
    for rate in (700, 2000, 50000):
        change(f"load/poll/rate-{rate}", **valid, notes=[])
    report = subprocess.run([BINARIES / "loadgen", "report", directory], stdout=subprocess.DEVNULL, timeout=100)
    assert report.returncode == 1, "a row is FAILED"
    return directory


@pytest.fixture(params=["light", "dark", "phone"])
def page(request, run, browser):
    with opened(request.param, run, browser) as page:
        yield page


@pytest.fixture(params=["light", "phone"])
def spoilt_page(request, spoilt, browser):
    with opened(request.param, spoilt, browser) as page:
        yield page


@contextlib.contextmanager
def opened(look, run, browser):
    phone = look == "phone"
    context = browser.new_context(
        offline=True, color_scheme="dark" if look == "dark" else "light",
        viewport={"width": 390, "height": 800} if phone else {"width": 1280, "height": 900})
    page = context.new_page()
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda asked: page.faults.append(asked.url) if not asked.url.startswith("file:") else None)
    page.goto((run / "report.html").as_uri())
    assert page.locator("#servers").is_visible() == (not phone), "folded where it would cover the charts"
    if phone:
        page.locator("#choice summary").click()
    yield page
    if kept := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{kept}/{run.parent.name}-{look}.png", full_page=True)
    assert page.faults == []
    context.close()


def lines_of(page, chart):
    """The series that a chart has drawn, by the colour of their strokes."""
    return set(page.locator(f"#chart-{chart} svg path[fill='none']").evaluate_all(
        "paths => paths.map(path => path.getAttribute('stroke')).filter(colour => ['#0072B2', '#D55E00'].includes(colour))"))


def points_of(page, chart, colour):
    """The points that are filled with a colour."""
    return [point.bounding_box() for point in page.locator(f"#chart-{chart} svg path[fill='{colour}']").all()]


def number(text):
    """The figure of a cell, without what stands around it; a dash is not a number."""
    if text == "\u2013":
        return float("nan")
    return float(re.sub(r"[^0-9.].*", "", text.replace(",", "").removeprefix(">= ").removeprefix("~ ")))


def measured(run):
    with open(run / "summary.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] == "measured"]


def beside(page, chart):
    """The table beside a chart: a list of cells for each server (or range of times) in it."""
    rows = page.locator(f"#beside-{chart} tbody tr").all()
    return {row.locator("th").inner_text().removesuffix(" (INVALID)"): row.locator("td").all_inner_texts() for row in rows}


def dash(page, place, colour):
    """How the first line of a colour is broken there."""
    return page.locator(f"{place} svg path[stroke='{colour}']").first.get_attribute("stroke-dasharray") or "none"


def test_every_chart_is_drawn_and_sized(page):
    for chart in CHARTS:
        drawing = page.locator(f"#chart-{chart} svg")
        assert drawing.count() == 1, chart
        box = drawing.bounding_box()
        assert box["width"] > 250 and box["height"] > 50, (chart, box)
        assert drawing.locator("path").count() > 3, chart
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, "nothing sticks out of the page"


def test_a_server_is_switched_off_and_on_everywhere(page):
    assert lines_of(page, "percentiles") == {"#0072B2", "#D55E00"}
    page.locator("input[data-server=epoll]").uncheck()
    for chart in ("percentiles", "load", "connections", "idle"):
        assert lines_of(page, chart) == {"#D55E00"}, chart
    assert page.locator("#chart-cpu svg text", has_text=re.compile("^epoll$")).count() == 0
    assert not page.locator("table[data-section] tr[data-server=epoll]").first.is_visible()
    page.locator("input[data-server=epoll]").check()
    assert lines_of(page, "percentiles") == {"#0072B2", "#D55E00"}
    assert page.locator("table[data-section] tr[data-server=epoll]").first.is_visible()


def test_the_tables_show_the_figures_on_disk(page, run):
    rows = measured(run)
    assert len(rows) == 14, "two servers at seven points"
    for row in rows:
        cells = page.locator(
            f"table[data-section='{row['scenario']}-{row['point']}'] tr[data-server='{row['server']}'] td").all_inner_texts()
        shown = [number(cell) for cell in cells[:6]]
        names = ["rate", "response_p50_us", "response_p90_us", "response_p99_us", "response_p99_9_us", "response_max_us"]
        kept = [float(row[name] or "nan") for name in names]
        assert shown == pytest.approx(kept, rel=0.01, nan_ok=True), (row["point"], row["server"])
        # With two trials the median rate is their mean, and the greatest time is that of one of them.
        trials = [json.loads(path.read_text()) for path in
                  sorted((run / row["scenario"] / row["server"] / row["point"]).glob("trial-*.json"))]
        if all(trial["verdict"] == "VALID" for trial in trials):
            assert shown[0] == pytest.approx(sum(trial["rate"] for trial in trials) / 2, rel=0.01)
            assert shown[5] == pytest.approx(max(trial["response_us"]["max"] for trial in trials), rel=0.01)


def test_another_table_changes_the_charts(page):
    before = page.locator("#chart-percentiles svg").inner_html()
    page.select_option("#section", "idle-idle-200")
    assert page.locator("#chart-percentiles svg").inner_html() != before
    page.select_option("#metric", "max")
    page.select_option("#heat-server", "poll")
    assert page.locator("#heat-trial option").count() == 2
    page.locator("#none").click()
    assert lines_of(page, "percentiles") == set()
    page.locator("#all").click()
    assert lines_of(page, "percentiles") == {"#0072B2", "#D55E00"}


def test_a_table_stands_beside_each_chart(page):
    for chart in ["percentiles", "load", "connections", "idle", "heat"]:
        table = page.locator(f"#beside-{chart}")
        drawing = page.locator(f"#chart-{chart}")
        for width in (1200, 390):
            page.set_viewport_size({"width": width, "height": 800})
            chart_box, table_box = drawing.bounding_box(), table.bounding_box()
            if width == 1200:
                assert table_box["x"] >= chart_box["x"] + chart_box["width"], chart
                assert table_box["y"] == chart_box["y"], chart
            else:
                assert table_box["x"] == chart_box["x"], chart
                assert table_box["y"] >= chart_box["y"] + chart_box["height"], chart
            assert table_box["height"] <= 26 * 16, "it scrolls in its own box"
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_tables_beside_the_charts_show_the_figures_on_disk(page, run):
    def same(shown, kept):
        if kept == "":
            assert shown == "\u2013", "a percentile of too few requests is a dash"
        else:
            assert number(shown) == pytest.approx(float(kept), rel=0.01, abs=0.005)

    rows = measured(run)
    page.select_option("#metric", "p99")
    page.select_option("#section", "idle-idle-200")
    for chart, scenario, points in [("load", "load", ["rate-700", "rate-2000", "rate-50000"]),
                                    ("connections", "active", ["connections-2", "connections-20"]),
                                    ("idle", "idle", ["idle-0", "idle-200"])]:
        table = beside(page, chart)
        for row in (row for row in rows if row["scenario"] == scenario):
            cell = table[row["server"]][-len(points):][points.index(row["point"])]
            same(cell, row["response_p99_us"])
            assert ("INVALID" in cell) == (row["verdict"] == "INVALID")
            assert (" at " in cell) == ("rate-not-reached" in row["notes"])
        assert set(table["missing"]) == {"\u2013"}
    assert " at " in beside(page, "load")["poll"][3], "no 50,000 requests a second with 50 us of work each"
    times = ["response_p50_us", "response_p90_us", "response_p99_us", "response_p99_9_us", "response_max_us"]
    costs = ["cpu_us_per_request", "syscalls_per_request", "context_switches_per_request"]
    for row in (row for row in rows if row["point"] == "idle-200"):
        for shown, name in zip(beside(page, "percentiles")[row["server"]], times, strict=True):
            same(shown, row[name])
        *shown, memory = beside(page, "costs")[row["server"]]
        for cell, name in zip(shown, costs, strict=True):
            if row[name]:
                same(cell, row[name])
            else:
                assert cell == "n/a"
        same(memory, float(row["memory_mib"]) * 1024 / 202)
        page.select_option("#heat-server", row["server"])
        page.select_option("#heat-trial", "1")
        trial = json.loads((run / "idle" / row["server"] / "idle-200" / "trial-1.json").read_text())
        assert sum(number(cell) for cells in beside(page, "heat").values() for cell in cells) == trial["response_us"]["count"]


def test_print_hides_no_figure(page):
    page.emulate_media(media="print")
    for table in page.locator(".beside, .wide").all():
        assert table.evaluate("box => getComputedStyle(box).overflow") == "visible"
        assert table.evaluate("box => getComputedStyle(box).maxHeight") == "none"


def test_print_draws_the_charts_anew_for_paper(page):
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    paper = page.locator("main").bounding_box()["width"]
    assert paper == 58 * 16
    for chart in ("percentiles", "load", "heat"):
        assert page.locator(f"#chart-{chart} svg").bounding_box()["width"] == paper, chart
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#beside-percentiles tr[data-server=epoll] svg").count() == 1, "the legend is beside the chart"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#chart-load svg").bounding_box()["width"] < paper


def test_the_charts_say_what_they_show(page):
    page.select_option("#section", "idle-idle-200")
    for heading in ("percentiles", "heat", "costs"):
        assert page.locator(f"#{heading}").inner_text().endswith(": idle, idle-200")
    for chart in CHARTS:
        described = page.locator(f"#chart-{chart}").get_attribute("aria-label")
        assert described.endswith(".") and len(described) < 200, described


def test_servers_differ_by_dash_as_well_as_by_colour(page):
    for place in ("#chart-percentiles", "#chart-load", "#servers", "#beside-load"):
        assert dash(page, place, "#0072B2") != dash(page, place, "#D55E00"), place


def test_a_server_is_shown_alone_by_the_keyboard_and_stands_out_in_all_charts(page):
    faint = "#chart-load svg path[fill='none'][stroke='#D55E00'][stroke-opacity]"
    assert page.locator(faint).count() == 0
    page.locator("[aria-label='only epoll']").focus()
    page.locator(faint).wait_for(state="attached")
    page.keyboard.press("Enter")
    assert page.locator("#chosen-servers").inner_text() == "1 of 3"
    for chart in ("percentiles", "load", "connections", "idle"):
        assert lines_of(page, chart) == {"#0072B2"}, chart


def test_the_heat_map_follows_the_switches(page):
    servers = page.locator("#heat-server option")
    assert set(servers.all_inner_texts()) == {"epoll", "poll"}
    page.locator("input[data-server=epoll]").uncheck()
    assert servers.all_inner_texts() == ["poll"]
    assert "poll" in page.locator("#chart-heat").get_attribute("aria-label")


def test_an_empty_chart_says_why(page):
    def says(text):
        for chart in CHARTS:
            assert text in page.locator(f"#chart-{chart}").inner_text(), chart
            assert page.locator(f"#beside-{chart} table").count() == 0

    page.locator("#none").click()
    says("No server is switched on")
    page.locator("input[data-server=missing]").check()
    says("None of the servers that are switched on has a result here")
    page.locator("#all").click()
    assert page.locator("#chart-cpu svg").count() == 1


def test_invalid_rows_stand_apart_with_their_cause(spoilt_page):
    table = spoilt_page.locator("table[data-section=active-connections-20]")
    group = table.locator("tbody.invalid")
    assert group.locator("tr[data-server=poll] th").inner_text() == "poll (INVALID)"
    assert table.locator("tbody").first.locator("tr").count() == 1, "only epoll is ranked"
    cause = group.get_by_text("generator-late, machine-stolen")
    # However far the table is scrolled.
    for left in (0, 10000):
        table.evaluate("(table, left) => { table.parentElement.scrollLeft = left; }", left)
        box = cause.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= spoilt_page.viewport_size["width"]
    spoilt_page.locator("input[data-server=poll]").uncheck()
    assert not group.is_visible()


def test_failed_rows_stand_apart_with_what_failed(spoilt_page):
    table = spoilt_page.locator("table[data-section=active-connections-2]")
    group = table.locator("tbody.failed")
    assert group.locator("tr[data-server=poll] th").inner_text() == "poll (FAILED)"
    assert group.get_by_text("12 wrong answers in 2 of 2 trials").first.is_visible()
    assert table.locator("tbody.invalid").count() == 0
    spoilt_page.select_option("#section", "active-connections-2")
    assert "poll (FAILED)" in beside(spoilt_page, "percentiles")


def test_a_row_that_starved_clients_leads_nothing(spoilt_page):
    table = spoilt_page.locator("table[data-section=active-connections-2]")
    row = table.locator("tr[data-server=epoll]")
    assert "1 of 2" in row.inner_text() and row.locator("td.best").count() == 0
    notes = spoilt_page.locator("ul[aria-label='active, connections-2, notes'] li")
    assert notes.filter(has_text="1 of 2 clients never answered").is_visible()
    matrix = spoilt_page.locator("#matrix-table tr[data-server=epoll] td")
    assert matrix.first.inner_text() == "\u2013"
    spoilt_page.select_option("#section", "active-connections-2")
    assert "epoll (1 unanswered)" in beside(spoilt_page, "percentiles")


def test_notes_are_visible(spoilt_page):
    notes = spoilt_page.locator("ul[aria-label='active, connections-20, notes'] li")
    note = notes.filter(has_text="drift: answers +30 %; 4 requests failed")
    assert note.is_visible() and note.inner_text().startswith("epoll: ")
    spoilt_page.locator("input[data-server=epoll]").uncheck()
    assert not note.is_visible()


def test_the_knee_is_shown(spoilt_page):
    table = beside(spoilt_page, "load")
    assert (table["epoll"][0], table["poll"][0], table["missing"][0]) == ("700/s", ">= 50k/s", "\u2013")
    sizes = {server: sorted(point["width"] for point in points_of(spoilt_page, "load", colour))
             for server, colour in (("epoll", "#0072B2"), ("poll", "#D55E00"))}
    assert len(sizes["epoll"]) == 1 and sizes["epoll"][0] > max(sizes["poll"]), "two of epoll's are hollow"
