import csv
import io
import re
import shutil
import subprocess

import pytest

from recalign.report.formats import as_csv, as_latex, as_markdown, write_report
from recalign.report.tables import Cell, Table
from tests.report.shop import write_baselines, write_run

HOSTILE = '<script>alert(1)</script> | a_b * 50 % & $x$ #1 {y} \\z ~ ^ "q" `c` [l](u)'
TABLE = Table(
    key="table-1-x",
    title="Table 1. Hostile",
    groups=(("HR@5", 2),),
    columns=("system", "paper", "ours"),
    rows=(
        (Cell(HOSTILE), Cell("0.1", 0.1), Cell("0.3", 0.3, "best", "± 0.1")),
        (Cell("b"), Cell("—"), Cell("0.2", 0.2, "second")),
    ),
    notes=("A note.",),
)


def test_markdown():
    text = as_markdown("On *this*", ["One."], [TABLE])
    assert text.startswith("# On \\*this\\*\n\nOne.\n\n## Table 1. Hostile\n\n")
    assert "| system | HR@5, paper | HR@5, ours |\n| --- | ---: | ---: |\n" in text
    assert "| **0.3** ± 0.1 |" in text
    assert "| b | — | <u>0.2</u> |" in text
    assert "<script>" not in text
    # Bars in a text do not make columns.
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_comma_separated_values_give_everything_back():
    rows = list(csv.DictReader(io.StringIO(as_csv([TABLE]))))
    assert len(rows) == 4
    assert rows[1] == {
        "table": "table-1-x", "row": HOSTILE, "group": "HR@5", "column": "ours",
        "text": "0.3", "value": "0.3", "mark": "best", "note": "± 0.1",
    }  # fmt: skip
    assert rows[2]["value"] == ""


@pytest.mark.parametrize(
    "name", ["=cmd|'/C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1"]
)
def test_a_name_is_no_formula(name):
    """Not in a spreadsheet that opens the file; numbers with a sign stay numbers."""
    table = Table("k", "t", ("system", name), ((Cell(name), Cell("-0.5", -0.5)),))
    _, row = csv.reader(io.StringIO(as_csv([table])))
    assert row[1] == row[3] == f"'{name}"
    assert row[4:6] == ["-0.5", "-0.5"]


def test_latex_is_balanced_and_escaped():
    text = as_latex("T", [TABLE])
    assert r"\multicolumn{2}{c}{HR@5}" in text
    assert r"\textbf{0.3} {\footnotesize $\pm$ 0.1}" in text
    assert r"\underline{0.2}" in text
    assert r"\textless{}script\textgreater{}alert(1)" in text
    assert r"50 \% \& \$x\$ \#1 \{y\} \textbackslash{}z" in text
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    begun, ended = (re.findall(rf"\\{word}\{{([\w*]+)\}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended) == ["table*", "tabular"]
    # As many columns in every row.
    rows = [
        line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    ]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {2}


@pytest.fixture
def directories(shop, tmp_path):
    run = write_run(tmp_path / "run", shop)
    return [run, write_baselines(tmp_path / "b", {"popularity": (3, 7, 9, 20, 1, 30, 2, 11)})]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX")
def test_latex_compiles(directories, tmp_path):
    write_report(directories, tmp_path / "tables.tex", format="tex")
    tables = (tmp_path / "tables.tex").read_text() + as_latex("T", [TABLE])
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\n\\begin{{document}}\n{tables}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert outcome.returncode == 0, outcome.stdout.decode("latin-1")[-2000:]


@pytest.mark.parametrize("form", ["md", "csv", "tex"])
def test_every_format_holds_the_figures(directories, tmp_path, form):
    out = tmp_path / f"report.{form}"
    write_report(directories, out, format=form)
    text = out.read_text()
    for figure in ("0.6250", "0.5000", "70.00"):
        assert figure in text
    assert "Popularity" in text
