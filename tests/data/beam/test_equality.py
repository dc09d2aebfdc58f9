"""On Beam as in memory: the same files, byte by byte, and the same words to a person."""

import gzip
import json
import pathlib
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("apache_beam")

from recalign.data.beam import filtering, reading
from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError


@pytest.fixture(autouse=True)
def many_small_parts(monkeypatch):
    """What a large log does to workers, done by a small one."""
    monkeypatch.setattr(reading, "SPAN_BYTES", 997)
    monkeypatch.setattr(filtering, "BUCKET_LINES", 50)
    monkeypatch.setattr("recalign.data.records.USERS_PER_SHARD", 7)
    monkeypatch.setattr("recalign.data.splits.VALIDATION_USERS", 11)


@pytest.fixture
def both(tmp_path):
    """Prepares in memory and on Beam, compares all, and gives the dataset."""

    def prepare_twice(**settings):
        outcomes = {}
        for runner in (None, "direct"):
            data_dir = tmp_path / str(runner)
            try:
                outcomes[runner] = prepare_from_files(
                    "log", data_dir=data_dir, beam_runner=runner, **settings
                )
            except UserError as error:
                outcomes[runner] = str(error).replace(str(data_dir), "")
                assert not list(data_dir.glob("log/*"))
        if isinstance(outcomes[None], str):
            assert outcomes["direct"] == outcomes[None]
            return outcomes[None]
        (in_memory, said_in_memory), (on_beam, said_on_beam) = outcomes.values()
        assert said_on_beam == said_in_memory
        assert files(on_beam) == files(in_memory)
        return on_beam

    return prepare_twice


def files(dataset) -> dict[str, bytes]:
    folder = pathlib.Path(dataset.directory)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(lines: int, seed: int = 0) -> list[tuple[str, str, int, int]]:
    """(user, item, stars, time): popular ones and rare ones, ties and repeats."""
    draw = random.Random(seed)

    def one(of: int) -> int:
        return min(of - 1, int(of * draw.random() ** 2.5))

    return [
        (f"ü{one(60)}", f"i{one(40)}", draw.randint(1, 5), 1000 + draw.randint(0, 30))
        for _ in range(lines)
    ]


def test_ties_repeats_bad_lines_and_odd_times(both, write):
    lines = ["user,item,rating,timestamp", *(",".join(map(str, row)) for row in table(900))]
    lines[300] = ",i1,3,1000"
    lines[301] = "ü1,i1,-3,1000"
    lines[700] = "ü1,i1,3,1400000000000"
    lines[100] = "ü1,i1"
    titles = "item,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(30))
    dataset = both(
        interactions=write("log.csv", "\n".join(lines)),
        items=write("items.csv", titles),
        max_bad_fraction=0.1,
        k_core=3,
    )
    assert dataset.info["sources"][0]["bad_lines"] == 4
    assert any("repeats of an item" in note for note in dataset.info["notes"])
    assert 0 < dataset.info["tied_last_fraction"] < 1
    assert len(list(pathlib.Path(dataset.directory).glob("log-train*"))) > 2


def test_a_cascade_longer_than_one_pipeline(both, write):
    """A chain: each round of the 2-core takes one user and one item from its end, and a block of
    three users and items stays."""
    block = [(f"b{user}", f"k{item}") for user in range(3) for item in range(3)]
    chain = [(f"u{n}", f"i{n + step}") for n in range(2 * filtering.ROUNDS + 3) for step in (0, 1)]
    lines = ["user,item", *(",".join(pair) for pair in [*chain, *block])]
    dataset = both(interactions=write("log.csv", "\n".join(lines)), k_core=2)
    assert dataset.sequences("test").users == ["b0", "b1", "b2"]
    assert f"{len(chain)} interactions dropped by the 2-core" in dataset.info["notes"]


@pytest.mark.parametrize("item_ids", ["random", "sequential", "semantic"])
def test_sequences_without_times_and_users_that_are_too_short(both, write, item_ids):
    draw = random.Random(1)
    lines = [
        f"u{draw.randrange(50)}\t" + " ".join(f"i{draw.randrange(99)}" for _ in range(5))
        for _ in range(70)
    ]
    lines[5:5] = ["short\ti1 i2", "no tab"]
    dataset = both(
        format="sequences",
        interactions=write("log.tsv.gz", "\n".join(lines)),
        k_core=0,
        max_bad_fraction=0.1,
        item_ids=item_ids,
        seed=3,
    )
    assert any("1 users with fewer than 3 items" in note for note in dataset.info["notes"])


