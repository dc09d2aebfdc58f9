"""An experiment: everything that a run depends on, read from gin files in T5X's macro names."""

import dataclasses
import re
import threading
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import gin
from etils import epath

from recalign import internals
from recalign.data import DEFAULT_DATA_DIR
from recalign.data.item_vectors import SOURCES
from recalign.errors import UserError
from recalign.gin_folder import SEARCH_PATHS
from recalign.model.network import Network
from recalign.preprocessors.families import p5_templates
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.surroundings import Surroundings
from recalign.trainer import gin_files as gin_reader
from recalign.trainer import gin_text
from recalign.trainer.schedule import CONSTANT_AFTER_WARM_UP, make_schedule
from recalign.trainer.state import NORMALIZERS
from tasks import rates, vocabulary

_ONE_AT_A_TIME = threading.RLock()

# Modules and configurables of T5X that shared files bind, and macros of T5X's own run files that
# change nothing here. Anything else that is unknown is a mistake.
T5X_ONLY = (
    "t5x", "recalign.t5x.constrained", "recalign.t5x.dataset", "recalign.t5x.fast",
    "recalign.t5x.optimizer", "adafactor.Adafactor", "constrained.ConstrainedDecodingModel",
    "dataset.resumed_dataset", "eval/utils.DatasetConfig", "fast.FastDecodingModel",
    "models.DecoderParams", "models.EncoderDecoderModel", "network.T5Config",
    "network.Transformer", "optimizer.named", "partitioning.PjitPartitioner", "seqio.Evaluator",
    "seqio.SentencePieceVocabulary", "train_script.train", "trainer.Trainer",
    "utils.CheckpointConfig", "utils.DatasetConfig", "utils.RestoreCheckpointConfig",
    "utils.SaveCheckpointConfig", "utils.create_learning_rate_scheduler",
)  # fmt: skip
T5X_MACROS = (
    "EVALUATOR_USE_MEMORY_CACHE", "JSON_WRITE_N_RESULTS", "MODEL", "OPTIMIZER",
    "USE_CACHED_TASKS", "USE_HARDWARE_RNG", "VOCABULARY",
)  # fmt: skip


OPTIMIZERS = ("adafactor", "adamw")
_MOST_TOKENS = 2**20  # of an example: attention over more has no place in any memory
_MOST_ROWS = 2**20  # of a batch, and beams of an example

