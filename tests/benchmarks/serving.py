"""Many histories at once beside one by one: into a file, as JSON lines, and over HTTP on loopback.

    python tests/benchmarks/serving.py [--model_dir RUN] [--data_dir DATA]

Without a run: a planted corpus (`prepare planted --format synthetic`) and `gin/ut_at_demo.gin` with
two steps of training, in a temporary folder. HTTP needs the extra `serve`. Prints one JSON line:

- `batch`: users a second into a Parquet file (what `recommend --all` does; the first `--users` of
  the dataset, compiling not counted) and by JSON lines one after the other (`recommend --jsonl`; as
  many of the same users as `--one_by_one_seconds` allow), and their ratio. `…_processor_second`
  counts processor seconds instead of elapsed ones, which counts where the machine does other work.
- `http`, with batches of up to 16 (`batched`) and of one (`single`): 32 clients that ask again as
  soon as they have an answer, for `--seconds`: requests a second and their ratio, p50 and p95 in
  milliseconds, responses by status, requests that failed, requests by processor second of the
  server, its memory before and after in megabytes.
"""

import argparse
import collections
import contextlib
import dataclasses
import http.client
import io
import itertools
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
_IDS: list[str] = []  # of all items, once the run is loaded
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CORPUS = ["--format", "synthetic", "--users", "2000", "--themes", "20", "--products", "50"]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def recalign(*words: str, folder: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "recalign", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)


def planted_run(folder: str) -> list[str]:
    """A run on a corpus of 2,000 users and 1,000 items; how good it is does not matter here."""
    recalign("prepare", "planted", *CORPUS, folder=folder)
    settings = {"MIXTURE_OR_TASK_NAME": "'retrieval_planted'", "TRAIN_STEPS": 2, "EVAL_PERIOD": 0}
    settings |= {"TEST_SPLIT": None, "EVAL_TASKS": (), "MODEL_DIR": f"'{folder}/run'"}
    bindings = [f"--gin.{name}={value}" for name, value in settings.items()]
    file = f"--gin_file={ROOT}/gin/ut_at_demo.gin"
    recalign("train", file, *bindings, f"--data_dir={folder}/data", folder=folder)
    return ["--model_dir", f"{folder}/run"]


class Stopwatch:
    """Elapsed and processor seconds of this process."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def rates(self, count: int) -> dict[str, float]:
        now = time.perf_counter(), time.process_time()
        elapsed, processor = (end - begun for end, begun in zip(now, self._begun, strict=True))
        return {
            "users": count,
            "users_per_second": count / elapsed,
            "users_per_processor_second": count / processor,
        }


def first_users(histories: Any, count: int) -> Any:
    ends = histories.row_splits[: count + 1]
    return dataclasses.replace(
        histories,
        users=list(histories.users[:count]),
        rows=histories.rows[:count],
        items=histories.items[: ends[-1]],
        row_splits=ends,
    )


def in_memory(options: argparse.Namespace, model: dict[str, str], folder: str) -> dict[str, Any]:
    """The first users' whole histories, in one process, both ways."""
    from recalign.serve.export import Exporter, Shard
    from recalign.serve.histories import histories_of_dataset
    from recalign.trainer import serving
    from recalign.trainer.recommend import Recommender

    recommender = Recommender(**model)
    histories = first_users(histories_of_dataset(recommender.dataset), options.users)
    tell(f"{len(histories):,} users into a file, twice: the first time compiles")
    for name in ("compiling", "file"):
        exporter = Exporter(recommender, histories, f"{folder}/{name}.parquet", k=K)
        watch = Stopwatch()
        exporter.run(Shard(), tell)
    figures: dict[str, Any] = {"file": watch.rates(len(histories))}
    _IDS.extend(f"id:{it}" for it in recommender.dataset.catalogue.ids)

    def lines(seconds: float) -> Iterator[str]:
        end = time.perf_counter() + seconds
        for number in range(len(histories)):
            if time.perf_counter() > end:
                return
            yield json.dumps({"history": [_IDS[item] for item in histories.of(number)]})

    tell(f"one by one for at most {options.one_by_one_seconds:g} s")
    serving.serve(recommender, itertools.islice(lines(60.0), 8), io.StringIO(), tell, k=K)
    answers = io.StringIO()
    watch = Stopwatch()
    # Not `serve`, which warms up first.
    for line in lines(options.one_by_one_seconds):
        request = serving.parse(line, K, None)
        answer = recommender.recommend(request.history, request.k)
        answers.write(json.dumps({"items": [item._asdict() for item in answer]}) + "\n")
    figures["one_by_one"] = watch.rates(answers.getvalue().count("\n"))
    return figures | ratios(figures, "file", "one_by_one", "users")


def ratios(figures: dict[str, Any], better: str, worse: str, what: str) -> dict[str, float]:
    return {
        f"ratio_by_{unit}": figures[better][name] / figures[worse][name]
        for unit in ("second", "processor_second")
        if (name := f"{what}_per_{unit}")
    }


@contextlib.contextmanager
def served(words: list[str], largest_batch: int) -> Iterator[tuple[int, int]]:
    """(port, process) of a server that is ready."""
    words = ["serve", *words, "--port", "0", "--largest_batch", str(largest_batch)]
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
            tell(line.strip())
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
        # By place, whatever the items are called.
        history = [int(n) for n in draw.integers(0, items, draw.integers(1, 21))]
        body = json.dumps({"history": [_IDS[n] for n in history], "k": K})
        begun = time.perf_counter()
        try:
            connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            into.append((str(response.status), (time.perf_counter() - begun) * 1e3))
        except (OSError, http.client.HTTPException) as error:
            into.append((type(error).__name__, (time.perf_counter() - begun) * 1e3))
            connection.close()
    connection.close()


def loaded(words: list[str], largest_batch: int, seconds: float) -> dict[str, Any]:
    with served(words, largest_batch) as (port, process):
        for warm in (True, False):
            found: list[Any] = []
            memory, used = megabytes(process), processor_seconds(process)
            begun = time.perf_counter()
            end = begun + (2.0 if warm else seconds)
            clients = [
                threading.Thread(target=asked_until, args=(end, port, n, len(_IDS), found))
                for n in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        elapsed = time.perf_counter() - begun
        answered = sum(status == "200" for status, _ in found)
        p50, p95 = np.percentile([ms for _, ms in found], [50, 95])
        return {
            "requests_per_second": answered / elapsed,
            "requests_per_processor_second": answered / (processor_seconds(process) - used),
            "p50_ms": float(p50),
            "p95_ms": float(p95),
            "statuses": dict(collections.Counter(status for status, _ in found)),
            "failed": len(found) - answered,
            "megabytes": [memory, megabytes(process)],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--model_dir")
    parser.add_argument("--data_dir")
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--one_by_one_seconds", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="0: no HTTP")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # What one process compiles the next ones read.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/compiled")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        names = {"model_dir": options.model_dir, "data_dir": options.data_dir}
        words = [word for name, value in names.items() if value for word in (f"--{name}", value)]
        if not options.model_dir:
            words = planted_run(folder)
        model = {
            word.removeprefix("--"): value
            for word, value in zip(words[::2], words[1::2], strict=True)
        }
        figures: dict[str, Any] = {"batch": in_memory(options, model, folder)}
        tell(json.dumps(figures))
        if options.seconds:
            load = {
                name: loaded(words, size, options.seconds)
                for name, size in (("batched", 16), ("single", 1))
            }
            figures["http"] = load | ratios(load, "batched", "single", "requests")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
