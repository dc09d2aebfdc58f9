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
    """A run's facts, (name, value), and its config.gin; None: it has none."""

    label: str
    facts: tuple[tuple[str, str], ...]
    text: str | None


def setup_of(label: str, run: Run) -> Setup:
    """What is known of how a run was made."""
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
    return Setup(label, tuple(facts), configuration.text if configuration else None)


def baselines_table(systems: Sequence[tuple[str, Mapping[str, Any]]]) -> Table | None:
    """Which library, version and settings each baseline has; None where nothing is known."""
    if not systems:
        return None
    return Table(
        key="baselines",
        title="How the baselines were made",
        columns=("system", "library", "version", "settings"),
        rows=tuple(
            (
                Cell(name),
                Cell(str(about.get("library") or MISSING)),
                Cell(str(about.get("version") or MISSING)),
                Cell(_settings(about.get("settings"))),
            )
            for name, about in systems
        ),
    )


def _settings(settings: Any) -> str:
    if not settings:
        return MISSING
    if isinstance(settings, dict):
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return str(settings)
