"""The experiment files: each resolves, says what it should reach, and holds macros alone."""

import pathlib
import re
import runpy
import shlex

import pytest

from recalign import cli
from recalign.preprocessors.families import p5_templates
from recalign.report.paper import TABLES
from recalign.trainer.experiment import load_experiment

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted(
    path for some in ("*", "base/*", "own/*") for path in ROOT.glob(f"gin/{some}.gin")
)
OWN = {"gin/own.gin", "gin/own/words.gin", "gin/own/flan_t5_base.gin"}
FIGURES = [p for p in EXPERIMENTS if p.stem.rpartition("_")[2] in ("toys", "beauty", "sports")]
TIGER = [p for p in FIGURES if p.stem.startswith("tiger_")]  # a row of another paper's
PAPER = [p for p in FIGURES if p not in TIGER]
ZERO_SHOT = [p for p in PAPER if p.stem.startswith("zero_shot_")]


def name_of(path):
    return str(path.relative_to(ROOT))


def load(path):
    bindings = ["MODEL_DIR = 'runs/x'"]
    if name_of(path) in OWN:
        bindings += ["MIXTURE_OR_TASK_NAME = 'mine'", "VOCAB_SIZE = 44_032"]
        bindings += ["INITIAL_CHECKPOINT_PATH = ''"]
    return load_experiment([name_of(path)], bindings)


