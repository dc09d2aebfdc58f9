import pytest

from recalign.data.replacing import replacement_note, what_is_there


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
