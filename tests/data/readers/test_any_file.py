"""Files as people have them: separators, folders, patterns, encodings."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recalign.data.readers.sources import format_of
from recalign.errors import UserError
from tests.data.readers.reading import read_log


def pairs(log):
    """(user, item) with raw ids, in the order of the file."""
    return [(log.user_ids[u], log.item_ids[i]) for u, i in zip(log.user, log.item, strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.csv", "user\titem\nu\ta, b\nv\tc\n"),
        ("bars.csv", "user|item\nu|a, b\nv|c\n"),
        ("spaces.tsv", "user   item\nu      a,_b\nv c\n"),
        ("atomic.inter", "user_id:token\titem_id:token\nu\ta, b\nv\tc\n"),
        ("lines.json", '{"user": "u", "item": "a, b"}\n{"user": "v", "item": "c"}\n'),
        ("array.json", '[\n {"user": "u", "item": "a, b"},\n {"user": "v", "item": "c"}\n]\n'),
        ("UPPER.CSV", 'user,item\nu,"a, b"\nv,c\n'),
        ("carets.csv", "user^item\nu^a, b\nv^c\n"),
        ("tildes.tsv", "user~item\nu~a, b\nv~c\n"),
        ("hive.csv", "user\x01item\nu\x01a, b\nv\x01c\n"),
        ("spaces.csv", 'user item\nu "a, b"\nv   c\n'),
        ("told.csv", "sep=;\nuser;item\nu;a, b\nv;c\n"),
        ("wide.csv", ' user,  item \nu, "a, b"\nv,c\n'),
        ("marked.csv", '\ufeff"user","item"\n"u","a, b"\n"v","c"\n'),
    ],
)
def test_the_separator_and_the_format_are_found(name, content, write):
    path = write(name, content)
    log, _, _ = read_log(format_of(path), path)
    assert pairs(log) == [("u", "a,_b" if name == "spaces.tsv" else "a, b"), ("v", "c")]


WIDE = "item    title          brand\ni0      Red pot        Acme Works\n"


def test_wide_spaces_part_fields_that_hold_single_ones(write):
    items = write("items.tsv", WIDE + "i1      Pan \t      Acme\n")
    _, table, _ = read_log("csv", write("log.csv", "user,item\nu,i0\nu,i1\n"), items)
    assert (table.titles, table.brands) == (["Red pot", "Pan"], ["Acme Works", "Acme"])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        # A brand that is missing would be told from a title of two words by nobody.
        ("items.tsv", f"{WIDE}i1      Blue pan\n", "line 2: 5 fields instead of 3"),
        ("items.tsv", "item title\ni0 Red pot\n", "line 2: 3 fields instead of 2"),
        ("items.csv", "item title\ni0 Red pot\n", "line 2: more fields than 2"),
    ],
)
def test_spaces_that_part_fields_in_two_ways_are_refused_with_the_way_on(
    name, content, reason, write
):
    log = write("log.csv", "user,item\nu,i0\nu,i1\n")
    with pytest.raises(UserError) as refused:
        read_log("csv", log, write(name, content))
    way = "(spaces part its fields: where fields hold spaces, put tabs between them)"
    assert f"{reason} {way}" in str(refused.value)


def test_recboles_files_with_typed_headers(write):
    log = write(
        "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t31\t2.5\t1260759144\n",
    )
    items = write(
        "ml.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "31\tToy Story\t1995\tAnimation Comedy\n",
    )
    read, table, report = read_log("tsv", log, items)
    assert pairs(read) == [("1", "31")] and read.rating.tolist() == [2.5]
    assert table.titles == ["Toy Story"]
    assert report.items.columns["title"] == "movie_title:token_seq"


@pytest.mark.parametrize(
    ("written", "categories"),
    [
        ("Animation Comedy", ["Animation", "Comedy"]),
        ("'Toys, Games', 'Dolls'", ["Toys, Games", "Dolls"]),
    ],
)
def test_recboles_categories(written, categories, write):
    log = write("a.inter", "user_id:token\titem_id:token\n1\t31\n")
    items = write(
        "a.item", f"id:token\tname:token_seq\tgenres:token_seq\n31\tToy Story\t{written}\n"
    )
    assert read_log("tsv", log, items)[1].categories == [categories]


def test_quotes_behind_backslashes(write):
    """As MySQL and Spark write them, and Book-Crossing's books."""
    items = write(
        "books.csv",
        '"ISBN";"Book-Title"\n"1";"The Real \\"J. Peterman\\""\n"2";"A \\";\\" B"\n"3";"C:\\"\n',
    )
    log = write("log.csv", "user,isbn\nu,1\nu,2\nu,3\n")
    _, table, report = read_log("csv", log, items)
    assert table.titles == ['The Real "J. Peterman"', 'A ";" B', "C:\\"]
    assert report.items.rejected == 0