def test_the_set_is_whole():
    methods = ("reat", "raat", "rpat", "ut", "ut_at", "ut_ie", "p5", "tiger")
    datasets = ("toys", "beauty", "sports", "demo")
    expected = {f"gin/{method}_{dataset}.gin" for method in methods for dataset in datasets}
    # Tables 4 to 6, whose last rows with XL are ReAT, RaAT and RpAT.
    added = ("retrieval", "retrieval_mlm", "ranking", "ranking_mlm", "ranking_mlm_mim")
    added = (*added, "rating", "rating_mlm")
    expected |= {f"gin/{mixture}_toys.gin" for mixture in added}
    expected |= {f"gin/base/{mixture}_toys.gin" for mixture in (*added, "reat", "raat", "rpat")}
    # Tables 1 to 3.
    rows = [f"zero_shot_{dataset}.gin" for dataset in ("toys", "beauty", "sports")]
    expected |= {f"{folder}/{row}" for folder in ("gin", "gin/base") for row in rows}
    assert expected | OWN == {name_of(path) for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_an_experiment_resolves_and_says_what_it_is_for(path):
    experiment = load(path)
    if name_of(path) not in OWN:
        mixture = path.stem.replace("zero_shot", "ut")
        assert experiment.mixture_or_task_name == mixture
    head = path.read_text().partition("\ninclude")[0]
    assert "To reach" in head
    assert "Hardware: " in head
    assert f"recalign train --gin_file={name_of(path)} " in head
    program = "eval" if path in ZERO_SHOT else "train"
    assert f"python -m t5x.{program} --gin_file={name_of(path)} " in head
    # Orbax refuses T5X's checkpoints a relative path.
    assert not re.search(r"t5x\.\w+ .*DIR=\"'runs", head)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_the_commands_in_its_head_are_taken(path):
    head = path.read_text().partition("\ninclude")[0].replace("\\\n#", "")
    written = re.findall(r"^#   recalign (.+)$", head, re.MULTILINE)
    assert len(written) >= 2  # its dataset's, and its own
    for line in written:
        words, bindings = cli._split_gin_bindings(shlex.split(line))
        options = cli.build_parser().parse_args(words)
        if options.verb in ("train", "eval"):
            assert options.gin_files == [name_of(path)] and bindings


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_an_experiment_holds_macros_and_includes_alone(path):
    statement = re.compile(r"[A-Z][A-Z0-9_]* = .+|include '.+'|#.*|")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        continued = line.startswith((" ", "}", ")"))
        assert continued or statement.fullmatch(line), f"{path.name}:{number}: {line}"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_a_packed_experiment_says_how_many_examples_a_step_holds(path):
    """Whether they are as many: tests/plan/test_packed_headers.py."""
    experiment = load(path)
    said = re.findall(r"^# A step: (\d+) packed rows; on \w+ they hold", path.read_text(), re.M)
    assert said == ([str(experiment.batch_size)] if experiment.pack else [])


@pytest.mark.parametrize("path", PAPER, ids=name_of)
def test_the_papers_settings(path):
    experiment = load(path)
    steps, batch, size = (10_000, 64, "base") if path.parent.name == "base" else (70_000, 16, "xl")
    assert experiment.train_steps - experiment.initial_step == (0 if path in ZERO_SHOT else steps)
    assert (experiment.batch_size, experiment.beam_size) == (batch, 20)
    assert (experiment.learning_rate, experiment.warmup_steps) == (0.001, 1000)
    assert (experiment.dropout_rate, experiment.z_loss) == (0.1, 1e-4)
    width, _, layers, _, initial_step = SIZES[size]
    assert (experiment.model.emb_dim, experiment.model.num_encoder_layers) == (width, layers)
    assert experiment.initial_step == initial_step
    assert experiment.initial_checkpoint_path.endswith(f"checkpoint_{experiment.initial_step}")
    assert experiment.test_split == "test"


@pytest.mark.parametrize("path", TIGER, ids=name_of)
def test_tigers_settings(path):
    """Rajput et al., arXiv 2305.05065, section 4: 13 million parameters, batches of 256."""
    experiment = load(path)
    steps = 100_000 if path.stem == "tiger_toys" else 200_000
    assert (experiment.initial_checkpoint_path, experiment.train_steps) == ((), steps)
    assert (experiment.batch_size, experiment.learning_rate) == (256, 0.01)
    model = experiment.model
    assert (model.emb_dim, model.mlp_dim, model.num_heads, model.head_dim) == (128, 1024, 6, 64)
    assert (model.num_encoder_layers, model.num_decoder_layers) == (4, 4)
    assert experiment.dropout_rate == 0.1


@pytest.mark.parametrize("path", PAPER, ids=name_of)
def test_the_layout_is_the_planned_one(path):
    """What `recalign plan --search` finds for v5e:4x4 with XL; Base has a copy a chip."""
    experiment = load(path)
    assert experiment.num_partitions == (1 if path.parent.name == "base" else 4)
    remat = False if path in ZERO_SHOT else "dots_with_no_batch_dims_saveable"
    assert experiment.model.remat == remat


@pytest.mark.parametrize("path", FIGURES, ids=name_of)
def test_what_is_to_be_reached_is_what_the_paper_prints(path):
    method, _, dataset = path.stem.rpartition("_")
    size = "base" if path.parent.name == "base" else "" if path in TIGER else "xl"
    named = re.compile(r"#   (\w+).*\(Table (\d+)(?:, row (\d+))?\) +(.+)")
    lines = [line for line in path.read_text().splitlines() if "(Table " in line]
    kinds = set()
    for task, number, row, printed in [named.fullmatch(line).groups() for line in lines]:
        (table,) = [table for table in TABLES if table.number == int(number)]
        key = f"{'p5_direct' if task == 'p5_direct' else method}/{size}"
        (expected,) = [found for found in table.rows[dataset] if found.key == key]
        assert row is None or expected.label.startswith(f"{row}. ")
        figures = printed.removesuffix(" %").replace("AUC-ROC", "auc_roc").lower().split()
        assert tuple(figures[::2]) == table.metrics
        assert tuple(figures[1::2]) == expected.figures
        kinds.add(table.kind)
    rows = [(table.kind, row.key) for table in TABLES for row in table.rows.get(dataset, ())]
    assert kinds == {kind for kind, key in rows if key == f"{method}/{size}"}


@pytest.mark.parametrize(
    "path", [path for path in FIGURES if not path.stem.endswith("_toys")], ids=name_of
)
def test_a_mixtures_files_differ_in_dataset_and_figures_alone(path):
    """What is changed in one has to be changed in all: the same words, commands and macros."""
    method, _, dataset = path.stem.rpartition("_")
    title = {"beauty": "Beauty", "sports": "Sports & Outdoors"}[dataset]
    toys = path.with_name(f"{method}_toys.gin").read_text()

    def parts(text):
        """The first sentence, the commands and the macros; figures have a test above."""
        head, _, macros = text.partition("\ninclude")
        if path in TIGER:  # trained for longer
            macros = re.sub(r"TRAIN_STEPS = \S+", "", macros)
        return (
            head.partition(".")[0],
            re.findall(r"^#   (?:recalign|python) .*", head, re.M),
            macros,
        )

    expected = toys.replace("Toys & Games", title).replace("toys", dataset)
    assert parts(path.read_text()) == parts(expected)


# Width, heads, layers, hidden units; T5 1.1's and FLAN-T5's.
SIZES = {
    "small": (512, 6, 8, 1024, 1_198_000),
    "base": (768, 12, 12, 2048, 1_184_000),
    "large": (1024, 16, 24, 2816, 1_164_000),
    "xl": (2048, 32, 24, 5120, 1_138_000),
    "xxl": (4096, 64, 24, 10240, 1_114_000),
}


@pytest.mark.parametrize("size", SIZES)
def test_models(size):
    experiment = load_experiment(
        [f"gin/models/flan_t5_{size}.gin", "gin/runs/finetune.gin"],
        [
            "MODEL_DIR = 'x'",
            "MIXTURE_OR_TASK_NAME = 'x'",
            "TRAIN_STEPS = 2_000_000",
            "TASK_FEATURE_LENGTHS = {'inputs': 8, 'targets': 8}",
        ],
    )
    model = experiment.model
    layers = {model.num_encoder_layers, model.num_decoder_layers}
    assert (model.emb_dim, model.num_heads, *layers, model.mlp_dim, experiment.initial_step) == (
        SIZES[size]
    )
    assert (model.head_dim, model.vocab_size, model.dtype) == (64, 32128, "bfloat16")


def test_the_page_of_experiments_is_of_these_files():
    table = runpy.run_path(str(ROOT / "docs/experiments.py"))["table"]
    assert table() == (ROOT / "docs/experiments.md").read_text()


def test_ones_own_words_for_p5_are_a_macro():
    load_experiment(["gin/p5_demo.gin"], ["MODEL_DIR = 'x'", "P5_TEMPLATES = 'words.json'"])
    assert p5_templates() == "words.json"
    load(ROOT / "gin/p5_demo.gin")
    assert p5_templates() is None


def test_the_folder_is_no_package():
    """A package of this name at the root would hide the gin-config package from `python -m`."""
    assert not list((ROOT / "gin").rglob("__init__.py"))
