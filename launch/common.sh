#!/usr/bin/env bash
# What the launchers share. They source this file after setting `launcher` to their own name.
# shellcheck disable=SC2034 # what is set here is read there
set -euo pipefail
unset CDPATH
launcher=${launcher:?}

# The exit status of a run that was told to stop, saved its state and can go on (sysexits' TEMPFAIL).
readonly STOPPED=75
dry_run=0

say() { printf '%s: %s\n' "$launcher" "$*" >&2; }
fail() { printf '%s: error: %s\n' "$launcher" "$*" >&2; exit 1; }
refuse() { printf '%s: error: %s\n' "$launcher" "$*" >&2; exit 2; }

# Prints the comment at the top of a script.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"; }

# Prints words so that any POSIX shell reads the same words back.
quoted() {
  local word space='' quote="'\\''"
  for word in "$@"; do
    case $word in
      "" | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/$quote}'" ;;
    esac
    printf '%s%s' "$space" "$word"
    space=' '
  done
}

# Prints a command, and runs it unless this is a dry run.
run() {
  if ((dry_run)); then quoted "$@"; printf '\n'; else printf '+ %s\n' "$(quoted "$@")" >&2; "$@"; fi
}

need() {
  ((dry_run)) || command -v "$1" >/dev/null || refuse "$1 is not on PATH; $2"
}

check_number() {
  [[ $2 =~ ^[0-9]{1,6}$ ]] || refuse "$1 '$2' is not a whole number from 0 up"
}

# A name that Google Cloud, Kubernetes and Slurm all accept.
check_name() {
  [[ $1 =~ ^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$ ]] \
    || refuse "the name '$1' must be lower-case letters, digits and dashes, from a letter on, at most 50"
}

# The module that an engine starts: `python -m MODULE ARGUMENTS` becomes the array `program`. The
# folder of the data has another name with T5X, which does not look for experiments in gin/ either.
set_program() {
  local n file
  case $1 in
    recalign) program=(recalign train "${@:2}") ;;
    t5x) program=(t5x.train "${@:2}"); program=("${program[@]/#--data_dir/--tfds_data_dir}")
      for n in "${!program[@]}"; do
        file=${program[n]#--gin_file=}
        if [[ ! -f $file && -f gin/$file ]]; then program[n]=${program[n]%"$file"}gin/$file; fi
      done ;;
    *) refuse "--engine '$1' is neither recalign nor t5x" ;;
  esac
}

# Refuses what a run would only refuse once its machines are rented.
#   check_run_arguments anywhere|bucket ARGUMENTS
check_run_arguments() {
  local where=$1 gin_file='' model_dir='' data_dir='' option=''
  shift
  for argument in "$@"; do
    case $option$argument in
      --gin_file | --data_dir | --tfds_data_dir) option=$argument=; continue ;;
      --gin_file=*) gin_file=${option:-}$argument; gin_file=${gin_file#*=}
        [[ -f $gin_file || -f gin/$gin_file ]] \
          || refuse "--gin_file '$gin_file': no such file in $PWD, nor in its gin/" ;;
      --gin.MODEL_DIR=*) model_dir=${argument#*=} ;;
      --data_dir=* | --tfds_data_dir=*) data_dir=$option$argument; data_dir=${data_dir#*=} ;;
      --*) ;;
      *) refuse "'$argument' is no argument of a run; a binding is written --gin.NAME=VALUE" ;;
    esac
    option=''
  done
  [[ -z $option ]] || refuse "${option%=} needs a value"
  [[ -n $gin_file ]] || refuse "no experiment: give --gin_file=FILE after --"
  [[ $model_dir == \'*\' || $model_dir == \"*\" ]] \
    || refuse "give the run's directory as a gin string: --gin.MODEL_DIR=\"'DIRECTORY'\""
  if [[ $where == bucket ]]; then
    [[ ${model_dir:1} == gs://* ]] \
      || refuse "MODEL_DIR $model_dir is lost with its machine; a run resumes only from gs://"
    [[ $data_dir == gs://* ]] \
      || refuse "the machines have no data: prepare it on gs:// and give --data_dir=gs://…"
  fi
}
