"""A made run directory, with everything that a run leaves behind."""

import json
import math
import pathlib

import pytest

RESULTS = {
    "dataset": "demo",
    "mixture": "ut_at_demo",
    "checkpoint_step": 4000,
    "split": "test",
    "engine": "recalign",
    "tasks": {
        "retrieval_demo": {
            "hr@5": 0.4123,
            "hr@10": 0.5432,
            "ndcg@5": 0.301,
            "ndcg@10": 0.3502,
            "valid_id_rate": 0.998,
            "num_examples": 3000,
        },
        "ranking_demo": {
            "hr@1": 0.31,
            "hr@1_candidates": 0.34,
            "hr@5_candidates": 0.81,
            "num_examples": 3000,
        },
        "rating_demo": {"auc_roc": 0.74, "num_examples": 3000},
    },
    "references": {
        "optimum": {
            "retrieval_demo": {"hr@5": 0.6, "hr@10": 0.8, "ndcg@5": 0.5, "ndcg@10": 0.55},
            "ranking_demo": {"hr@1": 0.55, "hr@1_candidates": 0.55, "hr@5_candidates": 0.95},
            "rating_demo": {"auc_roc": 0.8},
        },
        "popularity": {
            "retrieval_demo": {"hr@5": 0.08, "hr@10": 0.15, "ndcg@5": 0.05, "ndcg@10": 0.07},
            "ranking_demo": {"hr@1": 0.1, "hr@1_candidates": 0.1, "hr@5_candidates": 0.5},
            "rating_demo": {"auc_roc": 0.5},
        },
    },
}

PROMPT = (
    "What would user purchase after\nI42 superb pirate puzzle,\nI7 plain space kite,\n"
    "I99 solid <script>alert(1)</script> & drum ?"
)


def _examples(task: str) -> list[dict]:
    if task == "rating_demo":
        return [
            {"row": 0, "prompt": PROMPT, "target": "yes", "label": 1, "beams": ["yes", "no"],
             "log_probs": [math.log(0.7), math.log(0.3)]},
        ]  # fmt: skip
    beams = [f"I{number}" for number in range(1, 21)]
    log_probs = [math.log(0.3 / number) for number in range(1, 21)]
    targets = ("I2", "I1", "I77", "I5")
    examples = [
        {"row": row, "prompt": PROMPT, "target": target, "beams": beams, "log_probs": log_probs}
        for row, target in enumerate(targets)
    ]
    if task == "ranking_demo":
        examples = [{**example, "candidates_beams": ["I5", "I2", "I1"]} for example in examples]
    return examples


def write_run(directory: pathlib.Path) -> pathlib.Path:
    """Writes a whole run to a new directory."""
    (directory / "predictions").mkdir(parents=True)
    (directory / "results.json").write_text(json.dumps(RESULTS))
    (directory / "config.gin").write_text(
        "TRAIN_STEPS = 4000\nBATCH_SIZE = 64\nMIXTURE_OR_TASK_NAME = 'ut_at_demo'\n"
    )
    lines: list[dict] = []
    for step in range(50, 4001, 50):
        loss = 1.2 + 4.5 * math.exp(-step / 700) + 0.05 * math.sin(step)
        lines.append({"step": step, "time": 1000.0 + step / 10, "kind": "train", "loss": loss})
    for step in range(500, 4001, 500):
        lines.append(
            {
                "step": step,
                "time": 1000.5 + step / 10,
                "kind": "eval",
                "loss": 1.4 + 4.2 * math.exp(-step / 700),
                "tasks": {
                    "retrieval_demo": {
                        "hr@10": 0.56 * (1 - math.exp(-step / 1200)),
                        "ndcg@10": 0.36 * (1 - math.exp(-step / 1200)),
                    },
                    "ranking_demo": {"hr@1_candidates": 0.36 * (1 - math.exp(-step / 1500))},
                    "rating_demo": {"auc_roc": 0.5 + 0.25 * (1 - math.exp(-step / 1500))},
                },
                "seconds": 2.0,
            }
        )
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for task in RESULTS["tasks"]:
        (directory / "predictions" / f"{task}-test.jsonl").write_text(
            "".join(json.dumps(example) + "\n" for example in _examples(task))
        )
    return directory


@pytest.fixture
def run_directory(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_run(tmp_path / "demo")


@pytest.fixture
def other_run_directory(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_run(tmp_path / "demo-seed1")
