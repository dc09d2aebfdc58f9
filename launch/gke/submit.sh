#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster, as a JobSet that restarts after a pre-emption.
#   bash launch/gke/submit.sh train NAME --image=I --accelerator=A --topology=T [flags] -- RUN'S ARGUMENTS
#   bash launch/gke/submit.sh delete NAME [--namespace=N] [--dry_run]
#
# Example:
#   bash launch/gke/submit.sh train ut-at-toys --image=us-docker.pkg.dev/p/r/recalign \
#     --accelerator=tpu-v5-lite-podslice --topology=4x4 --spot \
#     -- --gin_file=gin/ut_at_toys.gin --gin.MODEL_DIR="'gs://bucket/ut_at_toys'" \
#     --data_dir=gs://bucket/data
#
# Needs kubectl with the cluster as its context, JobSet in the cluster (0.6 or newer) and an image
# of launch/gke/Dockerfile. Interrupt it and give it again to follow once more.
#
# Flags of train:
#   --image=I                   the image to run
#   --accelerator=A             tpu-v4-podslice, tpu-v5-lite-podslice, tpu-v5p-slice, tpu-v6e-slice
#   --topology=T                as the node pool has it: 2x4, 4x4, 2x2x4, …
#   --chips_per_host=N          default: 4, or all of a smaller topology
#   --engine=recalign|t5x       default: recalign; an image with T5X in it is yours to make
#   --namespace=N               default: kubectl's own
#   --service_account=S         one that may use the bucket (default: default)
#   --spot                      only on spot nodes
#   --max_restarts=N            after failures that were no pre-emptions (default: 10)
#   --poll_seconds=N            between two looks at the set (default: 20)
#   --no_follow                 submit and return
#   --dry_run                   print the manifest and every command, and run none
# Exit status: 0 done, 1 the run or the cluster failed, 2 bad arguments.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
launcher=gke
source launch/common.sh

image=
accelerator=
topology=
chips_per_host=
engine=recalign
namespace=()
service_account=default
spot=0
max_restarts=10
poll_seconds=20
follows=1
arguments=()

parse() {
  [[ ${1-} != -h && ${1-} != --help ]] || { usage launch/gke/submit.sh; exit; }
  (($# >= 2)) || refuse "usage: bash launch/gke/submit.sh train|delete NAME …; see --help"
  verb=$1 name=$2
  shift 2
  while (($#)); do
    case $1 in
      --image | --accelerator | --topology | --chips_per_host | --engine | --namespace | \
        --service_account | --max_restarts | --poll_seconds)
        (($# > 1)) || refuse "$1 needs a value"; set -- "$1=$2" "${@:3}" ;;
      --image=*) image=${1#*=}; shift ;;
      --accelerator=*) accelerator=${1#*=}; shift ;;
      --topology=*) topology=${1#*=}; shift ;;
      --chips_per_host=*) chips_per_host=${1#*=}; shift ;;
      --engine=*) engine=${1#*=}; shift ;;
      --namespace=*) namespace=("$1"); shift ;;
      --service_account=*) service_account=${1#*=}; shift ;;
      --max_restarts=*) max_restarts=${1#*=}; check_number --max_restarts "$max_restarts"; shift ;;
      --poll_seconds=*) poll_seconds=${1#*=}; check_number --poll_seconds "$poll_seconds"; shift ;;
      --spot) spot=1; shift ;;
      --no_follow) follows=0; shift ;;
      --dry_run) dry_run=1; shift ;;
      -h | --help) usage launch/gke/submit.sh; exit ;;
      --) arguments=("${@:2}"); break ;;
      *) refuse "unknown argument '$1'; the run's own arguments stand after --" ;;
    esac
  done
  check_name "$name"
}

