"""Measures systems one after the other and keeps what each scored beside what it did on each user.

    results.json      in results.json's shape: figures under `references`, a block a system, and
                      under `systems` whose implementation, with which settings, how long it took
    ranks/            <model>-<task>.parquet: what the report's intervals are computed from

A system that is there already is not measured again, so that systems can be added one at a time.
"""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import seqio
from etils import epath
from jaxtyping import Float

from recalign import __version__
from recalign.baselines import (
    bpr_mlp,
    environments,
    item_to_item,
    process,
    references,
)
from recalign.baselines.drivers.exchange import Answer, Question
from recalign.baselines.outcomes import Example, Outcome, outcome_of
from recalign.baselines.question import question_of
from recalign.baselines.systems import REFERENCES, SYSTEMS
from recalign.data import integrity
from recalign.data.atomic import whole_file, write_whole
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError

_SEEN = {False: "left in", True: "left out"}


def measure(
    dataset: PreparedDataset,
    models: Sequence[str],
    tasks: Mapping[str, seqio.Task],
    out: pathlib.Path,
    *,
    epochs: int | None = None,
    seed: int = 0,
    leave_out_seen: bool = False,
    force: bool = False,
    environments_directory: pathlib.Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measures systems on the test split; returns what the results' file holds at the end.

    `models` are names, resolved; `tasks` the dataset's by kind; ranks/ lies beside `out`. The other
    arguments are the flags of `recalign baselines`.

    Raises:
      UserError: the file is of another dataset, preparation or convention, a library cannot be
        installed or fails. What was measured before that is kept.
    """
    results = _read(out, dataset, leave_out_seen)
    settings = {
        "dataset_fingerprint": dataset.info.get("fingerprint"),
        "seen_items": _SEEN[leave_out_seen],
        "ties": "retrieval: the lower catalogue index first; ranking: the order in the prompt",
    }
    examples: dict[str, list[Example]] = {}
    for model in models:
        system = SYSTEMS[model]
        kinds = [kind for kind in system.kinds if kind in tasks]
        files = {
            kind: out.parent / "ranks" / f"{model}-{tasks[kind].name}.parquet" for kind in kinds
        }
        digests = results.get("ranks", {})
        there = model in results["systems"] and all(
            path.exists() and digests.get(path.name) in (None, _digest(path))
            for path in files.values()
        )
        if there and not force:
            say(f"{model}: measured already, {out} has it (--force measures again)")
            continue
        for kind in set(kinds) - set(examples):
            examples[kind] = references.examples_of(tasks[kind], "test")
        of_kinds = {kind: examples[kind] for kind in kinds}
        driver: list[pathlib.Path] = []
        if system.library != "recalign":
            python = environments.python_of(system.library, environments_directory, say)
            driver = [python, process.driver_of(system.library)]
        say(f"{model}: on {', '.join(tasks[kind].name for kind in kinds)}")
        started = time.monotonic()
        if model in REFERENCES:
            scorers = references.scorers_of(dataset, "test", leave_out_seen)[model]
            outcomes = {k: references.scored(k, found, scorers[k]) for k, found in of_kinds.items()}
            about: dict[str, Any] = {}
        else:
            question = question_of(
                dataset, system, of_kinds, seed=seed, epochs=epochs, leave_out_seen=leave_out_seen
            )
            answer = _answer(model, question, driver, say)
            given = {"retrieval": answer.ranks, "ranking": answer.pool_scores}
            given["rating"] = answer.scores
            outcomes = {k: outcome_of(k, found, given[k]) for k, found in of_kinds.items()}
            about = {"seed": seed, "most_epochs": question.epochs, **answer.about}
        seconds = time.monotonic() - started
        digests = {
            files[k].name: _write_ranks(files[k], outcome) for k, outcome in outcomes.items()
        }
        # Read again: another command may have added its systems meanwhile.
        results = _read(out, dataset, leave_out_seen)
        results["references"][model] = {
            tasks[kind].name: outcome.metrics() for kind, outcome in outcomes.items()
        }
        results.setdefault("evaluated", {}).update(
            {tasks[kind].name: {"kind": kind, "evaluated_as": kind} for kind in outcomes}
        )
        results["systems"][model] = {
            "library": system.library,
            "version": about.pop("version", __version__),
            "settings": {"model": system.model, **settings, **system.settings, **about},
            "seconds": round(seconds, 1),
        }
        results.setdefault("ranks", {}).update(digests)
        results = integrity.sealed(integrity.without_nan(results))
        write_whole(epath.Path(out), integrity.sealed_json(results))
        say(f"{model}: {seconds:.0f} s")
    return results


def _answer(
    model: str,
    question: Question,
    driver: Sequence[pathlib.Path],
    say: Callable[[str], None],
) -> Answer:
    if driver:
        return process.ask(question, driver, say)
    if model == "bprmlp":
        return bpr_mlp.answer(question, say)
    if model in item_to_item.RULES:
        return item_to_item.answer(question, item_to_item.RULES[model], say)
    return Answer(np.zeros(0), np.zeros(0), history_scores(question), {})


def history_scores(question: Question) -> Float[np.ndarray, "T"]:
    """History (the paper, section 4.1): the share of likes among a user's training items.

    Each user of a test pair has at least one, which `prepare` sees to.
    """
    users = question.train.users()
    counts = np.bincount(users, minlength=question.num_users)
    likes = np.bincount(users, weights=question.train_likes, minlength=question.num_users)
    return likes[question.test_users] / counts[question.test_users]


# Files --------------------------------------------------------------------------------------------


def _read(out: pathlib.Path, dataset: PreparedDataset, leave_out_seen: bool) -> dict[str, Any]:
    """What was measured before, or a start."""
    if not out.exists():
        return {
            "dataset": dataset.name,
            "mixture": None,
            "checkpoint_step": None,
            "split": "test",
            "engine": "baselines",
            "tasks": {},
            "references": {},
            "systems": {},
        }
    try:
        results = integrity.read_json(epath.Path(out))
        results["references"]
        of_dataset = results["dataset"]
        settings = [system["settings"] for system in results["systems"].values()]
        conventions = {of_system["seen_items"] for of_system in settings}
        preparations = {of_system.get("dataset_fingerprint") for of_system in settings}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{out}: no results of `recalign baselines`: {error!r}") from error
    if integrity.DIGEST in results and not integrity.is_sealed(results):
        raise UserError(f"{out}: damaged: not as it was written: remove it, and measure again")
    if of_dataset != dataset.name:
        raise UserError(f"{out} holds {of_dataset}'s systems, not {dataset.name}'s: another --out")
    if preparations - {dataset.info.get("fingerprint")}:
        raise UserError(
            f"{out} holds systems that were measured on another preparation of {of_dataset}: they"
            " do not compare; give another --out"
        )
    if conventions - {_SEEN[leave_out_seen]}:
        raise UserError(
            f"{out} holds systems with seen items {', '.join(conventions)}: they do not compare"
            f" with seen items {_SEEN[leave_out_seen]}; give another --out"
        )
    return results


def _write_ranks(path: pathlib.Path, outcome: Outcome) -> str:
    """Returns the file's digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(epath.Path(path)) as file:
        pq.write_table(outcome.table(), file)
    return _digest(path)


def _digest(path: pathlib.Path) -> str:
    return integrity.digest_of(path.read_bytes())
