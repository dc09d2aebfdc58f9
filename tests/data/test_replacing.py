import pytest

from recalign.data.prepare import prepare
from recalign.data.replacing import replacement_note, what_is_there


@pytest.fixture
def prepared(small_log, small_items, tmp_path):
    def make(seed=0):
        return prepare(small_log, small_items, name="d", data_dir=tmp_path, k_core=0, seed=seed)

    return make


def test_what_is_replaced_is_told(prepared, tmp_path):
    assert what_is_there("d", tmp_path) is None
    first = prepared()
    before = what_is_there("d", tmp_path)
    assert replacement_note(None, first) is None
    assert replacement_note(before, prepared()) == (
        "d was prepared before, with the same content: runs go on with it"
    )
    other = prepared(seed=3)
    assert replacement_note(before, other) == (
        "d was prepared before and is replaced: it had 3 users, 5 items, 10 interactions "
        f"(fingerprint {first.fingerprint[:12]}) and has 3 users, 5 items, 10 interactions "
        f"(fingerprint {other.fingerprint[:12]}); runs that were made from it refuse this one"
    )


@pytest.mark.parametrize("content", ["", "[]", "{", '{"users": "many"}'])
def test_what_was_damaged_is_replaced_too(prepared, tmp_path, content):
    prepared().directory.joinpath("dataset.json").write_text(content)
    note = replacement_note(what_is_there("d", tmp_path), prepared())
    assert note is not None and "it had unknown users, unknown items" in note
