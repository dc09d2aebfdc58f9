"""What a run was made from, in MODEL_DIR/run.json, and what of it differs from what is there now.

Every verb that opens a run compares; `recalign.data.origins` says what a difference means.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

import seqio
from etils import epath

from recalign import __version__
from recalign.data import integrity, origins
from recalign.data.atomic import write_whole
from recalign.data.records import VERSION as DATA_VERSION
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer.experiment import Experiment
from recalign.trainer.writers import say

_DECODING = ("beam_size", "constrained", "exact_scores")
# Of an experiment: how it is carried out, watched and evaluated changes nothing of what it is.
_OF_THE_JOURNEY = {
    "mixture_or_task_name", "mixture_or_task_module", "model", "model_dir", "data_dir",
    "random_seed", "microbatches", "num_partitions", "eval_period", "eval_steps", "eval_tasks",
    "evaluator_num_examples", "eval_batch_size", "fusion_prior", "fusion_candidates", "test_split",
    "checkpoint_period", "keep_checkpoints", "log_period", *_DECODING, *Experiment.OUTSIDE,
}  # fmt: skip


def origin(experiment: Experiment, tasks: Sequence[seqio.Task]) -> dict[str, Any]:
    """What the experiment, whose surroundings are entered, makes a run from, in values of JSON."""
    own = [task for task in tasks if isinstance(task, RecommendationTask)]
    datasets = {task.dataset_name: task.source.open() for task in own}
    training = {
        field.name: getattr(experiment, field.name)
        for field in dataclasses.fields(experiment)
        if field.name not in _OF_THE_JOURNEY
    }
    model = dataclasses.asdict(experiment.model)
    del model["dropout_rate"]  # the experiment's is what counts
    if not isinstance(experiment.model, T5Config):
        model["network"] = type(experiment.model).__name__
    return origins.plain(
        {
            "mixture": experiment.mixture_or_task_name,
            "datasets": {name: dataset.fingerprint for name, dataset in datasets.items()},
            "likes": {
                name: experiment.settings.threshold(dataset)
                for name, dataset in datasets.items()
                if dataset.has_ratings
            },
            "vocabulary": _vocabulary(tasks),
            "tasks": {task.name: {"wording": _wording(task)} for task in tasks},
            "settings": {
                **dataclasses.asdict(experiment.settings),
                "rates": dict(experiment.rates),
                "templates": _digest_of_file(experiment.templates_file),
            },
            "model": model,
            "training": {**training, "seed": experiment.seed},
            "decoding": {
                **{name: getattr(experiment, name) for name in _DECODING},
                "lengths": dict(experiment.task_feature_lengths),
            },
            "data_format": DATA_VERSION,
            "versions": versions(),
        }
    )


def mark_of(
    directory: epath.Path, origin: Mapping[str, Any], start: Mapping[str, Any] | None
) -> str:
    """By what run.json and every checkpoint know the run: a digest of what it began as.

    It stays as the run goes on, whatever changes then; the arguments are as `write`'s.
    """
    before = origins.read_file(directory) if start is None else {}
    began_as = {"made_from": origin, "start": before.get("start", {}) if start is None else start}
    return before.get(origins.RUN) or integrity.digest_of_json(began_as)


def write(
    directory: epath.Path,
    origin: Mapping[str, Any],
    start: Mapping[str, Any] | None,
    run: str,
    changes: Sequence[str] = (),
) -> None:
    """Writes run.json.

    `origin`: what the run is made from; `start`: its start weights' step and fingerprint, None
    where it goes on, and they stay; `run`: see `mark_of`; `changes`: what is otherwise from now on,
    a sentence each.
    """
    before = origins.read_file(directory) if start is None else {}
    written = {
        "recalign": __version__,
        origins.RUN: run,
        "start": before.get("start", {}) if start is None else start,
        "made_from": origin,
        "changes": [*before.get("changes", []), *changes],
    }
    write_whole(directory / origins.FILE, integrity.sealed_json(written))


def check_resumed(
    directory: epath.Path, now: Mapping[str, Any], force: bool
) -> list[origins.Difference]:
    """Before a run goes on: what is otherwise from now on.

    A UserError where it was made from something else says what that was, and the way on.
    """
    before = origins.read(directory)
    if before is None:
        say(f"{directory} holds no {origins.FILE}: what it was made from is not known")
        return []
    found = origins.differences(before, now)
    for rule, way in (
        (origins.REFUSED, "the weights do not go with it: give another MODEL_DIR"),
        (
            origins.ANEW,
            "give another MODEL_DIR; a new run starts from these weights by "
            f"INITIAL_CHECKPOINT_PATH = {os.fspath(directory)!r}",
        ),
        (origins.FORCED, "give another MODEL_DIR, or --force to go on all the same"),
    ):
        own = [difference for difference in found if difference.rule == rule]
        if own and not (rule == origins.FORCED and force):
            raise UserError(f"{directory} was made otherwise: {origins.in_words(own)}: {way}")
    if found:
        say(f"going on otherwise than before: {origins.in_words(found)}")
    return found


def check_start(path: Any, now: Mapping[str, Any], force: bool) -> None:
    """Before a run starts from another's weights: with other tokens its embedding means nothing."""
    if not path or not isinstance(path, str):
        return
    before = origins.of_weights(path).get("vocabulary")
    if before is None:
        return
    found = origins.differences({"vocabulary": before}, {"vocabulary": now["vocabulary"]})
    if found and not force:
        raise UserError(
            f"INITIAL_CHECKPOINT_PATH = {path!r}: its tokens are others: "
            f"{origins.in_words(found)}: prepare the dataset with --sentencepiece_model FILE, that "
            "run's vocabulary, or --force to start from it all the same"
        )
    if found:
        say(f"starting from weights of other tokens: {origins.in_words(found)}")


