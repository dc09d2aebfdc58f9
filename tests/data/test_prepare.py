import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data import integrity
from recalign.data.interactions import ItemTable
from recalign.data.prepare import prepare
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from tests.corpus import alike_corpus, log_of, vocabulary_file

NO_ITEMS = ItemTable([], [], [], [], [], [])


def raw(dataset, split):
    """user -> (raw ids of items, raw ids unseen) of a split."""
    sequences = dataset.sequences(split)
    raw_ids = np.asarray(dataset.catalogue.raw_ids)
    items = np.split(raw_ids[sequences.items], sequences.row_splits[1:-1])
    unseen = np.split(raw_ids[sequences.unseen], sequences.unseen_splits[1:-1])
    return {
        user: ("".join(seen), "".join(rest))
        for user, seen, rest in zip(sequences.users, items, unseen, strict=True)
    }


def test_each_split_shows_what_comes_before_its_target(prepared):
    # u4 has two items and leaves; the others keep the order of their first line in the log.
    assert raw(prepared, "train") == {"u1": ("a", "bc"), "u2": ("ab", "de"), "u3": ("c", "ea")}
    assert raw(prepared, "validation") == {
        "u1": ("ab", "c"),
        "u2": ("abd", "e"),
        "u3": ("ce", "a"),
    }
    assert raw(prepared, "test") == {"u1": ("abc", ""), "u2": ("abde", ""), "u3": ("cea", "")}


def test_a_log_whose_ids_look_like_the_catalogues_is_warned_of(tmp_path):
    """Random ids of a log of I1 to I8: an item keeps its ID by chance alone."""
    log = log_of([[f"I{(n + step) % 8 + 1}" for step in range(5)] for n in range(8)])
    dataset = prepare(log, NO_ITEMS, name="small", data_dir=tmp_path, k_core=0)
    shared = [
        raw
        for raw, own in zip(dataset.catalogue.raw_ids, dataset.catalogue.ids, strict=True)
        if raw != own
    ]
    assert len(shared) > 4
    assert [note for note in dataset.info["notes"] if "ID in the log" in note] == [
        f"warning: {len(shared)} of the items have an ID in the log that is another item's in the"
        f" catalogue ({shared[0]}): `recommend` asks for raw:{shared[0]} or id:{shared[0]} there"
    ]


def test_a_log_that_may_have_had_an_id_of_the_catalogue_is_warned_of(tmp_path):
    """Its I5, which the 2-core drops, is another item in the catalogue; all others are alike."""
    dataset = alike_corpus(tmp_path, "sequential")
    assert dataset.catalogue.ambiguous == []
    assert [note for note in dataset.info["notes"] if "catalogue" in note] == [
        "warning: IDs of the log have the form of the catalogue's (I1): `recommend` asks for raw:…"
        " or id:… where an ID could be both"
    ]


@pytest.mark.parametrize(
    ("item_ids", "left_out", "alike"),
    [
        ("random", "I3", True),
        ("sequential", "I17", True),
        ("random", "Ia3b1c0", False),
        ("semantic", "Ia3b1c0", True),
        ("semantic", "I3", False),
    ],
)
def test_an_item_that_is_left_out_may_look_like_the_catalogues(tmp_path, item_ids, left_out, alike):
    """The 2-core drops it; all others are B1 to B5, and the data is as if it were B6."""
    kept = [f"B{n}" for n in range(1, 6)]
    made = {}
    for number, raw in enumerate((left_out, "B6")):
        log = log_of([[*kept, raw], *(kept[n:] + kept[:n] for n in range(1, 5))])
        folder = tmp_path / str(number)
        made[raw] = prepare(log, NO_ITEMS, name="b", data_dir=folder, k_core=2, item_ids=item_ids)
    dataset = made[left_out]
    assert sorted(dataset.catalogue.raw_ids) == kept
    assert (dataset.info["ids_alike"], dataset.ids_alike) == (alike, alike)
    assert any("IDs of the log have the form" in it for it in dataset.info["notes"]) == alike
    assert not made["B6"].ids_alike
    assert dataset.fingerprint == made["B6"].fingerprint


def test_ratings_stay_with_their_items(prepared):
    assert prepared.sequences("test").ratings.tolist() == [1, 2, 3, 5, 4, 3, 2, 1, 2, 3]
    assert prepared.sequences("train").ratings.tolist() == [1, 5, 4, 1]


def test_rows_number_the_users(prepared):
    for split in ("train", "validation", "test"):
        assert prepared.sequences(split).rows.tolist() == [0, 1, 2]
        assert len(prepared.sequences(split)) == 3


def test_the_catalogue_counts_training_occurrences_only(prepared):
    counts = dict(zip(prepared.catalogue.raw_ids, prepared.catalogue.train_counts, strict=True))
    assert counts == {"a": 2, "b": 1, "c": 1, "d": 0, "e": 0}


