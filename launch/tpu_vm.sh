#!/usr/bin/env bash
# Trains on a slice of Cloud TPU: makes or reuses a queued resource, installs on every worker,
# starts the run, follows its log, makes the slice anew after a pre-emption, and goes on.
#   bash launch/tpu_vm.sh train NAME --zone=Z --accelerator_type=T [flags] -- RUN'S ARGUMENTS
#   bash launch/tpu_vm.sh stop|delete NAME --zone=Z [--project=P] [--dry_run]
#
# Example:
#   bash launch/tpu_vm.sh train ut-at-toys --zone=us-west4-a --accelerator_type=v5litepod-16 --spot \
#     -- --gin_file=gin/ut_at_toys.gin --gin.MODEL_DIR="'gs://bucket/ut_at_toys'" \
#     --data_dir=gs://bucket/data
#
# The run does not hang on this command: interrupt it and give it again to follow once more. `stop`
# tells the run to save its state and end; `delete` gives the slice back.
#
# Flags of train:
#   --zone=Z, --project=P       where; the project is gcloud's own unless given
#   --accelerator_type=T        v4-32, v5litepod-16, v5p-8, v6e-16, …
#   --runtime_version=V         default: the one for the accelerator
#   --spot                      cheaper, can be pre-empted
#   --engine=recalign|t5x       default: recalign
#   --create_flag=F             one more flag for `queued-resources create`; may be repeated
#   --ssh_flag=F                one more flag for ssh and scp, such as --tunnel-through-iap; likewise
#   --max_restarts=N            how often to go on after the slice was lost (default: 100)
#   --poll_seconds=N            between two looks at the slice (default: 30)
#   --delete_when_done          give the slice back when the run has ended, well or not
#   --dry_run                   print every command of a first run, and run none
# Exit status: 0 done, 1 the run or the cloud failed, 2 bad arguments.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
launcher=tpu_vm
source launch/common.sh

# What a worker gets of this checkout.
readonly TRAVELS=(recalign tasks gin launch requirements.txt pyproject.toml README.md LICENSE)
readonly PATIENCE=5 # failed attempts in a row to reach the cloud or the slice

zone=
project=()
accelerator_type=
runtime_version=
create_flags=()
ssh_flags=()
engine=recalign
max_restarts=100
poll_seconds=30
delete_when_done=0
arguments=()

parse() {
  [[ ${1-} != -h && ${1-} != --help ]] || { usage launch/tpu_vm.sh; exit; }
  (($# >= 2)) || refuse "usage: bash launch/tpu_vm.sh train|stop|delete NAME --zone=Z …; see --help"
  verb=$1 name=$2
  shift 2
  while (($#)); do
    case $1 in
      --zone | --project | --accelerator_type | --runtime_version | --engine | --create_flag | \
        --ssh_flag | --max_restarts | --poll_seconds)
        (($# > 1)) || refuse "$1 needs a value"; set -- "$1=$2" "${@:3}" ;;
      --zone=*) zone=${1#*=}; shift ;;
      --project=*) project=("$1"); shift ;;
      --accelerator_type=*) accelerator_type=${1#*=}; shift ;;
      --runtime_version=*) runtime_version=${1#*=}; shift ;;
      --engine=*) engine=${1#*=}; shift ;;
      --create_flag=*) create_flags+=("${1#*=}"); shift ;;
      --ssh_flag=*) ssh_flags+=("${1#*=}"); shift ;;
      --max_restarts=*) max_restarts=${1#*=}; check_number --max_restarts "$max_restarts"; shift ;;
      --poll_seconds=*) poll_seconds=${1#*=}; check_number --poll_seconds "$poll_seconds"; shift ;;
      --spot) create_flags+=(--spot); shift ;;
      --delete_when_done) delete_when_done=1; shift ;;
      --dry_run) dry_run=1; shift ;;
      -h | --help) usage launch/tpu_vm.sh; exit ;;
      --) arguments=("${@:2}"); break ;;
      *) refuse "unknown argument '$1'; the run's own arguments stand after --" ;;
    esac
  done
  check_name "$name"
  [[ -n $zone ]] || refuse "--zone is needed"
  place=("$name" "--zone=$zone" ${project[@]+"${project[@]}"})
}

