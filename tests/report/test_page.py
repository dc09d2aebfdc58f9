import html.parser
import json
import re
import xml.etree.ElementTree

import pytest

from recalign.errors import UserError
from recalign.report import write_report

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


def test_figures_references_and_shares_stand_in_the_page(run_directory, tmp_path):
    page = report_of(run_directory, out=tmp_path / "report.html")
    row = re.search(r'<th scope="row">hr@10</th>.*?</tr>', page, re.DOTALL)[0]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row) == ["0.5432", "0.1500", "0.8000", "68 %"]
    assert "3,000 examples" in page
    assert "TRAIN_STEPS = 4000" in page
    assert "6 min 36 s" in page


def test_markup_in_a_title_or_in_the_configuration_is_text(run_directory, tmp_path):
    (run_directory / "config.gin").write_text("X = '</pre><script>alert(2)</script>'\n")
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; drum" in page
    Page(page)


def test_the_page_asks_the_network_for_nothing(run_directory, tmp_path):
    page = report_of(run_directory, out=tmp_path / "report.html")
    for tag, attributes in Page(page).elements:
        for name in ("src", "href", "xlink:href", "data", "action"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:")), (tag, target)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in page


def test_what_a_screen_reader_needs(run_directory, tmp_path):
    elements = Page(report_of(run_directory, out=tmp_path / "report.html")).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("caption") == tags.count("table") > 0
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")
    assert ("html", {"lang": "en"}) in elements
    figures = [attributes for tag, attributes in elements if tag == "figure"]
    assert len(figures) == 2
    assert "at step 4,000" in figures[0]["aria-label"]
    targets = {attributes.get("id") for _, attributes in elements}
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    assert links and all(link.removeprefix("#") in targets for link in links)


def test_colours_follow_light_and_dark(run_directory, tmp_path):
    page = report_of(run_directory, out=tmp_path / "report.html")
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


def test_beams_show_probabilities_and_mark_the_answer(run_directory, tmp_path):
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert re.search(r'class="target"><td>I2 ✓.*?</td><td>0.1500</td>', page)
    assert "not among the beams" in page
    assert "and 15 more" in page
    assert "Restricted to the candidates: I5, I2, I1; the answer was number 2" in page


def test_an_answer_without_text_is_named(run_directory, tmp_path):
    (run_directory / "predictions" / "retrieval_demo-test.jsonl").write_text(
        json.dumps({"prompt": "p", "target": "I1", "beams": [""], "log_probs": [-1.0]}) + "\n"
    )
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert re.search(r"<td><em[^>]*>empty</em></td><td>0.3679</td>", page)


def test_several_runs_stand_side_by_side(run_directory, other_run_directory, tmp_path):
    results = json.loads((other_run_directory / "results.json").read_text())
    results["tasks"]["retrieval_demo"]["hr@10"] = 0.6543
    (other_run_directory / "results.json").write_text(json.dumps(results))
    page = report_of(run_directory, other_run_directory, out=tmp_path / "report.html")
    assert "2 runs side by side" in page
    row = re.search(r'<th scope="row">hr@10</th>.*?</tr>', page, re.DOTALL)[0]
    assert re.findall(r"<td>([^<]*)</td>", row) == ["0.5432", "0.6543"]
    Page(page)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("results.json", "No results.json"),
        ("metrics.jsonl", "No metrics.jsonl"),
        ("config.gin", "No config.gin"),
    ],
)
def test_a_missing_piece_is_named(run_directory, tmp_path, missing, sentence):
    (run_directory / missing).unlink()
    page = report_of(run_directory, out=tmp_path / "report.html")
    assert sentence in page
    Page(page)


def test_a_line_that_a_killed_run_left_unfinished_is_named(run_directory, tmp_path):
    with (run_directory / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 4050, "lo')
    assert "metrics.jsonl, line 89 is damaged" in report_of(
        run_directory, out=tmp_path / "report.html"
    )


def test_a_loss_that_is_no_number_leaves_the_page_whole(run_directory, tmp_path):
    with (run_directory / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 4050, "time": 1500.0, "kind": "train", "loss": NaN}\n')
    Page(report_of(run_directory, out=tmp_path / "report.html"))


def test_what_is_no_run_is_refused_and_nothing_is_written(tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(UserError, match="no such directory"):
        write_report([tmp_path / "absent"], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a run"):
        write_report([tmp_path / "empty"], out)
    assert not out.exists()


def test_damaged_results_are_refused_and_the_old_page_stays(run_directory, tmp_path):
    out = tmp_path / "report.html"
    before = report_of(run_directory, out=out)
    (run_directory / "results.json").write_text('{"tasks": ')
    with pytest.raises(UserError, match="results.json: not JSON"):
        write_report([run_directory], out)
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
