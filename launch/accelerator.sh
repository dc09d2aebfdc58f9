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
package="jax[$1]==$(sed -n 's/^jax==//p' requirements.txt)"
stamp=.venv/.recalign-$1
if [[ -f $stamp && "$(<"$stamp")" == "$package" ]]; then exit; fi

say "installing $package"
if command -v uv >/dev/null; then
  uv pip install --python .venv/bin/python "$package"
else
  .venv/bin/python -m pip install "$package"
fi || fail "$package could not be installed (the installer's message is above)"
printf '%s\n' "$package" >"$stamp"
