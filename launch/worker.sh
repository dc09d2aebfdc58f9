#!/usr/bin/env bash
# One process of a run on many machines; the launchers start it on each.
#   bash launch/worker.sh MODULE ARGUMENTS
# Passes SIGTERM on to the run, which saves its state, and then exits with 75 (not 0), so that who
# started it knows that there is more to do. Else the exit status is the run's.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
launcher=worker
source launch/common.sh
(($#)) || refuse "usage: bash launch/worker.sh MODULE ARGUMENTS"

stopped=0
child=
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM

PYTHONUNBUFFERED=1 .venv/bin/python launch/distributed.py "$@" &
child=$!
if ((stopped)); then kill -TERM "$child" 2>/dev/null || true; fi
# A trapped signal ends a `wait` early, with 128 + 15, while the run is still saving or has just left:
# only waiting again tells the run's own status. 127: it was told already.
status=0
wait "$child" || status=$?
while ((status == 128 + 15)); do
  alive=0
  if kill -0 "$child" 2>/dev/null; then alive=1; fi
  again=0
  wait "$child" || again=$?
  if ((again != 127)); then status=$again; fi
  if ((!alive)); then break; fi
done

if ((stopped)) && { ((status == 0)) || ((status == 128 + 15)); }; then
  say "told to stop; the same command goes on from the newest checkpoint"
  exit "$STOPPED"
fi
exit "$status"
