"""A file read in parts gives the lines of the file, each once, with its number."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.readers.delimited import Csv, Tsv
from recalign.data.readers.lines import Span, raw_lines
from recalign.data.readers.objects import JSON
from recalign.data.readers.parquet_files import Parquet
from recalign.data.readers.tally import Tally


@settings(max_examples=200)
@given(
    content=st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\r\n"]), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 60), max_size=5),
)
def test_any_cut_gives_the_lines_of_the_whole(tmp_path_factory, content, cuts):
    content = b"".join(content)
    path = tmp_path_factory.mktemp("spans") / "file"
    path.write_bytes(content)
    whole = list(raw_lines(path))
    ends = [*sorted(cut for cut in cuts if cut < len(content)), len(content)]
    parts, start = [], 0
    for end in ends:
        parts += raw_lines(path, Span(start, end, len(parts) + 1))
        start = end
    assert parts == whole


@pytest.mark.parametrize("table", [Csv(), Tsv(), JSON])
def test_only_the_first_part_of_a_table_has_the_header(write, table):
    separator = "," if table == Csv() else "\t"
    lines = [f"user{separator}item", f"u{separator}a", f"v{separator}b"]
    if table is JSON:
        lines = ['{"user": "u", "item": "a"}', '{"user": "v", "item": "b"}']
    text = "\n".join(lines)
    path = write("table", text)
    cut = text.rindex("\n") + 1
    parts = [Span(0, cut, 1), Span(cut, len(text), len(lines))]
    rows = [list(table.rows(path, ["user", "item"], Tally(path), span)) for span in parts]
    last = len(lines)
    assert rows == [[(last - 1, ("u", "a"))], [(last, ("v", "b"))]]


def test_row_groups_are_the_parts_of_a_parquet_file(tmp_path):
    path = str(tmp_path / "log.parquet")
    pq.write_table(pa.table({"user": list("abcde")}), path, row_group_size=2)
    spans = Parquet().spans(path)
    assert spans == [Span(0, 1, 1), Span(1, 2, 3), Span(2, 3, 5)]
    rows = [list(Parquet().rows(path, ["user"], Tally(path), span)) for span in spans]
    assert rows == [[(1, ("a",)), (2, ("b",))], [(3, ("c",)), (4, ("d",))], [(5, ("e",))]]
