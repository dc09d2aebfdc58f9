"""Metrics against hand-computed values, brute force, and SeqIO's Evaluator with made-up beams."""

import gin
import numpy as np
import pytest
import seqio
from hypothesis import given
from hypothesis import strategies as st

import tasks
from recalign import metrics
from tests.corpus import make_corpus

INF = float("inf")


def test_hit_ratio_and_ndcg_of_a_worked_example():
    ranks = np.array([0, 1, 4, 5, INF])
    assert metrics.hit_ratio(ranks, 1) == pytest.approx(0.2)
    assert metrics.hit_ratio(ranks, 5) == pytest.approx(0.6)
    assert metrics.hit_ratio(ranks, 10) == pytest.approx(0.8)
    # 1, 1 / log2(3) and 1 / log2(6); rank 5 is beyond the first five.
    assert metrics.ndcg(ranks, 5) == pytest.approx((1 + 0.6309298 + 0.3868528) / 5)
    assert metrics.ndcg(ranks, 10) == pytest.approx((1 + 0.6309298 + 0.3868528 + 0.3562072) / 5)


def test_auc_of_a_worked_example():
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert metrics.auc_roc(scores, labels) == pytest.approx(0.75)
    assert np.isnan(metrics.auc_roc(scores, np.ones(4, int)))


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_ordered_pairs(pairs):
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    won = [
        (a > b) + 0.5 * (a == b)
        for a, la in pairs
        for b, lb in pairs
        if la and not lb
    ]  # fmt: skip
    result = metrics.auc_roc(scores, labels)
    assert (not won and np.isnan(result)) or result == pytest.approx(np.mean(won))


def test_ranks_count_distinct_beams():
    assert metrics.rank_in("I7", ["I7"]) == 0
    assert metrics.rank_in("I7", ["I2", "I2", "nonsense", "I7"]) == 2
    assert metrics.rank_in("I7", ["I2"]) == INF


def test_length_penalty_is_undone():
    # T5X divides by ((5 + length) / 6)^0.6, the end of sequence counted.
    scores = np.array([-1.0 / (7 / 6) ** 0.6, -3.0 / (10 / 6) ** 0.6])
    assert metrics.without_length_penalty(scores, np.array([2, 5])) == pytest.approx([-1.0, -3.0])


