#!/usr/bin/env bash
# The whole of recalign on a corpus of its own, from the install to a report.
#   bash launch/demo.sh [--seed N] [--out DIR] [--quick]
# Run it again after an interruption: training goes on from its last checkpoint, all else is made
# anew from the seed. Without --out the run lies in runs/demo (seed 0) or runs/demo-seedN. On a GPU
# where `bash launch/setup.sh --accelerator cuda13` was run before, else on the processor.
# --quick takes every step on 400 users and for 20 steps of training, in runs/demo-quick.
set -euo pipefail
unset CDPATH
called_from=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

refuse() { printf 'demo: error: %s\n' "$*" >&2; exit 2; }

seed=0
out=()
quick=()
while (($#)); do
  case $1 in
    --seed | --out) (($# > 1)) || refuse "$1 needs a value"; set -- "$1=$2" "${@:3}" ;;
    --seed=*) seed=${1#*=}; shift ;;
    --out=/*) out=("$1"); shift ;;
    --out=*) out=("--out=$called_from/${1#*=}"); shift ;;
    --quick) quick=(--quick); shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' launch/demo.sh; exit ;;
    *) refuse "unknown argument '$1'; usage: bash launch/demo.sh [--seed N] [--out DIR] [--quick]" ;;
  esac
done
[[ $seed =~ ^[0-9]{1,9}$ ]] || refuse "--seed '$seed' is not a whole number from 0 up"
case ${out[*]-} in *\'* | *\\*) refuse "$out: a quote or a backslash cannot stand in a run's name" ;; esac

bash launch/setup.sh
exec .venv/bin/python -m recalign demo --seed "$((10#$seed))" ${out[@]+"${out[@]}"} ${quick[@]+"${quick[@]}"}
