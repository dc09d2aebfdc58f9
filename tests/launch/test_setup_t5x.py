"""T5X's set-up against stand-ins of git, pip and Python."""

import pathlib

import pytest

PINS = {"t5x": "cc342d41", "airio": "69897df7", "jestimator": "326824a4"}

PYTHON = """#!/usr/bin/env bash
echo "python $*" >>"$CALLS"
case "$*" in
  "-c import sysconfig"*) echo "$SITE_PACKAGES" ;;
  "-m pip install"*) [[ ! -e $FAIL.pip ]] ;;
  "-") cat >/dev/null
    if [[ -e $FAIL.import ]]; then echo "ModuleNotFoundError: No module named 'x'"; exit 1; fi
    echo "a warning"; echo "with jax 1" ;;
esac
"""
GIT = """#!/usr/bin/env bash
echo "git $*" >>"$CALLS"
case "$*" in
  "init "*) mkdir -p "${@: -1}/.git" ;;
  *" fetch "*) [[ ! -e $FAIL.git ]] && echo "${@: -1}" >"$2/.git/HEAD" ;;
  *" rev-parse "*) [[ -e $2/.git/HEAD ]] && cat "$2/.git/HEAD" ;;
esac
"""


@pytest.fixture
def ready(checkout, tmp_path):
    """A checkout with an environment, and git on the path."""
    (checkout.root / "launch" / "setup.sh").write_text("exit 0\n")
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()
    python = checkout.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    checkout.add_command("git", GIT)
    checkout.environment["SITE_PACKAGES"] = str(site_packages)
    return checkout


def failing(checkout, what: str) -> pathlib.Path:
    return checkout.fail.with_name(f"{checkout.fail.name}.{what}")


def copies(directory: pathlib.Path, *projects: str) -> pathlib.Path:
    for project in projects:
        (directory / project / project).mkdir(parents=True)
        (directory / project / project / "__init__.py").touch()
    return directory


def test_the_pinned_commits_by_git(ready, tmp_path):
    outcome = ready.run("setup_t5x.sh")
    assert outcome.returncode == 0, outcome.stderr
    fetches = [call for call in ready.calls() if " fetch " in call]
    for fetch, (project, commit) in zip(fetches, PINS.items(), strict=True):
        assert f"/{project} {commit}" in fetch
    path_file = tmp_path / "site-packages" / "recalign_t5x.pth"
    sources = ready.root / ".venv" / "t5x"
    assert path_file.read_text().splitlines() == [f"{sources}/{project}" for project in PINS]
    assert "ready: t5x cc342d419ec3, airio 69897df7d9a4, jestimator 326824a477fe, with jax 1" in (
        outcome.stderr
    )


def test_packages_come_without_their_dependencies(ready):
    ready.run("setup_t5x.sh")
    (install,) = [call for call in ready.calls() if "pip install" in call]
    assert "--no-deps" in install
    assert install.endswith(f"--require-hashes -r {ready.root}/launch/t5x_requirements.txt")


def test_uv_where_it_is(ready):
    ready.add_command("uv", '#!/usr/bin/env bash\necho "uv $*" >>"$CALLS"\n')
    assert ready.run("setup_t5x.sh").returncode == 0
    (install,) = [call for call in ready.calls() if "pip install" in call]
    assert install.startswith("uv pip install") and "--no-deps" in install


def test_what_is_there_is_not_fetched_again(ready):
    ready.run("setup_t5x.sh")
    ready.calls()
    assert ready.run("setup_t5x.sh").returncode == 0
    assert not [call for call in ready.calls() if " fetch " in call]


def test_local_copies(ready, tmp_path):
    given = copies(tmp_path / "my copies", *PINS)
    (given / "t5x" / ".git").mkdir()
    (given / "t5x" / ".git" / "HEAD").write_text("0123456789abcdef")
    outcome = ready.run("setup_t5x.sh", "--from", str(given))
    assert outcome.returncode == 0, outcome.stderr
    assert not [call for call in ready.calls() if " fetch " in call]
    assert (ready.root / ".venv" / "t5x" / "airio" / "airio" / "__init__.py").exists()
    assert "t5x 0123456789ab (tested: cc342d419ec3)" in outcome.stderr
    assert "airio of unknown commit" in outcome.stderr


def test_an_incomplete_set_of_copies_is_refused(ready, tmp_path):
    given = copies(tmp_path / "copies", "t5x", "airio")
    outcome = ready.run("setup_t5x.sh", f"--from={given}")
    assert outcome.returncode == 2
    assert "no source of jestimator there" in outcome.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--from"], "--from needs a folder"),
        (["--from", "nowhere"], "--from: no such folder"),
        (["--form", "x"], "'--form' is no option"),
    ],
)
def test_arguments_that_are_wrong(ready, arguments, said):
    outcome = ready.run("setup_t5x.sh", *arguments)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert ready.calls() == []


def test_without_git_the_message_names_the_other_way(ready):
    (ready.bin / "git").unlink()
    outcome = ready.run("setup_t5x.sh")
    assert outcome.returncode == 2
    assert "git is not on PATH" in outcome.stderr and "--from DIR" in outcome.stderr


def test_a_fetch_that_fails_leaves_nothing_that_looks_whole(ready):
    failing(ready, "git").touch()
    outcome = ready.run("setup_t5x.sh")
    assert outcome.returncode == 1
    assert "t5x could not be fetched" in outcome.stderr
    assert not (ready.root / ".venv" / "t5x" / "t5x").exists()
    failing(ready, "git").unlink()
    assert ready.run("setup_t5x.sh").returncode == 0


def test_packages_that_cannot_be_had(ready):
    failing(ready, "pip").touch()
    outcome = ready.run("setup_t5x.sh")
    assert outcome.returncode == 1
    assert "could not be installed" in outcome.stderr


def test_an_import_that_fails_is_told_by_its_last_line(ready):
    failing(ready, "import").touch()
    outcome = ready.run("setup_t5x.sh")
    assert outcome.returncode == 1
    assert "cannot be imported: ModuleNotFoundError: No module named 'x'" in outcome.stderr
