"""gke/submit.sh, with a stand-in for kubectl that plays a cluster."""

import pytest
import yaml

RUN = (
    "--gin_file=gin/a.gin",
    "--gin.MODEL_DIR='gs://bucket/it is'",
    "--data_dir=gs://bucket/data",
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 512, \"targets\": $(128)}",
)
SLICE = ("--image=us/p/recalign:1", "--accelerator=tpu-v5-lite-podslice", "--topology=4x4")
TRAIN = ("train", "ut-toys", *SLICE, "--poll_seconds=0")
# $CLUSTER/states: what the set says of itself, a line a look; the last one stays.
KUBECTL = """#!/usr/bin/env bash
echo "kubectl $*" >>"$CALLS"
[[ -d $CLUSTER ]] || { echo "Unable to connect to the server" >&2; exit 1; }
while [[ $1 == --namespace=* ]]; do shift; done
case $1 in
  get)
    [[ -e $CLUSTER/set ]] || exit 0
    { read -r state; rest=$(cat); } <"$CLUSTER/states"
    if [[ -n $rest ]]; then echo "$rest" >"$CLUSTER/states"; fi
    [[ $state != silent ]] || exit 1
    [[ $state != deleted ]] || exit 0
    echo "ut-toys:${state#running}" ;;
  apply)
    cat >"$CLUSTER/set"
    [[ ! -e $FAIL ]] || { rm "$CLUSTER/set"; echo "no matches for kind JobSet" >&2; exit 1; } ;;
  delete) [[ ! -e $FAIL ]] && rm -f "$CLUSTER/set" && echo Completed >"$CLUSTER/states" ;;
  logs) echo "step 1" ;;
esac
"""


class Cluster:
    def __init__(self, checkout, directory):
        self.checkout = checkout
        self.directory = directory
        self.directory.mkdir()
        self.states("running", "Completed")

    def states(self, *states):
        (self.directory / "states").write_text("\n".join(states) + "\n")

    def holds_a_set(self):
        (self.directory / "set").touch()

    def submit(self, *arguments):
        return self.checkout.run("gke/submit.sh", *arguments)

    def verbs(self):
        return [
            next(word for word in call.split()[1:] if not word.startswith("--"))
            for call in self.checkout.calls()
        ]

    def manifest(self):
        return yaml.safe_load((self.directory / "set").read_text())


@pytest.fixture
def cluster(checkout, tmp_path):
    (checkout.root / "gin").mkdir()
    (checkout.root / "gin" / "a.gin").touch()
    checkout.environment["CLUSTER"] = str(tmp_path / "cluster")
    checkout.add_command("kubectl", KUBECTL)
    checkout.add_command("sleep", "#!/usr/bin/env bash\n")
    return Cluster(checkout, tmp_path / "cluster")


def pod_of(manifest):
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    return job, job["template"]["spec"], job["template"]["spec"]["containers"][0]


def test_a_run_is_submitted_and_followed_to_its_end(cluster):
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "step 1\nstep 1\n"
    assert cluster.verbs() == ["get", "apply", "logs", "get", "logs", "get"]
    assert "the run is done" in outcome.stderr


def test_the_manifest_asks_for_the_slice_and_runs_the_command_as_given(cluster):
    flags = ("--spot", "--service_account", "trainer", "--max_restarts=3", "--namespace=ml")
    assert cluster.submit(*TRAIN, *flags, "--", *RUN).returncode == 0
    manifest = cluster.manifest()
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("JobSet", "ut-toys")
    assert list(manifest["metadata"]["annotations"].values()) == ["cloud.google.com/gke-nodepool"]
    job, pod, container = pod_of(manifest)
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (4, 4, 0)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert (pod["serviceAccountName"], pod["restartPolicy"]) == ("trainer", "Never")
    assert container["image"] == "us/p/recalign:1"
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert container["command"] == ["bash", "launch/worker.sh"]
    # Kubernetes reads $$( as $(, and $(NAME) as a variable.
    given = [argument.replace("$(", "$$(") for argument in RUN]
    assert container["args"] == ["recalign", "train", *given]
    assert all(call.startswith("kubectl --namespace=ml ") for call in cluster.checkout.calls())


