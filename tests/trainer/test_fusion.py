"""A model and a prior joined: arithmetic by hand, and a run beside the same done over all items."""

import dataclasses
import itertools
import json
import math
import shutil

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
import seqio
from etils import epath

from recalign.baselines import priors
from recalign.data import integrity
from recalign.errors import UserError
from recalign.trainer import fusion, setup
from recalign.trainer.decoding import BeamDecoder
from recalign.trainer.evaluation import evaluate
from recalign.trainer.fusion import Joining, Weights, choices_of, ranks_of
from recalign.trainer.prior_rows import best_items, log_totals, rows_of
from recalign.trainer.recommend import Recommender

TASK = "retrieval_tiny"


def test_probabilities_by_hand():
    """The prior's scores 4, 1, 1 are 2/3, 1/6, 1/6 at temperature 1; their roots 1/2, 1/4, 1/4."""
    beams = {7: math.log(0.5), 2: math.log(0.3)}
    scored = {3: math.log(0.1)}
    prior = np.array([3, 5, 7]), np.array([4.0, 1.0, 1.0])
    choices = choices_of(beams, scored, prior, log_totals(prior, [1.0, 2.0]))
    assert choices.items.tolist() == [7, 2, 3]
    weights = np.array([0.0, 0.4])
    np.testing.assert_allclose(
        np.exp(choices.joined(weights, 1.0)),
        [[0.5, 0.3, 0.1], [0.6 * 0.5 + 0.4 / 6, 0.6 * 0.3, 0.6 * 0.1 + 0.4 * 4 / 6]],
    )
    found = choices.best_first(0.4, 2.0)
    assert list(found) == [7, 3, 2]
    np.testing.assert_allclose(np.exp(list(found.values())), [0.4, 0.26, 0.18])


def test_without_a_score_the_model_answers_alone():
    none = np.zeros(0, int), np.zeros(0)
    choices = choices_of({1: -1.0, 0: -2.0}, {}, none, log_totals(none, [1.0]))
    assert choices.best_first(0.9, 1.0) == pytest.approx({1: -1.0, 0: -2.0})


def test_a_probability_too_small_for_a_float_keeps_its_place():
    prior = np.array([9]), np.array([1.0])
    choices = choices_of({1: -800.0, 0: -900.0}, {}, prior, log_totals(prior, [1.0]))
    assert list(choices.best_first(0.5, 1.0)) == [1, 0]


ITEMS = 8


@hypothesis.given(
    st.lists(st.floats(0.01, 1), min_size=ITEMS, max_size=ITEMS),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=ITEMS, max_size=ITEMS),
    st.integers(1, ITEMS),
    st.sampled_from([0.25, 1.0, 3.0]),
    st.floats(0, 0.99),
)
def test_what_is_in_neither_list_is_no_better_than_the_last_of_both(
    model, scores, length, temperature, weight
):
    """The joined list against the mixture over all items."""
    p = np.array(model) / sum(model)
    (prior,) = rows_of(sp.csr_array(np.array([scores])))
    powers = np.array(scores) ** (1 / temperature)
    q = powers / powers.sum() if powers.any() else p
    expected = (1 - weight) * p + weight * q
    beams = np.argsort(-p, kind="stable")[:length]
    best = best_items(prior, length)
    choices = choices_of(
        {int(item): math.log(p[item]) for item in beams},
        {int(item): math.log(p[item]) for item in best if item >= 0},
        prior,
        log_totals(prior, [temperature]),
    )
    found = choices.best_first(weight, temperature)
    for item, log_prob in found.items():
        assert math.exp(log_prob) == pytest.approx(expected[item])
    last_of_prior = q[best].min() if (best >= 0).all() else 0.0
    if not powers.any():
        last_of_prior = q[beams].min()
    bound = (1 - weight) * p[beams].min() + weight * last_of_prior
    assert all(expected[item] <= bound + 1e-9 for item in set(range(ITEMS)) - set(found))
    for target in found:
        (rank,) = ranks_of(choices.joined(np.array([weight]), temperature), choices.items == target)
        assert rank == list(found).index(target)
    assert ranks_of(np.ones((2, 3)), np.zeros(3, bool)).tolist() == [np.inf, np.inf]


