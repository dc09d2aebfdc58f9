#!/usr/bin/env bash
# Trains a table's rows: every experiment with every seed. Give the same command again to go on.
#   bash launch/sweep.sh [flags] EXPERIMENT.gin… [--gin.NAME=VALUE…] [--data_dir=D] [-- LAUNCHER…]
#
# Examples:
#   bash launch/sweep.sh --seeds=0,1,2 gin/reat_toys.gin gin/ut_at_toys.gin
#   bash launch/sweep.sh --seeds=0,1 --out=/shared/runs/table4 --jobs=8 gin/{,base/}re*_toys.gin \
#     --data_dir=/shared/data -- sbatch --wait --job-name={row} launch/slurm.sbatch
#   bash launch/sweep.sh --out=gs://bucket/table1 gin/*_toys.gin --data_dir=gs://bucket/data \
#     -- bash launch/tpu_vm.sh train {row} --zone=us-west4-a --accelerator_type=v5litepod-16 \
#     --spot --delete_when_done --
#
# A row is EXPERIMENT-seedN, such as base-reat_toys-seed0 of gin/base/reat_toys.gin. It trains in
# OUT/ROW, what it prints goes to runs/sweep/ROW.log, and it is done when its results.json is there
# (the own engine's; T5X writes none): such rows are skipped. After -- stands a launcher's command,
# which must last as long as the run; the run's arguments are added to it, and {row} in it becomes
# the row's name with dashes for underscores. Without one, rows run on this machine.
#
# Flags:
#   --seeds=N,N,…       RANDOM_SEED of the rows (default: 0)
#   --out=DIR           where the rows' directories lie, local or on gs:// (default: runs/sweep)
#   --jobs=N            how many rows at a time (default: 1)
#   --dry_run           print every row's command, and run none
# Exit status: 0 every row has its results, 1 some row failed, 2 bad arguments, 130 interrupted.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
launcher=sweep
source launch/common.sh

seeds=0
out=runs/sweep
jobs=1
experiments=()
passed_on=()
command=()
readonly logs=runs/sweep

