import re

from recalign.report.charts import Line, ends, line_chart

HOSTILE = "<script>alert(1)</script> $5 & $x^{ %"


def test_what_a_name_holds_is_text():
    chart = line_chart("t", [Line(HOSTILE, [0, 1], [1.0, 2.0])], x_label="step", summary="s")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $5 &amp; $x^{ %" in chart.svg
    assert "<script" not in chart.svg


def test_lines_that_are_not_drawn_are_said_to_be():
    lines = [Line(f"run {n}", [0, 1], [0.0, n]) for n in range(8)]
    chart = line_chart("Loss", lines, x_label="step", summary="All.")
    assert chart.title == "Loss (the first 6 of 8 lines)"
    assert chart.summary == "All. 2 more are not drawn."
    assert re.findall(r"run \d", chart.svg) == [f"run {n}" for n in range(6)]


def test_ends_in_words():
    lines = [Line("a", [10, 2_000], [2.25, 1.5]), Line("b", [10], [3.0])]
    assert ends(lines, "step") == "a: 2.25 at step 10, 1.5 at step 2,000; b: 3 at step 10"
