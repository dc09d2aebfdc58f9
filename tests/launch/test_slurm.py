"""slurm.sbatch and worker.sh, with stand-ins for Slurm; distributed.py with JAX itself."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = ("--gin_file=gin/a.gin", "--gin.MODEL_DIR='/shared/it is'", "--data_dir=/shared/data")
# Runs what it is given as every task would, unless the test says how the tasks end.
SRUN = """#!/usr/bin/env bash
echo "srun devices=${JAX_LOCAL_DEVICE_IDS-} cpus=${SRUN_CPUS_PER_TASK-} $*" >>"$CALLS"
if [[ -n ${TELL_SHELL-} ]]; then kill -TERM "$PPID"; fi
if [[ -n ${TASKS_END-} ]]; then exit "$TASKS_END"; fi
exec "${@:2}"
"""
RECORDS = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$CALLS"
[[ ! -e $FAIL ]]
"""


@pytest.fixture
def cluster(installed):
    """A checkout on a shared file system, and a job on one node of four GPUs."""
    (installed.root / "gin").mkdir()
    (installed.root / "gin" / "a.gin").touch()
    installed.add_command("srun", SRUN)
    for name in ("scontrol", "sleep", "uv"):
        installed.add_command(name, RECORDS)
    installed.environment |= {
        "SLURM_JOB_ID": "7",
        "SLURM_SUBMIT_DIR": str(installed.root),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_GPUS_ON_NODE": "4",
    }
    return installed


def test_every_task_runs_the_command_as_it_was_given(cluster):
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    install, srun, python = cluster.calls()
    assert install == (
        "uv pip install --python .venv/bin/python --require-hashes -r launch/locks/cuda13.txt"
    )
    assert srun.startswith("srun devices=0,1,2,3 ")
    arguments = " ".join(RUN)
    assert srun.endswith(f"bash launch/worker.sh recalign train {arguments}")
    assert python == f"python launch/distributed.py recalign train {arguments}"


def test_the_plugin_is_installed_once(cluster):
    assert cluster.run("slurm.sbatch", *RUN).returncode == 0
    cluster.calls()
    assert cluster.run("slurm.sbatch", *RUN).returncode == 0
    assert not [call for call in cluster.calls() if call.startswith("uv")]


def test_an_install_that_fails_is_not_called_done(cluster):
    cluster.fail.touch()
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 1
    assert "could not be installed" in outcome.stderr
    assert not list((cluster.root / ".venv").glob(".recalign-*"))
    assert not [call for call in cluster.calls() if call.startswith("srun")]


def test_one_process_a_gpu_lets_jax_choose_its_device(cluster):
    cluster.environment |= {"SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "12"}
    assert cluster.run("slurm.sbatch", *RUN).returncode == 0
    assert any(call.startswith("srun devices= cpus=12 ") for call in cluster.calls())


def test_other_numbers_of_processes_are_refused(cluster):
    cluster.environment |= {"SLURM_NTASKS_PER_NODE": "3"}
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 2
    assert "3 processes a node for 4 GPUs" in outcome.stderr


def test_t5x_is_started_as_its_module(cluster):
    assert cluster.run("slurm.sbatch", "--engine", "t5x", *RUN).returncode == 0
    assert any(" launch/worker.sh t5x.train --gin_file" in call for call in cluster.calls())


@pytest.mark.parametrize("bare", [("--gin_file=a.gin",), ("--gin_file", "a.gin")])
def test_an_experiment_is_found_by_its_bare_name(cluster, bare):
    assert cluster.run("slurm.sbatch", *bare, *RUN[1:]).returncode == 0
    assert any(f" train {' '.join(bare)} " in call for call in cluster.calls())
    # T5X looks in the working directory alone.
    assert cluster.run("slurm.sbatch", "--engine=t5x", *bare, *RUN[1:]).returncode == 0
    found = " ".join(bare).replace("a.gin", "gin/a.gin")
    assert any(f" t5x.train {found} " in call for call in cluster.calls())


def test_a_job_whose_time_is_up_is_requeued(cluster):
    cluster.environment |= {"TASKS_END": "75"}
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 75
    assert cluster.calls()[-1] == "scontrol requeue 7"
    assert "requeued" in outcome.stderr


def test_a_job_that_cannot_be_requeued_says_so(cluster):
    cluster.environment |= {"TASKS_END": "75"}
    cluster.add_command("scontrol", "#!/usr/bin/env bash\nexit 1\n")
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 75
    assert "not requeued" in outcome.stderr


def test_a_job_that_slurm_itself_ends_is_left_to_slurm(cluster):
    # scancel must not be undone by a requeue; a pre-empted job is requeued by Slurm.
    cluster.environment |= {"TASKS_END": "75", "TELL_SHELL": "yes"}
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 75
    assert "waiting for Slurm" in outcome.stderr
    assert cluster.calls()[-1] == "sleep 600"


@pytest.mark.parametrize("status", ["1", "2", "134"])
def test_a_run_that_fails_fails_the_job(cluster, status):
    cluster.environment |= {"TASKS_END": status}
    assert cluster.run("slurm.sbatch", *RUN).returncode == int(status)
    assert not [call for call in cluster.calls() if call.startswith("scontrol")]


def test_a_dry_run_prints_all_and_does_nothing(cluster):
    del cluster.environment["SLURM_JOB_ID"]
    outcome = cluster.run("slurm.sbatch", "--dry_run", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    setup, accelerator, srun = outcome.stdout.splitlines()
    assert (setup, accelerator) == ("bash launch/setup.sh", "bash launch/accelerator.sh cuda13")
    assert srun.startswith("srun --kill-on-bad-exit=0 bash launch/worker.sh recalign train ")
    assert cluster.calls() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no experiment"),
        (("--gin_file=gin/none.gin",), "no such file"),
        (("--gin_file",), "needs a value"),
        (("--gin_file=gin/a.gin",), "--gin.MODEL_DIR"),
        (("--gin_file=gin/a.gin", "--gin.MODEL_DIR=/shared"), "as a gin string"),
        (("--engine=torch", *RUN), "neither recalign nor t5x"),
        (("--accelerator=tpu", *RUN), "none of cuda12, cuda13, cpu"),
        ((*RUN, "TRAIN_STEPS=5"), "no argument of a run"),
    ],
)
def test_bad_arguments_are_refused(cluster, arguments, message):
    outcome = cluster.run("slurm.sbatch", *arguments)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("slurm: error: ") and outcome.stderr.count("\n") == 1
    assert cluster.calls() == []


