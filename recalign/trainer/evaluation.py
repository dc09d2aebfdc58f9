"""Evaluation by beam search: the examples of a split -> beams -> the tasks' own metrics."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio

from recalign import metrics
from recalign.data.field_checks import Check, list_of, object_of, whole
from recalign.errors import UserError
from recalign.model.decode import Beams
from recalign.model.trie import Trie
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer import fusion, partitioning, provenance, results, setup
from recalign.trainer.checkpoints import restored_params
from recalign.trainer.decoding import (
    EXACT,
    FREE,
    ITEMS,
    POOL,
    Batch,
    BeamDecoder,
    batches_by_length,
    filled_up,
    input_lengths,
    one_ahead,
)
from recalign.trainer.experiment import Experiment
from recalign.trainer.lengths import describe_padding
from recalign.trainer.lock import EVALUATION, locked
from recalign.trainer.predictions import (
    PredictionFile,
    beam_record,
    fingerprint_of_examples,
    holds_beams,
    log_prob,
    stacked_beams,
)
from recalign.trainer.progress import Countdown
from recalign.trainer.writers import describe, say
from recalign.weights import fingerprints

# The plain beams have no prefix in a prediction and no ending in a metric's name.
_PREFIX = {FREE: "", ITEMS: "", POOL: "candidates_"}
_ENDING = {FREE: "", ITEMS: "", POOL: "_candidates", EXACT: "_exact"}
# How many examples there are, and how many beams were valid, is of the plain beams alone.
_OF_PLAIN_BEAMS = ("num_examples", "valid_")
# What systems that read no prompt need of an example.
_ASKED = ("row", "target", "candidates", "label")

Example = Mapping[str, np.ndarray]
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A task on a split, with all that decoding it needs."""

    task: seqio.Task  # with metrics
    kind: str  # "retrieval", "ranking" or "rating"; "" for one that is not ours
    examples: Sequence[Example]  # in the order of the split
    max_decode_len: int  # tokens of the longest output, EOS included
    answers: tuple[str, ...]  # by number: the catalogue's IDs, or a rating's two words; else none
    trie: Trie | None  # of the answers, where they are decoded along them
    ways: tuple[str, ...]  # of decoding (`decoding.FREE`, …), the plain beams first
    scored_NxC: np.ndarray | None = None  # of a retrieval with a prior: its best items an example

    def pool_BxC(self, batch: Batch) -> np.ndarray | None:
        """The answers that each example chooses from, as indices into the trie's sequences."""
        if not {POOL, EXACT} & set(self.ways):
            return None
        if self.scored_NxC is not None:
            return filled_up(self.scored_NxC[batch.numbers], len(batch.inputs_BxL))
        pools = [self.examples[n].get("candidates", _NO_YES) for n in batch.numbers]
        return filled_up(pools, len(batch.inputs_BxL))


_NO_YES = np.array([0, 1], np.int32)  # a rating task's trie holds these two


