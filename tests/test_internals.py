"""What recalign takes to be true of private parts of gin and SeqIO, by their public functions.

Where a new release breaks one of these, `recalign/internals.py` is all that has to change.
"""

import ast
import inspect
import pathlib

import gin
import pytest
import seqio
from gin import config as gin_config

from recalign import internals
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.task import RecommendationTask

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_seqios_folder_of_the_data_is_what_was_set():
    before = internals.tfds_data_dir()
    try:
        for given in ("gs://bucket/data", None):
            seqio.utils.set_tfds_data_dir_override(given)
            assert internals.tfds_data_dir() == given
    finally:
        seqio.utils.set_tfds_data_dir_override(before)


def test_a_macro_that_is_removed_is_gone_and_the_others_stay():
    with gin.unlock_config():
        gin.parse_config("ONE = 1\nOTHER = 2\n")
        internals.remove_macro("ONE")
        internals.remove_macro("NEVER_SET")
    assert gin.query_parameter("OTHER/macro.value") == 2
    assert "ONE" not in gin.config_str() and "OTHER = 2" in gin.config_str()


def test_gin_reads_by_these_paths_and_this_reader_alone(tmp_path):
    """gin's own paths and packages' files are left out meanwhile, and are there again after."""
    (tmp_path / "there.gin").write_text("PLACE = 'there'\n")
    here, opened = tmp_path / "here", []
    here.mkdir()
    (here / "own.gin").write_text("include 'part.gin'\n")
    (here / "part.gin").write_text("PLACE = 'here'\n")

    def open_text(name):
        opened.append(name)
        return open(name)

    gin.add_config_file_search_path(str(tmp_path))
    with gin.unlock_config():
        with internals.files_of_gin(
            ["", str(here)], open_text, lambda name: pathlib.Path(name).is_file()
        ):
            gin.parse_config_file("own.gin")
            assert gin.query_parameter("PLACE/macro.value") == "here"
            assert opened == [str(here / "own.gin"), str(here / "part.gin")]
            with pytest.raises(OSError, match=r"there\.gin"):
                gin.parse_config_file("there.gin")
        gin.parse_config_file("there.gin")
    assert gin.query_parameter("PLACE/macro.value") == "there"
    gin_config._LOCATION_PREFIXES.remove(str(tmp_path))


def test_paths_and_readers_are_put_back_after_an_error():
    paths, readers = list(gin_config._LOCATION_PREFIXES), list(gin_config._FILE_READERS)
    with pytest.raises(KeyError), internals.files_of_gin([], open, bool):
        raise KeyError
    assert paths == gin_config._LOCATION_PREFIXES
    assert readers == gin_config._FILE_READERS


def test_seqio_calls_a_task_as_ours_answers():
    """`RecommendationTask.get_dataset` stands in for SeqIO's: its arguments, in order, and one."""
    ours = inspect.signature(RecommendationTask.get_dataset).parameters
    theirs = inspect.signature(seqio.Task.get_dataset).parameters
    assert list(ours) == [*theirs, "first_position"]
    assert {name: ours[name].default for name in theirs} == {
        name: parameter.default for name, parameter in theirs.items()
    }


def imported(tree: ast.Module) -> dict[str, str]:
    """The names that a file imports, and from where."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(it.asname or it.name).split(".")[0]: it.name for it in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {it.asname or it.name: f"{node.module}.{it.name}" for it in node.names}
    return names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_other_file_uses_private_parts_of_a_library():
    found = []
    for path in [*ROOT.glob("recalign/**/*.py"), *ROOT.glob("tasks/**/*.py")]:
        tree = ast.parse(path.read_text())
        names = imported(tree)
        foreign = {
            n for n, whole in names.items() if whole.split(".")[0] not in ("recalign", "tasks")
        }
        uses = [f"{n} of {names[n]}" for n in foreign if any(map(is_private, names[n].split(".")))]
        for node in ast.walk(tree):
            root = node
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(node, ast.Attribute) and isinstance(root, ast.Name):
                uses += [ast.unparse(node)] if is_private(node.attr) and root.id in foreign else []
        found += [f"{path.relative_to(ROOT)}: {use}" for use in uses]
    assert {line.split(":")[0] for line in found} == {"recalign/internals.py"}, found


def test_the_module_of_what_gin_takes_for_a_name():
    of = internals.module_of_configurable
    assert of("TaskSettings") == TaskSettings.__module__
    assert of("settings.TaskSettings") == TaskSettings.__module__
    assert of("no.such_name") is None and of("two words") is None


def test_what_another_thread_spoilt_is_parsed_again():
    tries = []

    def parse(failures, error):
        tries.append(error)
        if len(tries) <= failures:
            raise error
        return "read"

    spoilt = SyntaxError("AST constructor recursion depth mismatch (before=54, after=50)")
    assert internals.parsed(lambda: parse(2, spoilt)) == "read" and len(tries) == 3
    tries.clear()
    with pytest.raises(SyntaxError, match="mismatch"):
        internals.parsed(lambda: parse(99, spoilt))
    tries.clear()
    with pytest.raises(ValueError, match="another"):
        internals.parsed(lambda: parse(99, ValueError("another")))
    assert len(tries) == 1
