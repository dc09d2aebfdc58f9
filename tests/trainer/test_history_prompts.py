import numpy as np
import pytest
import seqio

import tasks
from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.surroundings import Surroundings
from recalign.preprocessors.windows import ABSENT
from recalign.trainer.history_prompts import history_task, names_users, prompts_of
from recalign.trainer.item_index import NOBODY
from recalign.wording import Prompt
from tasks import blocks

LENGTHS = {"inputs": 96, "targets": 24}


@pytest.fixture(scope="module", autouse=True)
def surroundings(data_dir):
    with Surroundings(
        data_dir, settings=TaskSettings(history_length=3, candidate_pool=5)
    ).entered():
        tasks.ensure_registered("ut_at_tiny", data_dir)
        yield


@pytest.mark.parametrize("name", ["retrieval_tiny", "tiger_tiny", "p5_tiny"])
def test_a_history_is_shown_as_in_an_evaluation(name):
    """Several at once, each as it is alone; a stranger has no number where users have one."""
    task = history_task(name)
    vocabulary = task.output_features["inputs"].vocabulary
    evaluated = list(task.get_dataset(LENGTHS, "test", shuffle=False).take(4).as_numpy_iterator())
    history_QxW = np.full((4, 3), ABSENT, np.int32)
    for row, example in zip(history_QxW, evaluated, strict=True):
        row[len(row) - len(example["history"]) :] = example["history"]
    prompts = prompts_of(task.samples("test", LENGTHS))
    of_users = prompts(history_QxW, np.array([example["row"] for example in evaluated]))
    for tokens, example in zip(of_users, evaluated, strict=True):
        np.testing.assert_array_equal(tokens, example["inputs"])
    of_strangers = prompts(history_QxW, np.full(4, NOBODY))
    assert names_users(task) == (name == "p5_tiny")
    for tokens, example in zip(of_strangers, evaluated, strict=True):
        text = vocabulary.decode(example["inputs"].tolist())
        assert text.startswith("user ") == names_users(task)
        shown = text[text.index("bought") :] if names_users(task) else text
        assert vocabulary.decode(tokens.tolist()) == shown


def test_the_task_to_ask_by():
    """Retrieval before the others, whatever their order; none without a history."""
    assert history_task("ut_at_tiny").name == "retrieval_tiny"
    assert history_task("p5_tiny").name == "p5_sequential_tiny"
    seqio.MixtureRegistry.add("p5_first", ["p5_sequential_tiny", "tiger_tiny"], default_rate=1.0)
    assert history_task("p5_first").name == "tiger_tiny"
    own = {"prompt": Prompt("{history:ids} ?", "{target}")}
    tasks.register_task(tasks.task_of("own_next", "tiny", **(blocks.TASKS["retrieval"] | own)))
    assert history_task("own_next_tiny").kind == "own_next"
    pool = {"prompt": Prompt("{history:ids}, one of {candidates:ids} ?", "{target}")}
    pool |= {"evaluated_as": "retrieval"}
    tasks.register_task(tasks.task_of("own_pool", "tiny", **(blocks.TASKS["ranking"] | pool)))
    for name in ("own_pool_tiny", "rating_tiny", "mlm_tiny"):
        with pytest.raises(UserError, match=f"{name}, which has no task to recommend by"):
            history_task(name)
