"""Evaluation by beam search: the examples of a split -> beams -> the tasks' own metrics."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from recalign.model.trie import Trie
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer import partitioning, results, setup
from recalign.trainer.checkpoints import Checkpoints, fingerprint
from recalign.trainer.decoding import (
    Batch,
    BeamDecoder,
    HostBeams,
    batches_by_length,
    filled_up,
)
from recalign.trainer.experiment import Experiment
from recalign.trainer.predictions import PredictionFile, beam_record, stacked_beams
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import say

CANDIDATES = "candidates_"
_SECONDS_BETWEEN_LINES = 10.0

Example = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A task on a split, with all that decoding it needs.

    Attributes:
      task: with metrics.
      examples: in the order of the split.
      max_decode_len: tokens of the longest output, EOS included.
      trie: of the catalogue's IDs, where the task's targets are IDs.
      constrained: whether the plain beams, too, are decoded along the trie.
    """

    task: seqio.Task
    examples: Sequence[Example]
    max_decode_len: int
    trie: Trie | None
    constrained: bool

    @property
    def has_candidates(self) -> bool:
        return self.trie is not None and bool(self.examples) and "candidates" in self.examples[0]


def evaluate(
    experiment: Experiment,
    split: str = "test",
    checkpoint: str | int = "best",
    max_examples: int | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint of MODEL_DIR on a split and writes results.json.

    Predictions are written as they come: an evaluation that was interrupted goes on where it was.

    Args:
      experiment: what was trained.
      split: "validation" or "test".
      checkpoint: "best" (by validation), "last", or a step.
      max_examples: the first examples of each task only; None for all.

    Returns:
      What stands in results.json.
    """
    setup.prepare(experiment)
    mesh = partitioning.make_mesh(experiment.num_partitions)
    evaluated_tasks = tasks_with_metrics(experiment.mixture_or_task_name, split)
    setup.check_vocabulary(experiment, evaluated_tasks)
    partitioning.check_batch_size("EVAL_BATCH_SIZE", experiment.decode_batch_size, mesh)
    checkpoints = Checkpoints(experiment.directory, read_only=True)
    try:
        step, params = checkpoints.restore_params(
            checkpoint, sharded_params_shape(experiment.config, mesh)
        )
    finally:
        checkpoints.close()
    say(f"evaluating the checkpoint of step {step:,} on {split}")
    decoder = BeamDecoder(experiment.config, mesh, experiment.beam_size)
    settings = {
        "checkpoint_step": step,
        "params": fingerprint(params),
        "beam_size": experiment.beam_size,
        "batch_size": experiment.decode_batch_size,
        "lengths": dict(experiment.task_feature_lengths),
        "constrained": experiment.constrained,
        "max_examples": max_examples,
    }
    measured = {}
    for task in evaluated_tasks:
        evaluated = load(task, split, experiment, max_examples)
        file = PredictionFile(
            experiment.directory,
            f"{task.name}-{split}",
            {**settings, "examples": _fingerprint_of_examples(evaluated.examples)},
        )
        predict(evaluated, params, decoder, experiment, file)
        measured[task.name] = measure(evaluated, file.finish())
        say(f"{task.name} {split} | {describe(measured[task.name])}")
    return results.write(experiment, evaluated_tasks, split, step, measured, max_examples)


def tasks_with_metrics(mixture_or_task_name: str, split: str) -> list[seqio.Task]:
    """The tasks of a mixture that have metrics and a split of that name."""
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    among = [provider] if isinstance(provider, seqio.Task) else provider.tasks
    return [task for task in among if task.metric_objs and split in task.splits]


def load(
    task: seqio.Task, split: str, experiment: Experiment, max_examples: int | None
) -> Evaluated:
    """Reads a task's examples into memory."""
    dataset = task.get_dataset(
        sequence_length=dict(experiment.task_feature_lengths),
        split=split,
        shuffle=False,
        num_epochs=1,
    )
    if max_examples is not None:
        dataset = dataset.take(max_examples)
    examples = list(dataset.as_numpy_iterator())
    kind = getattr(task, "evaluated_as", None)
    trie = catalogue_trie(task) if kind in ("retrieval", "ranking") else None
    if trie is None:
        longest = max((len(example["targets"]) for example in examples), default=1)
        longest = min(longest, experiment.task_feature_lengths["targets"])
    else:
        longest = trie.depth
    return Evaluated(task, examples, longest, trie, experiment.constrained and kind == "retrieval")


def catalogue_trie(task: RecommendationTask) -> Trie:
    """The IDs of a task's catalogue, in index order, as token sequences."""
    vocabulary = task.output_features["targets"].vocabulary
    ids = task.source.open().catalogue.ids
    return Trie.from_sequences([vocabulary.encode(item) for item in ids], vocabulary.eos_id)


def predict(
    evaluated: Evaluated,
    params: Any,
    decoder: BeamDecoder,
    experiment: Experiment,
    file: PredictionFile,
) -> None:
    """Decodes what `file` does not hold yet, batch by batch."""
    clock = last_said = time.perf_counter()
    total, begun_with = len(evaluated.examples), len(file.records)
    if begun_with:
        say(f"{evaluated.task.name}: {begun_with:,} of {total:,} examples were predicted before")
    for batch in _batches(evaluated, experiment):
        if all(int(number) in file.records for number in batch.numbers):
            continue
        beams, restricted = decode(evaluated, params, decoder, batch)
        file.append(
            [
                _record(evaluated, int(number), place, beams, restricted)
                for place, number in enumerate(batch.numbers)
            ]
        )
        now, done = time.perf_counter(), len(file.records)
        if now - last_said > _SECONDS_BETWEEN_LINES:
            rate, last_said = (done - begun_with) / (now - clock), now
            say(
                f"{evaluated.task.name}: {done:,} of {total:,} examples | {rate:.3g} examples/s | "
                f"{(total - done) / rate:,.0f} s to go"
            )


def beams_of_all(
    evaluated: Evaluated, params: Any, decoder: BeamDecoder, experiment: Experiment
) -> list[dict[str, Any]]:
    """The predictions of all examples, in memory only."""
    records: dict[int, dict[str, Any]] = {}
    for batch in _batches(evaluated, experiment):
        beams, restricted = decode(evaluated, params, decoder, batch)
        for place, number in enumerate(batch.numbers):
            records[int(number)] = _record(evaluated, int(number), place, beams, restricted)
    return [records[number] for number in sorted(records)]


def _batches(evaluated: Evaluated, experiment: Experiment) -> Any:
    return batches_by_length(
        [example["inputs"] for example in evaluated.examples],
        experiment.task_feature_lengths["inputs"],
        experiment.decode_batch_size,
    )


def decode(
    evaluated: Evaluated, params: Any, decoder: BeamDecoder, batch: Batch
) -> tuple[HostBeams, HostBeams | None]:
    """The beams as they come, and those restricted to the candidates where there are any."""
    search = functools.partial(
        decoder, params, batch.inputs_BxL, max_decode_len=evaluated.max_decode_len
    )
    beams = search(trie=evaluated.trie if evaluated.constrained else None)
    if not evaluated.has_candidates:
        return beams, None
    candidates_BxC = filled_up(
        [evaluated.examples[number]["candidates"] for number in batch.numbers],
        len(batch.inputs_BxL),
    )
    return beams, search(trie=evaluated.trie, candidates_BxC=candidates_BxC)


def _record(
    evaluated: Evaluated,
    number: int,
    place: int,
    beams: HostBeams,
    restricted: HostBeams | None,
) -> dict[str, Any]:
    example = evaluated.examples[number]
    features = evaluated.task.output_features
    vocabulary = features["targets"].vocabulary
    record: dict[str, Any] = {
        "index": number,
        "row": int(example["row"]) if "row" in example else number,
        "prompt": features["inputs"].vocabulary.decode(example["inputs"].tolist()),
        "target": vocabulary.decode(example["targets"].tolist()),
        **beam_record(beams, place, vocabulary),
    }
    if restricted is not None:
        record |= beam_record(restricted, place, vocabulary, CANDIDATES)
    if "label" in example:
        record["label"] = int(example["label"])
    return record


def measure(evaluated: Evaluated, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The task's metrics; those of candidates-only decoding have `_candidates` at their end."""
    examples = [evaluated.examples[record["index"]] for record in records]
    measured = _metrics(evaluated.task, examples, stacked_beams(records))
    if evaluated.has_candidates:
        restricted = _metrics(evaluated.task, examples, stacked_beams(records, CANDIDATES))
        measured |= {
            f"{name}_candidates": value for name, value in restricted.items() if "@" in name
        }
    return measured


def _metrics(task: seqio.Task, examples: Sequence[Example], beams: HostBeams) -> dict[str, float]:
    auxiliary = {"scores": beams.scores_BxK, "log_probs": beams.log_probs_BxK}
    measured: dict[str, float] = {}
    for metric in task.metric_objs:
        computed = metric.from_model_output(
            examples, (beams.tokens_BxKxT, auxiliary), task.output_features
        ).compute()
        measured |= {
            name: float(getattr(value, "value", value)) for name, value in computed.items()
        }
    return measured


def describe(metrics: Mapping[str, float]) -> str:
    """
    >>> describe({"hr@10": 0.25, "num_examples": 200.0})
    'hr@10 0.2500, num_examples 200'
    """
    return ", ".join(
        f"{name} {value:.0f}" if value == int(value) and abs(value) > 1 else f"{name} {value:.4f}"
        for name, value in metrics.items()
        if not np.isnan(value)
    )


def _fingerprint_of_examples(examples: Sequence[Example]) -> str:
    """Changes with the inputs, and so with the data, the wording and the vocabulary."""
    tokens = np.concatenate([np.zeros(1, np.int32), *[e["inputs"] for e in examples]])
    weights = np.arange(1, len(tokens) + 1, dtype=np.uint64)
    return f"{len(examples)}-{int((tokens.astype(np.uint64) * weights).sum()):x}"