def test_reviews_go_with_their_interactions(both, write):
    reviews = [
        {"reviewerID": u, "asin": i, "overall": r, "unixReviewTime": t, "reviewText": f"{u}\n{i} "}
        for u, i, r, t in table(300)
    ]
    dataset = both(
        format="amazon2014",
        interactions=write("r.json", "\n".join(map(json.dumps, reviews))),
        review_texts=True,
        k_core=2,
    )
    assert all(text.startswith("ü") for text in dataset.reviews("train").texts.to_pylist())


def test_quoted_fields_over_several_lines(both, write):
    rows = [f'"{user}","{item}\nx",{stars},{time}' for user, item, stars, time in table(200)]
    both(
        interactions=write("log.csv", "\n".join(["user,item,rating,timestamp", *rows])),
        k_core=2,
    )


def test_row_groups(both, tmp_path):
    users, items, stars, times = zip(*table(300), strict=True)
    columns = {"user": users, "item": items, "rating": stars, "timestamp": times}
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=40)
    both(interactions=path, k_core=2)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("user,item\nu,a\nu,b\n", {}, "nothing is left of 2 interactions after the 5-core"),
        ("user,item\n,a\n", {}, "no interactions: .*line 2: an empty id"),
        ("user,item\nu,a\n,b\n", {}, r"line 3: an empty id: '' \(1 of 2 lines are bad"),
        (
            'user,item\nu,a\n"u,b\nv",c\n',
            {},
            r"line 3: an id with a line break .* \(2 of 3 lines are bad",
        ),
        ('user,item\nu,a\nu,"b\n', {}, "line 3: a quote is not closed"),
        ("", {}, "the file is empty"),
    ],
)
def test_bad_input_ends_with_the_same_line(both, write, content, settings, message):
    outcome = both(interactions=write("log.csv", content), **settings)
    with pytest.raises(UserError, match=message):
        raise UserError(outcome)


def test_a_damaged_gzip_file(both, tmp_path):
    path = tmp_path / "log.csv.gz"
    rows = "".join(f"u{n},i{n % 7}\n" for n in range(5000))
    path.write_bytes(gzip.compress(f"user,item\n{rows}".encode())[:-300])
    assert "the gzip file is truncated or damaged" in both(interactions=path)


def test_several_files_events_repeats_and_ratings_of_another_scale(both, write, tmp_path):
    draw = random.Random(5)
    for number, ending in enumerate(("csv", "csv", "csv.gz")):
        lines = ["user,item,when,score,event"]
        for n in range(120):
            day = f"{1 + n % 28:02}/0{1 + n // 28}/2014"
            score = draw.choice((0, 6, 8, 10))
            event = draw.choice(("view", "buy", "buy"))
            lines.append(f"u{draw.randrange(20)},i{draw.randrange(25)},{day},{score},{event}")
        lines.insert(40, "u1,,01/01/2014,5,buy")
        write(f"part-{number}.{ending}", "\n".join(lines))
    dataset = both(
        interactions=str(tmp_path / "part-*"),
        format="csv",
        k_core=2,
        max_bad_fraction=0.1,
        events=["buy"],
        no_rating=["0"],
        like_threshold=7.0,
        keep_repeats=True,
    )
    assert "3 files" in " ".join(dataset.info["notes"])
    assert dataset.info["ratings"]["minimum"] == 6
    assert dataset.info["trained_later_fraction"] > 0


@pytest.mark.parametrize("item_ids", ["random", "semantic"])
def test_an_item_that_is_left_out_and_looks_like_the_catalogues(both, write, item_ids):
    """Of either form of the catalogue's IDs there is one, of an item that the 2-core drops."""
    lines = ["user,item", "u0,I3", "u1,Ia3b1c0"]
    lines += [f"u{user},B{(user + n) % 5}" for user in range(5) for n in range(5)]
    dataset = both(interactions=write("log.csv", "\n".join(lines)), k_core=2, item_ids=item_ids)
    assert sorted(dataset.catalogue.raw_ids) == [f"B{n}" for n in range(5)]
    assert dataset.ids_alike