# A run --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fused(trained, tmp_path_factory):
    """A run that was evaluated with a prior, and its results."""
    experiment, results = trained
    run = tmp_path_factory.mktemp("fused") / "run"
    shutil.copytree(experiment.model_dir, run)
    experiment = dataclasses.replace(
        experiment,
        model_dir=str(run),
        mixture_or_task_name=TASK,
        fusion_prior="graph",
        fusion_candidates=7,
    )
    return experiment, evaluate(experiment, "test", results["checkpoint_step"])


def records_of(experiment, split="test"):
    path = experiment.directory / "predictions" / f"{TASK}-{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def dense_prior(dataset, split, temperature):
    """The graph's probabilities for each user of a split, over all items."""
    sequences = dataset.sequences(split)
    model, _ = priors.prior_of("graph", dataset)
    parts = np.split(sequences.items, sequences.row_splits[1:-1])
    scores = model.scores([part[:-1] for part in parts]).toarray() ** (1 / temperature)
    return scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30)


def test_metrics_are_of_the_joined_lists_and_the_models_own_stay(trained, fused):
    experiment, results = fused
    own, joined = trained[1]["tasks"][TASK], results["tasks"][TASK]
    assert {name: joined[name] for name in own} == pytest.approx(own)
    assert set(joined) - set(own) == {
        "hr@5_fused", "hr@10_fused", "ndcg@5_fused", "ndcg@10_fused"}  # fmt: skip
    lists = [(record["target"], record["fused_beams"]) for record in records_of(experiment)]
    assert joined["hr@10_fused"] == np.mean([target in beams[:10] for target, beams in lists])
    weights = fusion.read(experiment.directory)[TASK]
    assert results["fusion"] == {
        TASK: {"prior": "graph", "weight": weights.weight, "temperature": weights.temperature}
    }
    assert trained[1]["fusion"] == {}


def test_lists_are_the_mixture_of_what_is_known(fused):
    experiment, _ = fused
    dataset = seqio.TaskRegistry.get(TASK).source.open()
    ids = dataset.catalogue.ids
    weights = fusion.read(experiment.directory)[TASK]
    prior_UxN = dense_prior(dataset, "test", weights.temperature)
    for record, prior_N in zip(records_of(experiment), prior_UxN, strict=True):
        best = np.argsort(-prior_N, kind="stable")[:7]
        known = dict(zip((ids.index(beam) for beam in record["beams"]), record["log_probs"],
                         strict=True))  # fmt: skip
        known |= {
            i: lp for i, lp in zip(best, record["exact_log_probs"], strict=True) if prior_N[i]
        }
        expected = {
            ids[i]: (1 - weights.weight) * math.exp(lp) + weights.weight * prior_N[i]
            for i, lp in known.items()
        }
        assert set(record["fused_beams"]) == set(expected)
        values = [expected[item] for item in record["fused_beams"]]
        assert all(a >= b * (1 - 1e-6) for a, b in itertools.pairwise(values))


def test_weights_are_the_best_of_the_validation_users(fused):
    experiment, _ = fused
    weights = fusion.read(experiment.directory)[TASK]
    assert weights.validation["ndcg@10"] >= weights.validation["ndcg@10_alone"]
    dataset = seqio.TaskRegistry.get(TASK).source.open()
    joining = Joining("graph", dataset, 7, weights.settings)
    records = records_of(experiment, "validation")
    sequences = dataset.sequences("validation")
    last = sequences.items[sequences.row_splits[1:] - 1]
    examples = [
        {"row": row, "target": item} for row, item in zip(sequences.rows, last, strict=True)
    ]
    for weight, temperature in ((0.0, 1.0), (0.5, 1.0), (0.5, 3.0), (0.99, 1.0)):
        other = dataclasses.replace(weights, weight=weight, temperature=temperature)
        lists = joining.answers(examples, "validation", records, other)
        gains = [
            1 / math.log2(found.index(record["target"]) + 2)
            for found, record in zip(lists, records, strict=True)
            if record["target"] in found[:10]
        ]
        assert sum(gains) / len(records) <= weights.validation["ndcg@10"] + 1e-9


