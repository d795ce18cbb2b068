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

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
CHARTS = ["idle", "connections", "load", "percentiles"]
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

# Long enough for a latency over time.
[[scenario]]
name = "long"
question = "How long?"
duration = "5s"
connections = 2
rank = "p50"

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
family = "told"

[[server]]
name = "poll"
crate = "poll"
about = "one poll loop"
family = "asking"

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


@pytest.fixture
def light(run, browser):
    with opened("light", run, browser) as page:
        yield page


@pytest.fixture(params=["light", "phone"])
def spoilt_page(request, spoilt, browser):
    with opened(request.param, spoilt, browser) as page:
        yield page


@contextlib.contextmanager
def opened(look, run, browser, fragment=""):
    context = browser.new_context(
        offline=True, color_scheme="dark" if look == "dark" else "light", accept_downloads=True,
        viewport={"width": 390, "height": 844} if look == "phone" else {"width": 1400, "height": 900})
    page = context.new_page()
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda asked: page.faults.append(asked.url) if not asked.url.startswith(("file:", "blob:")) else None)
    page.goto((run / "report.html").as_uri() + fragment)
    yield page
    if kept := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{kept}/{run.parent.name}-{look}.png", full_page=True)
    assert page.faults == []
    context.close()


def number(text):
    """The figure of a cell, without what stands around it; a dash is not a number."""
    if text == "\u2013":
        return float("nan")
    return float(re.sub(r"[^0-9.].*", "", text.replace(",", "").removeprefix(">= ").removeprefix("~ ")))


