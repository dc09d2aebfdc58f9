#!/usr/bin/env bash
# Makes .venv with the locked packages and recalign itself; instant when nothing has changed.
#   bash launch/setup.sh
# Uses uv when it is on PATH, else Python 3.11's own venv and pip. Works from any directory.
set -euo pipefail
unset CDPATH
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.recalign-complete
unfinished=$venv/.recalign-unfinished

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# What the installed state depends on. The place counts too: a venv does not survive being moved.
fingerprint() { printf '%s\n' "$root"; cat -- "$root/requirements.txt" "$root/pyproject.toml"; }

is_complete() {
  [[ -f $stamp && -x $venv/bin/python ]] && [[ "$(<"$stamp")" == "$(fingerprint)" ]]
}

is_python311() {
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

# Every candidate on PATH is tried by running it: a version manager's shim may exist and not work.
find_python311() {
  local candidate
  while IFS= read -r candidate; do
    if is_python311 "$candidate"; then printf '%s\n' "$candidate"; return; fi
  done < <(type -aP python3.11 python3 python)
  return 1
}

# The mark of unfinished work goes in before anything else and out after everything else, so that a
# set-up that was killed is never built upon.
make_venv() {
  local python=
  if ! command -v uv >/dev/null; then
    python=$(find_python311) || die "Python 3.11 is needed and is not on PATH;" \
      "install python3.11 with its venv module, or install uv, which brings it along"
  fi
  rm -rf -- "$venv"
  mkdir -- "$venv"
  touch -- "$unfinished"
  if [[ -n $python ]]; then
    "$python" -m venv "$venv" \
      || die "$python could make no environment; its venv module may be missing (python3.11-venv)"
  else
    uv venv --quiet --allow-existing --python 3.11 "$venv" \
      || die "uv could make no environment with Python 3.11 (its own message is above)"
  fi
}

# Chained by hand: bash's errexit is off in what stands before an `||`.
install_packages() {
  if command -v uv >/dev/null; then
    uv pip install --python "$venv/bin/python" -r "$root/requirements.txt" \
      && uv pip install --python "$venv/bin/python" --no-deps --no-build-isolation -e "$root"
  else
    { "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip; } \
      && "$venv/bin/python" -m pip install -r "$root/requirements.txt" \
      && "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e "$root"
  fi
}

if is_complete; then exit 0; fi

# Two set-ups at once would write into each other's files; the second waits and finds it done.
if command -v flock >/dev/null; then
  exec 9<"$root/launch/setup.sh"
  flock 9
  if is_complete; then exit 0; fi
fi

started=$SECONDS
if [[ -e $unfinished ]]; then
  say "an earlier set-up did not finish; starting afresh"
fi
if [[ -e $unfinished ]] || ! is_python311 "$venv/bin/python"; then
  say "making $venv"
  make_venv
fi
rm -f -- "$stamp"
touch -- "$unfinished"
say "installing the packages of requirements.txt (some minutes the first time)"
install_packages || die "the packages could not be installed (the installer's message is above);" \
  "run the same command again when that is mended"
fingerprint >"$stamp.partial"
mv -f -- "$stamp.partial" "$stamp"
rm -f -- "$unfinished"
say "ready after $((SECONDS - started)) s"
