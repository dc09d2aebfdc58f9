"""Made runs and baselines of eight users, small enough to count by hand."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.prepare import prepare

INF = math.inf
USERS = 8
# Ranks of the right answer, from 0, of the users in row order.
RETRIEVAL = (0, 0, 4, 9, INF, 2, INF, INF)
RETRIEVAL_FIGURES = {
    # 1 + 1 + 1 / log2(6) + 1 / log2(4) over 8 users; at 10 also 1 / log2(11).
    "ndcg@5": (2 + 1 / math.log2(6) + 0.5) / 8,
    "ndcg@10": (2 + 1 / math.log2(6) + 0.5 + 1 / math.log2(11)) / 8,
    "hr@5": 4 / 8,
    "hr@10": 5 / 8,
}
RANKING = (0, INF, 1, INF, INF, 0, INF, INF)
RANKING_FIGURES = {
    "ndcg@5": (2 + 1 / math.log2(3)) / 8,
    "ndcg@10": (2 + 1 / math.log2(3)) / 8,
    "hr@1": 2 / 8,
    "hr@5": 3 / 8,
    "hr@10": 3 / 8,
}
POOL_RANKING = (0, 1, 0, 2, 3, 0, 0, 1)
POOL_FIGURES = {
    "ndcg@5": (4 + 2 / math.log2(3) + 0.5 + 1 / math.log2(5)) / 8,
    "ndcg@10": (4 + 2 / math.log2(3) + 0.5 + 1 / math.log2(5)) / 8,
    "hr@1": 4 / 8,
    "hr@5": 1.0,
    "hr@10": 1.0,
}
LABELS = (1, 1, 0, 1, 0, 0, 1, 1)
LIKED = (0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.7)
# 15 pairs of a like and a dislike. 0.9 and 0.8 are above 0.7, 0.4 and 0.3; 0.6 above two; 0.2 above
# none; 0.7 above two and ties with one.
AUC = (3 + 3 + 2 + 0 + 2.5) / 15

TITLE = "</title><script>alert(1)</script>"
CONFIG = """# Macros:
BATCH_SIZE = 4
DATA_DIR = {data_dir!r}
EMB_DIM = 64
HEAD_DIM = 16
HISTORY_LENGTH = 3
INITIAL_CHECKPOINT_PATH = %PRETRAINED_CHECKPOINT
INITIAL_STEP = %PRETRAINED_STEP
MIXTURE_OR_TASK_NAME = {mixture!r}
MLP_DIM = 128
MODEL_DIR = {model_dir!r}
NUM_DECODER_LAYERS = 2
NUM_ENCODER_LAYERS = 2
NUM_HEADS = 4
PRETRAINED_CHECKPOINT = ()
PRETRAINED_STEP = 0
RANDOM_SEED = {seed}
TASK_FEATURE_LENGTHS = {{'inputs': 96,
 'targets': 24}}
