"""Datasets times tasks, and mixtures: what is registered for a dataset, a line each."""

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
from etils import epath

from recalign.data.prepared import INFO_FILE, dataset_path, open_dataset
from recalign.errors import UserError
from recalign.preprocessors.mixture import StreamMixture
from recalign.preprocessors.surroundings import data_directory
from recalign.preprocessors.task import RecommendationTask
from recalign.prompts import with_verb
from recalign.wording import Prompt
from tasks.blocks import TASKS
from tasks.rates import rate
from tasks.vocabulary import DatasetVocabulary

MIXTURES: Mapping[str, Sequence[str]] = {
    "reat": ("retrieval", "mim", "mlm"),
    "raat": ("ranking", "mim", "mlm", "bpr"),
    "rpat": ("rating", "mim", "mlm"),
    "ut": ("retrieval", "ranking", "rating"),
    "ut_at": ("retrieval", "ranking", "rating", "mim", "mlm"),
    "ut_ie": ("retrieval", "ranking", "rating", "ie"),
    # The ablations of Tables 4 to 6.
    "retrieval_mlm": ("retrieval", "mlm"),
    "ranking_mlm": ("ranking", "mlm"),
    "ranking_mlm_mim": ("ranking", "mlm", "mim"),
    "rating_mlm": ("rating", "mlm"),
    "p5": ("p5_sequential", "p5_direct", "p5_rating", "p5_explanation", "p5_review", "p5_2_7"),
}
"""The mixtures of every dataset, `<mixture>_<dataset>`."""

RATES: Mapping[str, Mapping[str, float]] = {
    "p5": {"p5_sequential": 5.0, "p5_direct": 5.0}  # Appendix A.1
}
"""The rates of mixtures where they are not 1, unless gin gives others."""


def register_dataset(name: str, *, products: str | None = None, verb: Sequence[str] = ()) -> None:
    """Registers all tasks and mixtures of a dataset; it need not be prepared yet.

    Args:
        name: of the prepared dataset.
        products: the noun for what users buy; None for the noun and verb that the prepared dataset
            at hand says of itself.
        verb: what they did, where they bought nothing: ("listened to", "listen to").
    """
    if f"retrieval_{name}" in seqio.TaskRegistry.names():
        raise UserError(f"dataset {name!r} is registered already")
    for kind, block in TASKS.items():
        if verb and isinstance(prompt := block.get("prompt"), Prompt):
            block = {**block, "prompt": with_verb(prompt, *verb)}
        register_task(task_of(kind, name, products=products, **block))
    for mixture, kinds in MIXTURES.items():
        register_mixture(
            f"{mixture}_{name}", [f"{kind}_{name}" for kind in kinds], RATES.get(mixture, {})
        )


def task_of(
    kind: str, dataset: str, *, metrics: Sequence[Callable] = (), **block: Any
) -> RecommendationTask:
    """The task `<kind>_<dataset>` of a block, such as those of `blocks.TASKS`.

    Args:
        kind: what the task is called on any dataset.
        dataset: name of a dataset, which need not be prepared yet.
        metrics: classes of SeqIO metrics, or functions that take a function giving the catalogue's
            IDs and return such a class.
        block: the other arguments of `RecommendationTask`.

    Raises:
        UserError: the block is no task; the message says why.
    """

    def ids() -> Sequence[str]:
        return open_dataset(dataset, data_directory()).catalogue.ids

    return RecommendationTask(
        f"{kind}_{dataset}",
        dataset=dataset,
        kind=kind,
        vocabulary=DatasetVocabulary(dataset),
        metric_objs=[metric() if isinstance(metric, type) else metric(ids)() for metric in metrics],
        **block,
    )


def register_task(task: seqio.Task) -> seqio.Task:
    """Registers a task of one's own: of `task_of`, or another task's `replace`.

    Raises:
        UserError: the name is taken.
    """
    _check_free(task.name)
    seqio.TaskRegistry.add_provider(task.name, task)
    return task


def register_mixture(
    name: str, task_names: Sequence[str], rates: Mapping[str, float] | None = None
) -> seqio.Mixture:
    """Registers a mixture of tasks; gin's rates (`mixture_rates`) win over those given here.

    Rates are by task or kind of task, 1 for those not named.

    Raises:
        UserError: the name is taken.
    """
    _check_free(name)
    rate_of = functools.partial(rate, name, defaults=rates or {})
    return seqio.MixtureRegistry.add(
        name, [(task_name, rate_of) for task_name in task_names], mixture_cls=StreamMixture
    )


def ensure_registered(name: str, data_dir: str | None = None) -> None:
    """Makes sure that a task or mixture is registered, if need be with a dataset's defaults.

    A name that no module registered is looked up among the prepared datasets of `data_dir`, else of
    the data directory that is set: `reat_mine` is the mixture `reat` of `mine`.

    Raises:
        UserError: there is no such task, mixture or prepared dataset.
    """
    if _is_registered(name):
        return
    directory = data_directory() if data_dir is None else data_dir
    for kind in sorted([*TASKS, *MIXTURES], key=len, reverse=True):
        dataset = name.removeprefix(f"{kind}_")
        if dataset == name or f"retrieval_{dataset}" in seqio.TaskRegistry.names():
            continue
        if (dataset_path(dataset, directory) / INFO_FILE).exists():
            register_dataset(dataset)
            return
    raise UserError(_unknown(name, directory))


def _check_free(name: str) -> None:
    if _is_registered(name):
        kinds = TASKS if name in seqio.TaskRegistry.names() else MIXTURES
        ours = name.startswith(tuple(f"{kind}_" for kind in kinds))
        raise UserError(
            f"{name!r} is the name of a task or mixture that is registered already"
            f"{', as those of every dataset are' if ours else ''}: give yours another name, as in "
            'task_of("my_kind", …)'
        )


def _is_registered(name: str) -> bool:
    return name in seqio.TaskRegistry.names() or name in seqio.MixtureRegistry.names()


def _unknown(name: str, directory: str) -> str:
    known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(MIXTURES)}"
    root = epath.Path(directory)
    folders = sorted(path.name for path in root.iterdir()) if root.exists() else []
    prepared = [it for it in folders if (dataset_path(it, root) / INFO_FILE).exists()]
    return (
        f"no task or mixture {name!r} (names are <task or mixture>_<dataset>): {hint} Prepared in "
        f"{directory}: {', '.join(prepared) or 'no dataset'}"
    )
