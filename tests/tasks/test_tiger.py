"""TIGER's row for real: 500 users of Toys, semantic IDs, its experiment file cut to a few steps."""

import gzip
import json

import pytest

from recalign import cli
from tests.corpus import shared_data

pytestmark = pytest.mark.slow

USERS = 500
STEPS = 30


def test_tiger_trains_and_answers_with_items_alone(tmp_path):
    shared = shared_data()
    log = tmp_path / "log.tsv"
    with gzip.open(shared / "amazon" / "toys.sequences.tsv.gz", "rt") as lines:
        log.write_text("".join(line for line, _ in zip(lines, range(USERS), strict=False)))
    cli.main(
        [
            *("prepare", "cut", "--format", "sequences", "--interactions", str(log)),
            *("--items", str(shared / "amazon" / "toys.items.tsv.gz"), "--k_core", "1"),
            *("--item_ids", "semantic", "--data_dir", str(tmp_path)),
            *("--sentencepiece_model", str(shared / "t5_vocab" / "sentencepiece.model")),
        ]
    )
    settings = {
        "MIXTURE_OR_TASK_NAME": "'tiger_cut'",
        "MODEL_DIR": f"'{tmp_path}/run'",
        "TRAIN_STEPS": STEPS,
        "BATCH_SIZE": 16,
        "WARMUP_STEPS": 10,
        "EVAL_PERIOD": STEPS,
        "EVALUATOR_NUM_EXAMPLES": 16,
        "LOG_PERIOD": 10,
        "BEAM_SIZE": 10,
        "CONSTRAINED": True,
    }
    bindings = [f"--gin.{name}={value}" for name, value in settings.items()]
    status = cli.main(
        ["train", "--gin_file=gin/tiger_toys.gin", f"--data_dir={tmp_path}", *bindings]
    )
    assert not status
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    metrics = results["tasks"]["tiger_cut"]
    assert metrics["num_examples"] == USERS
    assert metrics["valid_id_rate"] == 1.0
    assert 0 <= metrics["hr@5"] <= metrics["hr@10"] <= 1
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert len(losses) == STEPS // 10 and losses[-1] < losses[0]
