import dataclasses
import textwrap

import pytest

from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings
from recalign.trainer import run_config
from recalign.trainer.experiment import load_experiment
from tests.trainer.conftest import FILES, TINY, bindings

WHOLE = bindings(MODEL_DIR="runs/x")


def test_macros_become_the_experiment():
    experiment = load_experiment(FILES, WHOLE)
    assert experiment.mixture_or_task_name == "ut_at_tiny"
    assert experiment.task_feature_lengths == TINY["TASK_FEATURE_LENGTHS"]
    assert experiment.model.emb_dim == 16
    assert experiment.network.dropout_rate == experiment.dropout_rate == 0.1
    assert experiment.z_loss == 1e-4
    assert experiment.loss_normalizing_factor is None
    assert experiment.settings == TaskSettings(history_length=3, candidate_pool=5)


def test_what_is_written_beside_a_run_gives_the_same_experiment(tmp_path):
    experiment = load_experiment(FILES, WHOLE)
    path = tmp_path / "config.gin"
    path.write_text(run_config.text_of(experiment))
    assert load_experiment([str(path)]) == experiment
    moved = dataclasses.replace(experiment, model_dir=str(tmp_path))
    assert run_config.load_run(tmp_path) == moved


def test_a_later_file_and_then_the_command_line_win(tmp_path):
    path = tmp_path / "mine.gin"
    path.write_text("BATCH_SIZE = 2\nBEAM_SIZE = 2\n")
    experiment = load_experiment([*FILES, str(path)], [*WHOLE, "BEAM_SIZE = 7"])
    assert experiment.batch_size == TINY["BATCH_SIZE"]  # the command line's
    assert experiment.beam_size == 7


def test_files_are_found_on_further_search_paths(tmp_path):
    (tmp_path / "part.gin").write_text("LEARNING_RATE = 0.5\n")
    experiment = load_experiment([*FILES, "part.gin"], WHOLE, search_paths=[str(tmp_path)])
    assert experiment.learning_rate == 0.5


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("TRAIN_STEPS = 'x'", "TRAIN_STEPS = 'x': TRAIN_STEPS must be a whole number"),
        ("TRAIN_STEPS = True", "TRAIN_STEPS = True: TRAIN_STEPS must be a whole number"),
        ("TRAIN_STEPS = 1.5", "TRAIN_STEPS must be a whole number"),
        ("TRAIN_STEP = 5", "nothing reads TRAIN_STEP; did you mean TRAIN_STEPS?"),
        ("TRAIN_STEPS =", "TRAIN_STEPS =: Unable to parse value."),
        ("TRAIN_STEPS = %NOWHERE", "reads NOWHERE, which is set nowhere"),
        ("MODEL_DIR = runs/x", "MODEL_DIR = runs/x: a string needs quotes"),
        ("MODEL_DIR = ''", "MODEL_DIR is to name a folder"),
        ("MODEL_DIR = %gin.REQUIRED", "MODEL_DIR is not set"),
        ("EMB_DIM = 'a'", "T5Config.emb_dim must be a positive integer, not 'a'"),
        ("HISTORY_LENGTH = 'x'", "HISTORY_LENGTH = 'x': HISTORY_LENGTH must be a whole number"),
        ("HISTORY_LENGTH = 0", "TaskSettings.history_length = 0: at least 1 is needed"),
        ("DROPOUT_RATE = 1.0", "DROPOUT_RATE must be at least 0 and below 1"),
        ("MICROBATCHES = 3", "MICROBATCHES is to divide BATCH_SIZE = 8"),
        ("BEAM_SIZE = 0", "BEAM_SIZE must be at least 1"),
        ("TEST_SPLIT = 'train'", "TEST_SPLIT must be 'test', 'validation' or None"),
        ("LOSS_NORMALIZING_FACTOR = 'X'", "NUM_REAL_TARGET_TOKENS"),
        ("TASK_FEATURE_LENGTHS = 5", "TASK_FEATURE_LENGTHS must be a dictionary"),
        ("TASK_FEATURE_LENGTHS = {'inputs': 8}", "the tokens of 'inputs' and 'targets'"),
        ("Experiment.unknown = 3", "'Experiment' doesn't have a parameter named 'unknown'"),
        ("Expriment.model_dir = 'x'", "No configurable matching 'Expriment'"),
        ("include 'gin/nowhere.gin'", "no gin file 'gin/nowhere.gin'"),
        ("import no_such_module", "cannot import no_such_module"),
    ],
)
def test_every_mistake_is_one_line_that_names_it(binding, message, tmp_path):
    """On the command line and in a file, whose line is named."""
    path = tmp_path / "mine.gin"
    path.write_text(f"# An experiment with a mistake in its third line.\n\n{binding}\n")
    others = [other for other in WHOLE if other.split()[0] != binding.split()[0]]
    for files, bindings_, place in (
        (FILES, [*WHOLE, binding], "the command line"),
        ([*FILES, str(path)], others, f"{path}:3"),
    ):
        with pytest.raises(UserError) as error:
            load_experiment(files, bindings_)
        said = str(error.value)
        assert message in said
        assert "\n" not in said
        if "REQUIRED" not in binding:
            assert said.startswith(f"{place}:"), said


