"""Metrics against hand-computed values, brute force, and SeqIO's Evaluator with made-up beams."""

import gin
import numpy as np
import pytest
import seqio
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score, top_k_accuracy_score

import tasks
from recalign import metrics
from recalign.model.decode import LENGTH_PENALTY
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


@given(st.integers(0, 2**32 - 1), st.integers(1, 11))
def test_ranked_pools_agree_with_scikit_learn(seed, k):
    """Distinct scores: scikit-learn averages over the orders of a tie, we take the pool's."""
    generator = np.random.default_rng(seed)
    scores = generator.permuted(np.tile(np.arange(12.0), (20, 1)), axis=1)
    pools = generator.permuted(np.tile(np.arange(50), (20, 1)), axis=1)[:, :12]
    relevant = np.eye(12)[generator.integers(0, 12, 20)]
    targets = pools[relevant.astype(bool)]
    ranks = np.array([metrics.rank_among(*row) for row in zip(scores, pools, targets, strict=True)])
    assert metrics.ndcg(ranks, k) == pytest.approx(ndcg_score(relevant, scores, k=k))
    hits = top_k_accuracy_score(relevant.argmax(axis=1), scores, k=k, labels=np.arange(12))
    assert metrics.hit_ratio(ranks, k) == pytest.approx(hits)


def test_ties_in_a_pool_go_by_the_place_in_it():
    pool, scores = np.array([7, 3, 4, 9]), np.array([0.5, 0.9, 0.5, 0.5])
    assert [metrics.rank_among(scores, pool, target) for target in pool] == [1, 0, 2, 3]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_auc_agrees_with_scikit_learn_on_ties_too(seed, distinct):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, distinct, 60) / 7
    labels = np.concatenate([[0, 1], generator.integers(0, 2, 58)])
    assert metrics.auc_roc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_ranks_count_distinct_beams():
    assert metrics.rank_in("I7", ["I7"]) == 0
    assert metrics.rank_in("I7", ["I2", "I2", "nonsense", "I7"]) == 2
    assert metrics.rank_in("I7", ["I2"]) == INF


def test_length_penalty_is_undone():
    # T5X divides by ((5 + length) / 6)^0.6, the end of sequence counted. So do our beams.
    assert metrics.ALPHA == LENGTH_PENALTY == 0.6
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


def test_texts_end_at_the_first_end_of_sequence(dataset):
    vocabulary = seqio.SentencePieceVocabulary(str(dataset.sentencepiece_model))
    i7, i12 = vocabulary.encode("I7"), vocabulary.encode("I12")
    length = max(len(i7), len(i12)) + 3

    def padded(tokens):
        return tokens + [0] * (length - len(tokens))

    tokens = np.array([[padded([*i7, 1]), padded([*i7, 1, *i7[:1]])], [padded(i12), padded([1])]])
    texts = metrics.Detokenizer(vocabulary)(tokens)
    assert texts.tolist() == [["I7", "I7"], ["I12", ""]]


def test_metrics_of_parts_merge_to_those_of_the_whole():
    metric = metrics.retrieval_metric(lambda: ("I1", "I2"))
    parts = [metric(ranks=np.array([0.0, 7.0]), valid=np.array([1.0, 0.5])),
             metric(ranks=np.array([INF]), valid=np.array([0.0]))]  # fmt: skip
    whole = metric.empty().merge(parts[0]).merge(parts[1]).compute()
    assert whole["hr@10"] == pytest.approx(2 / 3)
    assert whole["valid_id_rate"] == pytest.approx(0.5)
