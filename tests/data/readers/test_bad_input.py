"""Bad input ends in one clear line, or is a bad line that is counted; never in a traceback."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recalign.errors import UserError
from tests.data.readers.reading import read_log

GOOD = "user,item,rating,time\n" + "".join(
    f"u{user},i{item},3,{1_400_000_000 + item}\n" for user in range(3) for item in range(4)
)


def csv_with(line):
    return GOOD + line + "\n"


def after_good(line, message):
    """A case of twelve good lines and this one."""
    return "csv", "f.csv", csv_with(line), message


REVIEW = {"reviewerID": "A", "asin": "B", "overall": 5.0, "unixReviewTime": 1_400_000_000}


# (format, name of the file, content, what the message holds). One bad line of few is too many, so
# that each of these ends the run; the tests below show that one of many does not.
LOGS = {
    "empty file": ("csv", "f.csv", b"", "f.csv: the file is empty"),
    "empty gzip": ("csv", "f.csv.gz", b"", "f.csv.gz: the file is empty"),
    "blank lines only": ("csv", "f.csv", "\n \n\n", "no user column"),
    "header only": ("csv", "f.csv", "user,item\n", "f.csv: no interactions"),
    "no header": ("csv", "f.csv", "u1,i1,3\nu2,i2,4\n", "no user column among 'u1', 'i1', '3'"),
    "missing column": ("csv", "f.csv", "user,rating\nu,1\n", "no item column among 'user'"),
    "two columns could be it": ("csv", "f.csv", "user,asin,movieId\nu,a,b\n", "--item_column"),
    "truncated gzip": (
        "csv",
        "cut.gz",
        gzip.compress(GOOD.encode() * 100)[:-20],
        "gzip file is truncated or damaged",
    ),
    "damaged gzip": (
        "csv",
        "cut.gz",
        gzip.compress(GOOD.encode())[:30] + b"\xff" * 40,
        "gzip file is truncated or damaged",
    ),
    "zip": ("csv", "f.zip", b"PK\x03\x04rest", "a zip archive"),
    "bzip2": ("csv", "f.bz2", b"BZh91AY", "compressed by bzip2"),
    "xz": ("csv", "f.xz", b"\xfd7zXZ\x00", "compressed by xz"),
    "zstd": ("jsonl", "f.zst", b"\x28\xb5\x2f\xfd\x00", "compressed by zstd"),
    "parquet as csv": ("csv", "f.csv", b"PAR1....PAR1", "a Parquet file"),
    "csv as parquet": ("parquet", "f.parquet", GOOD, "not a readable Parquet file"),
    "empty parquet": ("parquet", "f.parquet", b"", "not a readable Parquet file"),
    "UTF-16": ("csv", "f.csv", GOOD.encode("utf-16"), "UTF-16 text"),
    "Latin-1": ("csv", "f.csv", csv_with("ü,i,3,1").encode("latin-1"), "line 14: not UTF-8"),
    "Latin-1 header": ("csv", "f.csv", "user,größe\n".encode("latin-1"), "line 1: not UTF-8"),
    "NUL byte": after_good("u\0,i,3,1", "line 14: a NUL byte"),
    "too few fields": after_good("u,i", "line 14: fewer fields than 4: ['u', 'i']"),
    "too many fields": after_good("u,i,3,1,x", "line 14: more fields than 4"),
    "a quote never closed": after_good('"u,i,3,1', "line 14: a quote is not closed"),
    "a quote in the middle": after_good('"u"x,i,3,1', "line 14: not CSV"),
    "a quote that swallows the file": (
        "csv",
        "f.csv",
        csv_with('"u,i,3,1') + "u,i,3,1\n" * 2000,
        "line 14: a quote is not closed",
    ),
    "empty user": after_good(" ,i,3,1400000000", "line 14: an empty id: ' '"),
    "empty item": after_good("u,,3,1400000000", "line 14: an empty id: ''"),
    "negative rating": after_good("u,i,-3,1400000000", "line 14: no rating"),
    "NaN rating": after_good("u,i,nan,1400000000", "line 14: no rating"),
    "infinite rating": after_good("u,i,inf,1400000000", "line 14: no rating"),
    "a rating that no float32 holds": after_good("u,i,9e99,1400000000", "no rating (0"),
    "rating in words": after_good("u,i,good,1400000000", "no rating (a number"),
    "no rating": after_good("u,i,,1400000000", "line 14: no rating"),
    "negative time": after_good("u,i,3,-1", "line 14: no time"),
    "NaN time": after_good("u,i,3,nan", "line 14: no time"),
    "time in words": after_good("u,i,3,yesterday", "line 14: no time"),
    "a date before 1970": after_good("u,i,3,1066-10-14", "line 14: no time"),
    "mixed time units": after_good(
        "u,i,3,1400000000000", "line 14: mixed time units (milliseconds among seconds)"
    ),
    "tsv with too few fields": ("tsv", "f.tsv", "user\titem\nu\n", "line 2: 1 fields instead of 2"),
    "not JSON": ("jsonl", "f.jsonl", '{"user": "u", "item": "i"}\n{"user"\n', "line 2: not JSON"),
    "JSON in one piece, cut": ("jsonl", "f.json", '[{"user": 1, "item": 2}', "not JSON"),
    "JSON of numbers in one piece": ("jsonl", "f.json", "[1, 2]", "not a JSON object"),
    "a JSON number": ("jsonl", "f.jsonl", '{"user": 1, "item": 2}\n7\n', "not a JSON object: '7'"),
    "deep JSON": (
        "jsonl",
        "f.jsonl",
        '{"user": 1, "item": 2}\n' + "[" * 100_000 + "\n",
        "line 2: not JSON",
    ),
    "a user that is a list": ("jsonl", "f.jsonl", '{"user": [], "item": 2}', "no id: []"),
    "a user that is null": ("jsonl", "f.jsonl", '{"user": null, "item": 2}', "no id: None"),
    "half a surrogate": ("jsonl", "f.jsonl", '{"user": "\\ud83d", "item": 2}', "surrogate"),
    "reviews without times": (
        "amazon2014",
        "f.json",
        json.dumps({key: REVIEW[key] for key in ("reviewerID", "asin", "overall")}),
        "no time",
    ),
    "reviews of another edition": (
        "amazon2023",
        "f.json",
        json.dumps(REVIEW),
        "no column 'user_id' (given as the user column)",
    ),
    "sequences without a tab": ("sequences", "f.tsv", "u a b\n", "line 1: not `user<TAB>item"),
    "a sequence without items": ("sequences", "f.tsv", "u\ta\nv\t \n", "line 2: not `user<TAB>"),
    "one user": ("csv", "f.csv", "user,item\nu,a\nu,b\nu,c\n", "nothing is left of 3"),
    "too few items": ("sequences", "f.tsv", "u\ta b\nv\ta b\n", "nothing is left of 4"),
}


@pytest.mark.parametrize("kind", LOGS)
def test_a_bad_log(kind, write, tmp_path, prepare_files):
    format, name, content, message = LOGS[kind]
    if kind in ("truncated gzip", "damaged gzip"):
        path = tmp_path / name
        path.write_bytes(content)
    else:
        path = write(name, content)
    settings = {"k_core": 5} if kind == "one user" else {}
    with pytest.raises(UserError) as error:
        prepare_files(format=format, interactions=path, **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert name in str(error.value) or "nothing is left" in str(error.value)
    assert not (tmp_path / "data").exists()


METADATA = {
    "code": (
        "{'asin': 'B', 'title': __import__('os').system('touch ran')}",
        "line 2: not a Python literal",
    ),
    "a call": ("dict(asin='B')", "line 2: not a Python literal"),
    "an operator": ("{'asin': 'B' * 9999999999}", "line 2: not a Python literal"),
    "JSON's null": ('{"asin": "B", "title": null}', "line 2: not a Python literal"),
    "half a line": ("{'asin': 'B', 'title': 'x", "line 2: not a Python literal"),
    "brackets without end": ("[" * 100_000, "line 2: not a Python literal"),
    "deep nesting": ("{'asin': " + "(" * 5_000 + ")" * 5_000 + "}", "line 2: not a Python"),
    "a list": ("['B', 'title']", "line 2: not a dict"),
    "no id": ("{'title': 'x'}", "line 2: no id: None"),
    "a NUL byte": ("{'asin': 'B\0'}", "line 2: a NUL byte"),
    "unhashable": ("{{}: 1}", "line 2: not a Python literal"),
}


@pytest.mark.parametrize("kind", METADATA)
def test_bad_metadata(kind, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line, message = METADATA[kind]
    with pytest.raises(UserError) as error:
        read_log(
            "amazon2014",
            write("reviews.json", json.dumps(REVIEW)),
            write("meta.json", f"{{'asin': 'B'}}\n{line}\n"),
        )
    assert message in str(error.value) and "meta.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u,i,-3,1400000000", "no rating"),
        ("u,i", "fewer fields"),
        ('"u"x,i,3,1400000000', "not CSV"),
        ("u,i,3,1400000000000000", "mixed time units (microseconds among seconds)"),
        ("u\0,i,3,1400000000", "a NUL byte"),
    ],
)
def test_one_bad_line_of_many_is_left_out_counted_and_shown(write, tmp_path, line, reason):
    good = [f"u{n % 20},i{n},3,{1_400_000_000 + n}" for n in range(1999)]
    path = write("log.csv", "\n".join(["user,item,rating,time", *good[:99], line, *good[99:]]))
    log, _, report = read_log("csv", path)
    assert len(log) == 1999
    assert (report.interactions.accepted, report.interactions.rejected) == (1999, 1)
    (sample,) = report.interactions.samples
    assert sample.startswith(f"{path}, line 101: {reason}")
    assert f"{path}: 1 bad lines left out of 2,000" in report.lines()
    assert report.sources()[0]["bad_lines"] == 1
    with pytest.raises(UserError, match=r"\(1 of 2,000 lines are bad, more than"):
        read_log("csv", path, max_bad_fraction=0.0004)
    assert "u" not in log.user_ids and "i" not in log.item_ids


def test_a_bad_record_over_several_lines_counts_all_of_them(write):
    content = "user,item\n" + '"u\n\n\nv"x,i\n' + "u,i\n" * 96
    _, _, report = read_log("csv", write("log.csv", content), max_bad_fraction=0.5)
    assert (report.interactions.accepted, report.interactions.rejected) == (96, 2)


SWALLOWED = {
    "a user": ('"u7,i7,3,1400000007', 'u8",i8,3,1400000008'),
    "an item": ('u7,"i7,3,1400000007', 'u8,i8",3,1400000008'),
    "a time": ('u7,i7,3,"1400000007', 'u8,i8,3,1400000008"'),
}


@pytest.mark.parametrize("where", SWALLOWED)
def test_all_lines_that_a_stray_quote_joins_are_bad(write, where):
    opened, closed = SWALLOWED[where]
    good = [f"u{n % 20},i{n},3,{1_400_000_000 + n}" for n in range(1998)]
    lines = ["user,item,rating,time", *good[:100], opened, *good[100:598], closed, *good[598:]]
    path = write("log.csv", "\n".join(lines))
    with pytest.raises(UserError) as refused:
        read_log("csv", path)
    assert str(refused.value).startswith(f"{path}, line 102: ")
    assert str(refused.value).endswith(
        " (500 of 2,000 lines are bad, more than --max_bad_fraction 0.001 allows)"
    )
    log, _, report = read_log("csv", path, max_bad_fraction=0.25)
    assert len(log) == 1500
    assert f"{path}: 500 bad lines left out of 2,000" in report.lines()
    assert report.sources() == [{"path": path, "lines": 2000, "bad_lines": 500}]


def test_a_stray_quote_in_a_text_hides_no_records(write):
    """Whatever column it is in: the record that it makes has a user, an item and a time."""
    good = [f"u{n % 20},i{n},fine,{1_400_000_000 + n}" for n in range(98)]
    closed = 'u8,i8,12",1400000000'
    lines = ["user,item,note,time", *good[:10], 'u7,i7,"fine,1', *good[10:58], closed, *good[58:]]
    path = write("log.csv", "\n".join(lines))
    with pytest.raises(UserError, match=r"line 12: a quote joins .* \(50 of 100 lines are bad"):
        read_log("csv", path)
    # Lines of a text are as they come.
    text = "\n".join(f"{n}, in words" + ", and more" * (n % 3) for n in range(48))
    lines[11:61] = [f'u7,i7,"{text}",1400000000']
    log, _, report = read_log("csv", write("texts.csv", "\n".join(lines)))
    assert (len(log), report.interactions.rejected) == (51, 0)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("i.csv", ["item,title", '"i0,A', "i1,B", 'i2",C', "i3,D"]),
        ("i.tsv", ["title\titem", 'A\t"i0', "i1", 'i2"', "D\ti3"]),
    ],
)
def test_all_lines_of_a_bad_item_are_bad(write, name, lines):
    items = write(name, "\n".join(lines))
    log = write("log.csv", "user,item\nu,i3\n")
    with pytest.raises(UserError, match=r"i\.[ct]sv, line 2: an id with .* \(3 of 4 lines are bad"):
        read_log("csv", log, items)


@pytest.mark.parametrize(
    ("opened", "closed"),
    [('u,a,"view', 'view"'), ('"u,a,buy', 'u",a,view'), ('u,"a,buy', 'u,a",view')],
)
def test_a_stray_quote_hides_no_event_that_counts(write, opened, closed):
    lines = ["user,item,event", "u,a,buy", opened, "u,b,buy", closed, "u,c,view", "v,a,buy"]
    path = write("log.csv", "\n".join(lines))
    with pytest.raises(
        UserError, match=r"line 3: an \w+ with a line break .*\(3 of 5 lines are bad"
    ):
        read_log("csv", path, events=["buy"])


def test_a_record_whose_event_and_item_are_broken_counts_once(write):
    lines = ["user,item,event", 'u,"a', 'b","buy', "buy", 'view"', "u,c,buy", "v,a,buy"]
    path = write("log.csv", "\n".join(lines))
    _, _, report = read_log("csv", path, events=["buy"], max_bad_fraction=0.9)
    assert (report.interactions.accepted, report.interactions.rejected) == (2, 4)
    (sample,) = report.interactions.samples
    assert "line 2: an id with a line break" in sample


def test_a_break_at_the_end_of_an_id_makes_no_other_event_count(write):
    path = write("log.csv", 'user,item,event\n"u\n",a,view\n"v\n",a,buy\n')
    log, _, report = read_log("csv", path, events=["buy"])
    assert log.user_ids == ["v"] and report.interactions.rejected == 0


def test_a_long_file_of_rubbish_ends_early(write):
    path = write("log.jsonl", '{"user": 1, "item": 2}\n' + "rubbish\n" * 30_000)
    with pytest.raises(UserError, match="10,000 of the first 10,00. lines are bad"):
        read_log("jsonl", path, max_bad_fraction=0.9)


def test_only_the_first_bad_lines_are_shown(write):
    _, _, report = read_log(
        "csv", write("log.csv", "user,item\nu,i\n" + "u\n" * 50), max_bad_fraction=0.99
    )
    assert report.interactions.rejected == 50
    assert len(report.interactions.samples) == 5


def test_a_title_of_a_megabyte_is_cut_and_counted(write, prepare_files):
    dataset, lines = prepare_files(
        write("log.csv", "user,item\nu,a\nu,b\nu,c\n"),
        items=write("items.csv", f'item,title\na,"{"long, " * 170_000}"\nb,B\nc,C\n'),
    )
    assert "1 titles cut to 1,000 characters" in lines
    title = dataset.catalogue.titles[dataset.catalogue.raw_ids.index("a")]
    assert 990 < len(title) <= 1000


def test_an_item_without_a_title_gets_a_name_and_is_counted(write, prepare_files):
    dataset, lines = prepare_files(
        write("log.csv", "user,item\nu,a\nu,b\nu,c\n"),
        items=write("items.csv", "item,title,brand\na,Apple,\nb, ,Lego\n"),
    )
    titles = dict(zip(dataset.catalogue.raw_ids, dataset.catalogue.titles, strict=True))
    assert titles == {"a": "Apple", "b": "Lego", "c": "c"}
    assert any(line.startswith("2 of 3 items have no title") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "xls"}, "--format 'xls' is none of sequences, csv"),
        ({"max_bad_fraction": 1.5}, "--max_bad_fraction 1.5"),
        ({"max_bad_fraction": float("nan")}, "--max_bad_fraction nan"),
        ({"columns": {"usr": "user"}}, "no role 'usr'"),
        ({"columns": {"user": "nobody"}}, "no column 'nobody' \\(given as the user column\\)"),
        ({"columns": {"user": ""}}, "no user column"),
        ({"format": "sequences", "columns": {"user": "user"}}, "has no columns"),
    ],
)
def test_settings_that_cannot_be(write, arguments, message):
    path = write("log.csv", GOOD)
    with pytest.raises(UserError, match=message):
        read_log(**{"format": "csv", "interactions_path": path, **arguments})


@pytest.mark.parametrize("format", ["csv", "parquet", "movielens", "sequences"])
def test_a_path_that_is_no_file(tmp_path, format):
    with pytest.raises(UserError, match=r"absent: No such file|absent: .*not"):
        read_log(format, tmp_path / "absent")
    with pytest.raises(UserError, match=str(tmp_path)):
        read_log(format, tmp_path)


def test_a_file_that_may_not_be_read():
    with pytest.raises(UserError, match="/proc/self/mem: "):
        read_log("csv", "/proc/self/mem")


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": ["u"] * 50_000, "item": ["i"] * 50_000}), path)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="not a readable Parquet file") as error:
        read_log("parquet", path)
    assert "\n" not in str(error.value)


def test_bad_values_in_parquet_name_the_row(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": ["u", None], "item": ["i", "j"]}), path)
    with pytest.raises(UserError, match="row 2: no id: None"):
        read_log("parquet", path)


def test_a_line_without_end(write, monkeypatch):
    monkeypatch.setattr("recalign.data.readers.lines.MAXIMUM_LINE", 1000)
    with pytest.raises(UserError, match="line 2: longer than 1,000 bytes"):
        read_log("jsonl", write("log.jsonl", '{"user": 1, "item": 2}\n' + "x" * 5000))
