"""What is refused before a pipeline runs; true with and without Beam."""

import sys

import pytest

from recalign.data.beam.runners import find_runner
from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("threads", "", "'threads' is none of direct, dataflow, flink, spark"),
        ("direct", "--a='b", "No closing quotation"),
        ("direct", "project=p", "Beam's own flags"),
    ],
)
def test_settings_that_cannot_work(name, options, message):
    with pytest.raises(UserError, match=message):
        find_runner(name, options, [])


def test_without_beam_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"needs Apache Beam.*pip install 'recalign\[beam\]'"):
        find_runner("direct", "", [])


def test_dataflow_needs_paths_that_its_workers_see(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", sys)
    with pytest.raises(UserError, match="log.csv: --beam_runner dataflow reaches gs:// paths only"):
        find_runner("dataflow", "--project=p", ["gs://bucket/data", "log.csv"])
    runner = find_runner("dataflow", "--project=p '--labels=a b'", ["gs://bucket/log.csv"])
    assert runner.options == ("--project=p", "--labels=a b")


def test_options_alone_name_no_runner(write, tmp_path):
    with pytest.raises(UserError, match="--beam_options without --beam_runner"):
        prepare_from_files(
            "mine",
            data_dir=tmp_path,
            interactions=write("log.csv", "user,item\nu,a\n"),
            beam_options="--project=p",
        )