def test_a_newline_inside_a_quoted_field_of_a_tsv(write):
    items = write(
        "i.tsv",
        'item\tdescription\ttitle\n1\t"Two\nlines, ""quoted"""\tA\n2\t12" wide\tB\n'
        '3\tplain\t"Open\n4\tx\tD\n',
    )
    log = write("log.csv", "user,item\n" + "".join(f"u,{n}\n" for n in range(1, 5)))
    _, table, _ = read_log("csv", log, items)
    assert table.descriptions == ['Two\nlines, "quoted"', '12" wide', "plain", "x"]
    assert table.titles == ["A", "B", '"Open', "D"]


def test_a_stray_quote_that_joins_two_lines_makes_a_bad_line(write):
    good = "".join(f"u{n},i{n}\n" for n in range(3000))
    path = write("log.csv", f'user,item\nu1,"heroes\nu0,12"\n{good}')
    log, _, report = read_log("csv", path)
    assert len(log) == 3000 and report.interactions.rejected == 2
    assert "line 2: an id with a line break" in report.interactions.samples[0]


@pytest.mark.parametrize(
    "text",
    [
        "as logged:\n" + "u1,i1,5,1400000000\n" * 8 + "and so on",
        "u1,i1,5,1400000000\n" * 8,
        "\n".join(["I like red, green, blue, all"] * 8),
        "\n".join(["red,green,blue,pink"] * 8),
    ],
)
@pytest.mark.parametrize("header", ["user,item,note,time", "user,item,time,note"])
def test_a_text_in_quotes_may_hold_lines_like_records(write, header, text):
    fields = {"user": "u0", "item": "i0", "time": "1400000000", "note": f'"{text}"'}
    path = write("log.csv", f"{header}\n{','.join(fields[name] for name in header.split(','))}\n")
    log, _, report = read_log("csv", path, columns={"review": "note"}, review_texts=True)
    assert report.interactions.rejected == 0
    assert log.review_text.to_pylist() == [" ".join(text.split())]


@pytest.mark.parametrize("opened", ['u7,i7,"fine,1', 'u7,i7,"fine, and more,1'])
def test_a_stray_quote_before_a_comma_hides_no_records(write, opened):
    good = [f"u{n},i{n},fine,{1_400_000_000 + n}" for n in range(8)]
    lines = ["user,item,note,time", opened, *good, 'u8,i8,12",1400000000']
    with pytest.raises(UserError, match="line 2: a quote joins lines that are records"):
        read_log("csv", write("log.csv", "\n".join(lines)))


@pytest.mark.parametrize("ending", ["\t\t\t\t", "\t11:05:58 AM\tN1 N2\tN3-1 N4-0"])
def test_sequences_with_more_tabs(ending, write):
    if ending.strip("\t"):
        with pytest.raises(UserError, match="line 1: 4 tabs, not `user<TAB>item item …`"):
            read_log("sequences", write("b.tsv", f"1\tU13740\t{ending.lstrip()}\n"))
    else:
        log, _, _ = read_log("sequences", write("b.tsv", f"u\ta b{ending}\n"))
        assert pairs(log) == [("u", "a"), ("u", "b")]


def test_a_folder_of_parquet_shards_and_a_pattern(tmp_path, write, prepare_files):
    folder = tmp_path / "events"
    (folder / "day=1").mkdir(parents=True)
    (folder / "_SUCCESS").write_text("")
    for number, place in ((2, "part-1.parquet"), (1, "day=1/part-0.parquet")):
        table = pa.table({"user": [f"u{number}"], "item": pa.array([number], pa.int64())})
        pq.write_table(table, folder / place)
    log, _, report = read_log("parquet", folder)
    assert pairs(log) == [("u1", "1"), ("u2", "2")]
    assert "2 files" in report.interactions.notes
    write("day1.csv", "user,item\nu,a\nu,b\n")
    write("day2.csv", "user,item\nu,c\n")
    dataset, _ = prepare_files(str(folder.parent / "day*.csv"))
    assert sorted(dataset.catalogue.raw_ids) == ["a", "b", "c"]


