"""When an environment is made, and made anew; pip and venv are stood in for."""

import pathlib

import pytest

from recalign.baselines import environments
from recalign.errors import UserError


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "lock.txt"
    path.write_text("library==1\n")
    return path


@pytest.fixture
def made(monkeypatch):
    """The commands that were run."""
    commands = []

    def run(command, library):
        commands.append(command)
        if "venv" in command:
            python = pathlib.Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(environments, "_run", run)
    return commands


def ask(tmp_path, lock):
    return environments.python_of("RecBole", tmp_path / "made", lambda line: None, lock)


def test_it_is_made_once(tmp_path, lock, made):
    python = ask(tmp_path, lock)
    assert python == tmp_path / "made" / "recbole" / "bin" / "python"
    assert [command[-1] for command in made] == [str(python.parent.parent), str(lock)]
    assert ask(tmp_path, lock) == python
    assert len(made) == 2


def test_a_half_made_one_is_made_anew(tmp_path, lock, made, monkeypatch):
    stand_in = environments._run

    def breaks_off(command, library):
        if "pip" in command:
            raise KeyboardInterrupt
        stand_in(command, library)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(environments, "_run", breaks_off)
        ask(tmp_path, lock)
    leftover = tmp_path / "made" / "recbole" / "leftover"
    leftover.touch()
    assert ask(tmp_path, lock).exists()
    assert not leftover.exists()
    assert len(made) == 3


def test_another_lock_makes_another(tmp_path, lock, made):
    ask(tmp_path, lock)
    lock.write_text("library==2\n")
    ask(tmp_path, lock)
    assert len(made) == 4


def test_a_command_that_fails_is_named():
    with pytest.raises(UserError, match="RecBole's environment could not be made: `false -x`"):
        environments._run(["false", "-x"], "RecBole")


@pytest.mark.parametrize("library", ["recbole", "cornac"])
def test_locks_pin_everything(library):
    lines = (environments._LOCKS / f"{library}.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith(("#", "    --hash=sha256:"))]
    assert packages and all(line.count("==") == 1 for line in packages)
