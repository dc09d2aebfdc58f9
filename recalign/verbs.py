"""What each verb does: one function of a room, called with what the command line says.

Rooms are imported inside the functions, because TensorFlow and JAX take seconds to load and
`--help` should not.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recalign import flags
from recalign.data import DEFAULT_DATA_DIR
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.prepared import PreparedDataset
    from recalign.preprocessors.surroundings import Surroundings
    from recalign.trainer.experiment import Experiment
    from recalign.weights import NewRows

SPLITS = ("train", "validation", "test")
# The columns of a table that can be named; recalign.data.readers says what each is for.
COLUMN_ROLES = (
    "user", "item", "time", "rating", "title", "brand", "price", "categories", "description",
    "review", "summary", "event",
)  # fmt: skip
_SYNTHETIC = "synthetic"
_SIZES = ("users", "themes", "products")
# Of `prepare`'s arguments, what is passed on under another name, or to nobody.
_ELSEWHERE = (
    "verb", "run", "name", "data_dir", "deed", "gin_files", "gin_bindings", "gin_search_paths",
    *(f"{role}_column" for role in COLUMN_ROLES), *_SIZES,
)  # fmt: skip


def demo(options: argparse.Namespace) -> None:
    """All of recalign on a corpus of its own."""
    from recalign.demo import run_demo

    started = time.monotonic()
    say = lambda title: print(f"\n== {title}", flush=True)  # noqa: E731
    report = run_demo(options.seed, options.out, say, options.quick)
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(f"\n{report}, after {minutes} min {seconds} s")


def experiments(options: argparse.Namespace) -> None:
    """The experiments and what each is, or where T5X finds them."""
    from recalign import gin_folder

    if options.search_paths:
        print(",".join(gin_folder.T5X_SEARCH_PATHS))
        return
    found = gin_folder.experiments()
    width = max(map(len, found), default=0)
    for name, what in found.items():
        print(f"{name:<{width}}  {what}")


def prepare(options: argparse.Namespace) -> None:
    """Raw log -> prepared dataset; prints what was noticed and the dataset's row of Table 7."""
    from recalign.data import prepared, vocabulary
    from recalign.report.dataset_tables import table_7
    from recalign.report.tables import as_text

    _configure(options)
    before = prepared.what_is_there(options.name, _data_dir(options))
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in _ELSEWHERE and value is not None and value is not False
    }
    given |= {} if options.deed is None else {"verb": options.deed}
    columns, sizes = flags.columns_of(options, COLUMN_ROLES), flags.given(options, _SIZES)
    if options.name == "demo" or options.format == _SYNTHETIC:
        dataset, notices = _prepare_synthetic(options, given, columns, sizes)
    elif sizes:
        raise UserError(f"--{min(sizes)} is for a log of --format {_SYNTHETIC}")
    else:
        from recalign.data import from_files

        dataset, notices = from_files.prepare_from_files(
            options.name, data_dir=_data_dir(options), columns=columns, **given
        )
    for line in notices:
        print(line, file=sys.stderr)
    print(as_text(table_7([(options.name, dataset)])))
    if tokens := dataset.item_tokens:
        print(f"{tokens.count:,} item tokens: experiments on {options.name} need this line:")
        print(tokens.gin_line)
    if note := prepared.replacement_note(before, dataset):
        print(note, file=sys.stderr)
    print(f"prepared in {dataset.directory}", file=sys.stderr)
    if dataset.sentencepiece_model is None and (warning := vocabulary.t5_warning()):
        print(warning, file=sys.stderr)


def _prepare_synthetic(
    options: argparse.Namespace,
    given: Mapping[str, Any],
    columns: Mapping[str, str],
    sizes: Mapping[str, int],
) -> tuple[PreparedDataset, list[str]]:
    from recalign.data import synthetic

    own = ("item_ids", "item_tokens", "seed")
    settings = {name: value for name, value in given.items() if name in own}
    foreign = [*(set(given) - {*settings, "format"}), *(f"{role}_column" for role in columns)]
    if given.get("format", _SYNTHETIC) != _SYNTHETIC:
        foreign.append("format")
    if foreign:
        raise UserError(f"{options.name} makes its own log: --{min(foreign)} does not go with it")
    config = synthetic.CorpusConfig(**sizes)
    dataset = synthetic.prepare_demo(
        _data_dir(options), name=options.name, config=config, **settings
    )
    return dataset, dataset.info["notes"]