def test_an_evaluation_of_the_same_finds_no_weights_again(fused, monkeypatch):
    experiment, results = fused
    monkeypatch.setattr(BeamDecoder, "start", lambda *a, **k: pytest.fail("decoded anew"))
    monkeypatch.setattr(Joining, "fit", lambda *a, **k: pytest.fail("fitted anew"))
    assert evaluate(experiment, "test", results["checkpoint_step"]) == results


def test_recommending_joins_the_whole_catalogue(fused):
    """Against the model's own probabilities of all items and the prior's."""
    experiment, _ = fused
    alone = Recommender(experiment.model_dir, repeats=True, model_alone=True)
    joined = Recommender(experiment.model_dir, repeats=True)
    weights = fusion.read(experiment.directory)[TASK]
    assert weights.weight > 0  # else nothing is joined
    dataset = seqio.TaskRegistry.get(TASK).source.open()
    ids = dataset.catalogue.ids
    sequences = dataset.sequences("test")
    history = sequences.items[: sequences.row_splits[1] - 1]
    prior_N = dense_prior(dataset, "test", weights.temperature)[0]
    asked = [ids[item] for item in history]
    expected = {
        it.id: (1 - weights.weight) * it.score + weights.weight * prior_N[ids.index(it.id)]
        for it in alone.recommend(asked, 50)
    }
    found = joined.recommend(asked, 50)
    assert [it.score for it in found] == sorted((it.score for it in found), reverse=True)
    assert {it.id: it.score for it in found} == pytest.approx(expected, rel=1e-4)
    without = Recommender(experiment.model_dir)
    answers = without.recommend(asked, 5)
    assert [it.id for it in answers] == [it.id for it in found if it.id not in asked][:5]
    some = [it.id for it in found[3:30:5]]
    assert [it.id for it in joined.recommend(asked, 10, some)] == some


def test_what_is_not_scored_would_not_have_been_answered(fused):
    """Few items, of whom most candidates are left out, are the first of the whole catalogue."""
    recommender = Recommender(fused[0].model_dir)
    draw = np.random.default_rng(1)
    queries = [
        recommender.query_of(draw.choice(50, draw.integers(1, 9)).tolist(), 1 + number % 12)
        for number in range(24)
    ]
    whole = recommender.answer([query._replace(wanted=40) for query in queries])
    for found, all_items, query in zip(recommender.answer(queries), whole, queries, strict=True):
        expected = all_items[: query.wanted]
        assert [it.id for it in found] == [it.id for it in expected]
        assert [it.score for it in found] == pytest.approx([it.score for it in expected], rel=1e-4)


def test_weights_of_another_checkpoint_are_not_used(fused, tmp_path, capfd):
    experiment, _ = fused
    run = tmp_path / "run"
    shutil.copytree(experiment.model_dir, run)
    found = fusion.read(epath.Path(run))[TASK]
    fusion.write(
        epath.Path(run), {TASK: dataclasses.replace(found, made_with={"checkpoint_step": 1})}
    )
    alone = Recommender(experiment.model_dir, model_alone=True)
    assert Recommender(run).recommend(["I1"], 5) == alone.recommend(["I1"], 5)
    assert "is of step 1, this is step" in capfd.readouterr().err


def test_files_and_names_that_are_wrong(fused, tmp_path):
    (tmp_path / fusion.FILE).write_text('{"retrieval_tiny": {"weight": 1}}')
    with pytest.raises(UserError, match=r"not be used .*damaged.*: remove it and evaluate again"):
        fusion.read(epath.Path(tmp_path))
    weights = fusion.read(fused[0].directory)[TASK]
    (tmp_path / fusion.FILE).unlink()
    fusion.write(epath.Path(tmp_path), {TASK: dataclasses.replace(weights, weight=1.5)})
    with pytest.raises(UserError, match=rf"'{TASK}': weight is 1.5"):
        fusion.read(epath.Path(tmp_path))
    assert fusion.read(epath.Path(tmp_path / "elsewhere")) == {}
    with pytest.raises(UserError, match="FUSION_PRIOR = 'grap': known are popularity, graph, knn"):
        setup.prepare(dataclasses.replace(fused[0], fusion_prior="grap"))


_WHOLE = {
    "prior": "graph",
    "settings": {"span": 3, "backward": 0.5, "decay": 0.7, "from_power": 0.0, "to_power": 0.3},
    "candidates": 40, "weight": 0.35, "temperature": 0.75,
    "made_with": {"checkpoint_step": 3}, "validation": {"hr@10": 0.5, "ndcg@10": 0.25},
}  # fmt: skip