TRAIN_STEPS = 40
VOCAB_SIZE = 1024
"""


class Shop:
    """A prepared dataset of eight users and what runs on it would leave behind."""

    def __init__(
        self,
        data_dir: pathlib.Path,
        item_ids: str = "random",
        seed: int = 0,
        sources: Sequence[object] = (),
        users: int = USERS,
    ):
        # User n has n % 3 + 2 items before the one that is asked for.
        lengths = [n % 3 + 3 for n in range(users)]
        items = [(n + 2 * k) % 12 for n, length in enumerate(lengths) for k in range(length)]
        log = Interactions(
            [f"user{n}" for n in range(users)],
            [f"raw{n}" for n in range(12)],
            np.repeat(np.arange(users), lengths).astype(np.int32),
            np.array(items, np.int32),
            None,
            np.full(len(items), 5, np.float32),
        )
        table = ItemTable(
            [f"raw{n}" for n in range(12)],
            [f"{TITLE} & toy {n}" for n in range(12)],
            *[[""] * 12] * 3,
            [[] for _ in range(12)],
        )
        self.data_dir = data_dir
        self.dataset = prepare(
            *(log, table), name="shop", data_dir=data_dir, k_core=0,
            item_ids=item_ids, seed=seed, sources=sources,
        )  # fmt: skip
        sequences = self.dataset.sequences("test")
        ids = self.dataset.catalogue.ids
        self.targets = [ids[i] for i in sequences.items[sequences.row_splits[1:] - 1]]
        self.ids = list(ids)

    def beams(self, row: int, rank: float, count: int = 10) -> list[str]:
        """The first beam is an item; others are not, but for the right answer at its rank."""
        other = next(item for item in self.ids if item != self.targets[row])
        beams = [other, *(f"none{n}" for n in range(1, count))]
        if rank < count:
            beams[int(rank)] = self.targets[row]
        return beams

    def pool(self, row: int) -> list[str]:
        """Four candidates; the right answer stands at place row % 4."""
        pool = [item for item in self.ids if item != self.targets[row]][:3]
        pool.insert(row % 4, self.targets[row])
        return pool

    def retrieval(self, ranks: Sequence[float] = RETRIEVAL) -> list[dict]:
        """Lines of predictions."""
        return [
            self._line(row, f"History: {TITLE} & toy. What next?", self.beams(row, rank))
            for row, rank in enumerate(ranks)
        ]

    def ranking(self) -> list[dict]:
        """Lines of predictions, with those within the pool."""
        lines = []
        for row, (rank, pool_rank) in enumerate(zip(RANKING, POOL_RANKING, strict=True)):
            pool = self.pool(row)
            prompt = f"He has I900, I901. Candidate items are: {', '.join(pool)}."
            answers = [item for item in pool if item != self.targets[row]]
            answers.insert(int(pool_rank), self.targets[row])
            line = self._line(row, prompt, self.beams(row, rank))
            lines.append({**line, "candidates_beams": answers, "candidates": pool})
        return lines

    def rating(self) -> list[dict]:
        """Lines of predictions."""
        return [
            {
                "row": row,
                "prompt": "Would he like it?",
                "target": "yes" if label else "no",
                "label": label,
                "beams": ["yes", "no"],
                "log_probs": [math.log(chance), math.log(1 - chance)],
            }
            for row, (label, chance) in enumerate(zip(LABELS, LIKED, strict=True))
        ]

    def _line(self, row: int, prompt: str, beams: list[str]) -> dict:
        log_probs = [math.log(0.5) - n for n in range(len(beams))]
        line = {"row": row, "prompt": prompt, "target": self.targets[row]}
        return {**line, "beams": beams, "log_probs": log_probs}


def evaluated_as(task: str) -> dict[str, object]:
    """What results.json says of a task."""
    kind = task.removesuffix("_shop")
    as_one = {"p5_sequential": "retrieval", "p5_2_7": "ranking", "p5_direct": "ranking"}
    answers = ["no", "yes"] if kind == "rating" else "catalogue"
    return {"kind": kind, "evaluated_as": as_one.get(kind, kind), "answers": answers}


def figures_of(ranks: Sequence[float]) -> dict[str, float]:
    """Of retrieval."""
    hits = {f"hr@{k}": sum(r < k for r in ranks) / len(ranks) for k in (5, 10)}
    gains = {
        f"ndcg@{k}": sum(1 / math.log2(r + 2) for r in ranks if r < k) / len(ranks) for k in (5, 10)
    }
    return {**gains, **hits, "num_examples": len(ranks)}


def write_run(
    directory: pathlib.Path,
    shop: Shop,
    *,
    mixture: str = "ut_shop",
    seed: int = 0,
    ranks: Sequence[float] = RETRIEVAL,
    config: str = CONFIG,
    retrieval: str = "retrieval_shop",
    alone: bool = False,
    **results: object,
) -> pathlib.Path:
    """Writes a whole run; `alone`: with retrieval alone."""
    (directory / "predictions").mkdir(parents=True)
    pooled = {f"{name}_candidates": value for name, value in POOL_FIGURES.items()}
    tasks = {retrieval: ({**figures_of(ranks), "valid_id_rate": 0.1}, shop.retrieval(ranks))}
    if not alone:
        tasks["ranking_shop"] = (
            {**RANKING_FIGURES, **pooled, "num_examples": USERS},
            shop.ranking(),
        )
        tasks["rating_shop"] = ({"auc_roc": AUC, "num_examples": USERS}, shop.rating())
    for task, (_, lines) in tasks.items():
        (directory / "predictions" / f"{task}-test.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
    found = {
        "dataset": "shop",
        "mixture": mixture,
        "checkpoint_step": 40,
        "split": "test",
        "engine": "recalign",
        "tasks": {task: figures for task, (figures, _) in tasks.items()},
        "references": {},
        "model": {"size": "", "parameters": 279_000, "pretrained": False},
        "evaluated": {task: evaluated_as(task) for task in tasks},
        "versions": {"jax": "9.9.9"},
        "device": {"kind": "TPU v9", "count": 4},
        **results,
    }
    (directory / "results.json").write_text(json.dumps(found))
    (directory / "config.gin").write_text(
        config.format(
            data_dir=str(shop.data_dir), mixture=mixture, model_dir=str(directory), seed=seed
        )
    )
    lines = [
        {"step": 10 * n, "time": 100.0 + n, "kind": "train", "loss": 5.0 / n, "steps_per_second": 2}
        | {"examples": {"retrieval_shop": 45 * n, "ranking_shop": 25 * n}}
        for n in range(1, 5)
    ]
    lines.append(
        {
            "step": 40,
            "time": 110.0,
            "kind": "eval",
            "loss": 1.5,
            "seconds": 16.0,
            "tasks": {"retrieval_shop": {"hr@10": 0.5}},
        }
    )
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def write_baselines(
    directory: pathlib.Path, ranks: dict[str, Sequence[float]], fingerprint: str = ""
) -> pathlib.Path:
    """Writes a baselines folder with retrieval alone."""
    settings = {"k": 64} | ({"dataset_fingerprint": fingerprint} if fingerprint else {})
    (directory / "ranks").mkdir(parents=True)
    task = "retrieval_shop"
    for model, found in ranks.items():
        table = pa.table(
            {
                "row": pa.array(range(len(found)), pa.int64()),
                "rank": pa.array([500 if r == INF else int(r) for r in found], pa.int32()),
            }
        )
        pq.write_table(table, directory / "ranks" / f"{model}-{task}.parquet")
    results = {
        "engine": "baselines",
        "dataset": "shop",
        "split": "test",
        "references": {model: {task: figures_of(found)} for model, found in ranks.items()},
        "evaluated": {task: evaluated_as(task)},
        "systems": {
            model: {"library": "Lib", "version": "1.0", "settings": settings, "seconds": 90}
            for model in ranks
        },
    }
    (directory / "results.json").write_text(json.dumps(results))
    return directory