parse() {
  while (($#)); do
    case $1 in
      --seeds | --out | --jobs | --data_dir | --tfds_data_dir)
        (($# > 1)) || refuse "$1 needs a value"; set -- "$1=$2" "${@:3}" ;;
      --seeds=*) seeds=${1#*=}; shift ;;
      --out=*) out=${1#*=}; out=${out%/}; shift ;;
      --jobs=*) jobs=${1#*=}; shift ;;
      --dry_run) dry_run=1; shift ;;
      --gin.MODEL_DIR=* | --gin.RANDOM_SEED=*)
        refuse "${1%%=*} is the row's own; give --out and --seeds" ;;
      --gin.*=* | --data_dir=* | --tfds_data_dir=*) passed_on+=("$1"); shift ;;
      -h | --help) usage launch/sweep.sh; exit ;;
      --) command=("${@:2}"); ((${#command[@]})) || refuse "no launcher after --"; break ;;
      -*) refuse "unknown argument '$1'; a launcher's own flags stand after --" ;;
      *.gin) [[ -f $1 ]] || refuse "'$1': no such experiment in $PWD"
        experiments+=("$1"); shift ;;
      *) refuse "'$1' is no experiment file (.gin)" ;;
    esac
  done
  ((${#experiments[@]})) || refuse "no experiment; see --help"
  [[ $seeds =~ ^[0-9]{1,9}(,[0-9]{1,9})*$ ]] \
    || refuse "--seeds '$seeds' is no list of whole numbers, such as 0,1,2"
  [[ $jobs =~ ^[1-9][0-9]{0,3}$ ]] || refuse "--jobs '$jobs' is not a whole number from 1 up"
  case $out in
    "" | *\'* | *\\*) refuse "--out '$out': it is empty, or holds a quote or a backslash" ;;
    gs://*) need gcloud "it looks for results on gs://" ;;
  esac
}

# Rows: three arrays side by side.
list_rows() {
  local experiment name seed row
  rows=() row_experiments=() row_seeds=()
  for experiment in "${experiments[@]}"; do
    # gin/base/reat_toys.gin and gin/reat_toys.gin are two rows of one table.
    name=${experiment%.gin} name=${name#"$PWD"/}
    case $name in gin/*) name=${name#gin/} ;; *) name=${name##*/} ;; esac
    for seed in ${seeds//,/ }; do
      row=${name//\//-}-seed$((10#$seed))
      case " ${rows[*]-} " in *" $row "*) refuse "the row $row is asked for twice" ;; esac
      rows+=("$row") row_experiments+=("$experiment") row_seeds+=($((10#$seed)))
    done
  done
}

# Whether the row has its results; a bucket that does not answer is no answer.
has_results() {
  local file=$out/$1/results.json answer
  if [[ $file != gs://* ]]; then [[ -f $file ]]; return; fi
  if answer=$(gcloud storage ls "$file" 2>&1); then return 0; fi
  [[ $answer == *"matched no objects"* ]] || fail "$file cannot be looked up: $answer"
  return 1
}

# The command of a row, in the array `row_command`.
set_row_command() {
  local row=${rows[$1]} word
  local dashed=${row//[_.]/-}
  row_command=()
  if ((${#command[@]})); then
    for word in "${command[@]}"; do row_command+=("${word//\{row\}/$dashed}"); done
  else
    row_command=(.venv/bin/python -m recalign train)
  fi
  row_command+=("--gin_file=${row_experiments[$1]}" ${passed_on[@]+"${passed_on[@]}"}
    "--gin.MODEL_DIR='$out/$row'" "--gin.RANDOM_SEED=${row_seeds[$1]}")
}

# Starts a row; its number and process go to the end of the queue.
start_row() {
  set_row_command "$1"
  say "${rows[$1]}: begins (its log: $logs/${rows[$1]}.log)"
  "${row_command[@]}" >"$logs/${rows[$1]}.log" 2>&1 </dev/null &
  queue+=("$1:$!")
}

# Waits for the row that has run longest, and takes it from the queue.
end_row() {
  local number=${queue[0]%%:*} process=${queue[0]#*:} status=0
  wait "$process" || status=$?
  queue=("${queue[@]:1}")
  if ((status == 75)); then
    outcomes[number]="stopped (its state is saved)"
  elif ((status)); then
    outcomes[number]="failed (exit status $status)"
  elif (has_results "${rows[$number]}"); then
    outcomes[number]="done"
  else
    outcomes[number]="failed (it ended without results.json)"
  fi
  say "${rows[$number]}: ${outcomes[$number]}"
}

# Rows in the background do not hear Ctrl-C; on SIGTERM they save their state. The shell knows even a
# row that has begun and is not in the queue yet.
interrupted() {
  local process
  trap '' INT TERM
  say "interrupted; ending the rows that are running (the same command goes on)"
  for process in $(jobs -p); do kill -TERM "$process" 2>/dev/null || true; done
  wait
  exit 130
}

summary() {
  local number failed=0
  printf '\n'
  for number in "${!rows[@]}"; do
    printf '%-36s %-40s %s\n' "${rows[$number]}" "${outcomes[$number]}" "$out/${rows[$number]}"
    case ${outcomes[$number]} in failed* | stopped*) failed=$((failed + 1)) ;; esac
  done
  if ((failed)); then fail "$failed of ${#rows[@]} rows failed or stopped; the same command goes on with them"; fi
}

parse "$@"
list_rows
if ((dry_run)); then
  for number in "${!rows[@]}"; do set_row_command "$number"; run "${row_command[@]}"; done
  exit
fi

if ((!${#command[@]})); then bash launch/setup.sh; fi
mkdir -p "$logs"
outcomes=()
queue=()
trap interrupted INT TERM
for number in "${!rows[@]}"; do
  if has_results "${rows[$number]}"; then outcomes[number]="skipped (has its results)"; fi
done
for number in "${!rows[@]}"; do
  if [[ -n ${outcomes[number]-} ]]; then continue; fi
  if ((${#queue[@]} >= jobs)); then end_row; fi
  start_row "$number"
done
while ((${#queue[@]})); do end_row; done
summary
