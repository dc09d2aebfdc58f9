"""A run's config.gin: every setting of the run as a value, and read back as nothing else.

It is a gin file like any other: `recalign train --gin_file=runs/x/config.gin` repeats the run. But
a run's folder may come from anywhere, so `load_run` takes the known settings out of it and runs
nothing: imports, includes and references are refused. Of a module that the user names, what it
registers with gin may be set and referred to besides; naming one trusts none other.
"""

import dataclasses
import importlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin
from etils import epath

from recalign import internals
from recalign.data import integrity, origins
from recalign.errors import UserError
from recalign.model import NETWORKS
from recalign.preprocessors.settings import TaskSettings
from recalign.trainer import gin_text
from recalign.trainer.experiment import Experiment, load_experiment
from recalign.trainer.gin_text import Binding, Import, Reference
from recalign.trainer.writers import CONFIG_FILE
from tasks.vocabulary import T5_MODEL

# What a run's config may set.
_ARGUMENTS = {
    **{
        owner.__name__: {f.name for f in dataclasses.fields(owner)}
        for owner in (*NETWORKS, TaskSettings)
    },
    "Experiment": {
        f.name for f in dataclasses.fields(Experiment) if f.name not in Experiment.OUTSIDE
    },
    "mixture_rates": {"rates"},
    "p5_templates": {"file"},
    "vocabulary": {"sentencepiece_model"},
}
_NETWORKS = [network.__name__ for network in NETWORKS]


def text_of(experiment: Experiment) -> str:
    """The content of config.gin."""
    network = type(experiment.model).__name__
    lines = [
        "# What this run was trained with. recalign reads it as data.",
        *experiment.foreign,
        "",
    ]
    for owner, value in (
        ("Experiment", experiment),
        (network, experiment.model),
        ("TaskSettings", experiment.settings),
    ):
        bindings = dict(_fields(owner, value))
        lines += [f"{name.upper()} = {literal}" for name, literal in bindings.items()]
        lines += [f"{owner}.{name} = %{name.upper()}" for name in bindings]
        lines.append("")
    rates = _literal(dict(experiment.rates) or None, "mixture_rates.rates")
    lines += [
        f"Experiment.model = @{network}()",
        f"MIXTURE_RATES = {rates}",
        "tasks.mixture_rates.rates = %MIXTURE_RATES",
        f"P5_TEMPLATES = {_literal(experiment.templates_file, 'P5_TEMPLATES')}",
        "recalign.p5_templates.file = %P5_TEMPLATES",
    ]
    if experiment.vocabulary_file is not None:
        file = _literal(experiment.vocabulary_file, "tasks.vocabulary.sentencepiece_model")
        lines.append(f"tasks.vocabulary.sentencepiece_model = {file}")
    return integrity.sealed_text("".join(f"{line}\n" for line in lines))


def _fields(owner: str, value: Any) -> Iterator[tuple[str, str]]:
    shared = {field.name for field in dataclasses.fields(Experiment)}
    for field in dataclasses.fields(value):
        is_special = field.name == "model" or field.name in Experiment.OUTSIDE
        if is_special if owner == "Experiment" else field.name in shared:
            continue  # dropout_rate is the experiment's
        yield field.name, _literal(getattr(value, field.name), field.name.upper())


def _literal(value: Any, name: str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} = {value}: a finite number is needed")
    if isinstance(value, Mapping):
        value = dict(value)
    return repr(value)


def load_run(
    model_dir: str | os.PathLike,
    *,
    data_dir: str | None = None,
    modules: Sequence[str] = (),
) -> Experiment:
    """The experiment of a run, with MODEL_DIR where the run is now.

    `modules` of the user's are imported: settings of what they register, and references to it,
    hold. `data_dir`: of the prepared dataset; None for where the run had it. A config is refused
    that is damaged, holds more than settings that are values, or other lengths than run.json.
    """
    path = epath.Path(model_dir) / CONFIG_FILE
    text = read(path)
    bindings = [f"Experiment.model_dir = {os.fspath(model_dir)!r}"]
    if data_dir is not None:
        bindings.append(f"Experiment.data_dir = {data_dir!r}")
    for module in modules:
        _import(module)
    given = internals.parsed(lambda: settings_of(text, os.fspath(path), modules))
    experiment = load_experiment([], [*map(str, given), *bindings], source=os.fspath(path))
    _check_module(experiment, modules, path)
    _check_places(experiment, data_dir, path)
    _check_lengths(experiment, path)
    return experiment


def read(path: epath.Path) -> str:
    """The text of a run's config.gin, checked against its seal where it has one."""
    if not path.exists():
        raise UserError(f"{path.parent} is no run: it holds no {CONFIG_FILE}")
    return integrity.unsealed_text(path)


