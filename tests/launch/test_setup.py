import time

STAMP = ".venv/.recalign-complete"


def installs(calls: list[str]) -> list[str]:
    return [call for call in calls if " install " in call]


def test_uv_is_used_where_it_is(with_uv):
    outcome = with_uv.run("setup.sh")
    assert outcome.returncode == 0, outcome.stderr
    calls = with_uv.calls()
    assert calls[0] == "uv python find --no-python-downloads 3.12"
    assert calls[1].startswith("uv venv")
    assert "--python 3.12" in calls[1]
    lock, package = installs(calls)
    assert lock.endswith(f"--require-hashes -r {with_uv.root}/requirements.txt")
    assert "--no-deps" in package and package.endswith(f"-e {with_uv.root}")


def test_python_and_pip_otherwise(with_python):
    outcome = with_python.run("setup.sh")
    assert outcome.returncode == 0, outcome.stderr
    calls = with_python.calls()
    assert f"python3.11 -m venv {with_python.root}/.venv" in calls
    lock, package = installs(calls)
    locked = f"--require-hashes -r {with_python.root}/requirements.txt"
    assert lock == f"python -m pip install --no-compile {locked}"
    assert "--no-deps" in package and package.endswith(f"-e {with_python.root}")


def test_nothing_happens_when_nothing_changed(with_uv):
    with_uv.run("setup.sh")
    with_uv.calls()
    started = time.perf_counter()
    outcome = with_uv.run("setup.sh")
    assert time.perf_counter() - started < 1
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    assert with_uv.calls() == []


def test_a_new_lock_is_installed_into_the_environment_that_is_there(with_uv):
    with_uv.run("setup.sh")
    with_uv.calls()
    (with_uv.root / "requirements.txt").write_text("numpy==2.4.7\n")
    assert with_uv.run("setup.sh").returncode == 0
    calls = with_uv.calls()
    assert not any(call.startswith("uv venv") for call in calls)
    assert len(installs(calls)) == 2


def test_a_moved_checkout_is_set_up_again(with_uv):
    with_uv.run("setup.sh")
    with_uv.calls()
    with_uv.root = with_uv.root.rename(with_uv.root.with_name("elsewhere"))
    assert with_uv.run("setup.sh").returncode == 0
    assert len(installs(with_uv.calls())) == 2


def test_a_failed_install_is_never_called_done(with_uv):
    with_uv.fail.touch()
    outcome = with_uv.run("setup.sh")
    assert outcome.returncode == 1
    assert "packages could not be installed" in outcome.stderr
    assert not (with_uv.root / STAMP).exists()
    assert len(installs(with_uv.calls())) == 1

    with_uv.fail.unlink()
    again = with_uv.run("setup.sh")
    assert again.returncode == 0
    assert "did not finish; starting afresh" in again.stderr
    assert any(call.startswith("uv venv") for call in with_uv.calls())
    assert (with_uv.root / STAMP).exists()


def test_an_update_that_fails_is_not_called_done_either(with_uv):
    with_uv.run("setup.sh")
    (with_uv.root / "requirements.txt").write_text("numpy==2.4.7\n")
    with_uv.fail.touch()
    assert with_uv.run("setup.sh").returncode == 1
    assert not (with_uv.root / STAMP).exists()


def test_without_python_the_message_says_so_and_nothing_is_left(checkout):
    outcome = checkout.run("setup.sh")
    assert outcome.returncode == 1
    assert outcome.stderr.count("Python 3.11, 3.12 or (with a C++ compiler) 3.13 is needed") == 1
    assert not (checkout.root / ".venv").exists()


def test_a_shim_that_does_not_work_is_passed_over(with_python):
    with_python.add_command("python3", (with_python.bin / "python3.11").read_text())
    with_python.add_command("python3.11", "#!/usr/bin/env bash\nexit 127\n")
    assert with_python.run("setup.sh").returncode == 0
    assert any(call.startswith("python3 -m venv") for call in with_python.calls())


def test_a_broken_environment_is_made_anew(with_uv):
    with_uv.run("setup.sh")
    with_uv.calls()
    (with_uv.root / ".venv" / "bin" / "python").unlink()
    assert with_uv.run("setup.sh").returncode == 0
    assert any(call.startswith("uv venv") for call in with_uv.calls())


def test_any_directory_and_an_empty_home_will_do(with_uv, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    with_uv.environment["HOME"] = ""
    with_uv.environment["CDPATH"] = "/"
    outcome = with_uv.run("setup.sh", cwd=elsewhere)
    assert outcome.returncode == 0, outcome.stderr
    assert (with_uv.root / STAMP).exists()
    assert list(elsewhere.iterdir()) == []


# A Python that is of the version in its name, and of no other.
VERSIONED = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$CALLS"
case "$*" in
  "-c import sys"*) [[ " ${*: -3} " == *" ${0##*.} "* ]] ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$PYTHON_STAND_IN" "$3/bin/python" ;;
esac
"""


def test_the_newest_python_that_is_there_is_taken(with_python):
    (with_python.bin / "python3.11").unlink()
    with_python.add_command("python3.11", VERSIONED)
    with_python.add_command("python3.12", VERSIONED)
    assert with_python.run("setup.sh").returncode == 0
    made = [call for call in with_python.calls() if " -m venv " in call]
    assert made == [f"python3.12 -m venv {with_python.root}/.venv"]


def test_313_is_taken_where_there_is_a_compiler_for_what_has_no_wheel(with_uv):
    with_uv.add_command("c++", "#!/usr/bin/env bash\n")
    assert with_uv.run("setup.sh").returncode == 0
    assert "--python 3.13" in with_uv.calls()[1]


def test_an_accelerator_is_added_each_time_it_is_asked_for(with_uv):
    (with_uv.root / "launch" / "accelerator.sh").write_text('echo "accelerator $1" >>"$CALLS"\n')
    assert with_uv.run("setup.sh", "--accelerator", "cuda13").returncode == 0
    assert with_uv.calls()[-1] == "accelerator cuda13"
    assert with_uv.run("setup.sh", "--accelerator=cuda13").returncode == 0
    assert with_uv.calls() == ["accelerator cuda13"]


def test_an_accelerator_that_is_none(with_uv):
    outcome = with_uv.run("setup.sh", "--accelerator", "abacus")
    assert outcome.returncode == 1
    assert "'abacus' is none of tpu, cuda12, cuda13, cpu" in outcome.stderr
    assert with_uv.calls() == []
