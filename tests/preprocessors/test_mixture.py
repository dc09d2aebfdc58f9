"""One stream for a mixture: on one host or several, in either engine, from any position."""

import numpy as np
import pytest
import seqio
from scipy import stats

import tasks
from recalign.preprocessors.stream import Stream
from tests.tracing import traced_once

LENGTHS = {"inputs": 96, "targets": 24}
BATCH = 16
SEED = 5


# Of two tasks, so that construction stays short; one of them is drawn three times as often.
@pytest.fixture(scope="module")
def mixture(corpus):
    seqio.set_tfds_data_dir_override(str(corpus.directory.parent.parent))
    tasks.ensure_registered("ut_at_small")
    with traced_once({}):
        yield tasks.register_mixture("both_small", ["retrieval_small", "mlm_small"], {"mlm": 3.0})
    seqio.MixtureRegistry.remove("both_small")
    seqio.set_tfds_data_dir_override(None)


@pytest.fixture(scope="module")
def own(mixture):
    """The first 20 batches of our own trainer."""
    batches = Stream.of("both_small", SEED).batches(0, LENGTHS, BATCH, slice(0, BATCH))
    return list(batches.take(20).as_numpy_iterator())


def read(mixture, count, **arguments):
    """Examples as SeqIO's readers get them."""
    dataset = mixture.get_dataset(LENGTHS, "train", seed=SEED, **arguments)
    return [
        (example["inputs"].tolist(), example["targets"].tolist())
        for example in dataset.take(-1 if count is None else count).as_numpy_iterator()
    ]


@pytest.fixture(scope="module")
def whole(mixture):
    return read(mixture, 20 * BATCH)


def without_padding(row):
    return row[: np.flatnonzero(row)[-1] + 1].tolist()


def test_seqio_reads_what_our_own_trainer_reads(whole, own):
    rows = [
        (without_padding(inputs), without_padding(targets))
        for batch in own
        for inputs, targets in zip(batch["inputs"], batch["targets"], strict=True)
    ]
    assert whole == rows


def test_a_task_alone_is_read_as_it_stands_in_the_mixture(mixture, own, whole):
    """Example by example, from SeqIO's task: the same as the mixture's examples of that task."""
    tasks_of = np.concatenate([batch["task"] for batch in own])
    for number, task in enumerate(mixture.tasks):
        its_own = [example for example, of in zip(whole, tasks_of, strict=True) if of == number]
        assert read(task, len(its_own), num_epochs=None) == its_own


def test_shards_interleave_to_the_stream_of_one(mixture, whole):
    shards = [read(mixture, 80, shard_info=seqio.ShardInfo(n, 4)) for n in range(4)]
    assert [shards[n % 4][n // 4] for n in range(320)] == whole


def test_a_batch_over_two_hosts_holds_the_rows_of_one_hosts_batch(mixture, own):
    def batches(shard):
        return seqio.get_dataset(
            mixture,
            LENGTHS,
            seqio.EncDecFeatureConverter(pack=False),
            shuffle=True,
            num_epochs=None,
            seed=SEED,
            shard_info=seqio.ShardInfo(shard, 2),
            batch_size=BATCH // 2,
        )

    hosts = [list(batches(n).take(3).as_numpy_iterator()) for n in range(2)]
    for step in range(3):
        rows = np.concatenate([host[step]["encoder_input_tokens"] for host in hosts])
        assert sorted(rows.tolist()) == sorted(own[step]["inputs"].tolist())


def test_goes_on_at_any_position(mixture, whole):
    assert read(mixture, 100, first_position=203) == whole[203:303]
    second = read(mixture, 30, first_position=203, shard_info=seqio.ShardInfo(1, 3))
    assert second == whole[204:294:3]


def test_tasks_are_drawn_at_their_rates(mixture):
    """Chi-square of a hundred thousand positions, and of how they are spread."""
    stream = Stream.of(mixture, SEED)
    assert [task.kind for task in stream.tasks] == ["mlm", "retrieval"]
    counts = stream.counts(0, 100_000)
    assert stats.chisquare(counts, [75_000, 25_000]).pvalue > 0.01
    blocks = [stream.counts(start, start + 100) for start in range(0, 10_000, 100)]
    spread = sum((block[0] - 75) ** 2 / (100 * 0.75 * 0.25) for block in blocks)
    assert 0.01 < stats.chi2.sf(spread, len(blocks)) < 0.99


def test_another_seed_draws_anew(mixture):
    assert read(mixture, 20, shuffle=False) == read(mixture, 20, shuffle=False)
    seeds = [Stream.of(mixture, seed).counts(0, 64).tolist() for seed in range(8)]
    assert len({tuple(counts) for counts in seeds}) > 2


def test_features_that_all_tasks_have_pass_through(mixture, whole):
    dataset = mixture.get_dataset(LENGTHS, seed=SEED, passthrough_features=["row", "history"])
    examples = list(dataset.take(5).as_numpy_iterator())
    assert [example["inputs"].tolist() for example in examples] == [row[0] for row in whole[:5]]
    assert all(set(e) == {"inputs", "targets", "row", "history"} for e in examples)
    assert all(len(e["history"]) >= 1 for e in examples)


def test_a_number_of_epochs_ends_as_seqios_mixture_ends(mixture):
    examples = read(mixture, None, num_epochs=1)
    sizes = [task.num_input_examples("train") for task in mixture.tasks]
    assert min(sizes) <= len(examples) <= sum(sizes)
