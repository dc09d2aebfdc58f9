import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

from recalign.errors import UserError
from recalign.report.formats import write_report
from tests.report.shop import INF, write_baselines, write_run

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """The elements and attributes of a page, checked for balance while they are read."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def report_of(*directories, out):
    write_report(directories, out)
    return out.read_text()


@pytest.fixture(scope="module")
def page(shop, tmp_path_factory) -> str:
    """Two seeds of one row, another row, and baselines."""
    folder = tmp_path_factory.mktemp("runs")
    ranks = (1, 0, 3, 9, INF, 5, 0, INF)
    return report_of(
        write_run(folder / "ut-0", shop),
        write_run(folder / "ut-1", shop, seed=1, ranks=ranks),
        write_run(folder / "reat", shop, mixture="reat_shop", ranks=ranks, alone=True),
        write_baselines(folder / "baselines", {"popularity": (3, 7, 9, 20, 1, 30, 2, 11)}),
        out=folder / "report.html",
    )


def test_a_stranger_reads_first_what_was_run_and_how_sure_it_is(page):
    top = page[page.index("<h1>") : page.index("<nav")]
    assert "<h1>UT, 0.3M and ReAT, 0.3M on shop</h1>" in top
    assert "shop, test split, 8 users: 3 runs" in top
    assert "2 seeds" in top
    assert "0.7500 <small>[" in top  # ReAT's HR@10 of 6 in 8 is the best
    assert re.search(r"Best baseline: Popularity, 0\.6250; \+0\.1250 \[", top)


def test_every_section_is_there(page):
    for title in (
        "Table 1. Retrieval: shop", "Table 2. Ranking: shop", "Differences: retrieval on shop",
        "Training loss", "HR@10 of retrieval on shop by items in the history",
        "HR@10 of retrieval on shop by interactions with the item in training",
        "HR@1 of ranking on shop by place of the answer in the prompt", "ROC of ratings on shop",
        "Calibration of ratings on shop", "Beams of retrieval on shop that are an item, by place",
        "Cost of training", "How the baselines were made", "Table 7. The datasets",
        "Table 10. Samples: shop", "TRAIN_STEPS = 40", "jax 9.9.9",
    ):  # fmt: skip
        assert title in page, title


def test_markup_in_a_title_or_in_the_configuration_is_text(run_directory, page, tmp_path):
    assert page.count("<script") == 1
    escaped = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; toy"
    assert escaped in page
    (run_directory / "config.gin").write_text("X = '</pre><script>alert(2)</script>'\n")
    other = report_of(run_directory, out=tmp_path / "report.html")
    assert other.count("<script") == 1
    assert "&lt;script&gt;alert(2)" in other
    Page(other)


def test_the_page_asks_the_network_for_nothing(page):
    for tag, attributes in Page(page).elements:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:")), (tag, target)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in page
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert not re.search(r"fetch|XMLHttp|import|https?:|innerHTML", script)


def test_what_a_screen_reader_needs(page):
    elements = Page(page).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("caption") == tags.count("table") > 10
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")
    assert ("html", {"lang": "en"}) in elements
    assert {"header", "nav", "main", "footer"} <= set(tags)
    assert tags.count("h1") == tags.count("main") == 1
    figures = [attributes for tag, attributes in elements if tag == "figure"]
    assert len(figures) >= 9
    assert all(len(figure["aria-label"]) > 30 for figure in figures)
    named = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(named) == len(set(named))
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    assert links and all(link.removeprefix("#") in named for link in links)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_lines_stand_out_from_the_ground_in_light_and_dark(page):
    light, dark = re.findall(r":root \{(.*?)\}", page, re.DOTALL)[:2]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for name, least in (
            *[(name, 4.5) for name in ("ink", "soft", "accent", "good")],
            *[(f"line-{n}", 3.0) for n in range(1, 7)],
        ):
            for ground in ("paper", "raised"):
                one, other = luminance(colours[name]), luminance(colours[ground])
                contrast = (max(one, other) + 0.05) / (min(one, other) + 0.05)
                assert contrast >= least, (name, ground, contrast)


def test_colours_follow_light_and_dark(page):
    assert "prefers-color-scheme: dark" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert "var(--line-1)" in drawing
        assert not re.findall(r"(?:stroke|fill): ?#", drawing)
        # Well-formed on its own, once the name spaces that HTML implies are there.
        xml.etree.ElementTree.fromstring(
            drawing.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
        )


def test_the_same_run_gives_the_same_bytes(run_directory, tmp_path):
    first = report_of(run_directory, out=tmp_path / "a.html")
    assert report_of(run_directory, out=tmp_path / "b.html") == first


def test_beams_show_probabilities_and_mark_the_answer(page, shop):
    target = shop.targets[2]
    assert re.search(rf'class="target"><td>{target} ✓.*?</td><td>0.1839</td>', page)
    assert "and 5 more" in page
    assert re.search(r"Restricted to the candidates: I\d+, I\d+, .*; the answer was number 1", page)


def test_an_answer_without_text_is_named(run_directory, tmp_path, shop):
    lines = shop.retrieval()
    lines[0]["beams"][0] = ""
    path = run_directory / "predictions" / "retrieval_shop-test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert re.search(r"<td><em[^>]*>empty</em></td><td>0.5000</td>", page)


def test_a_run_without_the_dataset_says_what_is_left_out(run_directory, tmp_path):
    config = (run_directory / "config.gin").read_text()
    (run_directory / "config.gin").write_text(re.sub("DATA_DIR = .*", "DATA_DIR = 'x'", config))
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert "The prepared dataset shop is not at hand" in page
    assert "Table 7" not in page.replace("no Tables 7 and 10", "")
    assert "by place of the answer in the prompt" in page
    Page(page)


def test_a_run_that_is_not_at_its_end_has_curves_alone(run_directory, tmp_path):
    (run_directory / "results.json").unlink()
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert "ut: not evaluated yet" in page
    assert "Training loss" in page
    Page(page)


def test_damaged_results_are_refused_and_the_old_page_stays(run_directory, tmp_path):
    out = tmp_path / "report.html"
    before = report_of(run_directory, out=out)
    (run_directory / "results.json").write_text('{"tasks": ')
    with pytest.raises(UserError, match="results.json: not JSON"):
        write_report([run_directory], out)
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Counts what the page loaded, sorts Table 1 by its last column, filters Table 10.
PROBE = """<script>
addEventListener("load", () => {
  const loaded = performance.getEntriesByType("resource").map((e) => e.name);
  const table = document.querySelector("#table-1-shop");
  const names = () => [...table.tBodies[0].rows].map((r) => r.cells[0].textContent).join();
  table.querySelector("thead tr:last-child th:last-child button").click();
  const sorted = names();
  const filter = document.querySelector("input[type=search]");
  const rows = [...filter.nextElementSibling.querySelector("tbody").rows];
  filter.value = rows[1].cells[0].textContent.trim().toUpperCase();
  filter.dispatchEvent(new Event("input"));
  const out = document.createElement("output");
  out.textContent = JSON.stringify({ loaded, sorted, alerts: window.alerts || 0,
    rows: rows.map((row) => [row.textContent, !row.hidden]), wanted: filter.value,
    width: innerWidth,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth });
  top.document.body.append(out);
});
</script></body>"""


def dumped(file: pathlib.Path, folder: pathlib.Path, width: int) -> str:
    """The document as the browser has it in the end."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}"]
    outcome = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120)
    return outcome.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_script_runs_under_the_pages_own_policy(page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page)
    assert '<th scope="col"><button' in dumped(file, tmp_path, 1280)
    file.write_text(page.replace('"use strict";', '"use strict"; '))  # no longer what was hashed
    assert "<button" not in dumped(file, tmp_path, 1280)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_loads_nothing_sorts_filters_and_does_not_overflow(page, tmp_path, width):
    page = page.replace("<head>", "<head><script>window.alert = () => window.alerts = 1</script>")
    page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", PROBE)
    # A window of less than 500 pixels is none that a browser on a desk opens; a frame is.
    frame = f'<iframe style="width: {width}px; border: 0" srcdoc="{html.escape(page)}"></iframe>'
    file = pathlib.Path(tmp_path / "page.html")
    file.write_text(f"<!doctype html><body>{frame}</body>")
    shown = dumped(file, tmp_path, 1400)
    found = json.loads(html.unescape(re.search(r"<output>(.*?)</output>", shown)[1]))
    assert found["loaded"] == []
    assert found["alerts"] == 0
    assert (found["width"], found["wide"]) == (width, 0)
    assert found["sorted"].split(",")[0].startswith("ReAT")
    wanted = [found["wanted"].lower() in text.lower() for text, _ in found["rows"]]
    assert [shown for _, shown in found["rows"]] == wanted
    assert 0 < sum(wanted) < len(wanted)
