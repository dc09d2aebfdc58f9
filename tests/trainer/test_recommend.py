import math
import re
import shutil

import numpy as np
import pytest

from recalign import cli
from recalign.errors import UserError
from recalign.trainer import decoding, evaluation
from recalign.trainer.experiment import load_experiment
from recalign.trainer.item_index import read_ids
from recalign.trainer.loop import train
from recalign.trainer.recommend import Recommender
from tests.corpus import make_corpus, random_sequences
from tests.trainer.conftest import FILES, bindings


@pytest.fixture(scope="module")
def recommender(trained):
    """One that may repeat: its probabilities are those of every item."""
    return Recommender(trained[0].model_dir, repeats=True)


@pytest.fixture(scope="module")
def without_repeats(trained):
    return Recommender(trained[0].model_dir)


def test_shows_the_model_what_evaluation_shows_it(trained, recommender):
    """The same history by both ways: the same prompt, and the same probability of an item."""
    experiment, _ = trained
    (task,) = evaluation.tasks_with_metrics("retrieval_tiny", "test")
    evaluated = evaluation.load(task, "test", experiment, 5)
    decoder = decoding.BeamDecoder(
        experiment.network, recommender._searching.mesh, experiment.beam_size
    )
    records = evaluation.beams_of_all(evaluated, recommender._searching.params, decoder, experiment)
    for example, record in zip(evaluated.examples, records, strict=True):
        history = [int(item) for item in example["history"]]
        (prompt,) = recommender._prompts([recommender.query_of(history, 1)])
        np.testing.assert_array_equal(prompt, example["inputs"])
        ids = [recommender._catalogue.ids[item] for item in history]
        probability_of = {answer.id: answer.log_prob for answer in recommender.recommend(ids, 50)}
        for beam, log_prob in zip(record["beams"], record["log_probs"], strict=True):
            np.testing.assert_allclose(probability_of[beam], log_prob, rtol=1e-4)


def test_a_run_of_a_slice_answers_on_one_device(trained, recommender, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained[0].model_dir, run)
    config = (run / "config.gin").read_text()
    changed = config.replace("NUM_PARTITIONS = 1\n", "NUM_PARTITIONS = 4\n")
    assert changed != config
    (run / "config.gin").write_text(changed)
    with pytest.raises(UserError, match=r"config.gin: not as it was written: .*last line out"):
        Recommender(run)
    (run / "config.gin").write_text(changed.rpartition("# sha256")[0])
    assert Recommender(run, repeats=True).recommend(["I1"], k=5) == recommender.recommend(["I1"], 5)


def test_the_whole_catalogue_by_its_probability(recommender):
    answers = recommender.recommend(["I1"], k=50)
    assert len({answer.id for answer in answers}) == 50
    assert [a.log_prob for a in answers] == sorted((a.log_prob for a in answers), reverse=True)
    for answer in answers:
        assert answer.score == pytest.approx(math.exp(answer.log_prob))
        assert answer.title
        number = recommender._catalogue.ids.index(answer.id)
        assert answer.raw_id == recommender._catalogue.raw_ids[number]


def test_what_was_seen_is_left_out(recommender, without_repeats):
    """The history is left out, the part beyond the window too; the others keep their figures."""
    history = ["I7", "I3", "I9", "I3", "I20"]
    everything = recommender.recommend(history, k=50)
    assert without_repeats.recommend(history, k=50) == [
        answer for answer in everything if answer.id not in history
    ]


def test_only_some_items(recommender, without_repeats):
    some = ["I7", "I3", "I9"]
    everything = recommender.recommend(["I1"], k=50)
    expected = [answer for answer in everything if answer.id in some]
    assert recommender.recommend(["I1"], 10, some) == expected
    assert {it.id for it in without_repeats.recommend(["I3"], 10, some)} == {"I7", "I9"}
    assert without_repeats.recommend(["I3"], 10, ["I3"]) == []


def test_raw_ids_are_understood(recommender):
    raw = recommender._catalogue.raw_ids
    assert recommender.recommend([raw[3]], 3) == recommender.recommend(["I4"], 3)
    assert recommender.recommend(["I1"], 3, [raw[3], raw[4]]) == recommender.recommend(
        ["I1"], 3, ["I4", "I5"]
    )


def test_nothing_is_compiled_after_the_warm_up(without_repeats):
    lengths = without_repeats.warm_up(k=20)
    compiled = decoding._decode._cache_size()
    prompts = set()
    for number in range(1, 20):
        history = [f"I{it}" for it in range(1, 1 + number)]
        only = [f"I{it}" for it in range(20, 20 + number)]
        (tokens,) = without_repeats._prompts([without_repeats.query_of(range(number), 1)])
        prompts.add(without_repeats._padded_length(len(tokens), None))
        without_repeats.recommend(history, number)
        without_repeats.recommend(history, number, only)
    assert decoding._decode._cache_size() == compiled
    assert len(prompts) <= lengths