def micros(text):
    """A time of three digits with its unit, in microseconds."""
    value, unit = text.removeprefix("~ ").split()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def measured(run):
    with open(run / "summary.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] == "measured"]


def choose(page, scenario, point=None):
    page.locator("#scenarios button", has_text=re.compile(f"^{scenario}$")).click()
    if point:
        page.locator("#points button", has_text=re.compile(f"^{point}$")).click()


def ranking(page):
    """The cells of the ranking by server, in its order."""
    rows = page.locator("#ranking-table tbody tr[data-server]").all()
    return {row.get_attribute("data-server"): row.locator("td").all_inner_texts() for row in rows}


def unfold(page, *parts):
    for part in parts:
        page.evaluate("id => { document.getElementById(id).open = true; }", part)


def figures(page, chart):
    """The figures of a chart: a list of cells for each server (or range of times)."""
    page.locator(f"details.figures:has(#figures-{chart})").evaluate("part => { part.open = true; }")
    rows = page.locator(f"#figures-{chart} tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows}


def named(page, chart):
    """The servers whose names stand at the ends of their lines."""
    texts = page.locator(f"#chart-{chart} svg text").all_text_contents()
    return {text for text in texts if text in ("epoll", "poll", "missing")}


def contrast(page, colour, ground):
    """The contrast of two colours of the page, as WCAG 2 defines it."""
    def luminance(name):
        text = page.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", name)
        parts = [int(text[at:at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_finding_comes_first(page, run):
    title = page.locator("h1").inner_text()
    assert re.match(r"[\w ,]+: .*(leads|level|no difference|no other)", title), title
    assert page.locator(".badge").first.inner_text() == f"2 \u00d7 1s to 5s, {os.cpu_count()} cores" + (
        ", virtual machine" if json.loads((run / "run.json").read_text())["machine"]["virtual_machine"] else "")
    cards = page.locator(".card h2").all_inner_texts()
    assert cards == ["Busy clients", "Silent clients"], "of four scenarios two have a card"
    strip = page.locator(".card svg").first.bounding_box()
    assert strip["y"] + strip["height"] < page.viewport_size["height"], "the first picture is on the first screen"
    height, sideways = page.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth - document.documentElement.clientWidth]")
    assert sideways <= 0, "nothing sticks out of the page"
    if page.viewport_size["width"] == 1400:
        assert height <= 6000


def test_every_chart_is_drawn_and_sized(page):
    unfold(page, "percentiles", "heat")
    choose(page, "long")
    for chart in [*CHARTS, "heat"]:
        drawing = page.locator(f"#chart-{chart} svg")
        assert drawing.count() == 1, chart
        box = drawing.bounding_box()
        assert box["width"] > 250 and box["height"] > 50, (chart, box)
        assert drawing.locator("path").count() > 3, chart
        described = page.locator(f"#chart-{chart}").get_attribute("aria-label")
        assert described.endswith(".") and len(described) < 200, described
    assert page.locator("#costs-tables table").count() == 4


def test_the_ranking_shows_the_figures_on_disk(page, run):
    for row in measured(run):
        choose(page, row["scenario"], row["point"] if row["scenario"] != "long" else None)
        cells = ranking(page).get(row["server"])
        if row["verdict"] != "VALID":
            assert cells[0].startswith("not ranked: "), cells
        elif row["scenario"] == "active":
            assert number(cells[1]) == pytest.approx(float(row["requests_per_s"]), rel=0.01)
        elif name := {"load": "p99_us", "idle": "p50_us", "long": "p50_us"}[row["scenario"]]:
            if row[name]:
                assert micros(cells[1]) == pytest.approx(float(row[name]), rel=0.01)
            else:
                assert "too few requests" in cells[0]
    assert "missing" in ranking(page), "what has no result is there, with the reason"
    assert "its program is neither beside loadgen" in ranking(page)["missing"][0]


def test_a_server_is_compared_with_the_others(light, run):
    choose(light, "load", "rate-50000")
    order = [server for server, cells in ranking(light).items() if len(cells) > 1]
    if len(order) < 2:
        pytest.skip("a server has no VALID result on this machine")
    values = {row["server"]: float(row["p99_us"]) for row in measured(run) if row["point"] == "rate-50000"}
    light.locator(f"#ranking-table tr[data-server={order[0]}] button").click()
    cells = ranking(light)
    assert cells[order[0]][1] == "1"
    assert number(cells[order[1]][1]) == pytest.approx(values[order[1]] / values[order[0]], abs=0.02)
    if "no difference shown" in cells[order[1]][1]:
        assert f"to={order[0]}" in light.url
    light.locator(f"#ranking-table tr[data-server={order[0]}] button").click()
    assert "to=" not in light.url


def test_the_ranking_groups_by_family(light):
    choose(light, "active", "connections-20")
    light.locator("#by-family").check()
    headings = light.locator("#ranking-table tr.family th").all_inner_texts()
    assert set(headings) <= {"is told who is ready", "asks about all"} and headings


def test_a_view_can_be_sent(run, browser):
    with opened("light", run, browser) as page:
        choose(page, "idle", "idle-200")
        page.select_option("#metric", "max")
        page.locator("#choice summary").click()
        page.locator("#servers button[data-server=poll]").click()
        page.locator("#by-family").check()
        fragment = page.evaluate("location.hash")
        seen = [page.locator(place).inner_text() for place in ("#ranking", "#ranking-table", "#chosen-servers")]
    with opened("light", run, browser, fragment) as page:
        assert seen == [page.locator(place).inner_text() for place in ("#ranking", "#ranking-table", "#chosen-servers")]
        assert page.locator("#metric").input_value() == "max"
        assert named(page, "idle") == {"epoll"}
    with opened("light", run, browser, "#s=no-such&p=p7&c=nobody&to=me") as page:
        assert page.locator("#ranking").inner_text().startswith("Ranking: "), "a wrong view is the usual one"
    with opened("light", run, browser, "#tables") as page:
        assert page.locator("#tables table").first.is_visible(), "a link into a folded part unfolds it"


def test_lines_are_coloured_by_choice(light):
    light.locator("#choice summary").click()
    for chart in ("idle", "connections", "load"):
        assert named(light, chart) == {"epoll", "poll"}, chart
    light.locator("#servers button[data-server=epoll]").click()
    for chart in ("idle", "connections", "load"):
        assert named(light, chart) == {"poll"}, chart
    light.locator("#none").click()
    assert named(light, "idle") == set()
    light.locator("#usual").click()
    assert named(light, "idle") == {"epoll", "poll"}
    light.locator("#servers button[data-server=epoll]").focus()
    light.keyboard.press("Enter")
    assert named(light, "idle") == {"poll"}, "by the keyboard too"
    assert light.evaluate("document.activeElement.dataset.server") == "epoll", "and it stays where it was"


def test_marks_and_text_stand_out_from_the_page(page):
    for family in ("blocking", "asking", "told", "completed", "runtime", "text", "faint", "bad"):
        assert contrast(page, f"--{family}", "--page") >= 4.5, family
    assert contrast(page, "--other", "--page") >= 3


def test_the_figures_of_the_charts_are_those_on_disk(page, run):
    def same(shown, kept):
        if kept == "":
            assert shown == "\u2013", "a percentile of too few requests is a dash"
        else:
            assert number(shown) == pytest.approx(float(kept), rel=0.01, abs=0.005)

    rows = measured(run)
    for chart, scenario, points in [("load", "load", ["rate-700", "rate-2000", "rate-50000"]),
                                    ("connections", "active", ["connections-2", "connections-20"]),
                                    ("idle", "idle", ["idle-0", "idle-200"])]:
        table = figures(page, chart)
        for row in (row for row in rows if row["scenario"] == scenario):
            cell = table[row["server"]][-len(points):][points.index(row["point"])]
            same(cell, row["p99_us"])
            assert ("INVALID" in cell) == (row["verdict"] == "INVALID")
            assert (" at " in cell) == ("rate-not-reached" in row["notes"])
        assert set(table["missing"]) == {"\u2013"}
    assert " at " in figures(page, "load")["poll"][3], "no 50,000 requests a second with 50 us of work each"
    unfold(page, "percentiles", "heat")
    choose(page, "long")
    times = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"]
    for row in (row for row in rows if row["scenario"] == "long"):
        table = figures(page, "percentiles")
        label = row["server"] if row["verdict"] == "VALID" else f"{row['server']} ({row['verdict']})"
        for shown, name in zip(table[label], times, strict=True):
            same(shown, row[name])
        page.select_option("#heat-server", row["server"])
        page.select_option("#heat-trial", "1")
        trial = json.loads((run / "long" / row["server"] / row["point"] / "trial-1.json").read_text())
        assert sum(number(cell) for cells in figures(page, "heat").values() for cell in cells) == trial["response_us"]["count"]


def test_the_costs_are_those_on_disk(page, run):
    choose(page, "idle", "idle-200")
    columns = ["cpu_us_per_request", "syscalls_per_request", "switches_per_request", "memory_mib"]
    for row in (row for row in measured(run) if row["point"] == "idle-200"):
        for table, name in zip(page.locator("#costs-tables table").all(), columns, strict=True):
            line = table.locator(f"tr[data-server={row['server']}] td")
            if not row[name]:
                assert line.count() == 0
                continue
            kept = float(row[name]) * (1024 / 202 if name == "memory_mib" else 1)
            assert number(line.last.inner_text()) == pytest.approx(kept, rel=0.01, abs=0.005)


def test_the_tables_show_the_figures_on_disk(page, run):
    unfold(page, "tables")
    table = page.locator("#tables table").first
    assert len([cell for cell in table.locator("thead th").all() if cell.is_visible()]) == 6, "the server and five columns"
    page.locator("#all-columns").check()
    rows = measured(run)
    assert len(rows) == 16, "two servers at eight points"
    for row in rows:
        section = row["scenario"] if row["scenario"] == "long" else f"{row['scenario']}-{row['point']}"
        cells = page.locator(f"table[data-section^='{section}'] tr[data-server='{row['server']}'] td").all_inner_texts()
        shown = [number(cell) for cell in cells[:6]]
        names = ["requests_per_s", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"]
        kept = [float(row[name] or "nan") for name in names]
        assert shown == pytest.approx(kept, rel=0.01, nan_ok=True), (row["point"], row["server"])
        # With two trials the median rate is their mean, and the greatest time is that of one of them.
        trials = [json.loads(path.read_text()) for path in
                  sorted((run / row["scenario"] / row["server"] / row["point"]).glob("trial-*.json"))]
        if all(trial["verdict"] == "VALID" for trial in trials):
            assert shown[0] == pytest.approx(sum(trial["rate"] for trial in trials) / 2, rel=0.01)
            assert shown[5] == pytest.approx(max(trial["response_us"]["max"] for trial in trials), rel=0.01)


def test_the_matrix_unfolds(page):
    def columns():
        return [cell.inner_text().split("\n")[0] for cell in page.locator("#matrix-table thead th").all() if cell.is_visible()]

    assert columns() == ["server", "active, connections-20", "load, rate-2000", "long", "idle, idle-200"]
    page.locator("#all-points").check()
    assert len(columns()) == 9


def test_the_figures_can_be_taken_along(light, run):
    unfold(light, "about")
    with light.expect_download() as download:
        light.locator("#download-csv").click()
    assert pathlib.Path(download.value.path()).read_text() == (run / "summary.csv").read_text()
    with light.expect_download() as download:
        light.locator("#download-json").click()
    assert len(json.loads(pathlib.Path(download.value.path()).read_text())["sections"]) == 8


def test_paper_shows_all(light):
    light.emulate_media(media="print")
    light.evaluate("dispatchEvent(new Event('beforeprint'))")
    paper = light.locator("main").bounding_box()["width"]
    assert paper == 58 * 16
    assert light.locator("details:not([open])").count() == 0
    for table in light.locator(".wide").all():
        assert table.evaluate("box => getComputedStyle(box).overflow") == "visible"
    assert light.locator("#tables table").first.locator("th.more").first.is_visible()
    assert light.locator("#chart-percentiles svg").bounding_box()["width"] == paper
    assert light.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    light.evaluate("dispatchEvent(new Event('afterprint'))")
    light.emulate_media(media="screen")
    assert not light.locator("#tables table").first.is_visible()


def test_a_trial_that_is_short_has_no_latency_over_time(light):
    unfold(light, "heat")
    choose(light, "active", "connections-20")
    assert "shorter than 5 s" in light.locator("#chart-heat").inner_text()
    choose(light, "long")
    assert light.locator("#chart-heat svg").count() == 1


def test_what_failed_is_counted_at_the_top(spoilt_page):
    badges = spoilt_page.locator("a.badge").all_inner_texts()
    assert badges[0] == "1 result is FAILED"
    assert re.match(r"\d+ results? (is|are) INVALID", badges[1])


def test_invalid_rows_stand_apart_with_their_cause(spoilt_page):
    unfold(spoilt_page, "tables")
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
    choose(spoilt_page, "active", "connections-20")
    assert ranking(spoilt_page)["poll"] == ["not ranked: INVALID"]


def test_failed_rows_stand_apart_with_what_failed(spoilt_page):
    unfold(spoilt_page, "tables", "percentiles")
    table = spoilt_page.locator("table[data-section=active-connections-2]")
    group = table.locator("tbody.failed")
    assert group.locator("tr[data-server=poll] th").inner_text() == "poll (FAILED)"
    assert group.get_by_text("12 wrong answers in 2 of 2 trials").first.is_visible()
    assert table.locator("tbody.invalid").count() == 0
    choose(spoilt_page, "active", "connections-2")
    assert ranking(spoilt_page)["poll"] == ["not ranked: FAILED"]
    assert "poll (FAILED)" in figures(spoilt_page, "percentiles")


def test_a_row_that_starved_clients_leads_nothing(spoilt_page):
    unfold(spoilt_page, "tables", "percentiles")
    spoilt_page.locator("#all-columns").check()
    spoilt_page.locator("#all-points").check()
    table = spoilt_page.locator("table[data-section=active-connections-2]")
    row = table.locator("tr[data-server=epoll]")
    assert "1 of 2" in row.inner_text() and row.locator("td.best").count() == 0
    notes = spoilt_page.locator("ul[aria-label='active, connections-2, notes'] li")
    assert notes.filter(has_text="1 of 2 clients never answered").is_visible()
    matrix = spoilt_page.locator("#matrix-table tr[data-server=epoll] td")
    assert matrix.first.inner_text() == "\u2013"
    choose(spoilt_page, "active", "connections-2")
    assert ranking(spoilt_page)["epoll"] == ["not ranked: 1 unanswered"]
    assert "epoll (1 unanswered)" in figures(spoilt_page, "percentiles")


def test_notes_are_visible(spoilt_page):
    unfold(spoilt_page, "tables")
    notes = spoilt_page.locator("ul[aria-label='active, connections-20, notes'] li")
    note = notes.filter(has_text="drift: answers +30 %; 4 requests failed")
    assert note.is_visible() and note.inner_text().startswith("epoll: ")


def test_the_knee_is_shown(spoilt_page):
    table = figures(spoilt_page, "load")
    assert (table["epoll"][0], table["poll"][0], table["missing"][0]) == ("700/s", ">= 50k/s", "\u2013")
    page_colour = "#ffffff"
    hollow = spoilt_page.locator(f"#chart-load svg path[fill='{page_colour}'][stroke='#0062a3']")
    assert hollow.count() == 2, "epoll did not reach two of the rates"