@pytest.mark.parametrize("column", ["date", "event_day"])
def test_folders_that_are_called_by_a_columns_value(column, tmp_path):
    """As Hive and Spark part a table: the column is in no file."""
    for day, item in ((2, "late"), (1, "early")):
        folder = tmp_path / "events" / f"{column}=2020-01-0{day}" / "shop=a%2Fb"
        folder.mkdir(parents=True)
        table = pa.table({"user": ["u"], "item": [f"{item} {day}"]})
        pq.write_table(table, folder / "part-0.parquet")
    log, _, report = read_log("parquet", tmp_path / "events")
    assert pairs(log) == [("u", "early 1"), ("u", "late 2")]
    assert report.interactions.columns["time"] == column
    assert log.timestamp.tolist() == [1577836800.0, 1577923200.0]
    assert "not used: shop" in report.interactions.notes
    named = {"time": "", "user": "shop"}
    assert read_log("parquet", tmp_path / "events", columns=named)[0].user_ids == ["a/b"]


def test_bad_lines_of_several_files_name_their_own(tmp_path, write):
    write("a.csv", "user,item,time\n" + "".join(f"u,i{n},{10**9 + n}\n" for n in range(50)))
    write("b.csv", "user,item,time\nu,x,1000000000000\nu,,5\nu,y,1000000001\n")
    _, _, report = read_log("csv", tmp_path / "?.csv", max_bad_fraction=0.5)
    samples = report.interactions.samples
    assert [sample.split(": ")[0].rsplit("/", 1)[1] for sample in samples] == [
        "b.csv, line 3",
        "b.csv, line 2",
    ]


def test_files_of_other_columns_and_no_files(tmp_path, write):
    write("a.csv", "user,item\nu,a\n")
    write("b.csv", "user,product\nu,a\n")
    with pytest.raises(UserError, match=r"b.csv: no column 'item', which .*a.csv has"):
        read_log("csv", tmp_path / "*.csv")
    write("a.csv", "user,item,when_seen,note\nu,a,2020-01-31,x\nu,b,2020-02-01,y\n")
    write("b.csv", "user,item,note\nv,a,x\nv,b,y\n")
    with pytest.raises(UserError, match=r"b.csv: no column 'when_seen', which .*a.csv has"):
        read_log("csv", tmp_path / "?.csv")
    write("b.csv", "user,item,when_seen\nv,a,2020-01-30\nv,b,2020-02-02\n")
    log, _, report = read_log("csv", tmp_path / "?.csv")
    assert len(log) == 4 and report.interactions.columns["time"] == "when_seen"
    assert "not used: note" in report.interactions.notes
    with pytest.raises(UserError, match="no file fits this pattern"):
        read_log("csv", tmp_path / "*.tsv")
    with pytest.raises(UserError, match="no file in this folder ends in .parquet, .pq"):
        read_log("parquet", tmp_path)


# Encodings ----------------------------------------------------------------------------------------


def test_other_encodings(write):
    text = "user,item,city\nu,Käse,Köln\n"
    path = write("log.csv", text.encode("latin-1"))
    with pytest.raises(UserError, match="--encoding latin-1, or convert it by iconv"):
        read_log("csv", path)
    assert pairs(read_log("csv", path, encoding="latin-1")[0]) == [("u", "Käse")]
    greek = write("greek.tsv", "user\titem\nu\tΑθήνα\n".encode("iso8859-7"))
    assert pairs(read_log("tsv", greek, encoding="iso8859-7")[0]) == [("u", "Αθήνα")]


@pytest.mark.parametrize("encoding", ["klingon", "utf-16", "utf-32"])
def test_encodings_that_cannot_be(encoding, write):
    path = write("log.csv", "user,item\nu,a\n")
    with pytest.raises(UserError, match=f"--encoding '?{encoding}"):
        read_log("csv", path, encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "way"),
    [("utf-16", "-f utf-16 -t utf-8"), ("utf-16-le", "-f utf-16le"), ("utf-16-be", "or utf-16be")],
)
def test_utf_16_names_the_way(encoding, way, write):
    with pytest.raises(UserError, match=f"iconv .*{way}"):
        read_log("csv", write("log.csv", "user,item\nu,a\n".encode(encoding)))


def test_lines_that_end_in_a_carriage_return_name_the_way(write):
    with pytest.raises(UserError, match="lines end in a carriage return alone \\(tr"):
        read_log("csv", write("log.csv", "user,item\ru,a\rv,b\r"))


def test_items_in_utf_8_beside_a_log_in_latin_1_keep_their_letters(write):
    log = write("log.csv", "user,item\nJosé,1\nv,2\n".encode("latin-1"))
    items = write("i.csv", "item,title\n1,Café\n2,Tea\n".encode())
    read, table, report = read_log("csv", log, items, encoding="latin-1")
    assert read.user_ids == ["José", "v"] and table.titles == ["Café", "Tea"]
    assert "is UTF-8: --encoding latin-1 is for the log alone" in report.items.notes
    both = write("both.csv", "item,title\n1,Café\n2,Tea\n".encode("latin-1"))
    assert read_log("csv", log, both, encoding="latin-1")[1].titles == ["Café", "Tea"]
