#!/usr/bin/env bash
# Makes the locks again, each line with the digests of every file of its release: requirements.txt,
# launch/locks/*.txt, and what T5X and Cornac need. Needs uv. RecBole's has none: a build of torch for
# processors alone comes from another index, with other digests.
#   bash launch/lock.sh                             what is locked stays, unless pyproject.toml asks for another
#   bash launch/lock.sh --upgrade-package=NAME      any argument of `uv pip compile`
# The comment at the top of each file stays as it is.
launcher=lock
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
case ${1-} in -h | --help) usage launch/lock.sh; exit ;; esac
need uv "it resolves for all systems and Pythons at once"

# compile FILE UV'S ARGUMENTS
compile() {
  local file=$1 header
  header=$(sed '/^#/!Q' "$file")
  uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --output-file "$file" "${@:2}" >/dev/null || fail "$file could not be made (uv's message is above)"
  # A line for one system or one Python alone is for all of them here: each has a file for it.
  { printf '%s\n' "$header"; sed 's/ ; .*\\$/ \\/' "$file"; } >"$file.partial"
  mv -f -- "$file.partial" "$file"
  say "$file"
}

# The requirements of an extra, a line each.
extra() { sed -n "s/^$1 = \[\(.*\)\]\$/\1/p" pyproject.toml | tr -d '" ' | tr , '\n'; }

# Windows alone needs these two, and recalign does not run there.
compile requirements.txt --universal --no-emit-package colorama --no-emit-package nest-asyncio \
  "$@" --extra test pyproject.toml
for name in cuda12 cuda13 tpu plan serve; do
  extra "$name" | compile "launch/locks/$name.txt" --python-platform x86_64-manylinux_2_31 \
    -c requirements.txt "$@" -
done
for file in launch/t5x_requirements.txt recalign/baselines/environments/cornac.txt; do
  compile "$file" --universal --no-deps "$@" "$file"
done