def test_a_pre_emption_restarts_at_no_charge_and_other_failures_do_not(cluster):
    assert cluster.submit(*TRAIN, "--", *RUN).returncode == 0
    manifest = cluster.manifest()
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 10
    assert [rule["action"] for rule in policy["rules"]] == ["RestartJobSetAndIgnoreMaxRestarts"]
    assert policy["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
    job, _, container = pod_of(manifest)
    disrupted, stopped = job["podFailurePolicy"]["rules"]
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert stopped["onExitCodes"]["values"] == [75]  # launch/worker.sh's
    assert stopped["onExitCodes"]["containerName"] == container["name"]


@pytest.mark.parametrize(
    ("flags", "hosts", "chips", "exclusive_to"),
    [
        (("--topology=2x2",), 1, 4, "kubernetes.io/hostname"),
        (("--topology=1x1",), 1, 1, "kubernetes.io/hostname"),
        (("--topology=2x4", "--chips_per_host=8"), 1, 8, "kubernetes.io/hostname"),
        (("--topology=2x4",), 2, 4, "cloud.google.com/gke-nodepool"),
        (("--topology=4x4x8",), 32, 4, "cloud.google.com/gke-nodepool"),
    ],
)
def test_topologies_become_hosts(cluster, flags, hosts, chips, exclusive_to):
    assert cluster.submit(*TRAIN, *flags, "--", *RUN).returncode == 0
    manifest = cluster.manifest()
    job, pod, container = pod_of(manifest)
    assert job["completions"] == hosts
    assert container["resources"]["requests"] == {"google.com/tpu": chips}
    assert list(manifest["metadata"]["annotations"].values()) == [exclusive_to]
    assert "cloud.google.com/gke-spot" not in pod["nodeSelector"]


def test_t5x_is_started_as_its_module(cluster):
    assert cluster.submit(*TRAIN, "--engine=t5x", "--", *RUN).returncode == 0
    assert pod_of(cluster.manifest())[2]["args"][:2] == ["t5x.train", "--gin_file=gin/a.gin"]


def test_a_failed_run_fails(cluster):
    cluster.states("running", "running", "Failed")
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "kubectl describe jobset ut-toys" in outcome.stderr


def test_the_same_command_follows_what_is_running(cluster):
    cluster.holds_a_set()
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 0
    assert cluster.verbs() == ["get", "logs", "get"]
    assert "there already; following it" in outcome.stderr


def test_what_has_ended_is_submitted_again(cluster):
    cluster.holds_a_set()
    cluster.states("Failed")
    assert cluster.submit(*TRAIN, "--", *RUN).returncode == 0
    assert cluster.verbs()[:3] == ["get", "delete", "apply"]


def test_a_cluster_without_jobset_refuses_the_manifest(cluster):
    cluster.checkout.fail.touch()
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "no matches for kind JobSet" in outcome.stderr
    assert "is JobSet installed" in outcome.stderr
    assert cluster.verbs() == ["get", "apply"]


def test_a_cluster_that_is_silent_for_a_while_is_asked_again(cluster):
    cluster.states("silent", "silent", "running", "silent", "Completed")
    assert cluster.submit(*TRAIN, "--", *RUN).returncode == 0
    cluster.states("silent")
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "the cluster does not answer" in outcome.stderr


def test_a_cluster_that_falls_silent_ends_the_command_and_not_the_run(cluster):
    cluster.states("silent")
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "the run goes on" in outcome.stderr
    assert "delete" not in cluster.verbs()


def test_a_set_that_someone_deletes_is_told(cluster):
    cluster.states("running", "deleted")
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 1
    assert "was deleted" in outcome.stderr


def test_delete(cluster):
    cluster.holds_a_set()
    assert cluster.submit("delete", "ut-toys", "--namespace", "ml").returncode == 0
    assert cluster.checkout.calls() == [
        "kubectl --namespace=ml delete jobset ut-toys --ignore-not-found"
    ]
    cluster.checkout.fail.touch()
    outcome = cluster.submit("delete", "ut-toys")
    assert outcome.returncode == 1
    assert "could not be deleted" in outcome.stderr


def test_submitting_alone(cluster):
    assert cluster.submit(*TRAIN, "--no_follow", "--", *RUN).returncode == 0
    assert cluster.verbs() == ["get", "apply"]


def test_a_dry_run_prints_the_manifest_and_calls_nothing(cluster):
    outcome = cluster.submit(*TRAIN, "--dry_run", "--", *RUN)
    assert outcome.returncode == 0, outcome.stderr
    apply, _, rest = outcome.stdout.partition("\n")
    assert apply == "kubectl apply -f - <<'MANIFEST'"
    manifest, _, logs = rest.partition("\nMANIFEST\n")
    assert yaml.safe_load(manifest)["kind"] == "JobSet"
    assert logs.startswith("kubectl logs --follow ")
    deletion = cluster.submit("delete", "ut-toys", "--dry_run")
    assert deletion.stdout == "kubectl delete jobset ut-toys --ignore-not-found\n"
    assert cluster.checkout.calls() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage"),
        (("train",), "usage"),
        (("submit", "x"), "neither train nor delete"),
        (("train", "UT_toys", *SLICE), "lower-case"),
        (("train", "x"), "--image"),
        (("train", "x", *SLICE, "--image=a b"), "no image's name"),
        (("train", "x", *SLICE, "--accelerator=nvidia"), "none of GKE's TPUs"),
        (("train", "x", *SLICE, "--topology=16"), "no topology"),
        (("train", "x", *SLICE, "--chips_per_host=3"), "does not divide"),
        (("train", "x", *SLICE, "--service_account=A B"), "no name"),
        (("train", "x", *SLICE, "--max_restarts=many"), "whole number"),
        (("train", "x", *SLICE, "--image"), "needs a value"),
        (("train", "x", *SLICE, "--fast"), "unknown argument"),
        (("train", "x", *SLICE, "--", *RUN[1:]), "no experiment"),
        (("train", "x", *SLICE, "--", RUN[0], "--gin.MODEL_DIR='runs/x'", RUN[2]), "lost with"),
        (("train", "x", *SLICE, "--", *RUN[:2]), "no data"),
        (("train", "x", *SLICE, "--", *RUN, "--gin.A='\n'"), "line break"),
    ],
)
def test_bad_arguments_are_refused(cluster, arguments, message):
    outcome = cluster.submit(*arguments)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("gke: error: ") and outcome.stderr.count("\n") == 1
    assert cluster.checkout.calls() == []


def test_kubectl_is_needed(cluster):
    (cluster.checkout.bin / "kubectl").unlink()
    outcome = cluster.submit(*TRAIN, "--", *RUN)
    assert outcome.returncode == 2
    assert "kubectl is not on PATH" in outcome.stderr


def test_help_shows_an_example(cluster):
    outcome = cluster.submit("--help")
    assert outcome.returncode == 0
    assert "--accelerator=tpu-v5-lite-podslice --topology=4x4" in outcome.stdout
