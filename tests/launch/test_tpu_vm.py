"""tpu_vm.sh, with a stand-in for gcloud whose one worker really runs what ssh brings it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import pytest

RUN = (
    "--gin_file=gin/a.gin",
    "--gin.MODEL_DIR='gs://bucket/it is'",
    "--data_dir=gs://bucket/data",
)
PLACE = ("ut-toys", "--zone=us-west4-a")
TRAIN = ("train", *PLACE, "--accelerator_type=v5litepod-16", "--poll_seconds=0")
# $CLOUD/queued: the queued resource's states, a line a look; the last one stays. $CLOUD/node: the
# slice's state. A slice that is deleted takes its worker's disk along.
GCLOUD = """#!/usr/bin/env bash
echo "gcloud $*" >>"$CALLS"
fails() { echo "$2" >&2; exit "$1"; }
[[ ! -e $CLOUD/silent ]] || fails 1 "connection reset"
case "$3 $4" in
  "queued-resources describe")
    [[ -e $CLOUD/queued ]] || fails 1 "ERROR: NOT_FOUND: Resource not found"
    { read -r state; rest=$(cat); } <"$CLOUD/queued"
    if [[ -n $rest ]]; then echo "$rest" >"$CLOUD/queued"; fi
    echo "$state" ;;
  "queued-resources create")
    [[ ! -e $CLOUD/no_quota ]] || fails 1 "ERROR: RESOURCE_EXHAUSTED: quota"
    cp "$CLOUD/after_create" "$CLOUD/queued"
    mkdir -p "$CLOUD/home" && echo READY >"$CLOUD/node" ;;
  "queued-resources delete")
    [[ ! -e $CLOUD/no_right ]] || fails 1 "ERROR: PERMISSION_DENIED"
    [[ -e $CLOUD/queued ]] || fails 1 "ERROR: NOT_FOUND: Resource not found"
    rm -rf "$CLOUD/queued" "$CLOUD/node" "$CLOUD/home" ;;
  "tpu-vm describe") cat "$CLOUD/node" ;;
  "tpu-vm scp") cp "$5" "$CLOUD/home/recalign.tar.gz" ;;
  "tpu-vm ssh")
    [[ ! -e $CLOUD/no_ssh ]] || fails 255 "ssh: connect: timed out"
    cd "$CLOUD/home" || exit 255
    for word in "$@"; do case $word in --command=*) command=${word#*=} ;; esac; done
    HOME=$CLOUD/home exec bash -c "$command" ;;
esac
"""
# The run: how it ends stands in $CLOUD/runs, a line a start; without a line it is done.
PYTHON = r"""#!/usr/bin/env bash
echo "python $*" >>"$CALLS"
how=done
if [[ -s $CLOUD/runs ]]; then
  { read -r how; rest=$(cat); } <"$CLOUD/runs"
  printf '%s' "$rest" >"$CLOUD/runs"
fi
echo "step 1"
case $how in
  done) ;;
  pre-empted) echo PREEMPTED >"$CLOUD/node"; exit 134 ;;
  suspended) echo SUSPENDED >"$CLOUD/queued"; exit 134 ;;
  restarted) pid=$(cat "$CLOUD/home/recalign-run/pid"); kill -KILL -- "-$pid" ;;
  lasts) trap 'echo saved >>"$CALLS"; exit 0' TERM
    for _ in {1..400}; do read -rt 0.05 <> <(:) || true; done ;;
  *) echo "error: $how"; exit "$how" ;;
