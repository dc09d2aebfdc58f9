#!/usr/bin/env bash
# Makes .venv with the locked packages and recalign itself; instant when nothing has changed.
#   bash launch/setup.sh [--accelerator tpu|cuda12|cuda13|cpu]
# With the newest Python from 3.11 to 3.13 that is there; by uv when it is on PATH, else by Python's
# own venv and pip. Works from any directory. A package whose digest is not the lock's is refused.
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

# The minor versions of Python 3 that will do, the newest first. editdistance, which SeqIO needs, has
# no wheel for 3.13 (0.8.1): pip builds it, with a C++ compiler.
MINORS=(13 12 11)
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
  MINORS=(12 11)
fi
readonly MINORS

# Whether a program is Python 3.MINOR and can make environments; without MINOR, any that will do.
is_python() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[0] != 3 or str(sys.version_info[1]) not in sys.argv[1:])' \
    "${@:2}" >/dev/null 2>&1
}

# Every candidate on PATH is tried by running it: a version manager's shim may exist and not work.
find_python() {
  local minor candidate
  for minor in "${MINORS[@]}"; do
    while IFS= read -r candidate; do
      if is_python "$candidate" "$minor"; then printf '%s\n' "$candidate"; return; fi
    done < <(type -aP "python3.$minor" python3 python)
  done
  return 1
}

# The newest version that uv finds on this machine; where there is none, it fetches the newest.
uv_version() {
  local minor
  for minor in "${MINORS[@]}"; do
    if uv python find --no-python-downloads "3.$minor" >/dev/null 2>&1; then
      printf '3.%s\n' "$minor"
      return
    fi
  done
  printf '3.%s\n' "${MINORS[0]}"
}

# The mark of unfinished work goes in before anything else and out after everything else, so that a
# set-up that was killed is never built upon.
make_venv() {
  local python=
  if ! command -v uv >/dev/null; then
    python=$(find_python) || die "Python 3.11, 3.12 or (with a C++ compiler) 3.13 is needed and is not on PATH;" \
      "install one with its venv module, or install uv, which brings it along"
  fi
  rm -rf -- "$venv"
  mkdir -- "$venv"
  touch -- "$unfinished"
  if [[ -n $python ]]; then
    "$python" -m venv "$venv" \
      || die "$python could make no environment; its message is above"
  else
    uv venv --quiet --allow-existing --python "$(uv_version)" "$venv" \
      || die "uv could make no environment with Python 3.11 to 3.13 (its own message is above)"
  fi
}

# Chained by hand: bash's errexit is off in what stands before an `||`.
install_packages() {
  if command -v uv >/dev/null; then
    uv pip install --python "$venv/bin/python" --require-hashes -r "$root/requirements.txt" \
      && uv pip install --python "$venv/bin/python" --no-deps --no-build-isolation -e "$root"
  else
    { "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip; } \
      && "$venv/bin/python" -m pip install --no-compile --require-hashes -r "$root/requirements.txt" \
      && "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e "$root"
  fi
}

add_accelerator() {
  [[ -z $accelerator ]] || bash "$root/launch/accelerator.sh" "$accelerator"
}

accelerator=
while (($#)); do
  case $1 in
    --accelerator) (($# > 1)) || die "--accelerator needs a value"; accelerator=$2; shift 2 ;;
    --accelerator=*) accelerator=${1#*=}; shift ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$root/launch/setup.sh"; exit ;;
    *) die "unknown argument '$1'; usage: bash launch/setup.sh [--accelerator tpu|cuda12|cuda13|cpu]" ;;
  esac
done
case $accelerator in
  "" | tpu | cuda12 | cuda13 | cpu) ;;
  *) die "--accelerator '$accelerator' is none of tpu, cuda12, cuda13, cpu" ;;
esac
if is_complete; then add_accelerator; exit; fi

# Two set-ups at once would write into each other's files; the second waits and finds it done.
if command -v flock >/dev/null; then
  exec 9<"$root/launch/setup.sh"
  flock 9
  if is_complete; then add_accelerator; exit; fi
fi

started=$SECONDS
if [[ -e $unfinished ]]; then
  say "an earlier set-up did not finish; starting afresh"
fi
if [[ -e $unfinished ]] || ! is_python "$venv/bin/python" "${MINORS[@]}"; then
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
add_accelerator