# Fields, what holds of each alone, and how that is said.
_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        ("batch_size", "beam_size", "fusion_candidates", "keep_checkpoints", "log_period",
         "num_partitions"),
        lambda value: value > 0, "must be at least 1",
    ),
    (
        ("batch_size", "beam_size", "eval_batch_size"),
        lambda value: value is None or value <= _MOST_ROWS, f"must be at most {_MOST_ROWS:,}",
    ),
    (
        ("checkpoint_period", "eval_period", "eval_steps", "warmup_steps", "initial_step",
         "decay_factor"),
        lambda value: value >= 0, "is not to be negative",
    ),
    (
        ("eval_batch_size", "evaluator_num_examples", "steps_per_cycle"),
        lambda value: value is None or value > 0, "must be at least 1, or None",
    ),
    (
        ("dropout_rate", "adam_beta1", "adam_beta2"),
        lambda value: 0 <= value < 1, "must be at least 0 and below 1",
    ),
    (("adam_epsilon", "learning_rate"), lambda value: value > 0, "must be above 0"),
    (("optimizer_name",), OPTIMIZERS.__contains__, f"must be {' or '.join(OPTIMIZERS)}"),
    (("model_dir",), bool, "is to name a folder"),
    (
        ("test_split",), (None, "validation", "test").__contains__,
        "must be 'test', 'validation' or None",
    ),
    (
        ("task_feature_lengths",),
        lambda lengths: set(lengths) == {"inputs", "targets"}
        and all(isinstance(it, int) and 0 < it <= _MOST_TOKENS for it in lengths.values()),
        "is to give the tokens of 'inputs' and 'targets', such as {'inputs': 512, 'targets': 64}, "
        f"at most {_MOST_TOKENS:,}",
    ),
    (
        ("loss_normalizing_factor",),
        lambda it: it is None or it in NORMALIZERS or (not isinstance(it, str) and it > 0),
        f"must be None, a number above 0, {' or '.join(NORMALIZERS)}",
    ),
    (
        ("item_vectors",),
        lambda shares: not shares or (
            set(shares) <= set(SOURCES)
            and all(isinstance(share, int | float) and share > 0 for share in shares.values())
            and sum(shares.values()) <= 1
        ),
        f"is to give parts, of 1 together at most, to {' and '.join(SOURCES)}",
    ),
)  # fmt: skip


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a run depends on. Each field is the gin macro of its name in capitals."""

    mixture_or_task_name: str  # what is trained on and evaluated
    task_feature_lengths: Mapping[str, int]  # {"inputs": tokens, "targets": tokens} of a row
    # The step at which training ends, counted as T5X does, pre-training included: 1,194,000
    # fine-tunes FLAN-T5 Base (1,184,000) for 10,000 steps.
    train_steps: int
    model_dir: str  # the run's folder
    model: Network  # such as @T5Config()
    initial_checkpoint_path: str | tuple | None = None  # start weights; empty for random ones
    initial_step: int = 0  # where fine-tuning begins, if the start weights do not say it
    # What the rows of item tokens begin with beside random values, as parts of their variance:
    # {'text': 0.45, 'transitions': 0.45} (`data.item_vectors`); from random start weights alone.
    # None for random values.
    item_vectors: Mapping[str, float] | None = None
    batch_size: int = 128  # rows a step, over all devices: examples, or packed rows of several
    pack: bool = False  # several examples a row of training (`preprocessors/packed_stream.py`)
    microbatches: int | None = None  # parts that a batch is computed in, one after the other
    optimizer_name: str = "adafactor"  # T5's, for fine-tuning; or "adamw"
    adam_beta1: float = 0.9  # AdamW's, as are the next three
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.0
    # Adafactor's is relative to a parameter's root mean square, AdamW's is not.
    learning_rate: float = 0.001
    learning_rate_factors: str = CONSTANT_AFTER_WARM_UP  # T5X's names (`make_schedule`)
    decay_factor: float = 0.0  # what linear_decay takes off a step, as a share of LEARNING_RATE
    steps_per_cycle: int | None = None  # of cosine_decay; None for TRAIN_STEPS
    warmup_steps: int = 1000  # of linear warm-up, counted from the start of fine-tuning
    dropout_rate: float = 0.1  # in training
    z_loss: float = 1e-4  # factor of the squared log-normaliser
    label_smoothing: float = 0.0
    # None (sum over tokens), a number, or a name (`state.NORMALIZERS`)
    loss_normalizing_factor: float | str | None = None
    random_seed: int | None = None  # of start weights, dropout, the order of samples; None is 0
    eval_period: int = 1000  # steps between validations; 0 for none
    eval_steps: int = 20  # validation batches whose loss is computed; 0 for none
    eval_tasks: tuple | list | None = None  # that validation decodes; None: all with metrics
    evaluator_num_examples: int | None = None  # of validation, a task; None for all
    eval_batch_size: int | None = None  # examples decoded at once; None for batch_size
    beam_size: int = 20  # of every evaluation
    constrained: bool = False  # whether retrieval is decoded along the catalogue's IDs only
    # Whether ranking and rating are also measured by the exact log-probability of each candidate,
    # of "yes" and of "no" (metrics that end in _exact).
    exact_scores: bool = False
    # What joins retrieval's probabilities at evaluation and in `recommend`, such as "graph"
    # (`baselines/priors.py`), in metrics of its own that end in _fused.
    fusion_prior: str | None = None
    fusion_candidates: int = 40  # of the prior's best items, asked of the model besides its beams
    test_split: str | None = None  # evaluated after training
    checkpoint_period: int = 5000  # steps between checkpoints; those of validation come besides
    keep_checkpoints: int = 2  # of the newest, beside the best one
    log_period: int = 100  # steps between lines of metrics
    num_partitions: int = 1  # devices that share one copy of the parameters
    mixture_or_task_module: str | None = None  # registers the tasks; imported first
    data_dir: str | None = None  # where prepared datasets lie; None for `data`
    # What `Surroundings` holds beside the folder, bound in gin under names of their own.
    settings: TaskSettings = dataclasses.field(default_factory=TaskSettings)
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    templates_file: str | None = None
    vocabulary_file: str | None = None
    # Lines of gin for code of the user's.
    foreign: tuple[str, ...] = ()

    OUTSIDE: ClassVar[tuple[str, ...]] = (
        "settings", "rates", "templates_file", "vocabulary_file", "foreign",
    )  # fmt: skip

    @property
    def surroundings(self) -> Surroundings:
        """What its tasks take from outside."""
        return Surroundings(
            self.data_dir or DEFAULT_DATA_DIR,
            self.settings,
            self.rates,
            self.templates_file,
            self.vocabulary_file,
        )

    @property
    def seed(self) -> int:
        return self.random_seed or 0

    @property
    def network(self) -> Network:
        """What is trained and asked: `model` with the experiment's dropout."""
        return dataclasses.replace(self.model, dropout_rate=self.dropout_rate)

    @property
    def directory(self) -> epath.Path:
        return epath.Path(self.model_dir)

    @property
    def decode_batch_size(self) -> int:
        return self.eval_batch_size or self.batch_size