def sealed_weights(folder, of_task) -> epath.Path:
    (folder / fusion.FILE).write_text(integrity.sealed_json({"tasks": of_task}))
    return epath.Path(folder)


def test_what_an_evaluation_writes_is_read(tmp_path):
    found = fusion.read(sealed_weights(tmp_path, {TASK: _WHOLE}))
    assert dataclasses.asdict(found[TASK]) == _WHOLE
    popular = {**_WHOLE, "prior": "popularity", "settings": {}}
    assert fusion.read(sealed_weights(tmp_path, {TASK: popular}))[TASK].settings == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prior", []), ("prior", 7), ("prior", ""),
        ("settings", 7), ("settings", None), ("settings", {"span": 3}),
        *(("settings", {**_WHOLE["settings"], "span": it}) for it in (2.5, 0, 10**9, "x", True)),
        ("settings", {**_WHOLE["settings"], "decay": math.nan}),
        ("settings", {**_WHOLE["settings"], "to_power": 1e300}),
        ("candidates", 2.5), ("candidates", 0), ("candidates", 10**12), ("candidates", True),
        ("weight", 1), ("weight", -0.1), ("weight", math.nan), ("weight", "0.5"), ("weight", None),
        ("temperature", 1e-320), ("temperature", math.inf), ("temperature", 0),
        ("temperature", [1.0]), ("made_with", 7), ("made_with", None), ("made_with", []),
        ("validation", 7), ("validation", {"hr@10": "x"}), ("validation", {"hr@10": 2.0}),
        ("more", 1),
    ],
)  # fmt: skip
def test_weights_that_no_evaluation_writes_are_refused(tmp_path, field, value):
    folder = sealed_weights(tmp_path, {TASK: {**_WHOLE, field: value}})
    with pytest.raises(UserError) as error:
        fusion.weights_at(folder, TASK, 3)
    said = str(error.value)
    assert said.startswith(f"{folder / fusion.FILE} cannot be used (") and "\n" not in said
    assert (f"{field} is {value!r}"[:80] in said) or "prior's setting" in said or field == "more"


@pytest.mark.parametrize("tasks", [7, [], None, {TASK: 7}, {TASK: []}, {TASK: {}}])
def test_tasks_that_are_none_are_refused(tmp_path, tasks):
    with pytest.raises(UserError, match=r"cannot be used \(.*: remove it and evaluate again"):
        fusion.read(sealed_weights(tmp_path, tasks))


# A prior of one's own -----------------------------------------------------------------------------


class Constant:
    """Scores some items alike for everybody."""

    def __init__(self, items):
        self._items = items

    def scores(self, histories):
        scores = np.zeros((len(histories), 50))
        scores[:, self._items] = 1.0
        return sp.csr_array(scores)


@pytest.mark.parametrize("useful", [True, False])
def test_a_prior_of_ones_own_counts_as_much_as_it_helps(fused, monkeypatch, useful):
    """Scores of the very targets, or of an item that nobody wants."""
    dataset = seqio.TaskRegistry.get(TASK).source.open()
    ids = dataset.catalogue.ids
    examples = [{"row": np.int64(row), "target": np.int64(row % 2)} for row in range(6)]
    records = [
        {"beams": [ids[9], ids[8], ids[row % 2]], "log_probs": [-1.0, -2.0, -3.0],
         "exact_log_probs": [-3.0, -3.0] if useful else [-9.0, -9.0]}
        for row in range(6)
    ]  # fmt: skip
    monkeypatch.setitem(priors.PRIORS, "other", lambda dataset, settings: None)
    priors.register(
        "other", lambda dataset, settings: (Constant([0, 1] if useful else [30, 31]), {"a": 1})
    )
    weights = Joining("other", dataset, 2).fit(examples, records, {"checkpoint_step": 3})
    assert isinstance(weights, Weights) and weights.settings == {"a": 1}
    if useful:
        assert weights.weight > 0
        assert weights.validation["ndcg@10"] > weights.validation["ndcg@10_alone"]
    else:
        assert weights.weight == 0
    assert weights.validation["ndcg@10_alone"] == pytest.approx(1 / math.log2(4))
