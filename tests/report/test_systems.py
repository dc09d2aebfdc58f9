import pytest

from recalign.report.run import read_run
from recalign.report.systems import systems_of_runs
from tests.report import shop as made
from tests.report.shop import write_run
from tests.report.test_configuration import XL


def test_two_experiments_of_one_name_are_told_apart_by_their_folders(shop, tmp_path):
    longer = made.CONFIG.replace("TRAIN_STEPS = 40", "TRAIN_STEPS = 80")
    runs = [
        read_run(write_run(tmp_path / "short", shop)),
        read_run(write_run(tmp_path / "long", shop, config=longer)),
    ]
    labels = [system.label for system in systems_of_runs([(0, run) for run in runs], "shop")]
    assert labels == ["UT, 0.3M [short]", "UT, 0.3M [long]"]


def test_the_same_seed_again_is_no_other_seed(shop, tmp_path):
    runs = [
        read_run(write_run(tmp_path / name, shop, seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    ]
    first, second = systems_of_runs([(0, run) for run in runs], "shop")
    assert (first.label, first.runs) == ("UT, 0.3M [first]", (runs[0], runs[2]))
    assert (second.label, second.runs) == ("UT, 0.3M [again]", (runs[1],))
    # On another draw of a planted corpus the same seed is another run of the row.
    (system,) = systems_of_runs([(0, runs[0]), (1, runs[1])], "shop")
    assert system.draws == (0, 1)


def test_tiger_is_trained_here_and_a_baseline_nevertheless(shop, tmp_path):
    run = write_run(tmp_path / "t", shop, mixture="tiger_shop", alone=True)
    (system,) = systems_of_runs([(0, read_run(run))], "shop")
    assert (system.label, system.key, system.is_ours) == ("TIGER, 0.3M", "tiger/", False)


@pytest.mark.parametrize(
    ("step", "label", "key", "is_ours"),
    [
        (1138000, "zero-shot, FLAN-T5-XL", "zero_shot/xl", False),
        (1208000, "ReAT, FLAN-T5-XL", "reat/xl", True),
    ],
)
def test_a_model_that_was_not_fine_tuned_is_zero_shot(shop, tmp_path, step, label, key, is_ours):
    run = write_run(
        tmp_path / "xl",
        shop,
        mixture="reat_shop",
        config=XL,
        alone=True,
        checkpoint_step=step,
        model={"size": "xl", "parameters": 2_849_757_184, "pretrained": True},
    )
    (system,) = systems_of_runs([(0, read_run(run))], "shop")
    assert (system.label, system.key, system.is_ours) == (label, key, is_ours)