def check_used(directory: epath.Path, now: Mapping[str, Any]) -> None:
    """Before a run is evaluated or recommends: on what it was made from, or what it never saw.

    Another vocabulary, or another dataset of the same name, is refused. What else differs is told:
    other prompts, other lengths and other beams give other figures.
    """
    before = origins.read(directory)
    if before is None:
        say(f"{directory} holds no {origins.FILE}: what it was made from is not known")
        return
    found = [
        it
        for it in origins.differences(before, now)
        if not re.match("training/|versions/", it.name)
    ]
    changed = [it for it in found if it.before is not None and it.now is not None]
    if refused := [it for it in changed if it.rule == origins.REFUSED]:
        raise UserError(
            f"{directory} was made otherwise: {origins.in_words(refused)}: give the --data_dir that"
            " holds what it was made from, prepare that again, or train anew"
        )
    unseen = [it for it in found if it.before is None and it.name.startswith("datasets/")]
    if told := [*unseen, *changed]:
        say(f"otherwise than the run was trained: {origins.in_words(told)}")


def of_results(origin: Mapping[str, Any], params: str) -> dict[str, Any]:
    """What figures are made from: all but the training, and the parameters' fingerprint.

    Versions count: another XLA may round otherwise, and of equal beams another is first then.
    """
    return {name: it for name, it in origin.items() if name != "training"} | {"params": params}


def _vocabulary(tasks: Sequence[seqio.Task]) -> dict[str, Any]:
    """Of the first task's inputs: SeqIO's mixtures have one vocabulary."""
    if not tasks:
        return {}
    vocabulary = tasks[0].output_features["inputs"].vocabulary
    file = getattr(vocabulary, "sentencepiece_model_file", None)
    about = {"pieces": vocabulary.vocab_size}
    return about if file is None else about | {"sha256": _digest_of_file(os.fspath(file))}


def _digest_of_file(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return integrity.digest_of(epath.Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _wording(task: seqio.Task) -> str:
    """A digest of the words that a task's prompt is made of; none of ours is in another's task."""
    recipe = getattr(task, "recipe", None)
    words = repr((recipe.prompt, recipe.products)) if recipe else ""
    return integrity.digest_of(re.sub(r" at 0x[0-9a-f]+", "", words).encode())


def versions() -> dict[str, str]:
    """Of what a figure may depend on; a library under another name (tensorflow-cpu) is left out."""
    found = {"recalign": __version__, "python": platform.python_version()}
    for library in ("jax", "flax", "optax", "seqio", "tensorflow", "tensorflow-text"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found