@pytest.mark.parametrize(
    ("answers", "log_probs", "expected"),
    [
        (["maybe", "no", "yes"], [-5.0, -2.0, -0.5], 1.5),
        (["maybe", "perhaps", "yes"], [-5.0, -2.0, -0.5], 4.5),
        (["maybe", "no"], [-5.0, -2.0], -3.0),
        (["maybe", "no"], [-1e7, -2.0], 0.0),
        (["maybe", "perhaps"], [-5.0, -2.0], 0.0),
        (["no", "yes"], [-1e7, -1e7], 0.0),
        (["yes", "yes", "no"], [-3.0, -1.0, -2.0], 1.0),
    ],
)
def test_missing_answers_are_bounded_by_the_lowest_beam(answers, log_probs, expected):
    assert metrics.yes_no_score(answers, np.array(log_probs)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_corpus("judged", tmp_path_factory.mktemp("data"))


@pytest.fixture
def evaluate(dataset, monkeypatch):
    """Runs SeqIO's Evaluator on the test split with beams that a function of an example gives."""
    monkeypatch.setattr(
        seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(dataset.directory.parent.parent)
    )
    gin.parse_config("TaskSettings.candidate_pool = 6")
    tasks.ensure_registered("ut_judged")

    def run(kind, beams_of, values_of):
        evaluator = seqio.Evaluator(
            f"{kind}_judged",
            seqio.EncDecFeatureConverter(pack=False),
            eval_split="test",
            sequence_length={"inputs": 256, "targets": 8},
            num_examples=20,
        )
        task = seqio.get_mixture_or_task(f"{kind}_judged")
        vocabulary = task.output_features["targets"].vocabulary
        examples = list(evaluator.cached_task_datasets[task.name].as_numpy_iterator())

        def padded(text):
            ids = [*vocabulary.encode(text), vocabulary.eos_id]
            return ids + [0] * (8 - len(ids))

        def predict(indexed):
            numbers = [int(number) for number, _ in indexed.as_numpy_iterator()][::-1]
            beams = [beams_of(number, examples[number]) for number in numbers]
            tokens = [np.array([padded(text) for text in texts]) for texts in beams]
            values = [values_of(number, examples[number]) for number in numbers]
            aux = {name: [np.array(v[name]) for v in values] for name in values[0]}
            return list(zip(numbers, tokens, strict=True)), aux

        future, _ = evaluator.evaluate(compute_metrics=True, step=1, predict_with_aux_fn=predict)
        return future.result()[task.name], examples

    yield run
    gin.clear_config()


def test_retrieval_through_seqios_evaluator(evaluate, dataset):
    ids = dataset.catalogue.ids

    def beams(number, example):
        target = ids[example["target"]]
        others = [i for i in ids if i != target][:6]
        # Ascending, best last: the target is first in every fourth example, seventh in the next.
        return {
            0: [*others[:5], "nonsense", target],
            1: [target, *others],
            2: [*others[:5], target, others[0]],
        }.get(number % 4, [*others, others[0]])

    results, _ = evaluate("retrieval", beams, lambda n, e: {"scores": np.arange(7) - 8.0})
    assert results["num_examples"] == 20
    assert results["hr@5"] == pytest.approx(10 / 20)
    assert results["hr@10"] == pytest.approx(15 / 20)
    assert results["ndcg@5"] == pytest.approx((5 * 1 + 5 * 0.6309298) / 20)
    assert results["ndcg@10"] == pytest.approx((5 * 1 + 5 * 0.6309298 + 5 / 3) / 20)
    assert results["valid_id_rate"] == pytest.approx(1 - 5 / (20 * 7))


def test_ranking_through_seqios_evaluator(evaluate, dataset):
    ids = dataset.catalogue.ids

    def beams(number, example):
        pool = [ids[i] for i in example["candidates"] if i != example["target"]]
        outside = next(i for n, i in enumerate(ids) if n not in example["candidates"])
        target = ids[example["target"]]
        return [outside, target, pool[0]] if number % 2 else [outside, pool[0], target]

    results, _ = evaluate("ranking", beams, lambda n, e: {"scores": [-3.0, -2.0, -1.0]})
    assert results["hr@1"] == pytest.approx(0.5)
    assert results["hr@5"] == results["hr@10"] == 1.0
    assert results["ndcg@5"] == pytest.approx((1 + 0.6309298) / 2)
    assert results["valid_candidate_rate"] == pytest.approx(2 / 3)
    assert results["num_examples"] == 20


@pytest.mark.parametrize(
    ("kind", "no_yes", "gives_log_probs"),
    [
        ("rating", ["no", "yes"], True),
        ("rating", ["no", "yes"], False),
        ("p5_rating", ["dislike", "like"], True),
    ],
)
def test_rating_through_seqios_evaluator(evaluate, kind, no_yes, gives_log_probs):
    generator = np.random.default_rng(0)
    log_odds = generator.normal(size=20)

    def log_probs(number, example):
        yes = -np.log1p(np.exp(-log_odds[number] - example["label"]))
        no = np.log1p(-np.exp(yes))
        return yes, no

    def beams(number, example):
        yes, no = log_probs(number, example)
        return no_yes if yes > no else no_yes[::-1]

    def values(number, example):
        both = np.sort(log_probs(number, example))
        penalty = ((5 + 2) / 6) ** 0.6  # the answer and the end of sequence
        scores = {"scores": both / penalty}
        return scores | ({"log_probs": both} if gives_log_probs else {})

    results, examples = evaluate(kind, beams, values)
    labels = np.array([example["label"] for example in examples])
    assert results["auc_roc"] == pytest.approx(metrics.auc_roc(log_odds + labels, labels))
    assert results["num_examples"] == 20


def test_metrics_of_parts_merge_to_those_of_the_whole():
    metric = metrics.retrieval_metric(lambda: ("I1", "I2"))
    parts = [metric(ranks=np.array([0.0, 7.0]), valid=np.array([1.0, 0.5])),
             metric(ranks=np.array([INF]), valid=np.array([0.0]))]  # fmt: skip
    whole = metric.empty().merge(parts[0]).merge(parts[1]).compute()
    assert whole["hr@10"] == pytest.approx(2 / 3)
    assert whole["valid_id_rate"] == pytest.approx(0.5)