def test_a_field_bound_by_its_own_name_is_called_so():
    with pytest.raises(UserError, match=r"^the command line: Experiment.beam_size = 'x'"):
        load_experiment(FILES, [*WHOLE, "Experiment.beam_size = 'x'"])


def test_what_nothing_binds_is_told_with_the_files(tmp_path):
    path = tmp_path / "own.gin"
    path.write_text("from tests.trainer import own_network\nExperiment.model = @Unbound()\n")
    said = rf"^gin/models/tiny.gin, .*, {path}: Unbound.__init__\(\) missing 1 required"
    with pytest.raises(UserError, match=said):
        load_experiment([*FILES, str(path)], WHOLE)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"no gin file 'gin/nowhere.gin'; looked in"):
        load_experiment(["gin/nowhere.gin"])


def test_what_must_be_set_is_named():
    with pytest.raises(UserError, match=r"^MIXTURE_OR_TASK_NAME is not set"):
        load_experiment(["gin/own/words.gin"], ["MODEL_DIR = 'x'"])
    with pytest.raises(UserError, match=r"^VOCAB_SIZE is not set"):
        load_experiment(["gin/own.gin"], ["MODEL_DIR = 'x'", "MIXTURE_OR_TASK_NAME = 'x'"])


def test_mistakes_inside_an_included_file(tmp_path):
    (tmp_path / "inner.gin").write_text("BATCH_SIZE = 8\nBEAM_SIZE = 'wide'\n")
    outer = tmp_path / "outer.gin"
    outer.write_text("include 'inner.gin'\n")
    rest = [b for b in WHOLE if not b.startswith("BEAM_SIZE")]
    with pytest.raises(UserError, match=r"^inner.gin:2: BEAM_SIZE = 'wide'"):
        load_experiment([*FILES, str(outer)], rest, search_paths=[str(tmp_path)])


def test_what_is_for_t5x_alone_is_passed_over(tmp_path):
    path = tmp_path / "both.gin"
    path.write_text(
        textwrap.dedent(
            """
            from __gin__ import dynamic_registration
            from t5x import trainer
            from t5x import utils
            utils.SaveCheckpointConfig.save_dataset = True
            trainer.Trainer:
              num_microbatches = %MICROBATCHES
            """
        )
    )
    assert load_experiment([*FILES, str(path)], WHOLE).microbatches is None


def test_the_next_experiment_does_not_see_the_last_one():
    load_experiment(FILES, [*WHOLE, "LEARNING_RATE = 0.25"])
    assert load_experiment(FILES, WHOLE).learning_rate == 0.001