def test_it_must_be_submitted_and_from_the_root(cluster, tmp_path):
    cluster.environment["SLURM_SUBMIT_DIR"] = str(tmp_path)
    assert "call sbatch from its root" in cluster.run("slurm.sbatch", *RUN).stderr
    del cluster.environment["SLURM_SUBMIT_DIR"], cluster.environment["SLURM_JOB_ID"]
    outcome = cluster.run("slurm.sbatch", *RUN)
    assert outcome.returncode == 2 and "sbatch launch/slurm.sbatch" in outcome.stderr


def test_help_shows_an_example(cluster):
    outcome = cluster.run("slurm.sbatch", "--help")
    assert outcome.returncode == 0
    assert "sbatch --nodes=2" in outcome.stdout and "#SBATCH" not in outcome.stdout


def test_slurm_is_asked_to_warn_the_steps_and_to_allow_a_requeue():
    lines = (ROOT / "launch" / "slurm.sbatch").read_text().splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@90"} <= set(directives)
    # Slurm reads directives up to the first command only.
    assert lines[1 : len(directives) + 1] == directives


# One process of a run ----------------------------------------------------------------------------

STOPS = """#!/usr/bin/env bash
trap 'echo saved >>"$CALLS"; exit "$LEAVES_WITH"' TERM
echo started >>"$CALLS"
for _ in {1..200}; do read -rt 0.05 <> <(:) || true; done
"""


@pytest.mark.parametrize(("leaves_with", "status"), [("0", 75), ("1", 1)])
def test_a_worker_hands_sigterm_on_and_tells_that_it_stopped(installed, leaves_with, status):
    python = installed.root / ".venv" / "bin" / "python"
    python.write_text(STOPS)
    worker = subprocess.Popen(
        [shutil.which("bash"), "launch/worker.sh", "recalign", "train"],
        cwd=installed.root,
        env=installed.environment | {"LEAVES_WITH": leaves_with},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not installed.calls_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == status
    assert installed.calls() == ["started", "saved"]


def test_processes_under_srun_find_each_other(tmp_path):
    (tmp_path / "probe.py").write_text(
        "import sys, jax\n"
        "assert __name__ == '__main__' and sys.argv[1:] == ['--name=it is']\n"
        "print(jax.process_index(), jax.process_count())\n"
    )
    job = 40_000 + os.getpid()
    tasks = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "launch" / "distributed.py"), "probe", "--name=it is"],
            cwd=tmp_path,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "SLURM_JOB_ID": str(job),
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": "2",
                "SLURM_PROCID": str(number),
                "SLURM_LOCALID": str(number),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    assert [task.communicate(timeout=60)[0] for task in tasks] == ["0 2\n", "1 2\n"]
