"""What was measured, as a person reads it."""

from collections.abc import Mapping
from typing import Any

_SHOWN = ("hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "auc_roc")


def format_systems(results: Mapping[str, Any]) -> str:
    """A table a task, a line a system, and by which convention."""
    references, systems = results["references"], results["systems"]
    width = max(
        map(len, ("retrieval", *references, *(t for of in references.values() for t in of)))
    )
    blocks = []
    for task in dict.fromkeys(task for of_tasks in references.values() for task in of_tasks):
        found = {model: of[task] for model, of in references.items() if task in of}
        names = [name for name in _SHOWN if any(name in metrics for metrics in found.values())]
        lines = [f"{task:<{width}}" + "".join(f"{name:>9}" for name in names) + "  seconds"]
        for model, metrics in found.items():
            values = "".join(f"{_figure(metrics.get(name)):>9}" for name in names)
            lines.append(f"{model:<{width}}{values}{systems[model]['seconds']:>9.0f}")
        blocks.append("\n".join(lines))
    conventions = {system["settings"]["seen_items"] for system in systems.values()}
    blocks.append(
        f"Test split; items that a user had before: {', '.join(conventions)} (retrieval)."
    )
    return "\n\n".join(blocks)


def _figure(value: float | None) -> str:
    return "—" if value is None or value != value else f"{value:.4f}"
