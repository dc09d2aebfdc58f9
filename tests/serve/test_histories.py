"""Logs of histories and of exclusions whose IDs could mean two items."""

import pytest

from recalign.errors import UserError
from recalign.serve.histories import LogSource, exclusions_of_log, histories_of_log
from recalign.trainer.item_index import ItemIndex
from tests.corpus import alike_corpus

DROPPED = "no item of the log has which `prepare` kept (I5): left out (id:… means the catalogue's)"


@pytest.fixture(scope="module", params=["random", "sequential"])
def dataset(request, tmp_path_factory):
    return alike_corpus(tmp_path_factory.mktemp("data"), request.param)


@pytest.fixture
def log(tmp_path):
    """A log of lines "user,item", in time order."""

    def write(name: str, *lines: str) -> LogSource:
        numbered = [f"{line},{number}" for number, line in enumerate(lines, start=1)]
        (tmp_path / name).write_text("\n".join(["user,item,time", *numbered]) + "\n")
        columns = {"user": "user", "item": "item", "time": "time"}
        return LogSource(tmp_path / name, columns=columns)

    return write


def test_an_id_is_never_silently_another_items(dataset, log):
    items, raw = ItemIndex(dataset.catalogue, dataset.ids_alike), dataset.catalogue.raw_ids.index
    eve = ("eve,I5", "eve,I6", "eve,raw:I6", "eve,raw:I1", "eve,id:I5", "eve,I1")
    source = log("log.csv", *eve, "adam,I5", "user1,I3")
    found, notices = histories_of_log(source, items, dataset)
    assert found.users == ["eve", "user1"]
    # An item that a user has under two of its IDs is a repeat.
    assert found.of(0).tolist() == list(dict.fromkeys([raw("I6"), raw("I1"), 4]))
    assert found.of(1).tolist() == [raw("I3")]
    assert sum(DROPPED in line for line in notices) == 1
    assert "1 of 3 users have no known item: left out" in notices

    excluded, notices = exclusions_of_log(log("no.csv", "eve,I5", "eve,id:I5"), items, found)
    assert {user: them.tolist() for user, them in excluded.items()} == {"eve": [4]}
    assert sum(DROPPED in line for line in notices) == 1

    for read, of in ((histories_of_log, dataset), (exclusions_of_log, found)):
        with pytest.raises(UserError, match="no item of the log has which `prepare` kept"):
            read(log("only.csv", "eve,I5"), items, of)
