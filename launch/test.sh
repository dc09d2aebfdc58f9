#!/usr/bin/env bash
# Sets the environment up, then runs the tests, two at a time.
#   bash launch/test.sh [--slow] [pytest's arguments]
#   bash launch/test.sh tests/model -k beam
#   bash launch/test.sh --peers [plan] [beam] [torch] [serve] [t5x]     what needs more than the lock has
# --slow also runs the tests that take minutes each. The summary names each test that was skipped and
# what it needs.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --peers ]]; then exec bash launch/test_peers.sh "${@:2}"; fi

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
# A file's tests stay together, so that what its fixtures prepared is made once, and files come in
# the order of tests/conftest.py, the longest first.
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs --durations 25 \
  ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"}