def test_what_the_dataset_says_of_itself(prepared):
    info = dict(prepared.info)
    assert len(info.pop("fingerprint")) == 64
    notes = info.pop("notes")
    assert {split: [records for records, _ in of] for split, of in info.pop("shards").items()} == {
        "train": [3],
        "validation": [3],
        "test": [3],
    }
    assert info.pop("files") == {
        "items.parquet": integrity.digest_of((prepared.directory / "items.parquet").read_bytes())
    }
    assert integrity.is_sealed(prepared.info) and len(info.pop("sha256")) == 64
    assert info == {
        "name": "small",
        "version": "1.0.0",
        "seed": 0,
        "k_core": 0,
        "item_ids": "random",
        "semantic_ids": None,
        "item_tokens": None,
        "base_vocabulary": None,
        "ids_alike": False,
        "has_ratings": True,
        "has_reviews": False,
        "users": 3,
        "items": 5,
        "interactions": 10,
        "sparsity_percent": pytest.approx(100 * (1 - 10 / 15)),
        "sequence_length_mean": pytest.approx(10 / 3),
        "sequence_length_std": pytest.approx(np.sqrt(2) / 3),
        "tied_last_fraction": pytest.approx(1 / 3),
        "ties_sorted_by_item": False,
        # u1 is asked about c at 30, u2 about e at 8, u3 about a at 1: u2 trains on a at 5.
        "trained_later_fraction": pytest.approx(1 / 3),
        "split": "leave_one_out",
        "cuts": None,
        "wording": {"noun": "", "verb": []},
        "ratings": {
            "number": 10,
            "minimum": 1.0,
            "maximum": 5.0,
            "zeros": 0,
            "likes": 2,
            "whole": True,
            "threshold": 3.0,
        },
        "sources": [],
    }
    assert notes == [
        "1 users with fewer than 3 items dropped (2 interactions)",
        "2 of 5 items have no title: named by brand and category, or by raw id",
        "ratings from 1 to 5: 20.0 % are likes (above 3; --like_threshold)",
        "warning: the last two items of 33.3 % of the users have one timestamp, so that the order"
        " of the file chooses the test item: give a finer time column, or lines in the order of"
        " what happened",
    ]


def test_tfds_reads_it_without_this_package(prepared, tmp_path):
    records = list(
        tfds.as_numpy(tfds.load("small:1.0.0", data_dir=str(tmp_path), split="validation"))
    )
    assert [record["user"] for record in records] == [b"u1", b"u2", b"u3"]
    assert [record["row"] for record in records] == [0, 1, 2]
    assert [record["split"] for record in records] == [1, 1, 1]
    raw_ids = prepared.catalogue.raw_ids
    assert [[raw_ids[i] for i in record["items"]] for record in records] == [
        ["a", "b"],
        ["a", "b", "d"],
        ["c", "e"],
    ]
    assert records[1]["items"].dtype == records[1]["unseen"].dtype == np.int32
    assert records[1]["ratings"].tolist() == [5, 4, 3]
    assert records[1]["ratings"].dtype == np.float32


def test_a_log_without_ratings_has_no_such_feature(make_log, tmp_path):
    log = make_log([("u", item) for item in "abc"])
    dataset = prepare(log, NO_ITEMS, name="bare", data_dir=tmp_path, k_core=0)
    assert dataset.sequences("test").ratings is None
    assert not dataset.info["has_ratings"]
    assert dataset.info["tied_last_fraction"] is None
    (record,) = tfds.as_numpy(tfds.load("bare:1.0.0", data_dir=str(tmp_path), split="test"))
    assert sorted(record) == ["items", "row", "split", "unseen", "user"]


def test_shards_keep_the_order_of_the_users(make_log, tmp_path, monkeypatch):
    monkeypatch.setattr("recalign.data.records.USERS_PER_SHARD", 4)
    log = make_log([(f"u{user}", item) for user in range(10) for item in "abc"])
    dataset = prepare(log, NO_ITEMS, name="sharded", data_dir=tmp_path, k_core=0)
    files = sorted(path.name for path in dataset.directory.glob("sharded-train*"))
    assert files == [f"sharded-train.tfrecord-{i:05}-of-00003" for i in range(3)]
    assert dataset.sequences("train").users == [f"u{user}" for user in range(10)]
    loaded = tfds.load("sharded:1.0.0", data_dir=str(tmp_path), split="train")
    assert [int(record["row"]) for record in loaded] == list(range(10))


