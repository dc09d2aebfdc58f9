"""What a run was made from, in MODEL_DIR/run.json, and what of it differs from what is there now.

Every verb that opens a run compares. `_RULES` says what a difference means: the weights mean
nothing with it (REFUSED), they were trained otherwise, but a new run may start from them (ANEW),
the user may go on by saying so (FORCED), or it is only told (TOLD).
"""

import dataclasses
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import seqio
from etils import epath

from recalign import __version__
from recalign.data import integrity
from recalign.data.atomic import write_whole
from recalign.data.records import VERSION as DATA_VERSION
from recalign.errors import UserError
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer.experiment import Experiment
from recalign.trainer.writers import say

FILE = "run.json"
REFUSED, ANEW, FORCED, TOLD = "refused", "anew", "forced", "told"
# The first that matches a name counts; settings that are new are in nobody's way unseen.
_RULES = (
    (r"datasets/.*", REFUSED),
    (r"vocabulary/.*", REFUSED),
    (r"data_format", REFUSED),
    (r"model/(remat|unroll_layers)", TOLD),
    (r"model/(dtype|attention|float32_attention_logits)", FORCED),
    (r"model/.*|training/optimizer_name", REFUSED),
    (r"mixture|settings/.*|training/(batch_size|pack|seed|task_feature_lengths/.*)", ANEW),
    (r"training/(learning_rate.*|train_steps|warmup_steps|decay_factor|steps_per_cycle)", TOLD),
    (r"versions/.*", TOLD),
    (r".*", FORCED),
)
# Of an experiment: how it is carried out, watched and evaluated changes nothing of what it is.
_OF_THE_JOURNEY = {
    "mixture_or_task_name", "mixture_or_task_module", "model", "model_dir", "data_dir",
    "random_seed", "microbatches", "num_partitions", "eval_period", "eval_steps", "eval_tasks",
    "evaluator_num_examples", "eval_batch_size", "beam_size", "constrained", "exact_scores",
    "fusion_prior", "fusion_candidates", "test_split", "checkpoint_period",
    "keep_checkpoints", "log_period",
    *Experiment.OUTSIDE,
}  # fmt: skip
_MOST_NAMED = 3
# What run.json holds in place of words where a recalign of 26 November 2026 began the run.
_UNKNOWN_WORDS = integrity.digest_of(b"None ")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A value that is another now than when the run was made; None where there is none."""

    name: str
    before: Any
    now: Any

    @property
    def rule(self) -> str:
        """What it means."""
        return next(rule for pattern, rule in _RULES if re.fullmatch(pattern, self.name))

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.before)} and is {_short(self.now)}"


def origin(experiment: Experiment, tasks: Sequence[seqio.Task]) -> dict[str, Any]:
    """What the experiment makes a run from, in values of JSON.

    Args:
      experiment: whose surroundings are entered.
      tasks: of its mixture.
    """
    own = [task for task in tasks if isinstance(task, RecommendationTask)]
    training = {
        field.name: getattr(experiment, field.name)
        for field in dataclasses.fields(experiment)
        if field.name not in _OF_THE_JOURNEY
    }
    model = dataclasses.asdict(experiment.model)
    del model["dropout_rate"]  # the experiment's is what counts
    return _plain(
        {
            "mixture": experiment.mixture_or_task_name,
            "datasets": {task.dataset_name: task.source.open().fingerprint for task in own},
            "vocabulary": _vocabulary(tasks),
            "tasks": {task.name: {"wording": _wording(task)} for task in tasks},
            "settings": {
                **dataclasses.asdict(experiment.settings),
                "rates": dict(experiment.rates),
                "templates": _digest_of_file(experiment.templates_file),
            },
            "model": model,
            "training": {**training, "seed": experiment.seed},
            "data_format": DATA_VERSION,
            "versions": versions(),
        }
    )


def write(
    directory: epath.Path,
    origin: Mapping[str, Any],
    start: Mapping[str, Any] | None,
    changes: Sequence[str] = (),
) -> None:
    """Writes run.json.

    Args:
      directory: MODEL_DIR.
      origin: what the run is made from.
      start: its start weights' step and fingerprint; None where it goes on, and they stay.
      changes: what is otherwise from now on, a sentence each.
    """
    before = _read(directory) if start is None else {}
    told = [*before.get("changes", []), *changes]
    run = {
        "recalign": __version__,
        "start": before.get("start", {}) if start is None else start,
        "made_from": origin,
        "changes": told,
    }
    write_whole(directory / FILE, integrity.sealed_json(run))


def read(directory: epath.Path) -> Mapping[str, Any] | None:
    """What a run was made from; None where an earlier recalign, or another tool, made it.

    Raises:
      UserError: the file is damaged.
    """
    return _read(directory).get("made_from")


def _read(directory: epath.Path) -> Mapping[str, Any]:
    path = directory / FILE
    if not path.exists():
        return {}
    found = integrity.read_sealed(path)
    if not isinstance(found.get("made_from"), dict) or not isinstance(found.get("changes"), list):
        raise UserError(f'{path}: damaged: it lacks "made_from" or "changes"')
    return found


def check_resumed(directory: epath.Path, now: Mapping[str, Any], force: bool) -> list[Difference]:
    """Before a run goes on: what is otherwise from now on.

    Raises:
      UserError: it was made from something else; the message names what, and the way on.
    """
    before = read(directory)
    if before is None:
        say(f"{directory} holds no {FILE}: what it was made from is not known")
        return []
    found = differences(before, now)
    for rule, way in (
        (REFUSED, "the weights do not go with it: give another MODEL_DIR"),
        (
            ANEW,
            "give another MODEL_DIR; a new run starts from these weights by "
            f"INITIAL_CHECKPOINT_PATH = {os.fspath(directory)!r}",
        ),
        (FORCED, "give another MODEL_DIR, or --force to go on all the same"),
    ):
        own = [difference for difference in found if difference.rule == rule]
        if own and not (rule == FORCED and force):
            raise UserError(f"{directory} was made otherwise: {_named(own)}: {way}")
    if found:
        say(f"going on otherwise than before: {_named(found)}")
    return found


def check_used(directory: epath.Path, now: Mapping[str, Any]) -> None:
    """Before a run is evaluated or recommends: on what it was made from, or what it never saw.

    Raises:
      UserError: the vocabulary, or a dataset of the same name, is another.
    """
    before = read(directory)
    if before is None:
        say(f"{directory} holds no {FILE}: what it was made from is not known")
        return
    found = [it for it in differences(before, now) if not re.match("training/|versions/", it.name)]
    changed = [it for it in found if it.before is not None and it.now is not None]
    if refused := [it for it in changed if it.rule == REFUSED]:
        raise UserError(
            f"{directory} was made otherwise: {_named(refused)}: give the --data_dir that holds "
            "what it was made from, prepare that again, or train anew"
        )
    unseen = [it for it in found if it.before is None and it.name.startswith("datasets/")]
    if told := [*unseen, *changed]:
        say(f"otherwise than the run was trained: {_named(told)}")


def of_results(origin: Mapping[str, Any], params: str) -> dict[str, Any]:
    """What figures are made from: all but the training, and the parameters' fingerprint."""
    return {
        **{name: part for name, part in origin.items() if name not in ("training", "versions")},
        "params": params,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What is another, by name, nested names joined by a slash."""
    one, other = dict(_flat(before)), dict(_flat(now))
    return [
        Difference(name, one.get(name), other.get(name))
        for name in (*one, *(name for name in other if name not in one))
        if one.get(name) not in (other.get(name), _UNKNOWN_WORDS)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _named(found: Sequence[Difference]) -> str:
    more = len(found) - _MOST_NAMED
    shown = "; ".join(map(str, found[:_MOST_NAMED]))
    return f"{shown}; and {more} more" if more > 0 else shown


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else repr(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{40,}", text) else text[:80]


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


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
    """Of what a figure may depend on."""
    libraries = ("jax", "flax", "optax", "seqio", "tensorflow", "tensorflow-text")
    found = {name: importlib.metadata.version(name) for name in libraries}
    return {"recalign": __version__, "python": platform.python_version(), **found}
