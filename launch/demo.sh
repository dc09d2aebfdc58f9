#!/usr/bin/env bash
# The whole of recalign on a corpus of its own, from the install to a report.
#   bash launch/demo.sh [--seed N] [--out DIR]
# Run it again after an interruption: training goes on from its last checkpoint, all else is made
# anew from the seed. Without --out the run lies in runs/demo (seed 0) or runs/demo-seedN.
set -euo pipefail
unset CDPATH
called_from=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

refuse() { printf 'demo: error: %s\n' "$*" >&2; exit 2; }
say() { printf '\n== %s\n' "$*"; }

seed=0
out=
while (($#)); do
  case $1 in
    --seed | --out) (($# > 1)) || refuse "$1 needs a value"; set -- "$1=$2" "${@:3}" ;;
    --seed=*) seed=${1#*=}; shift ;;
    --out=*) out=${1#*=}; shift ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' launch/demo.sh; exit ;;
    *) refuse "unknown argument '$1'; usage: bash launch/demo.sh [--seed N] [--out DIR]" ;;
  esac
done
[[ $seed =~ ^[0-9]{1,9}$ ]] || refuse "--seed '$seed' is not a whole number from 0 up"
seed=$((10#$seed))
case $out in
  "") if ((seed)); then out=runs/demo-seed$seed; else out=runs/demo; fi ;;
  *\'* | *\\*) refuse "--out '$out': a quote or a backslash cannot stand in a run's name" ;;
  /*) ;;
  *) out=$called_from/$out ;;
esac
# Seeds have corpora of their own: an interrupted run finds the one that it began on.
if ((seed)); then data=data/seed$seed; else data=data; fi

bash launch/setup.sh
started=$SECONDS
recalign() { PYTHONUNBUFFERED=1 .venv/bin/python -m recalign "$@"; }
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

say "1 of 3: the demo's corpus (seed $seed)"
recalign prepare demo --seed "$seed" --data_dir "$data"

say "2 of 3: fine-tuning UT+AT, then the test split by beam search"
recalign train --gin_file=gin/ut_at_demo.gin --data_dir "$data" \
  --gin.MODEL_DIR="'$out'" --gin.RANDOM_SEED="$seed"

say "3 of 3: the report"
recalign baselines demo --models popularity,history,optimum --gin_file=gin/ut_at_demo.gin \
  --data_dir "$data" --out "$out/baselines/results.json"
recalign report "$out" "$out/baselines" --data_dir "$data" --out "$out/report.html"
printf '\n%s, after %d min %d s\n' "$out/report.html" \
  $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
