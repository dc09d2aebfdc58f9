#!/usr/bin/env bash
# Sets the environment up, then runs the tests, two at a time.
#   bash launch/test.sh [--slow] [pytest's arguments]
#   bash launch/test.sh tests/model -k beam
# --slow also runs the tests that take minutes each.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

selection=()
arguments=()
for argument in "$@"; do
  if [[ $argument == --slow ]]; then
    selection=(-m "slow or not slow")
  else
    arguments+=("$argument")
  fi
done

bash launch/setup.sh
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=2
# A file's tests stay together, so that what its fixtures prepared is made once.
exec .venv/bin/python -m pytest -n 2 --dist loadfile \
  ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"}