check_train() {
  # What goes into the manifest unquoted holds no character that YAML could take for its own.
  [[ $image =~ ^[A-Za-z0-9][A-Za-z0-9._:/@-]*$ ]] || refuse "--image '$image' is no image's name"
  [[ $accelerator =~ ^tpu[a-z0-9-]+$ ]] || refuse "--accelerator '$accelerator' is none of GKE's TPUs"
  [[ $topology =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ ]] \
    || refuse "--topology '$topology' is no topology, such as 4x4 or 2x2x4"
  [[ $service_account =~ ^[a-z0-9][a-z0-9.-]*$ ]] \
    || refuse "--service_account '$service_account' is no name"
  chips=$((${topology//x/*}))
  [[ -n $chips_per_host ]] || chips_per_host=$((chips < 4 ? chips : 4))
  [[ $chips_per_host =~ ^[1-9][0-9]?$ && $((chips % chips_per_host)) == 0 ]] \
    || refuse "--chips_per_host '$chips_per_host' does not divide the $chips chips of $topology"
  set_program "$engine" ${arguments[@]+"${arguments[@]}"}
  check_run_arguments bucket ${arguments[@]+"${arguments[@]}"}
  [[ "${arguments[*]}" != *$'\n'* ]] || refuse "an argument with a line break cannot be handed on"
}

# Prints words as a YAML list; Kubernetes itself would expand $(NAME).
yaml_list() {
  local word separator='' quote="''" reference="\$\$("
  printf '['
  for word in "$@"; do
    word=${word//\$\(/$reference}
    printf "%s'%s'" "$separator" "${word//\'/$quote}"
    separator=', '
  done
  printf ']'
}

# The template without its comment lines; a placeholder stands at the end of its line.
manifest() {
  local line value hosts=$((chips / chips_per_host)) exclusive_to=cloud.google.com/gke-nodepool
  if ((hosts == 1)); then exclusive_to=kubernetes.io/hostname; fi
  while IFS= read -r line; do
    if [[ $line =~ ^\ *# ]]; then continue; fi
    if [[ $line =~ ^([^$]*)\$\{([A-Z_]+)\}$ ]]; then
      line=${BASH_REMATCH[1]}
      case ${BASH_REMATCH[2]} in
        NAME) value=$name ;;
        EXCLUSIVE_TO) value=$exclusive_to ;;
        MAX_RESTARTS) value=$max_restarts ;;
        HOSTS) value=$hosts ;;
        SERVICE_ACCOUNT) value=$service_account ;;
        ACCELERATOR) value=$accelerator ;;
        TOPOLOGY) value=$topology ;;
        SPOT_SELECTOR) ((spot)) || continue
          value='cloud.google.com/gke-spot: "true"' ;;
        IMAGE) value=$image ;;
        ARGUMENTS) value=$(yaml_list "${program[@]}") ;;
        CHIPS_PER_HOST) value=$chips_per_host ;;
        *) fail "launch/gke/jobset.yaml: nothing is known to fill in for ${BASH_REMATCH[2]}" ;;
      esac
      line=$line$value
    fi
    printf '%s\n' "$line"
  done <launch/gke/jobset.yaml
}

on_cluster() { kubectl ${namespace[@]+"${namespace[@]}"} "$@"; }

# Prints ABSENT, RUNNING, COMPLETED or FAILED; UNKNOWN where the cluster does not answer.
set_state() {
  local answer
  answer=$(on_cluster get jobset "$name" --ignore-not-found \
    -o 'jsonpath={.metadata.name}:{.status.conditions[?(@.status=="True")].type}') \
    || { printf 'UNKNOWN\n'; return; }
  case $answer in
    "" | :) printf 'ABSENT\n' ;;
    *:*Completed*) printf 'COMPLETED\n' ;;
    *:*Failed*) printf 'FAILED\n' ;;
    *) printf 'RUNNING\n' ;;
  esac
}

apply() {
  printf '%s\n' "$rendered" | on_cluster apply -f - \
    || fail "the cluster refused the manifest (its message is above); is JobSet installed in it?"
}

delete() {
  run kubectl ${namespace[@]+"${namespace[@]}"} delete jobset "$name" --ignore-not-found \
    || fail "$name could not be deleted (the cluster's message is above)"
}

# The first host's log; a pod that is pending, gone or restarting has none, and one looks again.
follow() {
  local state since=--tail=-1 unanswered=0
  while :; do
    on_cluster logs --follow "$since" --selector \
      "jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0" || true
    since=--since=${poll_seconds}s
    state=$(set_state)
    [[ $state == UNKNOWN ]] || unanswered=0
    case $state in
      COMPLETED) say "the run is done"; return ;;
      FAILED) fail "the run failed; \`kubectl describe jobset $name\` says more" ;;
      ABSENT) fail "the set $name was deleted" ;;
      UNKNOWN) ((++unanswered < 5)) || fail "the cluster does not answer; the run goes on, and the" \
        "same command follows it" ;;
    esac
    sleep "$poll_seconds"
  done
}

train() {
  case $(set_state) in
    RUNNING) say "$name is there already; following it (\`delete\` first to start it anew)" ;;
    UNKNOWN) fail "the cluster does not answer (its message is above)" ;;
    COMPLETED | FAILED) say "$name has ended before; submitting it again"; delete; apply ;;
    ABSENT) apply ;;
  esac
  if ((follows)); then follow; fi
}

print_train() {
  quoted kubectl ${namespace[@]+"${namespace[@]}"} apply -f -
  printf " <<'MANIFEST'\n%s\nMANIFEST\n" "$rendered"
  ((follows)) || return 0
  run kubectl ${namespace[@]+"${namespace[@]}"} logs --follow --tail=-1 --selector \
    "jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
}

parse "$@"
need kubectl "install it and point it at the cluster"
case $verb in
  train)
    check_train
    rendered=$(manifest)
    if ((dry_run)); then print_train; exit; fi
    trap 'say "interrupted; the run goes on, and the same command follows it"; exit 130' INT
    train ;;
  delete) delete ;;
  *) refuse "'$verb' is neither train nor delete; see --help" ;;
esac
