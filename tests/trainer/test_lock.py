"""How one process at a time trains; a second one is refused in test_loop.py, by a real run."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from etils import epath

from recalign.errors import UserError
from recalign.trainer.lock import EVALUATION, TRAINING, locked


def test_a_thread_is_refused_too_and_another_lock_is_another_matter(tmp_path):
    folder = epath.Path(tmp_path)
    refused = []

    def again():
        try:
            with locked(folder, TRAINING):
                pass
        except UserError as error:
            refused.append(str(error))

    with locked(folder, TRAINING), locked(folder, EVALUATION):
        thread = threading.Thread(target=again)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} " in refused[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nothing_was_written_to_goes_again(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(epath.Path(tmp_path) / "a" / "b", TRAINING):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with locked(epath.Path(tmp_path) / "a" / "b", TRAINING):
        (tmp_path / "a" / "b" / "metrics.jsonl").write_text("{}")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("name", [TRAINING, EVALUATION])
@pytest.mark.parametrize("content", ["another's", None])
def test_a_link_in_the_place_of_a_lock_is_refused(tmp_path, name, content):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    if content is not None:
        elsewhere.write_text(content)
    with pytest.raises(UserError) as error, locked(epath.Path(folder), name):
        pass
    assert str(error.value) == (
        f"{folder / name} is a link, and nothing is written through it: remove it"
    )
    assert (elsewhere.read_text() if elsewhere.exists() else None) == content
    assert (folder / name).is_symlink()


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_sigterm_while_a_command_starts_up_says_that_it_can_go_on(verb, tmp_path):
    """From the moment that it knows its verb: TensorFlow alone takes seconds to load."""
    words = [verb, "--gin_file=x", *(["--split", "test"] if verb == "eval" else [])]
    code = (
        "import sys; from recalign import cli, quiet\n"
        "def load():\n"
        "    print('starting', flush=True); import time; time.sleep(60)\n"
        "quiet.load_tensorflow = load\n"
        f"sys.exit(cli.main({words!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (
        75,
        "recalign: SIGTERM: what was written is kept; the same command goes on from there\n",
    )
