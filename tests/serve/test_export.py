import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from recalign.errors import UserError
from recalign.serve import export
from recalign.serve.export import SCHEMA, Shard
from tests.serve import killed_export
from tests.serve.killed_export import MOMENTS, exporter

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The content of a file that was written at one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "all.parquet"
    said = []
    assert exporter(out).run(Shard(), said.append)
    assert said[-1].startswith("20 of 20 users | ")
    assert os.listdir(out.parent) == ["all.parquet"]
    return out.read_bytes()


def rows(out):
    return pq.read_table(out).to_pylist()


def test_a_row_an_item(undisturbed, tmp_path):
    (tmp_path / "f").write_bytes(undisturbed)
    table = pq.read_table(tmp_path / "f")
    assert table.schema == SCHEMA
    found = table.to_pylist()
    assert [row["user"] for row in found] == [f"user {n}" for n in range(20) for _ in range(3)]
    # User 1 had items 1 and 2.
    assert found[3:6] == [
        {
            "user": "user 1",
            "rank": rank,
            "id": f"I{item}",
            "raw_id": f"raw{item}",
            "title": f"title {item}",
            "probability": 1 / (1 + rank),
            "untrained": item == 5,
        }
        for rank, item in ((1, 3), (2, 4), (3, 5))
    ]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_started_again(undisturbed, tmp_path, moment):
    out = tmp_path / "all.parquet"
    out.write_bytes(b"yesterday's")
    process = subprocess.run(
        [sys.executable, "-m", "tests.serve.killed_export", str(out), moment],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    if moment != "while removing":
        assert out.read_bytes() == b"yesterday's"
    said = []
    assert exporter(out).run(Shard(), said.append)
    assert out.read_bytes() == undisturbed
    assert os.listdir(tmp_path) == ["all.parquet"]
    # The first two files, by name, are parts.
    before = {"in a part": 6, "after some parts": 9, "while joining": 20, "while removing": 14}
    told = [line for line in said if "were done before" in line]
    expected = f"{before.get(moment)} of 20 users were done before"
    assert told == ([expected] if moment in before else [])


def test_hosts_make_a_part_each_and_the_last_one_joins(undisturbed, tmp_path):
    out = tmp_path / "all.parquet"
    said = []
    assert not exporter(out).run(Shard(2, 3), said.append)
    assert said[-1] == "5 of 7 parts are other hosts': the last one to end joins them"
    assert not exporter(out).run(Shard(0, 3), said.append)
    assert not out.exists()
    assert exporter(out).run(Shard(1, 3), said.append)
    assert out.read_bytes() == undisturbed
    assert os.listdir(tmp_path) == ["all.parquet"]


def test_the_slower_of_two_hosts_that_join_leaves_nothing(undisturbed, tmp_path, monkeypatch):
    out, read = tmp_path / "all.parquet", export._read

    def reading(path):
        monkeypatch.setattr(export, "_read", read)
        assert exporter(out).run(Shard(0, 2), print)  # begins later, and is quicker
        return read(path)

    assert not exporter(out).run(Shard(0, 2), print)
    monkeypatch.setattr(export, "_read", reading)
    assert not exporter(out).run(Shard(1, 2), print)
    assert out.read_bytes() == undisturbed
    assert os.listdir(tmp_path) == ["all.parquet"]


def test_other_settings_do_not_mix(tmp_path):
    out = tmp_path / "all.parquet"
    assert not exporter(out).run(Shard(0, 2), print)
    allowed = np.arange(killed_export.ITEMS) < 20
    for name, other in (
        ("k", {"k": 4}),
        ("only", {"allowed": allowed}),
        ("exclude", {"exclusions": {"user 3": [9]}}),
        ("users of a part", {"users_of_a_part": 4}),
    ):
        with pytest.raises(UserError, match=f"begun with another {name} .*remove the folder"):
            exporter(out, **other)
    assert exporter(out).run(Shard(), print)
    assert exporter(out, k=4).run(Shard(), print)  # the next night's
    assert len(rows(out)) == 4 * 20


def test_choices_and_exclusions(tmp_path):
    out = tmp_path / "all.parquet"
    allowed = np.isin(np.arange(killed_export.ITEMS), [2, 5, 6])
    exporter(out, allowed=allowed, exclusions={"user 3": [6]}).run(Shard(), print)
    found = rows(out)
    assert [row["id"] for row in found if row["user"] == "user 0"] == ["I2", "I5", "I6"]
    # User 3 had items 3 to 6, and 6 is excluded besides.
    assert [row["id"] for row in found if row["user"] == "user 3"] == ["I2"]
    assert [row["rank"] for row in found if row["user"] == "user 3"] == [1]


def test_nothing_to_recommend_leaves_a_file_without_rows(tmp_path):
    nothing = np.zeros(killed_export.ITEMS, bool)
    assert exporter(tmp_path / "f", allowed=nothing).run(Shard(), print)
    assert pq.read_table(tmp_path / "f").num_rows == 0


def test_a_damaged_part_is_named(tmp_path):
    out = tmp_path / "all.parquet"
    exporter(out).run(Shard(0, 2), print)
    part = sorted((tmp_path / "all.parquet.parts").glob("*.parquet"))[0]
    content = bytearray(part.read_bytes())
    content[40] ^= 255
    part.write_bytes(content)
    with pytest.raises(UserError, match=f"{part.name}: damaged: remove it"):
        exporter(out).run(Shard(1, 2), print)
    assert not out.exists()
    part.unlink()
    assert exporter(out).run(Shard(), print)


def test_the_digest_is_of_everything():
    made = killed_export.histories()
    items = made.items.copy()
    items[5] += 1
    others = [
        dataclasses.replace(made, items=items),
        dataclasses.replace(made, users=["user 00", *made.users[1:]]),
        dataclasses.replace(made, rows=made.rows + 1),
    ]
    assert made.digest == killed_export.histories().digest
    assert len({made.digest, *(other.digest for other in others)}) == 4