check_train() {
  [[ -n $accelerator_type ]] || refuse "--accelerator_type is needed"
  if [[ -z $runtime_version ]]; then
    case $accelerator_type in
      v2-* | v3-* | v4-*) runtime_version=tpu-ubuntu2204-base ;;
      v5litepod-*) runtime_version=v2-alpha-tpuv5-lite ;;
      v5p-*) runtime_version=v2-alpha-tpuv5 ;;
      v6e-*) runtime_version=v2-alpha-tpuv6e ;;
      *) refuse "no runtime version is known for '$accelerator_type'; give --runtime_version" ;;
    esac
  fi
  set_program "$engine" ${arguments[@]+"${arguments[@]}"}
  check_run_arguments bucket ${arguments[@]+"${arguments[@]}"}
}

# The queued resource and its slice ----------------------------------------------------------------

queued() { gcloud compute tpus queued-resources "$1" "${place[@]}" "${@:2}"; }

# Prints what a description says of the state, ABSENT, or UNKNOWN where the cloud does not answer.
described() {
  local answer
  if answer=$("$@" 2>&1); then
    printf '%s\n' "${answer##*$'\n'}"
  elif [[ $answer == *NOT_FOUND* ]]; then
    printf 'ABSENT\n'
  else
    printf '%s\n' "$answer" >&2
    printf 'UNKNOWN\n'
  fi
}

# ACTIVE only where the slice itself is up: a queued resource learns late of a pre-emption.
slice_state() {
  local state node
  state=$(described queued describe '--format=value(state.state)')
  if [[ $state == ACTIVE ]]; then
    node=$(described gcloud compute tpus tpu-vm describe "${place[@]}" '--format=value(state)')
    case $node in
      READY) ;;
      PREEMPTED | TERMINATED | ABSENT) state=SUSPENDED ;;
      UNKNOWN) state=UNKNOWN ;;
      *) state=PROVISIONING ;;
    esac
  fi
  printf '%s\n' "$state"
}

create() {
  run gcloud compute tpus queued-resources create "${place[@]}" "--node-id=$name" \
    "--accelerator-type=$accelerator_type" "--runtime-version=$runtime_version" \
    ${create_flags[@]+"${create_flags[@]}"}
}

delete() {
  local answer command=(gcloud compute tpus queued-resources delete "${place[@]}" --force --quiet)
  if ((dry_run)); then run "${command[@]}"; return; fi
  if answer=$("${command[@]}" 2>&1) || [[ $answer == *NOT_FOUND* ]]; then
    say "$name is deleted"
  else
    printf '%s\n' "$answer" >&2
    fail "$name could not be deleted (the cloud's message is above) and may go on costing money"
  fi
}

count_restart() {
  ((++restarts <= max_restarts)) || fail "gave up after $max_restarts restarts; the same command goes on"
}

# Comes back when the slice is up, however long it takes.
make_active() {
  local state='' last='' created=0 unanswered=0
  while :; do
    state=$(slice_state)
    [[ $state == "$last" ]] || say "the slice $name is $state"
    last=$state
    case $state in
      ACTIVE) return ;;
      ABSENT) create || fail "the slice could not be requested (the cloud's message is above)"
        created=1 ;;
      SUSPENDED) say "the slice was pre-empted; making it anew"
        count_restart
        delete ;;
      FAILED) ((!created)) || fail "the request failed; \`gcloud compute tpus queued-resources" \
        "describe $name --zone=$zone\` says why"
        delete ;;
      UNKNOWN) ((++unanswered < PATIENCE)) || fail "the cloud does not answer (its message is above);" \
        "a run that was started goes on, and the same command follows it" ;;
    esac
    [[ $state == UNKNOWN ]] || unanswered=0
    sleep "$poll_seconds"
  done
}

# The workers --------------------------------------------------------------------------------------

# on_workers all|NUMBER COMMAND: the command is one word, as the worker's shell will read it.
on_workers() {
  run gcloud compute tpus tpu-vm ssh "${place[@]}" "--worker=$1" \
    ${ssh_flags[@]+"${ssh_flags[@]}"} "--command=$2"
}

worker() { on_workers "$1" "bash recalign/launch/tpu_worker.sh $(quoted "${@:2}")"; }