def load_experiment(
    gin_files: Sequence[str],
    gin_bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (),
    *,
    source: str = "the command line",
) -> Experiment:
    """Reads an experiment; raises a UserError that names the file, the line and the binding.

    Args:
      gin_files: such as ["gin/reat_toys.gin"]; a later file wins.
      gin_bindings: such as ["MODEL_DIR = 'runs/x'"]; they win over the files.
      search_paths: further folders of files and includes.
      source: where the bindings come from, for messages.
    """
    with _ONE_AT_A_TIME:
        return internals.parsed(lambda: _load(gin_files, gin_bindings, search_paths, source))


def _load(
    gin_files: Sequence[str], gin_bindings: Sequence[str], search_paths: Sequence[str], source: str
) -> Experiment:
    """gin's bindings are the process's: what depends on them is taken out of gin here."""
    provenance = gin_reader.parse(
        gin_files,
        gin_bindings,
        search_paths=[*SEARCH_PATHS, *search_paths],
        skip_unknown=T5X_ONLY,
        unread_macros=T5X_MACROS,
        source=source,
    )
    try:
        _check_types(TaskSettings, gin.get_bindings(TaskSettings), provenance)
        experiment = gin.get_configurable(Experiment)()  # every argument is a binding
        experiment = dataclasses.replace(
            experiment,
            settings=TaskSettings(),
            rates=rates.of_gin(experiment.mixture_or_task_name),
            templates_file=p5_templates(),
            vocabulary_file=vocabulary.vocabulary(),
            foreign=gin_text.of_users_code(gin.config_str()),
        )
    except UserError as error:
        raise UserError(_with_place(str(error), provenance)) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(_with_place(str(error), provenance, ", ".join(gin_files))) from error
    _check(experiment, provenance)
    return experiment


def _with_place(message: str, provenance: gin_reader.Provenance, otherwise: str = "") -> str:
    """The first line of 'T5Config.emb_dim must be …', after the place that bound EMB_DIM."""
    said = message.splitlines()[0]
    name = re.match(r"[A-Z]\w+\.([a-z]\w*)", said)
    place = provenance.latest(name[1].upper(), name[0])[1] if name else otherwise
    return said if not place or said.startswith(place) else f"{place}: {said}"


def _check(experiment: Experiment, provenance: gin_reader.Provenance) -> None:
    """Types first, then values; each mistake is told with the place of its binding."""
    _check_types(Experiment, vars(experiment), provenance)

    def require(name: str, holds: bool, rule: str) -> None:
        if not holds:
            _refuse(name, getattr(experiment, name), rule, provenance)

    for names, holds, rule in _RULES:
        for name in names:
            require(name, holds(getattr(experiment, name)), rule)
    make_schedule(1.0, 1, factors=experiment.learning_rate_factors)  # refuses unknown names
    decay = experiment.weight_decay
    require(
        "weight_decay",
        decay == 0 or (decay > 0 and experiment.optimizer_name == "adamw"),
        "must be 0, or above 0 with OPTIMIZER_NAME = 'adamw'",
    )
    parts = experiment.microbatches or 1
    require(
        "microbatches",
        parts > 0 and experiment.batch_size % parts == 0,
        f"is to divide BATCH_SIZE = {experiment.batch_size}",
    )
    require(
        "item_vectors",
        not (experiment.item_vectors and experiment.initial_checkpoint_path),
        "is for random start weights, not for those of INITIAL_CHECKPOINT_PATH",
    )


def _check_types(owner: type, values: Mapping[str, Any], provenance: gin_reader.Provenance) -> None:
    for name, annotation in typing.get_type_hints(owner).items():
        if name in values and not _is_a(values[name], annotation):
            rule = f"must be {_describe(annotation)}"
            _refuse(name, values[name], rule, provenance, owner.__name__)


def _refuse(
    name: str,
    value: object,
    rule: str,
    provenance: gin_reader.Provenance,
    owner: str = "Experiment",
) -> NoReturn:
    bound_as, place = provenance.latest(name.upper(), f"{owner}.{name}")
    raise UserError(f"{place}: {bound_as} = {value!r}: {bound_as} {rule}")


def _is_a(value: object, annotation: object) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_is_a(value, option) for option in typing.get_args(annotation))
    if annotation is type(None):
        return value is None
    plain = typing.cast(type, typing.get_origin(annotation) or annotation)
    if plain in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if plain is float else plain)


def _describe(annotation: object) -> str:
    if isinstance(annotation, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(annotation))
    if annotation is type(None):
        return "None"
    names = {
        int: "a whole number",
        float: "a number",
        str: "a string in quotes",
        bool: "True or False",
        tuple: "a tuple",
        list: "a list",
        Network: "a network such as @T5Config()",
    }
    origin = typing.get_origin(annotation) or annotation
    return names.get(typing.cast(type, origin), "a dictionary")