def stats(options: argparse.Namespace) -> None:
    """Tables 7 and 10 of a prepared dataset."""
    from recalign.data import leaks, prepared, statistics
    from recalign.report.dataset_tables import statistics_text

    dataset = prepared.open_dataset(options.name, _data_dir(options))
    found = leaks.leak_report(dataset) if options.leaks else []
    if options.json:
        figures = statistics.dataset_statistics(dataset, options.history_length)
        if options.leaks:
            figures["leaks"] = [dataclasses.asdict(leak) for leak in found]
        print(json.dumps(figures, indent=2))
        return
    print(statistics_text(options.name, dataset, options.history_length))
    if options.leaks:
        print(f"\n{leaks.format_leaks(found)}")


def show(options: argparse.Namespace) -> None:
    """Rendered samples of a task, with token counts."""
    from recalign import show as samples

    experiment = _settings(options, options.task)
    lengths = experiment.task_feature_lengths if experiment else None
    with _surroundings(options, experiment).entered():
        for block in samples.show_task(
            options.task, options.split, options.n, sequence_length=lengths, seed=options.seed
        ):
            print(block)


def train(options: argparse.Namespace) -> None:
    """Fine-tunes, resumes, and evaluates where the experiment asks for it."""
    from recalign.trainer import loop

    results = loop.train(_experiment(options, options.gin_bindings), force=options.force)
    if results is not None:
        _print_results(results)


def evaluate(options: argparse.Namespace) -> None:
    """Evaluates a checkpoint; the trainer writes results.json."""
    from recalign.trainer import evaluation

    experiment, checkpoint = _experiment(options, options.gin_bindings), options.checkpoint
    which = int(checkpoint) if checkpoint.isdecimal() else checkpoint
    _print_results(evaluation.evaluate(experiment, options.split, which, options.max_examples))


