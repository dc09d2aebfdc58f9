"""IDs where a log's own look like the catalogue's, and some of its items were left out."""

import pytest

from recalign.errors import UserError
from recalign.trainer.item_index import NO_ITEM, ItemIndex
from tests.corpus import alike_corpus

DROPPED = (
    "1 of {} items have an ID of the catalogue that no item of the log has which `prepare` kept"
    " (I5): left out (id:… means the catalogue's)"
)


@pytest.fixture(scope="module", params=["random", "sequential"])
def catalogue(request, tmp_path_factory):
    found = alike_corpus(tmp_path_factory.mktemp("data"), request.param).catalogue
    assert found.ids == ("I1", "I2", "I3", "I4", "I5")
    assert sorted(found.raw_ids) == ["I1", "I2", "I3", "I4", "I6"]
    if request.param == "sequential":  # no ID is of two items that are there
        assert found.raw_ids == ("I1", "I2", "I3", "I4", "I6") and found.ambiguous == []
    return found


@pytest.fixture(scope="module")
def items(catalogue):
    return ItemIndex(catalogue, ids_alike=True)


def test_an_id_that_only_the_catalogue_has_is_refused(catalogue, items):
    """I5 was an item of the log, and is another in the catalogue."""
    raw = catalogue.raw_ids
    told = "'I5' is an item's ID in the catalogue, but no item of the log has it .*: say id:I5"
    with pytest.raises(UserError, match=f"history: {told}"):
        items.index("I5", "history")
    with pytest.raises(UserError, match=f"the allowed IDs: {told}"):
        items.subset(["I6", "I5"])
    with pytest.raises(UserError, match="history: no item has the id 'raw:I5'"):
        items.index("raw:I5", "history")
    assert items.index("id:I5", "history") == 4
    for number, item in enumerate(raw):
        assert items.index(f"raw:{item}", "history") == number
    assert items.index("I6", "history") == raw.index("I6")  # the catalogue has no such ID
    assert items.subset(["id:I5", "raw:I1"]).nonzero()[0].tolist() == sorted({4, raw.index("I1")})


def test_the_ids_of_a_log_are_its_own_and_what_could_be_two_is_counted(catalogue, items):
    raw = catalogue.raw_ids.index
    found = items.of_log(["I1", "I5", "I6", "id:I5", "raw:I6", "raw:I5", "gone"])
    expected = [raw("I1"), NO_ITEM, raw("I6"), 4, raw("I6"), NO_ITEM, NO_ITEM]
    assert found.numbers.tolist() == expected
    assert found.unknown == 2
    both = (
        "1 of 7 items have an ID that is another item's in the catalogue (I1): the log's are meant"
        " (id:… means the catalogue's)"
    )
    assert found.notices == ([both] if raw("I1") != 0 else []) + [DROPPED.format(7)]


def test_a_long_id_is_shortened_in_its_error(items):
    for prefix in ("", "id:", "raw:"):
        with pytest.raises(UserError, match="history: no item has the id '.*x…: the cata") as error:
            items.index(prefix + "x" * 3_000_000, "history")
        assert len(str(error.value)) < 250


def test_an_id_of_the_catalogue_alone_is_its_own_where_no_id_of_the_log_looks_like_it(catalogue):
    items = ItemIndex(catalogue, ids_alike=False)
    assert items.index("I5", "history") == items.index("id:I5", "history") == 4
    assert items.of_log(["I5"]).numbers.tolist() == [4]