def test_the_default_is_a_5_core(make_log, tmp_path):
    full = [(f"u{user}", f"i{item}") for user in range(5) for item in range(5)]
    log = make_log([*full, ("v", "i0"), ("v", "i1"), ("v", "i2"), ("u0", "rare")])
    dataset = prepare(log, NO_ITEMS, name="core", data_dir=tmp_path)
    assert (dataset.info["users"], dataset.info["items"]) == (5, 5)
    assert dataset.info["notes"][0] == "4 interactions dropped by the 5-core"


def test_repeats_are_dropped_and_counted(make_log, tmp_path):
    log = make_log([("u", item) for item in "abacbd"])
    dataset = prepare(log, NO_ITEMS, name="repeats", data_dir=tmp_path, k_core=0)
    assert raw(dataset, "test") == {"u": ("abcd", "")}
    assert dataset.info["notes"][0].startswith(
        "warning: 2 repeats of an item by the same user dropped (33.3 % of the log)"
    )


def test_sequential_ids_count_up_along_the_sequences_and_warn(prepare_small):
    dataset = prepare_small(item_ids="sequential")
    assert dataset.catalogue.raw_ids == ("a", "b", "c", "d", "e")
    assert any(note.startswith("warning: sequential") for note in dataset.info["notes"])


def test_the_seed_decides_ids_and_nothing_else_does(prepare_small):
    def fingerprint(seed, name):
        return prepare_small(name=name, seed=seed).info["fingerprint"]

    assert fingerprint(0, "one") == fingerprint(0, "two")
    assert fingerprint(0, "one") != fingerprint(1, "two")


def test_vocabulary_and_extra_files_lie_beside_the_data(prepare_small, tmp_path):
    pieces = pathlib.Path(vocabulary_file()).read_bytes()
    (tmp_path / "v.model").write_bytes(pieces)
    dataset = prepare_small(
        sentencepiece_model=tmp_path / "v.model",
        extra_files={"law.npz": b"law"},
        sources=["made up"],
    )
    assert dataset.sentencepiece_model.read_bytes() == pieces
    assert (dataset.directory / "law.npz").read_bytes() == b"law"
    info = json.loads((dataset.directory / "dataset.json").read_text())
    assert info["sources"] == ["made up"]
    with pytest.raises(UserError, match="absent.model: No such file"):
        prepare_small(sentencepiece_model=tmp_path / "absent.model")


@pytest.mark.parametrize("content", [b"", b"pieces", b"\x00" * 100, bytes(range(256)) * 40])
def test_what_is_no_vocabulary_is_refused_before_a_log_is_read(prepare_small, tmp_path, content):
    (tmp_path / "v.model").write_bytes(content)
    with pytest.raises(UserError, match=r"vocabulary .*v\.model: no SentencePiece model") as error:
        prepare_small(sentencepiece_model=tmp_path / "v.model")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["v.model"]


def test_preparing_again_replaces(prepare_small, tmp_path):
    first = prepare_small()
    assert open_dataset("small", tmp_path) is first
    second = prepare_small(seed=1)
    assert open_dataset("small", tmp_path) is second
    assert second.info["seed"] == 1
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"name": "Toys"}, "dataset name 'Toys'"),
        ({"name": "../toys"}, "dataset name"),
        ({"name": ""}, "dataset name"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**63}, "--seed 9223372036854775808: 0 to 9223372036854775807"),
        ({"k_core": -1}, "--k_core -1"),
        ({"k_core": 5}, "nothing is left of 12 interactions after the 5-core"),
        ({"item_ids": "shuffled"}, "'shuffled' is none of random, sequential, semantic"),
    ],
)
def test_what_cannot_be_prepared_leaves_nothing(prepare_small, tmp_path, settings_, message):
    with pytest.raises(UserError, match=message) as error:
        prepare_small(**settings_)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9)), min_size=3, max_size=60
)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(rows=rows)
def test_any_log_keeps_its_held_out_items_out_of_training(make_log, tmp_path, rows):
    log = make_log([(f"u{user}", f"i{item}", time) for user, item, time in rows])
    try:
        dataset = prepare(log, NO_ITEMS, name="any", data_dir=tmp_path, k_core=2)
    except UserError as error:
        assert "nothing is left" in str(error)
        return
    train, test = dataset.sequences("train"), dataset.sequences("test")
    counts = np.zeros(len(dataset.catalogue), int)
    for row in range(len(test)):
        whole = test.items[test.row_splits[row] : test.row_splits[row + 1]].tolist()
        part = train.items[train.row_splits[row] : train.row_splits[row + 1]].tolist()
        rest = train.unseen[train.unseen_splits[row] : train.unseen_splits[row + 1]].tolist()
        assert part == whole[:-2] and rest == whole[-2:]
        assert len(set(whole)) == len(whole) >= 3
        counts[part] += 1
    assert dataset.catalogue.train_counts.tolist() == counts.tolist()
    assert (np.bincount(test.items, minlength=len(counts)) >= 2).all()