def baselines(options: argparse.Namespace) -> None:
    """Systems to compare with on the test split: a results.json and each user's ranks."""
    import seqio

    import tasks
    from recalign.baselines import environments, measure, systems
    from recalign.data import prepared, synthetic
    from recalign.report.comparison import format_baselines
    from tasks.vocabulary import stand_in_vocabulary

    experiment = _settings(options, f"retrieval_{options.name}")
    dataset = prepared.open_dataset(options.name, _data_dir(options))
    kinds = ("retrieval", "ranking", *(() if dataset.no_ratings() else ("rating",)))
    has_law = synthetic.read_law(dataset) is not None
    models = systems.resolve(options.models, kinds, has_law, options.name)
    tasks.ensure_registered(f"retrieval_{options.name}", _data_dir(options))
    out = options.out or f"runs/baselines_{options.name}/results.json"
    with contextlib.ExitStack() as stack:
        surroundings = _surroundings(options, experiment)
        any_file = stack.enter_context(stand_in_vocabulary())
        stack.enter_context(dataclasses.replace(surroundings, vocabulary_file=any_file).entered())
        results = measure.measure(
            dataset,
            models,
            {kind: seqio.TaskRegistry.get(f"{kind}_{options.name}") for kind in kinds},
            pathlib.Path(out),
            epochs=options.epochs,
            seed=options.seed,
            leave_out_seen=options.leave_out_seen,
            force=options.force,
            environments_directory=pathlib.Path(
                options.environments or environments.default_directory()
            ),
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(format_baselines(results))


def plan(options: argparse.Namespace) -> None:
    """What the experiment needs of a TPU slice, by XLA's compiler; no data and no TPU needed.

    MODEL_DIR may be left out: nothing is written.
    """
    from recalign import plan as planner

    experiment = _experiment(options, ["MODEL_DIR = 'unused'", *options.gin_bindings])
    found = planner.plan(
        experiment,
        options.topology,
        searching=options.search,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(json.dumps(planner.as_json(found), indent=2) if options.json else planner.as_text(found))


def convert(options: argparse.Namespace) -> None:
    """Weights from one format to another; says what became of them."""
    from recalign import weights
    from recalign.data import origins

    made_from = origins.of_weights(options.source)
    new_rows = None
    if options.item_tokens:
        new_rows = _item_rows(options.item_tokens, _data_dir(options), made_from)
    done = weights.convert(
        options.source,
        options.destination,
        source_format=options.source_format,
        destination_format=options.destination_format,
        weights_only=options.weights_only,
        first_step=options.first_step,
        new_rows=new_rows,
        sizes=made_from.get("model"),
    )
    print(
        f"{done.source_format} -> {done.destination_format}: {done.parameters:,} parameters"
        f"{' and the optimizer' if done.optimizer else ''} of step {done.step:,}"
        f" in {done.destination}"
    )


def _item_rows(name: str, data_dir: str, made_from: Mapping[str, Any]) -> NewRows:
    """The rows that a checkpoint, of a run that was `made_from` this, gets for item tokens."""
    import sentencepiece

    from recalign.data import item_tokens, prepared
    from recalign.weights import NewRows

    dataset = prepared.open_dataset(name, data_dir)
    tokens, model = dataset.item_tokens, dataset.sentencepiece_model
    if tokens is None or model is None:
        raise UserError(f"dataset {name!r} has no item tokens: prepare it with --item_tokens")
    trained_on = made_from.get("vocabulary", {})
    for was, added_to in (
        (trained_on.get("sha256"), dataset.info.get("base_vocabulary")),
        (trained_on.get("pieces"), tokens.first),
    ):
        if was is not None and added_to is not None and was != added_to:
            raise UserError(
                f"the run's vocabulary is {str(was)[:12]}, and the one that the items of {name!r} "
                f"were added to is {str(added_to)[:12]}: prepare {name} with --item_tokens and "
                "--sentencepiece_model FILE, the run's vocabulary"
            )
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.read_bytes())
    texts = item_tokens.stands_for(dataset.catalogue, tokenizer, tokens)
    return NewRows(tokens.first, tokens.vocab_size, texts)


def report(options: argparse.Namespace) -> None:
    """One page, its tables in another format, or plain text."""
    from recalign.report.comparison import format_runs
    from recalign.report.formats import FORMATS, write_report

    suffix = pathlib.Path(options.out).suffix.removeprefix(".") if options.out else "txt"
    chosen = options.format or (suffix if suffix in FORMATS else "html")
    if options.out is not None:
        write_report(options.runs, options.out, format=chosen, data_dir=options.data_dir)
        print(options.out, file=sys.stderr)
    elif chosen == "txt":
        print(format_runs(options.runs))
    else:
        raise UserError(f"--format {chosen} goes into a file: give --out FILE")


# What verbs share ---------------------------------------------------------------------------------


def _data_dir(options: argparse.Namespace) -> str:
    return options.data_dir or DEFAULT_DATA_DIR


def _surroundings(options: argparse.Namespace, experiment: Experiment | None) -> Surroundings:
    """What tasks take from an experiment or, where none is given, from the command line."""
    from recalign.preprocessors.surroundings import Surroundings

    return Surroundings(_data_dir(options)) if experiment is None else experiment.surroundings


def _experiment(options: argparse.Namespace, bindings: Sequence[str]) -> Experiment:
    from recalign.trainer import experiment

    data_dir = [] if options.data_dir is None else [f"DATA_DIR = {options.data_dir!r}"]
    return experiment.load_experiment(
        options.gin_files, [*bindings, *data_dir], options.gin_search_paths
    )


def _configure(options: argparse.Namespace) -> None:
    """Gives gin what the command line says, where no experiment is run."""
    if not (options.gin_files or options.gin_bindings):
        return
    from recalign.data import semantic_ids  # noqa: F401 (its settings are gin's)
    from recalign.trainer import gin_files

    gin_files.parse(
        options.gin_files,
        options.gin_bindings,
        search_paths=["", *options.gin_search_paths],
        skip_unknown=(),
        unread_macros=(),
    )


def _settings(options: argparse.Namespace, task: str) -> Experiment | None:
    """The experiment that gives the sizes of histories, pools and prompts, where one is given.

    It is not run: what it lacks for that does not matter here.
    """
    if options.gin_files:
        unused = [f"MIXTURE_OR_TASK_NAME = {task!r}", "MODEL_DIR = 'unused'"]
        return _experiment(options, [*unused, *options.gin_bindings])
    if options.gin_bindings:
        raise UserError("--gin.… without --gin_file: give the experiment that it changes")
    return None


def _print_results(results: Mapping[str, Any]) -> None:
    import jax

    from recalign.report.comparison import format_results

    if jax.process_index() == 0:
        print(format_results(results))