def settings_of(text: str, name: str, modules: Sequence[str] = ()) -> list[Binding | Import]:
    """The known settings in a config, each with a value in place of its macros; else a UserError.

    `modules` are imported already: what they register counts as known.
    """
    found = gin_text.statements(text, name)
    macros = gin_text.macros_of(found)
    settings: list[Binding | Import] = []
    for statement in found:
        place = f"{name}:{statement.line}"
        match gin_text.concerns_us(statement), statement:
            case True, Binding():
                setting = gin_text.resolved(statement, macros, place)
                settings.append(_setting(setting, modules, place))
            case False, Import(_, module, line):
                if module in modules and not line.startswith("include "):
                    settings.append(statement)
                    continue
                raise UserError(
                    f"{place}: {line}: a run's config is read as data: name the module "
                    f"(--module {module}) if you trust its code"
                )
            case False, Binding():
                if not _is_of(statement.selector, modules):
                    raise _untrusted(statement, "is no setting of recalign's", place)
                setting = gin_text.resolved(statement, macros, place)
                _refuse_references(setting, modules, place)
                settings.append(setting)
    return settings


def _setting(binding: Binding, modules: Sequence[str], place: str) -> Binding:
    if binding.argument not in _ARGUMENTS[binding.name]:
        raise _untrusted(binding, "is no setting of recalign's", place)
    if binding.scope and binding.name != "mixture_rates":
        raise _untrusted(binding, "has a scope", place)
    if binding.name == "Experiment" and binding.argument == "model":
        match binding.value:
            case Reference(name, True) if "/" not in name and name.rpartition(".")[2] in _NETWORKS:
                network = Reference(name.rpartition(".")[2], True)
                return dataclasses.replace(binding, selector="Experiment", value=network)
            case Reference(name, True) if _is_of(name, modules):
                return dataclasses.replace(binding, selector="Experiment")
        raise _untrusted(binding, f"is not @{'() or @'.join(_NETWORKS)}()", place)
    _refuse_references(binding, modules, place)
    return dataclasses.replace(binding, selector=gin_text.SELECTORS[binding.name])


def _refuse_references(binding: Binding, modules: Sequence[str], place: str) -> None:
    if not all(_is_of(name, modules) for name in gin_text.names_in(binding.value, Reference)):
        raise _untrusted(binding, "refers to code", place)


def _is_of(name: str, modules: Sequence[str]) -> bool:
    """Whether what gin would take for this name stands in one of the modules."""
    return bool(modules) and internals.module_of_configurable(name) in modules


def _untrusted(statement: Binding | Import, why: str, place: str) -> UserError:
    return UserError(
        f"{place}: {statement} {why}: a run's config is read as data: name the module that it "
        "needs (--module NAME) if you trust its code"
    )


def _import(module: str) -> None:
    try:
        with gin.unlock_config():  # an experiment that was read before locked it
            importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"--module {module}: {error}") from error


def _check_module(experiment: Experiment, modules: Sequence[str], path: epath.Path) -> None:
    module = experiment.mixture_or_task_module
    if module and module.split(".")[0] not in ("tasks", "recalign") and module not in modules:
        raise UserError(
            f"{path}: MIXTURE_OR_TASK_MODULE = {module!r}: its code would run: give "
            f"--module {module} if you trust it"
        )


def _check_places(experiment: Experiment, data_dir: str | None, path: epath.Path) -> None:
    """No file of elsewhere is read because a run's folder says so."""
    own = _bucket(experiment.model_dir)
    for name, place in (
        ("DATA_DIR", None if data_dir is not None else experiment.data_dir),
        ("P5_TEMPLATES", experiment.templates_file),
        ("tasks.vocabulary.sentencepiece_model", experiment.vocabulary_file),
    ):
        if place and place != T5_MODEL and _bucket(place) not in ("", own):
            way = "give --data_dir" if name == "DATA_DIR" else "copy the file, and name the copy"
            raise UserError(f"{path}: {name} = {place!r}: not read because a run says so: {way}")


def _check_lengths(experiment: Experiment, path: epath.Path) -> None:
    """Before anything is as long as the file says: a run's lengths never change."""
    found = dict(experiment.task_feature_lengths)
    training = (origins.read(path.parent) or {}).get("training")
    written = training.get("task_feature_lengths") if isinstance(training, dict) else None
    if written not in (None, found):
        raise UserError(
            f"{path}: TASK_FEATURE_LENGTHS = {found}, and {written} in {origins.FILE}: it is "
            "another run's, or was changed: put the run's own back"
        )


def _bucket(place: str) -> str:
    """`gs://bucket` of gs://bucket/a/b; empty for a local path."""
    scheme, found, rest = place.partition("://")
    return f"{scheme}://{rest.split('/')[0]}" if found else ""