esac
"""
SETUP = """#!/usr/bin/env bash
set -euo pipefail
echo "setup" >>"$CALLS"
[[ ! -e $FAIL ]]
mkdir -p .venv/bin
cp "$CLOUD/python" .venv/bin/python
"""
TOOLS = ("tar", "gzip", "grep", "tail", "setsid", "nohup", "sleep")


class Cloud:
    def __init__(self, checkout, directory):
        self.checkout = checkout
        self.directory = directory
        directory.mkdir()
        self.write("after_create", "ACTIVE\n")
        self.write("python", PYTHON)
        (directory / "python").chmod(0o755)

    def write(self, name, text=""):
        (self.directory / name).write_text(text)

    def run(self, *arguments):
        return self.checkout.run("tpu_vm.sh", *arguments)

    def calls(self):
        return self.checkout.calls()


@pytest.fixture
def cloud(checkout, tmp_path):
    for tool in TOOLS:
        (checkout.bin / tool).symlink_to(shutil.which(tool))
    for name in ("recalign", "tasks", "gin"):
        (checkout.root / name).mkdir()
    for name in ("gin/a.gin", "README.md", "LICENSE"):
        (checkout.root / name).touch()
    (checkout.root / "launch" / "setup.sh").write_text(SETUP)
    checkout.environment |= {"CLOUD": str(tmp_path / "cloud"), "TMPDIR": str(tmp_path)}
    checkout.add_command("gcloud", GCLOUD)
    checkout.add_command("uv", '#!/usr/bin/env bash\necho "uv $*" >>"$CALLS"\n')
    return Cloud(checkout, tmp_path / "cloud")


def verbs(calls):
    """What gcloud was asked, without its looks: `create`, `scp`, `ssh install`, …"""
    found = []
    for call in calls:
        if call.startswith("gcloud ") and "describe" not in call:
            verb = call.split()[4]
            agent = re.search(r"tpu_worker\.sh (\w+)|\$agent (\w+)", call)
            found.append(f"ssh {agent[1] or agent[2]}" if verb == "ssh" and agent else verb)
    return [verb for verb in found if verb != "ssh status"]


def starts(calls):
    return [call for call in calls if call.startswith("python ")]


BEGIN = ["scp", "ssh install", "ssh start"]


def test_a_first_run_makes_the_slice_installs_starts_and_follows(cloud):
    outcome = cloud.run(*TRAIN, "--spot", "--create_flag=--network=mine", "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    calls = cloud.calls()
    assert verbs(calls)[:4] == ["create", *BEGIN]
    create = next(call for call in calls if " create " in call)
    assert create == (
        "gcloud compute tpus queued-resources create ut-toys --zone=us-west4-a --node-id=ut-toys "
        "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --spot "
        "--network=mine"
    )
    assert "setup" in calls and any(
        "--require-hashes -r launch/locks/tpu.txt" in call for call in calls
    )
    command = " ".join(("python launch/distributed.py recalign train", *RUN))
    assert starts(calls) == [command]
    assert "the run is done" in outcome.stderr
    assert "tpu_vm.sh delete ut-toys --zone=us-west4-a" in outcome.stderr


def test_it_waits_in_the_queue(cloud):
    cloud.write("after_create", "ACCEPTED\nWAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    assert "is WAITING_FOR_RESOURCES" in outcome.stderr


@pytest.mark.parametrize("how", ["pre-empted", "suspended"])
def test_a_pre_empted_slice_is_made_anew_and_the_same_command_goes_on(cloud, how):
    cloud.write("runs", f"{how}\n")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    calls = cloud.calls()
    asked = [verb for verb in verbs(calls) if verb != "ssh follow"]
    assert asked == ["create", *BEGIN, "delete", "create", *BEGIN]
    assert "--force" in next(call for call in calls if " delete " in call)
    first, second = starts(calls)
    assert first == second


def test_pre_emptions_end_some_time(cloud):
    cloud.write("runs", "pre-empted\n" * 5)
    outcome = cloud.run(*TRAIN, "--max_restarts=1", "--", *RUN)
    assert outcome.returncode == 1
    assert "gave up after 1 restarts" in outcome.stderr
    assert len(starts(cloud.calls())) == 2


@pytest.mark.parametrize("how", ["75", "restarted"])
def test_a_run_that_was_stopped_goes_on_on_the_same_slice(cloud, how):
    cloud.write("runs", f"{how}\n")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    calls = cloud.calls()
    assert len(starts(calls)) == 2
    assert verbs(calls).count("create") == 1


@pytest.mark.parametrize(("status", "ours"), [("2", 2), ("200", 1)])
def test_a_failed_run_fails(cloud, status, ours):
    cloud.write("runs", f"{status}\n")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == ours
    assert f"error: {status}" in outcome.stdout
    assert "delete" not in verbs(cloud.calls())
    # It is begun again once its cause is mended.
    assert cloud.run(*TRAIN, "--", *RUN).returncode == 0
    calls = cloud.calls()
    assert [verb for verb in verbs(calls) if verb != "ssh follow"] == BEGIN
    assert len(starts(calls)) == 1


def test_what_is_done_is_not_begun_again(cloud):
    assert cloud.run(*TRAIN, "--", *RUN).returncode == 0
    cloud.calls()
    again = cloud.run(*TRAIN, "--delete_when_done", "--", *RUN)
    assert again.returncode == 0
    calls = cloud.calls()
    assert starts(calls) == [] and verbs(calls) == ["delete"]
    assert not (cloud.directory / "queued").exists()


def test_a_running_run_is_followed_and_stopped_on_request(cloud):
    cloud.write("runs", "lasts\n")
    launcher = subprocess.Popen(
        [str(cloud.checkout.bin / "bash"), "launch/tpu_vm.sh", *TRAIN, "--", *RUN],
        cwd=cloud.checkout.root,
        env=cloud.checkout.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout.readline() == "step 1\n"
    os.killpg(launcher.pid, signal.SIGINT)  # what Ctrl-C does
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "the run goes on" in errors
    assert len(starts(cloud.calls())) == 1

    other = cloud.run(*TRAIN, "--", *RUN, "--gin.TRAIN_STEPS=5")
    assert other.returncode == 2
    assert "another run is going on" in other.stderr
    assert cloud.run("stop", *PLACE).returncode == 0
    deadline = time.monotonic() + 60
    while not (cloud.directory / "home/recalign-run/finished").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "saved" in cloud.calls()

    # The run has saved and left with 75: the same command goes on.
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    assert "step 1" in outcome.stdout
    assert len(starts(cloud.calls())) == 1


def test_a_slice_that_cannot_be_requested(cloud):
    cloud.write("no_quota")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "RESOURCE_EXHAUSTED" in outcome.stderr and "could not be requested" in outcome.stderr
    assert verbs(cloud.calls()) == ["create"]


def test_a_request_that_fails(cloud):
    cloud.write("after_create", "ACCEPTED\nFAILED\n")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "the request failed" in outcome.stderr
    # The next time what is left of it is cleared away.
    cloud.write("after_create", "ACTIVE\n")
    cloud.calls()
    assert cloud.run(*TRAIN, "--", *RUN).returncode == 0
    assert verbs(cloud.calls())[:2] == ["delete", "create"]


def test_an_install_that_fails_is_tried_again_and_then_told(cloud):
    cloud.checkout.fail.touch()
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "could not be set up" in outcome.stderr
    calls = cloud.calls()
    assert calls.count("setup") == 5 and starts(calls) == []


def test_a_cloud_that_does_not_answer_ends_the_command_only(cloud):
    cloud.write("silent")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "connection reset" in outcome.stderr and "does not answer" in outcome.stderr
    assert verbs(cloud.calls()) == []


def test_a_slice_that_ssh_does_not_reach(cloud):
    cloud.write("no_ssh")
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "ssh does not reach it" in outcome.stderr
    assert "delete" not in verbs(cloud.calls())


def test_delete(cloud):
    assert cloud.run(*TRAIN, "--", *RUN).returncode == 0
    assert cloud.run("delete", *PLACE).returncode == 0
    assert not (cloud.directory / "queued").exists()
    assert cloud.run("delete", *PLACE).returncode == 0
    cloud.write("no_right")
    outcome = cloud.run("delete", *PLACE)
    assert outcome.returncode == 1
    assert "PERMISSION_DENIED" in outcome.stderr and "costing money" in outcome.stderr


def test_a_dry_run_prints_what_a_first_run_asks_of_the_cloud(cloud):
    flags = ("--project=p", "--ssh_flag=--tunnel-through-iap", "--delete_when_done", "--engine=t5x")
    outcome = cloud.run(*TRAIN, *flags, "--dry_run", "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert cloud.calls() == []
    asked = [line for line in lines if line.startswith("gcloud ")]
    assert verbs(asked) == ["create", *BEGIN, "ssh follow", "delete"]
    assert all(" --project=p" in line for line in asked)
    assert all("--tunnel-through-iap" in line for line in asked if " ssh " in line)
    # Twice quoted: for the shell here, and for the worker's.
    start = next(line for line in asked if "tpu_worker.sh start" in line)
    remote = shlex.split(start)[-1].removeprefix("--command=")
    # T5X has another name for the folder of the data.
    started = ["t5x.train", *RUN[:2], "--tfds_data_dir=gs://bucket/data"]
    assert shlex.split(remote)[2:] == ["start", *started]


def test_the_runtime_follows_the_accelerator(cloud):
    for accelerator, runtime in {
        "v4-32": "tpu-ubuntu2204-base",
        "v5p-8": "v2-alpha-tpuv5",
        "v6e-16": "v2-alpha-tpuv6e",
    }.items():
        flag = f"--accelerator_type={accelerator}"
        outcome = cloud.run("train", *PLACE, flag, "--dry_run", "--", *RUN)
        assert f"--runtime-version={runtime}\n" in outcome.stdout


TYPE = "--accelerator_type=v4-8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage"),
        (("train",), "usage"),
        (("start", *PLACE), "none of train, stop, delete"),
        (("train", "ut_toys", "--zone=z"), "lower-case"),
        (("delete", "x"), "--zone is needed"),
        (("train", *PLACE), "--accelerator_type is needed"),
        (("train", *PLACE, "--accelerator_type=v9-8"), "no runtime version is known"),
        (("train", *PLACE, TYPE, "--poll_seconds=soon"), "whole number"),
        (("train", *PLACE, TYPE, "--zone"), "needs a value"),
        (("train", *PLACE, TYPE, "--fast"), "unknown argument"),
        (("train", *PLACE, TYPE, "--engine=torch", "--", *RUN), "neither recalign nor t5x"),
        (("train", *PLACE, TYPE), "no experiment"),
        (("train", *PLACE, TYPE, "--", "--gin_file=gin/b.gin"), "no such file"),
        (("train", *PLACE, TYPE, "--", RUN[0], "--gin.MODEL_DIR='runs/x'", RUN[2]), "lost with"),
        (("train", *PLACE, TYPE, "--", *RUN[:2]), "no data"),
    ],
)
def test_bad_arguments_are_refused(cloud, arguments, message):
    outcome = cloud.run(*arguments)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("tpu_vm: error: ") and outcome.stderr.count("\n") == 1
    assert cloud.calls() == []


def test_gcloud_is_needed(cloud):
    (cloud.checkout.bin / "gcloud").unlink()
    outcome = cloud.run(*TRAIN, "--", *RUN)
    assert outcome.returncode == 2
    assert "gcloud is not on PATH" in outcome.stderr


def test_help_shows_an_example(cloud):
    outcome = cloud.run("--help")
    assert outcome.returncode == 0
    assert "--accelerator_type=v5litepod-16 --spot" in outcome.stdout
