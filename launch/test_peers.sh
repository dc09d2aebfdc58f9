#!/usr/bin/env bash
# Runs the tests that need what the lock leaves out, each group in an environment of its own:
#   bash launch/test.sh --peers [plan] [beam] [torch] [serve] [t5x]     all unless some are named
# plan needs TPU's compiler (libtpu), beam Apache Beam, torch PyTorch and transformers, serve FastAPI,
# uvicorn and schemathesis, and t5x T5X, by git or from the local copies in T5X_SOURCES (see setup_t5x.sh).
# Environments are made once, under .venv/peers; the summary names those that could not be made and those whose tests failed.
launcher=test_peers
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=$PWD/.venv/bin/python

declare -rA TESTS=(
  [plan]="tests/plan"
  [beam]="tests/data/beam"
  [serve]="tests/serve tests/trainer/test_serve_http.py"
  [torch]="tests/model/t5/test_hugging_face_parity.py tests/weights/test_hugging_face.py"
  [t5x]="tests/t5x"
)

# make NAME PIP'S ARGUMENTS: an environment that is never taken for whole before it is.
make() {
  local environment=$PWD/.venv/peers/$1
  [[ -e $environment/.complete ]] && return
  rm -rf -- "$environment"
  "$python" -m venv "$environment" || return
  # Beam wants older releases than the lock's; to the others the lock's packages are visible.
  if [[ $1 != beam ]]; then
    "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      >"$(echo "$environment"/lib/python3.*/site-packages)/recalign_lock.pth" || return
  fi
  "$environment/bin/python" -m pip install --quiet "${@:2}" && touch "$environment/.complete"
}

prepare() {
  case $1 in
    plan) make plan --require-hashes -r launch/locks/plan.txt ;;
    serve)
      make serve --require-hashes -r launch/locks/serve.txt &&
        .venv/peers/serve/bin/python -m pip install --quiet schemathesis==4.32.5
      ;;
    beam) make beam -e ".[beam,test]" ;;
    torch) make torch torch==2.13.0 transformers==5.23.0 ;;
    t5x) bash launch/setup_t5x.sh ${T5X_SOURCES:+--from "$T5X_SOURCES"} ;;
  esac
}

[[ ${1:-} == -h || ${1:-} == --help ]] && { usage "$0"; exit 0; }
names=("$@")
((${#names[@]})) || names=(plan beam torch serve t5x)
for name in "${names[@]}"; do
  [[ -n ${TESTS[$name]:-} ]] || refuse "'$name' is none of plan, beam, torch, serve, t5x"
done

bash launch/setup.sh
mkdir -p -- .venv/peers
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=2
summary=()
status=0
for name in "${names[@]}"; do
  say "$name: ${TESTS[$name]}"
  if ! prepare "$name"; then
    summary+=("$name: its environment could not be made (the message is above)")
    status=1
    continue
  fi
  own=$PWD/.venv/peers/$name/bin/python
  [[ $name == t5x ]] && own=$python
  # shellcheck disable=SC2086 # several paths
  if "$own" -m pytest -rs ${TESTS[$name]}; then
    summary+=("$name: passed")
  else
    summary+=("$name: its tests failed")
    status=1
  fi
done
for line in "${summary[@]}"; do say "$line"; done
exit "$status"
