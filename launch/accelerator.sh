#!/usr/bin/env bash
# Adds JAX's plug-in for this machine's accelerator to .venv, at the release that is locked.
#   bash launch/accelerator.sh tpu|cuda12|cuda13|cpu
# To be run after launch/setup.sh; instant when it is there already.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
launcher=accelerator
source launch/common.sh

case ${1-} in
  tpu | cuda12 | cuda13) ;;
  cpu) exit ;;
  -h | --help) usage launch/accelerator.sh; exit ;;
  *) refuse "'${1-}' is none of tpu, cuda12, cuda13, cpu" ;;
esac
lock=launch/locks/$1.txt
stamp=.venv/.recalign-$1
if [[ -f $stamp && "$(<"$stamp")" == "$(<"$lock")" ]]; then exit; fi

say "installing the packages of $lock"
if command -v uv >/dev/null; then
  uv pip install --python .venv/bin/python --require-hashes -r "$lock"
else
  .venv/bin/python -m pip install --require-hashes -r "$lock"
fi || fail "the packages of $lock could not be installed (the installer's message is above)"
cp -- "$lock" "$stamp"
