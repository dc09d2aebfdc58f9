import contextlib
import os
import resource
import signal
import subprocess
import sys

import pytest
from etils import epath

from recalign.data import atomic
from recalign.data.atomic import atomic_directory
from recalign.errors import UserError


@pytest.fixture
def final(tmp_path):
    return epath.Path(tmp_path) / "name" / "1.0.0"


def names(final):
    return sorted(path.name for path in final.parent.iterdir())


def fill(directory, content):
    (directory / "file").write_text(content)


def test_the_directory_appears_whole(final):
    with atomic_directory(final) as directory:
        fill(directory, "one")
        assert not final.exists()
    assert (final / "file").read_text() == "one"
    assert names(final) == ["1.0.0"]


def test_what_was_there_is_replaced(final):
    for content in ("one", "two"):
        with atomic_directory(final) as directory:
            fill(directory, content)
    assert (final / "file").read_text() == "two"
    assert names(final) == ["1.0.0"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_changes_nothing(final, error):
    with atomic_directory(final) as directory:
        fill(directory, "one")
    with pytest.raises(error), atomic_directory(final) as directory:
        fill(directory, "two")
        raise error
    assert (final / "file").read_text() == "one"
    assert names(final) == ["1.0.0"]


def fail_the_rename(monkeypatch, final, number, *errors):
    """The `number`th rename and those after it raise the errors, one each."""
    kind, whole, calls = type(final), type(final).rename, []

    def rename(path, target):
        calls.append(target)
        if 0 <= len(calls) - number < len(errors):
            raise errors[len(calls) - number]
        return whole(path, target)

    monkeypatch.setattr(kind, "rename", rename)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_comes_back_if_the_new_one_cannot_take_its_place(
    final, monkeypatch, number, error
):
    with atomic_directory(final) as directory:
        fill(directory, "old")
    with monkeypatch.context() as patch:
        fail_the_rename(patch, final, number, error)
        told = pytest.raises((UserError, KeyboardInterrupt))
        with told as caught, atomic_directory(final) as directory:
            fill(directory, "new")
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"cannot write {final}: No space left on device; nothing was changed"
        )
    else:
        assert caught.value is error
    assert (final / "file").read_text() == "old"
    assert names(final) == ["1.0.0"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_what_cannot_be_put_back_is_kept_and_comes_back_next_time(final, monkeypatch, error):
    """Another interrupt while the first one is tidied up after, or a disk that takes nothing."""
    with atomic_directory(final) as directory:
        fill(directory, "old")
    with monkeypatch.context() as patch:
        fail_the_rename(patch, final, 2, KeyboardInterrupt(), error)
        told = pytest.raises((UserError, KeyboardInterrupt))
        with told as caught, atomic_directory(final) as directory:
            fill(directory, "new")
    (kept,) = [path for path in final.parent.iterdir() if "replaced" in path.name]
    assert (kept / "file").read_text() == "old"
    if isinstance(error, OSError):
        assert str(caught.value).endswith(f"Input/output error; what was there is in {kept}")
    with pytest.raises(ValueError), atomic_directory(final):
        assert (final / "file").read_text() == "old"
        raise ValueError
    assert names(final) == ["1.0.0"] and (final / "file").read_text() == "old"


def test_a_killed_process_leaves_nothing_that_counts(final):
    code = (
        "import os, sys; from etils import epath\n"
        "from recalign.data.atomic import atomic_directory\n"
        "with atomic_directory(epath.Path(sys.argv[1])) as directory:\n"
        "    (directory / 'file').write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(final)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not final.exists()
    assert len(names(final)) == 1
    with atomic_directory(final) as directory:
        fill(directory, "whole")
    assert names(final) == ["1.0.0"]


def of_a_dead_process(final, what):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return final.parent / f".1.0.0.{what}-{atomic._host()}-{ended.pid}"


def test_what_a_killed_process_had_moved_away_comes_back(final):
    moved = of_a_dead_process(final, "replaced")
    moved.mkdir(parents=True)
    fill(moved, "old")
    with pytest.raises(ValueError), atomic_directory(final):
        raise ValueError
    assert (final / "file").read_text() == "old"


def test_the_work_of_a_living_process_stays(final):
    other = final.parent / f".1.0.0.incomplete-{atomic._host()}-{os.getppid()}"
    other.mkdir(parents=True)
    with atomic_directory(final) as directory:
        fill(directory, "mine")
    assert names(final) == sorted(["1.0.0", other.name])


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = epath.Path(tmp_path) / "file"
    atomic.write_whole(path, "old")
    with files_of_at_most(100), pytest.raises(OSError):
        atomic.write_whole(path, "new" * 100)
    assert path.read_text() == "old"
    with pytest.raises(KeyboardInterrupt), atomic.whole_file(path, ".3"):
        raise KeyboardInterrupt
    assert [it.name for it in tmp_path.iterdir()] == ["file"]
    atomic.write_whole(path, "new")
    assert path.read_text() == "new"
    assert [it.name for it in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file.part", "file"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    """In a folder from somebody else a link may lead to any file."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.write_text("another's")
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    atomic.write_whole(epath.Path(folder / "file"), "new")
    assert elsewhere.read_text() == "another's"
    assert [(it.name, it.is_symlink()) for it in folder.iterdir()] == [("file", False)]
    assert (folder / "file").read_text() == "new"


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path, on_disk):
    path = tmp_path / "file"
    atomic.write_whole(epath.Path(path), "text")
    part = f"{path}.part"
    assert on_disk == [
        ("fsync", part),
        ("rename", part, str(path)),
        ("fsync", str(tmp_path)),
    ]


def test_a_file_that_several_may_write_is_on_disk_before_it_takes_its_place(tmp_path, on_disk):
    path = tmp_path / "file"
    with atomic.whole_file(epath.Path(path), ".3") as file:
        file.write(b"text")
        assert on_disk == [] and not path.exists()
    part = f"{path}.3.part"
    assert on_disk == [("fsync", part), ("rename", part, str(path)), ("fsync", str(tmp_path))]


def test_a_directory_is_on_disk_before_it_takes_its_place(final, on_disk):
    with atomic_directory(final) as directory:
        fill(directory, "one")
        (directory / "other").write_text("two")
        temporary = str(directory)
    files = [("fsync", f"{temporary}/{name}") for name in ("file", "other")]
    assert sorted(on_disk[:2]) == files
    assert on_disk[2:] == [
        ("fsync", temporary),
        ("rename", temporary, str(final)),
        ("fsync", str(final.parent)),
    ]
    on_disk.clear()
    with atomic_directory(final) as directory:  # what was there is moved away last of all
        fill(directory, "two")
    kinds = [kind for kind, *_ in on_disk]
    assert kinds == ["fsync", "fsync", "rename", "rename", "fsync", "remove"]
    replaced = on_disk[2][2]
    assert on_disk[2:] == [
        ("rename", str(final), replaced),
        ("rename", on_disk[1][1], str(final)),
        ("fsync", str(final.parent)),
        ("remove", replaced),
    ]


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "name").write_text("a file")
    with (
        pytest.raises(UserError, match="cannot write .*nothing was changed"),
        atomic_directory(epath.Path(tmp_path) / "name" / "1.0.0"),
    ):
        pass


def test_a_read_only_directory(prepare_small):
    # /proc refuses new directories even to root.
    with pytest.raises(UserError, match="cannot write /proc/self/small/1.0.0"):
        prepare_small(data_dir="/proc/self")


@contextlib.contextmanager
def files_of_at_most(size):
    """Every write beyond `size` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 1_000, 2_000])
def test_a_full_disk_changes_nothing(prepare_small, tmp_path, size):
    before = prepare_small()
    with (
        files_of_at_most(size),
        pytest.raises(UserError, match="cannot write .*nothing was changed") as error,
    ):
        prepare_small(seed=1)
    assert "\n" not in str(error.value)
    assert before.sequences("test").rows.tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1.0.0"]
