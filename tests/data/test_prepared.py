import dataclasses
import json

import pytest

from recalign.data import integrity
from recalign.data.prepared import dataset_directory, open_dataset, replacement_note, what_is_there
from recalign.errors import UserError


def test_a_dataset_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(UserError, match="run `recalign prepare toys --data_dir"):
        dataset_directory("toys", tmp_path)
    with pytest.raises(UserError, match="dataset 'toys' is not prepared"):
        open_dataset("toys", tmp_path)


def test_what_is_read_stays_in_memory(prepared, tmp_path):
    assert open_dataset("small", str(tmp_path)) is prepared
    assert prepared.catalogue is prepared.catalogue
    assert prepared.sequences("test") is prepared.sequences("test")
    assert prepared.sentencepiece_model is None
    assert prepared.name == "small"
    assert prepared.has_ratings


def test_a_dataset_cannot_be_changed(prepared):
    with pytest.raises(dataclasses.FrozenInstanceError):
        prepared.info = {}


def test_an_unknown_split_is_a_key_error(prepared):
    with pytest.raises(KeyError):
        prepared.sequences("dev")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "small"}'])
def test_a_damaged_info_is_one_clear_line(prepared, tmp_path, content):
    (prepared.directory / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset.json: damaged .*prepare the dataset again"):
        open_dataset("small", tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "absent", "another split's", "garbage"])
def test_damaged_records_are_one_clear_line(prepared, tmp_path, damage):
    records = prepared.directory / "small-test.tfrecord-00000-of-00001"
    if damage == "truncated":
        records.write_bytes(records.read_bytes()[:-5])
    elif damage == "garbage":
        records.write_bytes(b"x" * 100)
    elif damage == "absent":
        records.unlink()
    else:
        records.write_bytes(
            (prepared.directory / "small-train.tfrecord-00000-of-00001").read_bytes()
        )
    with pytest.raises(UserError, match="damaged .*prepare the dataset again") as error:
        prepared.sequences("test")
    assert "\n" not in str(error.value)


def test_other_data_of_the_same_name_is_another_dataset(prepared, tmp_path):
    info = json.loads((prepared.directory / "dataset.json").read_text())
    info = integrity.sealed(info | {"fingerprint": "another"})
    (prepared.directory / "dataset.json").write_text(json.dumps(info))
    assert open_dataset("small", tmp_path) is not prepared


def test_what_is_replaced_is_told(prepare_small, tmp_path):
    assert what_is_there("small", tmp_path) is None
    first = prepare_small()
    before = what_is_there("small", tmp_path)
    assert replacement_note(None, first) is None
    assert replacement_note(before, prepare_small()) == (
        "small was prepared before, with the same content: runs go on with it"
    )
    other = prepare_small(seed=3)
    assert replacement_note(before, other) == (
        "small was prepared before and is replaced: it had 3 users, 5 items, 10 interactions "
        f"(fingerprint {first.fingerprint[:12]}) and has 3 users, 5 items, 10 interactions "
        f"(fingerprint {other.fingerprint[:12]}); runs that were made from it refuse this one"
    )


@pytest.mark.parametrize("content", ["", "[]", "{", '{"users": "many"}'])
def test_what_was_damaged_is_replaced_too(prepare_small, tmp_path, content):
    prepare_small().directory.joinpath("dataset.json").write_text(content)
    note = replacement_note(what_is_there("small", tmp_path), prepare_small())
    assert note is not None and "it had unknown users, unknown items" in note
