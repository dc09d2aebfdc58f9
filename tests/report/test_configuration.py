import pytest

from recalign.report.configuration import read_configuration
from tests.report.shop import CONFIG

XL = """
INITIAL_CHECKPOINT_PATH = %PRETRAINED_CHECKPOINT
INITIAL_STEP = %PRETRAINED_STEP
PRETRAINED_CHECKPOINT = \\
    'gs://t5-data/pretrained_models/t5x/flan_t5_xl/checkpoint_1138000'
PRETRAINED_STEP = 1138000
config.T5Config.emb_dim = 2048
config.T5Config.head_dim = 64
config.T5Config.mlp_dim = 5120
config.T5Config.num_decoder_layers = 24
config.T5Config.num_encoder_layers = 24
config.T5Config.num_heads = 32
config.T5Config.vocab_size = 32128
"""


def test_a_tiny_model_from_random_weights():
    found = read_configuration(
        CONFIG.format(data_dir="d", mixture="ut_shop", model_dir="m", seed=7),
        {"size": "", "parameters": 328_704, "pretrained": False},
    )
    assert found.model.label == "0.3M parameters from random weights"
    assert (found.seed, found.data_dir, found.first_step) == (7, "d", 0)
    assert found.settings["TASK_FEATURE_LENGTHS"] == {"inputs": 96, "targets": 24}


def test_flan_t5_xl_is_named():
    # The count of google/flan-t5-xl.
    model = {"size": "xl", "parameters": 2_849_757_184, "pretrained": True}
    found = read_configuration(XL, model)
    assert found.model.label == "FLAN-T5-XL (2.8B parameters)"
    assert found.model.size == "xl"
    assert found.first_step == 1138000


def test_runs_of_two_seeds_are_one_experiment():
    one, two, other = (
        read_configuration(CONFIG.format(data_dir="d", mixture=m, model_dir=f"{s}", seed=s))
        for m, s in (("ut_shop", 0), ("ut_shop", 1), ("reat_shop", 0))
    )
    assert one.without_seed() == two.without_seed() != other.without_seed()


@pytest.mark.parametrize("text", ["", "A = %B\nB = %A\n", "not gin at all"])
def test_what_says_little_gives_little(text):
    found = read_configuration(text)
    assert found.model.label == "unknown size from random weights"
    assert found.seed is None