install() {
  local code=${TMPDIR:-/tmp}/recalign-$name.tar.gz
  run tar -czf "$code" --exclude=__pycache__ "${TRAVELS[@]}" \
    && run gcloud compute tpus tpu-vm scp "$code" "$name:recalign.tar.gz" "${place[@]:1}" \
      --worker=all ${ssh_flags[@]+"${ssh_flags[@]}"} \
    && on_workers all "mkdir -p recalign && cd recalign && rm -rf recalign tasks gin launch && \
tar -xzf ../recalign.tar.gz && bash launch/tpu_worker.sh install $engine"
}

# Ends with the run, the connection or the slice: the next look tells which.
follow() { worker 0 follow "$1" || true; }

begin() { install && worker all start "${program[@]}"; }

# One word for all workers. Where some have ended and some run on, JAX is about to end the others.
run_state() {
  local answer agent=recalign/launch/tpu_worker.sh
  answer=$(on_workers all "if [ -e $agent ]; then bash $agent status $(quoted "${program[@]}"); \
else echo none; fi" 2>/dev/null) || true
  case $'\n'$answer$'\n' in
    *$'\n'busy$'\n'*) printf 'busy\n' ;;
    *$'\n'running$'\n'*) printf 'running\n' ;;
    *$'\n'"finished $STOPPED"$'\n'* | *$'\n'vanished$'\n'*) printf 'stopped\n' ;;
    *$'\nfinished 2\n'*) printf 'refused\n' ;;
    *$'\n'finished\ [1-9]*) printf 'failed\n' ;;
    *$'\n'none$'\n'*) printf 'none\n' ;;
    *$'\nfinished 0\n'*) printf 'done\n' ;;
    *) printf 'unreachable\n' ;;
  esac
}

finish() {
  if ((delete_when_done)); then delete; else
    say "the slice is still there; \`bash launch/tpu_vm.sh delete $(quoted "${place[@]}")\` gives it back"
  fi
  case $1 in
    done) say "the run is done" ;;
    refused) refuse "the run refused its arguments (its message is above)" ;;
    failed) fail "the run failed (its log is above)" ;;
  esac
}

# `ours`: this command started or followed the run; an older run's failure was mended since.
train() {
  local state ours=0 lines=+1 unreached=0 unbegun=0
  while :; do
    make_active
    state=$(run_state)
    [[ $state == unreachable ]] || unreached=0
    case $state in
      done) finish "$state"; return ;;
      busy) refuse "another run is going on there; \`launch/tpu_vm.sh stop\` ends it" ;;
      running)
        ours=1
        follow "$lines"
        lines=20
        sleep "$poll_seconds"
        continue ;;
      unreachable)
        ((++unreached < PATIENCE)) || fail "the slice is up, but ssh does not reach it; run" \
          "\`$(quoted gcloud compute tpus tpu-vm ssh "${place[@]}")\` to see why"
        sleep "$poll_seconds"
        continue ;;
      failed | refused)
        if ((ours)); then
          # A lost worker takes the others down before the cloud says that it is lost.
          sleep "$poll_seconds"
          if [[ $(slice_state) == ACTIVE ]]; then finish "$state"; fi
          continue
        fi ;;
      stopped) say "the run was stopped; it goes on from its newest checkpoint"; count_restart ;;
      none) ;;
    esac
    if begin; then
      ours=1 lines=20 unbegun=0
      follow +1 # even a run that has ended at once: its log says why
    else
      ((++unbegun < PATIENCE)) || fail "the workers could not be set up (the messages are above)"
      say "the workers could not be set up; trying again"
      sleep "$poll_seconds"
    fi
  done
}

# The commands of a first run, which finds nothing and is not interrupted.
print_train() {
  run gcloud compute tpus queued-resources describe "${place[@]}" '--format=value(state.state)'
  create
  run gcloud compute tpus tpu-vm describe "${place[@]}" '--format=value(state)'
  begin
  follow +1
  worker all status "${program[@]}"
  if ((delete_when_done)); then delete; fi
}

parse "$@"
need gcloud "install the Google Cloud SDK"
restarts=0
case $verb in
  train)
    check_train
    if ((dry_run)); then print_train; exit; fi
    trap 'say "interrupted; the run goes on, and the same command follows it"; exit 130' INT
    train ;;
  stop) worker all stop || fail "the workers could not be told to stop (the message is above)" ;;
  delete) delete ;;
  *) refuse "'$verb' is none of train, stop, delete; see --help" ;;
esac
