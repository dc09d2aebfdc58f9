"""Many histories at once beside one by one, in memory and over HTTP on loopback.

    PYTHONPATH=. python tests/benchmarks/serving.py [--model_dir RUN] [--users 256] [--seconds 60]

Without a run: a planted corpus (`prepare planted --format synthetic`) and `gin/ut_at_demo.gin` with
two steps of training, in a temporary folder. HTTP needs the extra `serve`. Prints one JSON line:

- `batch`: users a second by `recommend_many` and by one `recommend` after the other (what
  `recommend --jsonl` does), and their ratio; `…_processor` counts processor seconds instead of
  elapsed ones, which counts where the machine does other work too.
- `http`, with batches of up to 16 (`batched`) and of one (`single`): 32 clients that ask again as
  soon as they have an answer: requests a second and their ratio, p50 and p95 in milliseconds,
  responses by status, requests by processor second of the server, its memory before and after.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

CLIENTS, K = 32, 10
ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ["--format", "synthetic", "--users", "2000", "--themes", "20", "--products", "50"]


def recalign(*words: str, folder: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "recalign", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)


def planted_run(folder: str) -> str:
    """A run on a corpus of 2,000 users and 1,000 items; how good it is does not matter here."""
    recalign("prepare", "planted", *CORPUS, folder=folder)
    settings = {"MIXTURE_OR_TASK_NAME": "'retrieval_planted'", "TRAIN_STEPS": 2, "EVAL_PERIOD": 0}
    settings |= {"TEST_SPLIT": None, "EVAL_TASKS": (), "MODEL_DIR": f"'{folder}/run'"}
    bindings = [f"--gin.{name}={value}" for name, value in settings.items()]
    file = f"--gin_file={ROOT}/gin/ut_at_demo.gin"
    recalign("train", file, *bindings, f"--data_dir={folder}/data", folder=folder)
    return f"{folder}/run"


def in_memory(run: str, users: int) -> dict[str, float]:
    """The first users' whole histories, in one process, both ways after a warm-up."""
    from recalign.serve.histories import histories_of_dataset
    from recalign.trainer.recommend import Recommender

    recommender = Recommender(run)
    histories = histories_of_dataset(recommender.dataset)
    ids = recommender.dataset.catalogue.ids
    asked = [[ids[item] for item in histories.of(n)] for n in range(min(users, len(histories)))]
    recommender.recommend_many(asked, K)
    for history in asked:
        recommender.recommend(history, K)
    figures = {}
    for name, answer in (
        ("many", lambda: recommender.recommend_many(asked, K)),
        ("one_by_one", lambda: [recommender.recommend(history, K) for history in asked]),
    ):
        elapsed, processor = time.perf_counter(), time.process_time()
        answer()
        figures[f"{name}_users_per_second"] = len(asked) / (time.perf_counter() - elapsed)
        figures[f"{name}_users_per_processor_second"] = len(asked) / (
            time.process_time() - processor
        )
    for unit in ("second", "processor_second"):
        many, single = (f"{name}_users_per_{unit}" for name in ("many", "one_by_one"))
        figures[f"ratio_by_{unit}"] = figures[many] / figures[single]
    return figures


@contextlib.contextmanager
def served(run: str, largest_batch: int) -> Iterator[tuple[int, int]]:
    """(port, process) of a server that is ready."""
    words = ["serve", "--model_dir", run, "--port", "0", "--largest_batch", str(largest_batch)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recalign", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            port = int(match[1])
        if line.startswith("ready: "):
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def processor_seconds(process: int) -> float:
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: int) -> int:
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]


def asked_until(end: float, port: int, seed: int, items: int, into: list[Any]) -> None:
    """One client: histories of 1 to 20 items, one request after the other."""
    draw = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.perf_counter() < end:
        history = [f"I{n}" for n in draw.integers(1, items + 1, draw.integers(1, 21))]
        begun = time.perf_counter()
        body = json.dumps({"history": history, "k": K})
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        into.append((response.status, (time.perf_counter() - begun) * 1e3))
    connection.close()


def loaded(run: str, largest_batch: int, seconds: float, items: int) -> dict[str, Any]:
    with served(run, largest_batch) as (port, process):
        for warm in (True, False):
            found: list[Any] = []
            memory, used = megabytes(process), processor_seconds(process)
            begun = time.perf_counter()
            end = begun + (2.0 if warm else seconds)
            clients = [
                threading.Thread(target=asked_until, args=(end, port, n, items, found))
                for n in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        elapsed = time.perf_counter() - begun
        p50, p95 = np.percentile([ms for _, ms in found], [50, 95])
        return {
            "requests_per_second": len(found) / elapsed,
            "requests_per_processor_second": len(found) / (processor_seconds(process) - used),
            "p50_ms": float(p50),
            "p95_ms": float(p95),
            "statuses": dict(collections.Counter(status for status, _ in found)),
            "megabytes": [memory, megabytes(process)],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--model_dir")
    parser.add_argument("--users", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.model_dir or planted_run(folder)
        figures: dict[str, Any] = {"batch": in_memory(run, options.users)}
        from recalign.trainer.recommend import Recommender

        items = len(Recommender(run).dataset.catalogue.ids)
        if options.seconds:
            http = {
                name: loaded(run, size, options.seconds, items)
                for name, size in (("batched", 16), ("single", 1))
            }
            for unit in ("second", "processor_second"):
                batched, single = (http[n][f"requests_per_{unit}"] for n in ("batched", "single"))
                http[f"ratio_by_{unit}"] = batched / single
            figures["http"] = http
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
