#!/usr/bin/env bash
# Brings T5X into the environment, beside the packages that recalign is tested with.
#   bash launch/setup_t5x.sh              by git, at the commits below
#   bash launch/setup_t5x.sh --from DIR   from DIR/t5x, DIR/airio and DIR/jestimator
#
# T5X is on no package index, and its setup.py asks for the newest commits of nine projects. So
# nothing of it is installed: its source and that of the two libraries it imports go to .venv/t5x,
# and a .pth file puts them on the path. Run it again at any time; it does only what is missing.
launcher=setup_t5x
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
sources=$root/.venv/t5x
requirements=$root/launch/t5x_requirements.txt

readonly PROJECTS=(t5x airio jestimator)
declare -rA URL=(
  [t5x]=https://github.com/google-research/t5x
  [airio]=https://github.com/google/airio
  [jestimator]=https://github.com/google-research/jestimator
)
# The heads that were run with the packages of requirements.txt.
declare -rA COMMIT=(
  [t5x]=cc342d419ec3e3e9c4bf1df33c82330cafdc1e16
  [airio]=69897df7d9a427b947a9f7bb4164c7782b43e601
  [jestimator]=326824a477feef6d92e6f44175000907a72899ca
)

commit_of() { git -C "$1" rev-parse --verify --quiet HEAD 2>/dev/null; }

# Into a folder of its own until it is whole, so that what was cut short is never taken for done.
clone() {
  local project=$1 whole=$sources/$1 part=$sources/$1.part
  [[ "$(commit_of "$whole")" == "${COMMIT[$project]}" ]] && return
  say "fetching $project at ${COMMIT[$project]:0:12}"
  rm -rf -- "$part" "$whole"
  git init --quiet "$part" \
    && git -C "$part" fetch --quiet --depth 1 "${URL[$project]}" "${COMMIT[$project]}" \
    && git -C "$part" checkout --quiet FETCH_HEAD \
    || fail "$project could not be fetched from ${URL[$project]} (git's message is above);" \
      "on a machine without access give local copies: --from DIR"
  mv -- "$part" "$whole"
}

copy() {
  local project=$1 given=$2/$1 whole=$sources/$1 part=$sources/$1.part
  [[ -d $given/$project ]] \
    || refuse "--from $2: no source of $project there ($given/$project is no folder)"
  rm -rf -- "$part" "$whole"
  cp -R -- "$given" "$part" || fail "$given could not be copied to $part"
  mv -- "$part" "$whole"
}

describe_source() {
  local commit
  [[ -e $sources/$1/.git ]] && commit=$(commit_of "$sources/$1") || commit=
  case $commit in
    "") printf '%s of unknown commit' "$1" ;;
    "${COMMIT[$1]}") printf '%s %s' "$1" "${commit:0:12}" ;;
    *) printf '%s %s (tested: %s)' "$1" "${commit:0:12}" "${COMMIT[$1]:0:12}" ;;
  esac
}

install_packages() {
  if command -v uv >/dev/null; then
    uv pip install --quiet --python "$python" --no-deps --require-hashes -r "$requirements"
  else
    "$python" -m pip install --quiet --no-deps --require-hashes -r "$requirements"
  fi
}

from=
while (($#)); do
  case $1 in
    --from=*) from=${1#*=}; [[ -n $from ]] || refuse "--from needs a folder" ;;
    --from) [[ -n ${2:-} ]] || refuse "--from needs a folder"; from=$2; shift ;;
    -h | --help) usage "$0"; exit 0 ;;
    *) refuse "'$1' is no option; there is --from DIR" ;;
  esac
  shift
done
if [[ -n $from ]]; then
  from=$(cd -- "$from" 2>/dev/null && pwd) || refuse "--from: no such folder"
else
  need git "install it, or give local copies: --from DIR"
fi

bash "$root/launch/setup.sh"
mkdir -p -- "$sources"
for project in "${PROJECTS[@]}"; do
  if [[ -n $from ]]; then copy "$project" "$from"; else clone "$project"; fi
done
install_packages || fail "the packages of launch/t5x_requirements.txt could not be installed" \
  "(the installer's message is above)"

site_packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[[ -d $site_packages ]] || fail "$python does not say where its packages are"
printf "$sources/%s\n" "${PROJECTS[@]}" >"$site_packages/recalign_t5x.pth"

say "importing T5X (half a minute)"
if ! said=$(cd -- "$root" && TF_CPP_MIN_LOG_LEVEL=3 "$python" - 2>&1 <<'PYTHON'
import importlib.metadata as packages

import t5x.eval
import t5x.infer
import t5x.train

names = ("jax", "flax", "orbax-checkpoint", "seqio", "tensorflow")
print("with", ", ".join(f"{name} {packages.version(name)}" for name in names))
PYTHON
); then
  printf '%s\n' "$said" >&2
  fail "T5X is in $sources but cannot be imported: ${said##*$'\n'}"
fi
say "ready: $(describe_source t5x), $(describe_source airio), $(describe_source jestimator)," \
  "${said##*$'\n'}"
