"""Each format, its quirks included, read into the same two tables."""

import decimal
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recalign.data.readers.parquet_files import Parquet
from recalign.data.readers.tally import Tally
from recalign.errors import UserError
from tests.data.readers.reading import read_log


def interactions(log):
    """(user, item, time, rating) with raw ids, in the order of the file."""
    nothing = [None] * len(log)
    time = nothing if log.timestamp is None else log.timestamp.tolist()
    rating = nothing if log.rating is None else log.rating.tolist()
    return [
        (log.user_ids[u], log.item_ids[i], t, r)
        for u, i, t, r in zip(log.user, log.item, time, rating, strict=True)
    ]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_sequences(write, ending):
    log, items, report = read_log(
        "sequences",
        write(f"s.tsv{ending}", "u1\tb a\nu2\ta  c\n\nu1\td\n"),
        write(f"i.tsv{ending}", "a\tApple\nb\tTwo\ttabs\nc\t\nunused\tZebra\n"),
    )
    assert interactions(log) == [
        ("u1", "b", None, None),
        ("u1", "a", None, None),
        ("u2", "a", None, None),
        ("u2", "c", None, None),
        ("u1", "d", None, None),
    ]
    assert log.user.dtype == log.item.dtype == np.int32
    assert dict(zip(items.raw_ids, items.titles, strict=True)) == {
        "a": "Apple",
        "b": "Two\ttabs",
        "c": "",
    }
    assert (report.interactions.accepted, report.items.accepted) == (3, 4)
    assert report.items.notes == (
        "warning: 1 of the log's 4 items are not in it (25.0 %, with 20.0 % of the interactions)",
    )


def test_csv_with_guessed_columns(write):
    log, items, report = read_log(
        "csv",
        write("log.csv", '\ufeffuserId,movieId,rating,timestamp\n7,31,2.5,100\n8,"31",4,50\n'),
        write("items.csv", 'movieId,title,genres\n31,"He said ""Hi"", once",Drama|War\n'),
    )
    assert interactions(log) == [("7", "31", 100.0, 2.5), ("8", "31", 50.0, 4.0)]
    assert log.timestamp.dtype == np.float64 and log.rating.dtype == np.float32
    assert items.titles == ['He said "Hi", once']
    assert items.categories == [["Drama", "War"]]
    assert report.interactions.guessed
    assert report.lines()[0].endswith(
        "columns, guessed from their names: user = userId, item = movieId, time = timestamp,"
        " rating = rating"
    )


def test_csv_with_named_columns_and_titles_of_its_own(write):
    path = write("log.csv", "who,what,when,name,stars\nu,a,2020-01-02,Apple,5\nu,b,2020-01-01,,3\n")
    columns = {"user": "who", "item": "what", "time": "when", "title": "name", "rating": ""}
    log, items, report = read_log("csv", path, columns=columns)
    assert interactions(log) == [("u", "a", 1577923200.0, None), ("u", "b", 1577836800.0, None)]
    assert items.raw_ids == ["a", "b"] and items.titles == ["Apple", ""]
    assert not report.interactions.guessed


def test_csv_with_semicolons_and_lines_inside_quotes(write):
    log, _, report = read_log(
        "csv", write("log.csv", 'user;item;note\nu;a;"two\nlines"\nv;b;one\n')
    )
    assert interactions(log) == [("u", "a", None, None), ("v", "b", None, None)]
    assert report.interactions.notes == (
        "warning: no time column: the order of the file is taken for it (not used: note; name it"
        " with --time_column)",
        "no items file: items are named by their raw ids; give --items",
    )


def test_ids_may_hold_tabs_quotes_and_commas(write):
    log, _, _ = read_log("csv", write("log.csv", 'user,item\n"u\t1","a""b,c"\n'))
    assert interactions(log) == [("u\t1", 'a"b,c', None, None)]


def test_tsv_keeps_quotes_inside_and_drops_those_around(write):
    log, items, _ = read_log(
        "tsv",
        write("log.tsv", 'user_id:token\titem_id:token\ttimestamp:float\nu\t"a"\t3\nu\t5"\t4\n'),
        write("items.tsv", 'item_id\ttitle\na\t12" doll\n5"\t"A ""big"" one"\n'),
    )
    assert interactions(log) == [("u", "a", 3.0, None), ("u", '5"', 4.0, None)]
    assert items.titles == ['12" doll', 'A "big" one']


def test_json_lines_of_another_kind_than_the_items(write):
    log, items, _ = read_log(
        "jsonl",
        write("log.jsonl", '{"user": 1, "item": 2.0}\n{"item": "x", "user": "u", "rest": [1]}\n'),
        write("items.csv", "item,title\n2,Two\nx,X\n"),
    )
    assert interactions(log) == [("1", "2", None, None), ("u", "x", None, None)]
    assert items.titles == ["Two", "X"]


