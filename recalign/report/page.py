"""The report as a file: one HTML page that needs no network, or its tables in another format."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.metadata
import importlib.resources
import platform
from collections.abc import Sequence

import jinja2
import markupsafe
from etils import epath

from recalign import __version__
from recalign.data.atomic import write_whole
from recalign.report import tables
from recalign.report.comparison import format_runs
from recalign.report.content import Content, read
from recalign.report.formats import as_csv, as_latex, as_markdown

FORMATS = ("html", "md", "csv", "tex", "txt")
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow", "numpy")


def write_report(
    directories: Sequence[epath.PathLike],
    out: epath.PathLike,
    *,
    format: str = "html",
    data_dir: epath.PathLike | None = None,
) -> None:
    """Writes the report of runs and baselines folders to `out`, whole or not at all.

    Args:
      format: one of FORMATS; the page alone has charts, samples and configurations; txt is what
        the terminal shows.
      data_dir: where prepared datasets lie; None: where each run's config.gin says.

    Raises:
      UserError: a directory is neither a run nor a baselines folder, or a file in it is damaged.
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
    environment.filters["figure"] = tables.figure
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