def evaluate(
    experiment: Experiment,
    split: str = "test",
    checkpoint: str | int = "best",
    max_examples: int | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint of MODEL_DIR on a split; writes and returns results.json.

    Predictions are written as they come: an evaluation that was interrupted goes on where it was.

    Args:
      experiment: what was trained.
      split: "validation" or "test".
      checkpoint: "best" (by validation), "last", or a step.
      max_examples: the first examples of each task only; None for all.
    """
    if not experiment.directory.exists():
        raise UserError(f"{experiment.directory}: no such folder: train first, or check MODEL_DIR")
    with locked(experiment.directory, EVALUATION), experiment.surroundings.entered():
        return _evaluate(experiment, split, checkpoint, max_examples)


def _evaluate(
    experiment: Experiment, split: str, checkpoint: str | int, max_examples: int | None
) -> dict[str, Any]:
    setup.prepare(experiment)
    mesh = partitioning.make_mesh(experiment.num_partitions)
    evaluated_tasks = tasks_with_metrics(experiment.mixture_or_task_name, split)
    setup.check_vocabulary(experiment, evaluated_tasks)
    partitioning.check_batch_size("EVAL_BATCH_SIZE", experiment.decode_batch_size, mesh)
    origin = provenance.origin(experiment, evaluated_tasks)
    provenance.check_used(experiment.directory, origin)
    step, params = restored_params(experiment.directory, checkpoint, experiment.network, mesh)
    say(f"evaluating the checkpoint of step {step:,} on {split}")
    decoder = BeamDecoder(experiment.network, mesh, experiment.beam_size)
    made_from = provenance.of_results(origin, fingerprints.of_arrays(params))
    settings = {
        "checkpoint_step": step,
        "made_from": made_from,
        "batch_size": experiment.decode_batch_size,
        "max_examples": max_examples,
    }

    def predicted(
        task: seqio.Task, of_split: str, joining: fusion.Joining | None
    ) -> tuple[Evaluated, PredictionFile]:
        evaluated = load(task, of_split, experiment, max_examples, joining)
        made_with = {**settings, "examples": fingerprint_of_examples(evaluated.examples)}
        if joining is not None:
            made_with["fusion"] = joining.about
        name, check = f"{task.name}-{of_split}", record_check(evaluated, experiment)
        file = PredictionFile(experiment.directory, name, made_with, check)
        predict(evaluated, params, decoder, experiment, file)
        return evaluated, file

    measured, asked, joined = {}, {}, {}
    for task in evaluated_tasks:
        joining = fusion.joining_of(experiment, task)
        if joining is not None:
            known = fusion.read(experiment.directory).get(task.name)
            if known is None or known.made_with != settings | joining.about:
                valid, file = predicted(task, "validation", joining)
                known = joining.fit(valid.examples, file.finish(), settings | joining.about)
                fusion.write(experiment.directory, {task.name: known})
            joined[task.name] = known
        evaluated, file = predicted(task, split, joining)
        records = file.finish()
        measured[task.name] = measure(evaluated, records)
        if joining is not None:
            lists = joining.answers(evaluated.examples, split, records, joined[task.name])
            measured[task.name] |= fusion.measure(file.finish(fused_beams=lists))
        say(f"{task.name} {split} | {describe(measured[task.name])}")
        asked[task.name] = [
            {name: example[name] for name in _ASKED if name in example}
            for example in evaluated.examples
        ]
    parameters = sum(int(leaf.size) for leaf in jax.tree.leaves(params))
    return results.write(
        experiment, evaluated_tasks, split, step, parameters, measured, asked, made_from, joined
    )


def tasks_with_metrics(mixture_or_task_name: str, split: str) -> list[seqio.Task]:
    """The tasks of a mixture that have metrics and a split of that name."""
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    among = [provider] if isinstance(provider, seqio.Task) else provider.tasks
    return [task for task in among if task.metric_objs and split in task.splits]


def load(
    task: seqio.Task,
    split: str,
    experiment: Experiment,
    max_examples: int | None,
    joining: fusion.Joining | None = None,
) -> Evaluated:
    """Reads a task's examples into memory; `joining`: with the prior that joins its model."""
    dataset = task.get_dataset(
        sequence_length=dict(experiment.task_feature_lengths),
        split=split,
        shuffle=False,
        num_epochs=1,
    )
    if max_examples is not None:
        dataset = dataset.take(max_examples)
    examples = list(dataset.as_numpy_iterator())
    kind = getattr(task, "evaluated_as", "")
    ways = _ways(kind, experiment) + (() if joining is None else (EXACT,))
    answers = task.answers if kind else ()
    if kind in ("retrieval", "ranking"):
        trie = answer_trie(task)
        best = None if joining is None else joining.best_of(examples, split)
        return Evaluated(task, kind, examples, trie.depth, answers, trie, ways, best)
    longest = max((len(example["targets"]) for example in examples), default=1)
    longest = min(longest, experiment.task_feature_lengths["targets"])
    words = answer_trie(task) if EXACT in ways else None
    return Evaluated(task, kind, examples, longest, answers, words, ways)


def _ways(kind: str, experiment: Experiment) -> tuple[str, ...]:
    if kind == "retrieval":
        return (ITEMS if experiment.constrained else FREE,)
    pool = (POOL,) if kind == "ranking" else ()
    exact = (EXACT,) if kind in ("ranking", "rating") and experiment.exact_scores else ()
    return (FREE, *pool, *exact)


def answer_trie(task: RecommendationTask, answers: Sequence[str] | None = None) -> Trie:
    """What may answer a task, by number, as token sequences.

    `answers`: None for the task's own, its catalogue's IDs or two words.
    """
    vocabulary = task.output_features["targets"].vocabulary
    answers = task.answers if answers is None else answers
    return Trie.from_sequences([vocabulary.encode(a) for a in answers], vocabulary.eos_id)


def predict(
    evaluated: Evaluated,
    params: Any,
    decoder: BeamDecoder,
    experiment: Experiment,
    file: PredictionFile,
) -> None:
    """Decodes what `file` does not hold yet, batch by batch."""
    total, begun_with = len(evaluated.examples), len(file.records)
    inputs = [example["inputs"] for example in evaluated.examples]
    longest = experiment.task_feature_lengths["inputs"]
    lengths = input_lengths(inputs, longest)
    padding = describe_padding(lengths, longest, experiment.decode_batch_size)
    say(f"{evaluated.task.name}: {padding}")
    if begun_with:
        say(f"{evaluated.task.name}: {begun_with:,} of {total:,} examples were predicted before")
    countdown = Countdown(total)
    for records in _predictions(evaluated, params, decoder, experiment, file.records):
        file.append(records)
        if line := countdown.line(len(file.records)):
            say(f"{evaluated.task.name}: {line}")


def beams_of_all(
    evaluated: Evaluated, params: Any, decoder: BeamDecoder, experiment: Experiment
) -> list[Record]:
    """The predictions of all examples, in memory only."""
    batches = _predictions(evaluated, params, decoder, experiment, {})
    return sorted((record for records in batches for record in records), key=lambda it: it["index"])


def _predictions(
    evaluated: Evaluated,
    params: Any,
    decoder: BeamDecoder,
    experiment: Experiment,
    done: Mapping[int, Record],
) -> Iterator[list[Record]]:
    """The records of a batch at a time, but for batches that are done."""
    texts_of = metrics.Detokenizer(evaluated.task.output_features["targets"].vocabulary)
    batches = batches_by_length(
        [example["inputs"] for example in evaluated.examples],
        experiment.task_feature_lengths["inputs"],
        experiment.decode_batch_size,
    )
    started = (
        (
            batch.numbers,
            decoder.start(
                params,
                batch.inputs_BxL,
                evaluated.ways,
                max_decode_len=evaluated.max_decode_len,
                trie=evaluated.trie,
                pool_BxC=evaluated.pool_BxC(batch),
            ),
        )
        for batch in batches
        if any(int(n) not in done for n in batch.numbers)
    )
    for numbers, device in one_ahead(started):
        decoded = partitioning.to_host(device)
        texts = {way: texts_of(decoded[way].tokens_BxKxT) for way in decoded if way != EXACT}
        yield [
            _record(evaluated, int(number), place, decoded, texts)
            for place, number in enumerate(numbers)
        ]


def _record(
    evaluated: Evaluated,
    number: int,
    place: int,
    decoded: Mapping[str, Any],
    texts: Mapping[str, np.ndarray],
) -> Record:
    example = evaluated.examples[number]
    features = evaluated.task.output_features
    record: Record = {
        "index": number,
        "row": int(example["row"]) if "row" in example else number,
        "prompt": features["inputs"].vocabulary.decode(example["inputs"].tolist()),
        "target": features["targets"].vocabulary.decode(example["targets"].tolist()),
    }
    for way in texts:
        record |= beam_record(decoded[way], texts[way], place, _PREFIX[way])
    if EXACT in decoded:
        record["exact_log_probs"] = decoded[EXACT][place].tolist()
    if "label" in example:
        record["label"] = int(example["label"])
    if evaluated.kind == "ranking":
        record["candidates"] = [evaluated.answers[item] for item in example["candidates"]]
    return record


def record_check(evaluated: Evaluated, experiment: Experiment) -> Check:
    """Whether a record that was read back has what `_record` makes of one of the examples."""
    fields: dict[str, Check] = {
        "index": whole(0, len(evaluated.examples) - 1),
        "row": whole(0),
        **dict.fromkeys(("prompt", "target"), lambda value: isinstance(value, str)),
    }
    if EXACT in evaluated.ways:
        if evaluated.scored_NxC is None:
            widths = {len(it.get("candidates", _NO_YES)) for it in evaluated.examples}
        else:
            widths = {evaluated.scored_NxC.shape[1]}
        fields["exact_log_probs"] = list_of(log_prob, sorted(widths))
    sizes = (experiment.beam_size, evaluated.max_decode_len, experiment.model.vocab_size)
    beams = [holds_beams(*sizes, _PREFIX[way]) for way in evaluated.ways if way != EXACT]
    return lambda record: all(check(record) for check in (object_of(fields), *beams))


def measure(evaluated: Evaluated, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The task's metrics of the plain beams; those of the other ways say so at their end."""
    examples = [evaluated.examples[record["index"]] for record in records]
    measured: dict[str, float] = {}
    for way in evaluated.ways:
        if way == EXACT:
            if evaluated.scored_NxC is not None:
                continue  # of a prior's items: `fusion.measure` has what comes of them
            exact_NxC = np.array([it["exact_log_probs"] for it in records])
            found = results.exact_metrics(examples, exact_NxC)
        else:
            found = _metrics(evaluated.task, examples, stacked_beams(records, _PREFIX[way]))
        ending = _ENDING[way]
        measured |= {
            f"{name}{ending}": value
            for name, value in found.items()
            if not ending or not name.startswith(_OF_PLAIN_BEAMS)
        }
    return measured


def _metrics(task: seqio.Task, examples: Sequence[Example], beams: Beams) -> dict[str, float]:
    auxiliary = {"scores": beams.scores_BxK, "log_probs": beams.log_probs_BxK}
    measured: dict[str, float] = {}
    for metric in task.metric_objs:
        computed = metric.from_model_output(
            examples, (beams.tokens_BxKxT, auxiliary), task.output_features
        ).compute()
        measured |= {name: float(getattr(it, "value", it)) for name, it in computed.items()}
    return measured
