"""How to run a row again: its configuration, its versions, the command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from recalign.report.run import Run
from recalign.report.tables import MISSING, Cell, Table


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a row was made."""

    label: str  # the row's
    # (name, values): one value where all seeds have the same, else one a seed.
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    text: str | None  # config.gin, the first seed's; None: it has none


def setup_of(label: str, seeds: Sequence[Run]) -> Setup:
    facts: dict[str, list[str]] = {}
    for run in seeds:
        for name, value in _facts(run):
            facts.setdefault(name, []).append(value)
    first = seeds[0].configuration
    return Setup(
        label,
        tuple((name, tuple(v if len(set(v)) > 1 else v[:1])) for name, v in facts.items()),
        first.text if first else None,
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = [("directory", run.name)]
    results, configuration = run.results, run.configuration
    if results:
        facts += [
            ("dataset", f"{results.dataset}, {results.split} split"),
            ("mixture", results.mixture),
            ("engine", results.engine),
        ]
        if results.checkpoint_step is not None:
            facts.append(("checkpoint", f"step {results.checkpoint_step:,}"))
    if configuration:
        facts.append(("model", configuration.model.label))
        if configuration.seed is not None:
            facts.append(("seed", str(configuration.seed)))
    if run.records:
        facts.append(("last step", f"{run.records[-1].step:,}"))
    if results and results.versions:
        versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
        facts.append(("versions", versions))
    if results and results.device:
        facts.append(("device", f"{results.device.get('count')} × {results.device.get('kind')}"))
    if configuration:
        command = "recalign train --gin_file={}/config.gin --gin.MODEL_DIR=\"'runs/again'\""
        facts.append(("again", command.format(run.name)))
    return facts


def baselines_table(systems: Sequence[tuple[str, Mapping[str, Any]]]) -> Table | None:
    """Which library, version and settings each baseline has; None where nothing is known."""
    if not systems:
        return None
    rows = []
    for name, about in systems:
        made_with = (str(about.get(part) or MISSING) for part in ("library", "version"))
        rows.append(tuple(map(Cell, (name, *made_with, _settings(about.get("settings"))))))
    columns = ("system", "library", "version", "settings")
    return Table("baselines", "How the baselines were made", columns, tuple(rows))


def _settings(settings: Any) -> str:
    if not settings:
        return MISSING
    if isinstance(settings, dict):
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return str(settings)