def test_another_experiment_of_the_process_changes_nothing(recommender):
    history = ["I7", "I3", "I9"]
    before = recommender.recommend(history, 5)
    load_experiment(FILES, bindings(MODEL_DIR="elsewhere", HISTORY_LENGTH=2))
    assert recommender.recommend(history, 5) == before


def test_mistakes(recommender, tmp_path):
    with pytest.raises(UserError, match="'I99999'"):
        recommender.recommend(["I1", "I99999"])
    with pytest.raises(UserError, match="empty history"):
        recommender.recommend([])
    with pytest.raises(UserError, match="allowed"):
        recommender.recommend(["I1"], only=["nothing"])
    with pytest.raises(UserError, match="no run"):
        Recommender(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_ids(tmp_path / "x")


def test_an_id_means_one_item_or_says_which(recommender, monkeypatch):
    """A log whose own IDs look like the catalogue's: I3 there is the catalogue's I8, and so on."""
    ids = recommender._catalogue.ids
    raw = {ids[(place - 5) % len(ids)]: place for place in range(len(ids))} | {"raw:I9": 0}
    monkeypatch.setattr(recommender.items, "of_raw_id", raw)
    assert recommender.items.index("id:I3", "x") == 2
    assert recommender.items.index("raw:I3", "x") == 7
    for ambiguous, items in (("I3", [2, 7]), ("raw:I9", [0, 13])):
        with pytest.raises(UserError, match=f"history: '{ambiguous}' is the ID of one item") as e:
            recommender.recommend([ambiguous])
        advised = re.search(r"say (\S+) or (\S+)$", str(e.value)).groups()
        assert [recommender.items.index(item, "x") for item in advised] == items
    assert recommender.items.index("raw:raw:I9", "x") == 0
    monkeypatch.setattr(recommender.items, "of_raw_id", {"I3": 2})  # the same item
    assert recommender.items.index("I3", "x") == 2


def test_the_id_of_an_item_that_was_left_out_is_not_another_items(data_dir, experiment, capsys):
    """Its only user has no more than it; the IDs of all items that stayed look otherwise."""
    make_corpus("outsider", data_dir, sequences=[*random_sequences(0, 60, 50, 30), ["I3"]])
    made = experiment(MIXTURE_OR_TASK_NAME="retrieval_outsider", TRAIN_STEPS=1, CHECKPOINT_PERIOD=1)
    train(made)
    words = ["recommend", "--model_dir", made.model_dir, "--k", "3", "--history"]
    assert cli.main([*words, "I3"]) == 2
    assert "'I3' is an item's ID in the catalogue, but" in capsys.readouterr().err
    assert cli.main([*words, "id:I3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_advice_about_a_small_catalogue_works_to_the_end(data_dir, tmp_path):
    """What the error says to do is done: it trains, and the run opens and answers."""
    macros = {
        "MIXTURE_OR_TASK_NAME": "ut_tiny", "CANDIDATE_POOL": 100, "TRAIN_STEPS": 2,
        "TASK_FEATURE_LENGTHS": {"inputs": 256, "targets": 24},
        "MODEL_DIR": str(tmp_path / "run"), "DATA_DIR": data_dir,
    }  # fmt: skip
    with pytest.raises(UserError) as error:
        train(load_experiment(FILES, bindings(**macros)))
    advice = re.search(r"lower (TaskSettings\.candidate_pool) to at most (\d+)$", str(error.value))
    assert advice is not None and 11 <= int(advice[2]) < 100, error.value
    train(load_experiment(FILES, [*bindings(**macros), f"{advice[1]} = {advice[2]}"]))
    recommender = Recommender(tmp_path / "run")
    assert recommender._experiment.settings.candidate_pool == int(advice[2])
    answers = recommender.recommend(["I1", "I7"], 3)
    assert len({answer.id for answer in answers} - {"I1", "I7"}) == 3


def test_a_run_without_a_retrieval_task_recommends(experiment):
    made = experiment(MIXTURE_OR_TASK_NAME="tiger_tiny", TRAIN_STEPS=1, CHECKPOINT_PERIOD=1)
    train(made)
    answers = Recommender(made.model_dir, repeats=True).recommend(["I1", "I7"], 50)
    assert sorted(answer.id for answer in answers) == sorted(f"I{n}" for n in range(1, 51))