def test_parquet(tmp_path):
    table = pa.table(
        {
            "user_id": [1, 2],
            "item_id": ["a", "b"],
            "timestamp": pa.array([1_500_000_000_000, 1_600_000_000_500], pa.timestamp("ms")),
            "rating": pa.array([1.0, 5.0], pa.float32()),
        }
    )
    items = pa.table({"item_id": ["b"], "title": ["Bat"], "categories": [["Toys", "Outdoor"]]})
    pq.write_table(table, tmp_path / "log.parquet")
    pq.write_table(items, tmp_path / "items.parquet")
    log, item_table, report = read_log(
        "parquet", tmp_path / "log.parquet", tmp_path / "items.parquet"
    )
    assert interactions(log) == [("1", "a", 1.5e9, 1.0), ("2", "b", 1600000000.5, 5.0)]
    assert item_table.categories == [["Toys", "Outdoor"]]
    assert report.interactions.accepted == 2


def decimals(values, scale):
    return pa.array([decimal.Decimal(value) for value in values], pa.decimal128(38, scale))


def test_decimals_of_parquet_are_numbers(tmp_path, write):
    """As a data warehouse exports NUMBER columns: a scale that the values do not use."""
    table = pa.table(
        {
            "user_id": decimals(["12345678901234567890", "2"], 10),
            "item_id": decimals(["31", "1000"], 2).dictionary_encode(),
            "timestamp": decimals(["1500000000.5", "1600000000"], 3),
            "rating": decimals(["4.5", "5"], 6),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    items = pa.table(
        {
            "item_id": decimals(["1000", "31"], 4),
            "title": ["Thousand", "City"],
            "price": pa.array([decimal.Decimal("12.50"), None], pa.decimal128(9, 2)),
        }
    )
    pq.write_table(items, tmp_path / "items.parquet")
    log, item_table, report = read_log(
        "parquet", tmp_path / "log.parquet", tmp_path / "items.parquet"
    )
    assert interactions(log) == [
        ("12345678901234567890", "31", 1500000000.5, 4.5),
        ("2", "1000", 1600000000.0, 5.0),
    ]
    assert (item_table.raw_ids, item_table.prices) == (["1000", "31"], ["$12.5", ""])
    assert (report.interactions.accepted, report.interactions.rejected) == (2, 0)
    # As a CSV of the same numbers, which its items' file may be.
    csv = write("items.csv", "item_id,title\n31,City\n1000,Thousand\n")
    _, item_table, _ = read_log("parquet", tmp_path / "log.parquet", csv)
    assert item_table.raw_ids == ["31", "1000"]


def test_a_decimal_with_a_fraction_is_no_id(tmp_path):
    table = pa.table({"user_id": decimals(["1.5"], 2), "item_id": decimals(["1"], 2)})
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"row 1: no id: 1\.5$"):
        read_log("parquet", tmp_path / "log.parquet")


def test_bytes_of_one_length_are_text(tmp_path):
    keys = pa.array([b"u001", b"u002"], pa.binary(4))
    pq.write_table(pa.table({"user_id": keys, "item_id": ["a", "b"]}), tmp_path / "log.parquet")
    log, _, _ = read_log("parquet", tmp_path / "log.parquet")
    assert log.user_ids == ["u001", "u002"]
    keys = pa.array([bytes(range(240, 256))], pa.binary(16))  # as a UUID may be kept
    pq.write_table(pa.table({"user_id": keys, "item_id": ["a"]}), tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"log\.parquet: .*column 'user_id' has bytes that are no"):
        read_log("parquet", tmp_path / "log.parquet")


def test_movielens_in_its_folder_with_nameless_columns(write, tmp_path):
    write("ratings.csv.gz", "userId,movieId,rating,timestamp,,\n1,31,2.5,9,,\n1,32,3,8,note,7\n")
    write(
        "movies.csv.gz",
        'movieId,title,genres\n31,"City, The (Cité) (1995)",Drama|Sci-Fi\n'
        '32,"11\'09""01 (2002)",(no genres listed)\n',
    )
    log, items, _ = read_log("movielens", tmp_path)
    assert interactions(log) == [("1", "31", 9.0, 2.5), ("1", "32", 8.0, 3.0)]
    assert items.titles == ["City, The (Cité) (1995)", "11'09\"01 (2002)"]
    assert items.categories == [["Drama", "Sci-Fi"], []]


def test_amazon_2014(write):
    reviews = [
        {
            "reviewerID": "A1",
            "asin": "0001",
            "reviewerName": 'J. "Mac"',
            "helpful": [2, 3],
            "reviewText": "Great\tfor\nkids",
            "overall": 5.0,
            "unixReviewTime": 1252800000,
            "reviewTime": "09 13, 2009",
        },
        {"reviewerID": "A1", "asin": "0002", "overall": 2.0, "unixReviewTime": 1252700000},
        {"reviewerID": "A2", "asin": "0003", "overall": 1.0, "unixReviewTime": 1252700000},
    ]
    metadata = [
        "{'asin': '0001', 'title': \"Barbie's House &amp; Car\", 'price': 31.8, 'imUrl': 'http://x',"
        " 'related': {'also_bought': ['B1', 'B2']}, 'salesRank': {'Toys & Games': 211836},"
        " 'brand': 'Mattel', 'categories': [['Toys & Games', 'Dolls'], ['Gifts']],"
        " 'description': 'It\\'s \\u201cbig\\u201d.\\n\\tReally.'}",
        "{'asin': '0002', 'categories': [['Toys & Games']], 'salesRank': {}}",
        "{'asin': 'B9', 'title': 'In no review'}",
    ]
    log, items, report = read_log(
        "amazon2014",
        write("reviews.json.gz", "".join(json.dumps(review) + "\n" for review in reviews)),
        write("meta.json.gz", "\n".join(metadata)),
    )
    assert interactions(log) == [
        ("A1", "0001", 1252800000.0, 5.0),
        ("A1", "0002", 1252700000.0, 2.0),
        ("A2", "0003", 1252700000.0, 1.0),
    ]
    assert items.raw_ids == ["0001", "0002"]
    assert items.titles == ["Barbie's House &amp; Car", ""]
    assert items.prices == ["$31.8", ""]
    assert items.brands == ["Mattel", ""]
    assert items.categories == [["Toys & Games", "Dolls"], ["Toys & Games"]]
    assert items.descriptions[0] == "It's “big”.\n\tReally."
    assert report.items.notes == (
        "warning: 1 of the log's 3 items are not in it (33.3 %, with 33.3 % of the interactions)",
    )


def test_amazon_2018(write):
    log, items, _ = read_log(
        "amazon2018",
        write(
            "reviews.json",
            '{"overall": 4.0, "verified": true, "reviewerID": "A", "asin": "B", "style": {"x": 1},'
            ' "unixReviewTime": 1514764800, "vote": "3"}\n',
        ),
        write(
            "meta.json",
            '{"category": ["Toys", "Games"], "description": ["One.", "", "Two."], "title": "T",'
            ' "brand": "Br", "price": "$12.99", "asin": "B", "feature": ["f"]}\n'
            '{"asin": "B", "title": "again", "price": ".a-box-inner{background-color:#fff; x}"}\n',
        ),
    )
    assert interactions(log) == [("A", "B", 1514764800.0, 4.0)]
    assert (items.titles, items.brands, items.prices) == (["T"], ["Br"], ["$12.99"])
    assert items.descriptions == ["One. Two."]
    assert items.categories == [["Toys", "Games"]]


def test_amazon_2023(write):
    log, items, _ = read_log(
        "amazon2023",
        write(
            "reviews.jsonl",
            '{"rating": 5.0, "title": "Of the review", "text": "x", "asin": "V1",'
            ' "parent_asin": "P", "user_id": "U", "timestamp": 1588687728923}\n',
        ),
        write(
            "meta.jsonl",
            '{"main_category": "Toys", "title": "Of the item", "price": null, "store": "S",'
            ' "categories": [], "description": [], "details": {}, "parent_asin": "P"}\n',
        ),
    )
    assert interactions(log) == [("U", "P", 1588687728923.0, 5.0)]
    assert (items.titles, items.brands, items.prices) == (["Of the item"], ["S"], [""])


def test_a_rare_key_is_found_behind_many_records_without_it(write):
    reviews = '{"reviewerID": "A", "asin": "B", "overall": 1, "unixReviewTime": 1}\n'
    metadata = "{'asin': 'x'}\n" * 1500 + "{'asin': 'B', 'title': 'T', 'brand': 'Br'}\n"
    _, items, _ = read_log("amazon2014", write("r.json", reviews), write("m.json", metadata))
    assert (items.titles, items.brands) == (["T"], ["Br"])


def test_of_repeated_records_the_first_with_a_title_counts(write):
    _, items, report = read_log(
        "csv",
        write("log.csv", "user,item\nu,a\n"),
        write("items.csv", "item,title\na,\na,First\na,Second\n"),
    )
    assert items.titles == ["First"]
    assert report.items.notes == ("2 records repeat an item: its first title counts",)


def test_the_items_column_may_have_another_name_in_the_items_file(write):
    _, items, _ = read_log(
        "csv",
        write("log.csv", "user,code\nu,a\n"),
        write("items.csv", "sku,title\na,Apple\n"),
        columns={"item": "code"},
    )
    assert items.titles == ["Apple"]


def test_sources_tell_what_was_read(write):
    path = write("log.csv", "user,item\nu,a\nu,b\n")
    _, _, report = read_log("csv", path)
    assert report.sources() == [{"path": path, "lines": 2, "bad_lines": 0}]


def test_reading_leaves_no_setting_behind(write):
    import csv

    before = csv.field_size_limit()
    read_log("csv", write("log.csv", "user,item\nu,a\n"))
    with pytest.raises(UserError):
        read_log("csv", write("bad.csv", "user,item\nu\n"))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_time_that_no_date_holds_is_one_line(tmp_path, unit):
    """As the reading of its column says it, in a log and in a file of items."""
    path = tmp_path / "items.parquet"
    table = {"item": ["i"], "title": pa.array([2**60], pa.timestamp(unit))}
    pq.write_table(pa.table(table), path)
    with pytest.raises(UserError, match=r"items\.parquet: not a readable Parquet file") as error:
        list(Parquet().rows(str(path), ["item", "title"], Tally(str(path))))
    assert "\n" not in str(error.value)
