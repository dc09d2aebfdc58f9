#!/usr/bin/env bash
# What launch/tpu_vm.sh asks of each worker of a TPU slice.
#   bash launch/tpu_worker.sh install recalign|t5x
#   bash launch/tpu_worker.sh start|status MODULE ARGUMENTS
#   bash launch/tpu_worker.sh follow LINES
#   bash launch/tpu_worker.sh stop
# A run outlives the connection that started it. `status` prints one line: none, running, busy (with
# another command), vanished (the machine was restarted) or `finished STATUS`.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
launcher=tpu_worker
source launch/common.sh
PATH=$HOME/.local/bin:$PATH
state=$HOME/recalign-run

# Numbers of processes begin anew when the machine does: the one on file may be another's by now.
is_running() { [[ -f $state/pid ]] && grep -qs tpu_worker "/proc/$(<"$state/pid")/cmdline"; }
is_same_command() { [[ -f $state/command && "$(<"$state/command")" == "$(quoted "$@")" ]]; }

install() {
  command -v uv >/dev/null || python3 -m pip install --user --quiet uv
  bash launch/setup.sh
  bash launch/accelerator.sh tpu
  if [[ $1 == t5x ]]; then bash launch/setup_t5x.sh; fi
}

start() {
  if is_running; then return; fi
  mkdir -p "$state"
  rm -f -- "$state/finished"
  quoted "$@" >"$state/command"
  setsid nohup bash launch/tpu_worker.sh supervise "$@" >"$state/log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$state/pid"
}

# Stays until the run has ended, SIGTERM or not, and leaves its exit status.
supervise() {
  local status=0
  trap : TERM
  bash launch/worker.sh "$@" || status=$?
  printf '%s\n' "$status" >"$state/finished.partial"
  mv -f -- "$state/finished.partial" "$state/finished"
}

status() {
  if is_running; then
    if is_same_command "$@"; then printf 'running\n'; else printf 'busy\n'; fi
  elif ! is_same_command "$@"; then
    printf 'none\n'
  elif [[ -f $state/finished ]]; then
    printf 'finished %s\n' "$(<"$state/finished")"
  else
    printf 'vanished\n'
  fi
}

follow() { tail -n "$1" -f -s 0.2 --pid="$(<"$state/pid")" -- "$state/log"; }

# The whole session: the supervisor, the worker and the run.
stop() { if is_running; then kill -TERM -- "-$(<"$state/pid")"; fi; }

case ${1-} in
  install | start | supervise | status | follow | stop) "$@" ;;
  *) refuse "'${1-}' is none of install, start, status, follow, stop" ;;
esac
