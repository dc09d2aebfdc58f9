"""The report as a file: one HTML page that needs no network, or its tables in another format."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import importlib.metadata
import importlib.resources
import io
import platform
import re
from collections.abc import Sequence

import jinja2
import markupsafe
from etils import epath

from recalign import __version__
from recalign.data.atomic import write_whole
from recalign.report.comparison import format_runs
from recalign.report.content import Content, read
from recalign.report.tables import BEST, SECOND, Cell, Table, figure

FORMATS = ("html", "md", "csv", "tex", "txt")
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow", "numpy")
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "Δ": r"$\Delta$",
    "—": "---", "–": "--", "³": r"$^3$", "\n": " ",
}  # fmt: skip


def write_report(
    directories: Sequence[epath.PathLike],
    out: epath.PathLike,
    *,
    format: str = "html",
    data_dir: epath.PathLike | None = None,
) -> None:
    """Writes the report of runs and baselines folders to `out`, whole or not at all.

    `format` is one of FORMATS: the page alone has charts, samples and configurations; txt is what
    the terminal shows. Prepared datasets lie in `data_dir`; None: where each run's config.gin says.
    """
    if format == "txt":
        text = f"{format_runs(directories)}\n"
    else:
        found = read(directories, data_dir)
        text = {
            "html": lambda: render(found),
            "md": lambda: as_markdown(found.title, _paragraphs(found), found.tables()),
            "csv": lambda: as_csv(found.tables()),
            "tex": lambda: as_latex(found.title, found.tables()),
        }[format]()
    path = epath.Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def _paragraphs(found: Content) -> list[str]:
    gaps = [f"{name}: {gap}" for name, gap in found.gaps]
    headlines = [headline.sentence() for headline in found.headlines]
    return [*found.lead, *headlines, *gaps]


def render(found: Content) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recalign.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = figure
    environment.filters["width"] = lambda value: f"{100 * min(max(value, 0.0), 1.0):.1f}%"
    script = _resource("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        style=markupsafe.Markup(_resource("style.css")),
        script=markupsafe.Markup(script),
        script_digest=digest,
        report=found,
        versions=_versions(),
    )


def _resource(name: str) -> str:
    return importlib.resources.files("recalign.report").joinpath(name).read_text()


def _versions() -> list[tuple[str, str]]:
    versions = [("recalign", __version__), ("Python", platform.python_version())]
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append((library, importlib.metadata.version(library)))
    return versions


def as_markdown(title: str, paragraphs: Sequence[str], tables: Sequence[Table]) -> str:
    """A heading, paragraphs, and the tables as GitHub draws them."""
    blocks = [f"# {_markdown(title)}", *map(_markdown, paragraphs)]
    for table in tables:
        heads = [*map(_markdown, table.heads)]
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
        names = list(zip(table.group_names, table.columns, strict=True))
        for row in table.rows:
            for (group, column), cell in zip(names[1:], row[1:], strict=True):
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
