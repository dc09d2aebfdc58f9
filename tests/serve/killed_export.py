"""Writes recommendations of a recommender without a model, in a process that ends by SIGKILL.

python -m tests.serve.killed_export OUT MOMENT
"""

import contextlib
import os
import signal
import sys
from types import SimpleNamespace

import numpy as np
from etils import epath

from recalign.serve import export
from recalign.serve.export import Exporter, Shard
from recalign.serve.histories import Histories

USERS, ITEMS, PART = 20, 40, 3
TRAINED = 5
MOMENTS = (
    "before the first part",
    "in a part",
    "after some parts",
    "while joining",
    "while removing",
)


class StandIn:
    """Answers with the items after the last one of the history."""

    step, repeats, largest_batch, longest_prompt = 7, False, 4, 64
    weights = new_items = None
    made_from = {"mixture": "x"}  # noqa: RUF012

    def query_of(self, history, k, allowed, exclude, row):
        return SimpleNamespace(
            history=history, k=k, allowed=allowed, left_out={*history.tolist(), *exclude}, row=row
        )

    def prompt_lengths(self, queries):
        return np.array([len(query.history) for query in queries])

    def answer(self, queries, lengths):
        assert lengths[-1] == self.longest_prompt
        return [self._answer(query) for query in queries]

    def _answer(self, query):
        order = [(query.history[-1] + step) % ITEMS for step in range(1, ITEMS)]
        fit = [n for n in order if query.allowed is None or query.allowed[n]]
        chosen = [n for n in fit if n not in query.left_out][: query.k]
        return [
            SimpleNamespace(
                id=f"I{n}",
                raw_id=f"raw{n}",
                title=f"title {n}",
                score=1 / (2 + rank),
                untrained=n >= TRAINED,
            )
            for rank, n in enumerate(chosen)
        ]


def histories():
    """20 users; user n had items n, n + 1, … of a number that differs."""
    lengths = np.arange(USERS) % 4 + 1
    items = np.concatenate([np.arange(n, n + length) for n, length in enumerate(lengths)])
    users = [f"user {n}" for n in range(USERS)]
    row_splits = np.concatenate([[0], np.cumsum(lengths)])
    return Histories(users, np.arange(USERS), items.astype(np.int32), row_splits)


def exporter(out, **options):
    settings = {"k": 3, "users_of_a_part": PART, **options}
    return Exporter(StandIn(), histories(), out, **settings)


def _end():
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(moment):
    """Has the process end by itself where a moment comes."""
    whole_file, read, rmtree = export.whole_file, export._read, epath.Path.rmtree
    written = []

    @contextlib.contextmanager
    def failing(final, writer=""):
        if moment == "before the first part":
            _end()
        if moment == "after some parts" and len(written) == 3:
            _end()
        with whole_file(final, writer) as file:
            yield file
            if moment == "in a part" and len(written) == 2:
                file.flush()
                os.truncate(file.fileno(), 100)
                _end()
        written.append(final)

    def reading(path):
        if moment == "while joining" and path.name.startswith("000003"):
            _end()
        return read(path)

    def removing(path):
        if moment == "while removing":
            for file in sorted(path.iterdir())[:2]:
                file.unlink()
            _end()
        rmtree(path)

    export.whole_file, export._read = failing, reading
    type(epath.Path("x")).rmtree = removing


if __name__ == "__main__":
    out, moment = sys.argv[1:]
    _kill_at(moment)
    exporter(out).run(Shard(), print)
