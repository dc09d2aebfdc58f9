"""Tables as Markdown, LaTeX and comma-separated values, safe whatever their texts hold."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from recalign.report.tables import BEST, SECOND, Cell, Table

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "Δ": r"$\Delta$",
    "—": "---", "–": "--", "³": r"$^3$", "\n": " ",
}  # fmt: skip


def as_markdown(title: str, paragraphs: Sequence[str], tables: Sequence[Table]) -> str:
    """A heading, paragraphs, and the tables as GitHub draws them."""
    blocks = [f"# {_markdown(title)}", *map(_markdown, paragraphs)]
    for table in tables:
        named = zip(_groups(table), table.columns, strict=True)
        heads = [_markdown(f"{group}, {name}" if group else name) for group, name in named]
        lines = [
            f"| {' | '.join(heads)} |",
            f"| {' | '.join(['---', *['---:'] * (len(heads) - 1)])} |",
            *(f"| {' | '.join(map(_markdown_cell, row))} |" for row in table.rows),
        ]
        blocks += [f"## {_markdown(table.title)}", "\n".join(lines), *map(_markdown, table.notes)]
    return "\n\n".join(blocks) + "\n"


def as_csv(tables: Sequence[Table]) -> str:
    """A line a cell: table, row, group (such as a metric), column, text, value, mark, note."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["table", "row", "group", "column", "text", "value", "mark", "note"])
    for table in tables:
        groups = _groups(table)
        for row in table.rows:
            for group, column, cell in zip(groups[1:], table.columns[1:], row[1:], strict=True):
                value = "" if cell.value is None else repr(float(cell.value))
                texts = [table.key, row[0].text, group, column, cell.text]
                notes = [cell.mark, cell.note]
                writer.writerow([*map(_inert, texts), value, *map(_inert, notes)])
    return buffer.getvalue()


def _inert(text: str) -> str:
    """Text that a spreadsheet takes for no formula; a number with its sign is none.

    >>> _inert("=cmd|'/C calc'!A0"), _inert("+0.021")
    ("'=cmd|'/C calc'!A0", '+0.021')
    """
    is_number = re.fullmatch(r"[+-]?[\d., %]+", text)
    return f"'{text}" if text.startswith(tuple("=+-@\t\r")) and not is_number else text


def as_latex(title: str, tables: Sequence[Table]) -> str:
    r"""Table environments to \input into a paper; plain LaTeX, no package needed."""
    blocks = [f"% {' '.join(title.split())}"]
    for table in tables:
        heads = [_latex(name) for name in table.columns]
        lines = [
            r"\begin{table*}",
            r"\centering\small",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\hline",
        ]
        if table.groups:
            spans = [
                rf"\multicolumn{{{span}}}{{c}}{{{_latex(name)}}}" for name, span in table.groups
            ]
            lines.append(rf" & {' & '.join(spans)} \\")
        lines += [
            rf"{' & '.join(heads)} \\",
            r"\hline",
            *(rf"{' & '.join(map(_latex_cell, row))} \\" for row in table.rows),
            r"\hline",
            r"\end{tabular}",
            rf"\caption{{{_latex(' '.join([table.title.rstrip('.') + '.', *table.notes]))}}}",
            rf"\label{{{re.sub(r'[^A-Za-z0-9-]', '-', table.key)}}}",
            r"\end{table*}",
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _groups(table: Table) -> list[str]:
    if not table.groups:
        return [""] * len(table.columns)
    return ["", *(name for name, span in table.groups for _ in range(span))]


def _markdown(text: str) -> str:
    """Text that no Markdown or HTML is read in."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    text = {BEST: f"**{text}**", SECOND: f"<u>{text}</u>"}.get(cell.mark, text)
    return f"{text} {_markdown(cell.note)}" if cell.note else text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    text = {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(cell.mark, text)
    # A row that began with a bracket would be read as the length of the line before.
    text = f"{{}}{text}" if text.startswith("[") else text
    return f"{text} {{\\footnotesize {_latex(cell.note)}}}" if cell.note else text
