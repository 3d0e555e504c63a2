#!/usr/bin/env bash
# mxjax on a Cloud TPU VM. Every verb is one to three gcloud calls; --dry_run prints them and runs nothing.
set -euo pipefail

repository=https://github.com/mxjax/mxjax
types='v5litepod-8 (v5e), v6e-8, v5p-8 or v4-8'

usage() {
  cat <<EOF
usage: launch/tpu_vm.sh VERB --name NAME --zone ZONE [--project PROJECT] [--dry_run] [options]

  create  --type TYPE [--version RUNTIME] [--spot]
          a TPU VM; one host: $types
  setup   [--git URL] [--ref REF] | --wheel FILE
          Python 3.12 and mxjax[tpu,data,code] on every worker, from git or from a wheel of yours; again, it updates
  run     [--workdir DIR] [--type TYPE] -- COMMAND...
          starts COMMAND in the background on every worker and returns; DIR is appended as --workdir
  logs    [--lines N]
          the end of every worker's log, and whether the job runs or how it exited
  status  state of the VM, and of the job on every worker
  delete  [--yes]
          the VM and its disk; --yes does not ask

A whole run:
  where="--name my-tpu --zone us-central1-a"
  launch/tpu_vm.sh create \$where --type v5litepod-8 --spot
  launch/tpu_vm.sh setup  \$where
  launch/tpu_vm.sh run    \$where --workdir gs://BUCKET/cold_start -- mxjax sft --config configs/quickstart.py
  launch/tpu_vm.sh logs   \$where
  launch/tpu_vm.sh delete \$where

mxjax computes in one process so far, so run refuses train, sft, evaluate and solve on types with several hosts.
Exit code: gcloud's own; 2 for a mistake in the arguments.
EOF
}

fail() {
  printf 'tpu_vm.sh%s: %s\n' "${verb:+ $verb}" "$1" >&2
  exit 2
}

note() {
  printf 'note: %s\n' "$1" >&2
}

# The words as a shell reads them back, on one line unless a word has newlines.
quoted() {
  local word separator='' plain='^[A-Za-z0-9_./:=@%+,-]+$' apostrophe="'\\''"
  for word in "$@"; do
    if [[ ! $word =~ $plain ]]; then
      word=${word//\'/"$apostrophe"}
      word="'$word'"
    fi
    printf '%s%s' "$separator" "$word"
    separator=' '
  done
}

# One call of gcloud compute tpus tpu-vm, or its text.
tpu() {
  local call=(gcloud compute tpus tpu-vm "$@" "--zone=$zone")
  if [[ $project ]]; then call+=("--project=$project"); fi
  if [[ $dry_run ]]; then
    quoted "${call[@]}"
    echo
  else
    "${call[@]}"
  fi
}

on_workers() {
  tpu ssh "$name" --worker=all "--command=$1"
}

# Arguments

parse() {
  local key value allowed
  case $verb in
    create) allowed=' type version spot ' ;;
    setup) allowed=' git ref wheel ' ;;
    run) allowed=' workdir type ' ;;
    logs) allowed=' lines ' ;;
    status) allowed=' ' ;;
    delete) allowed=' yes ' ;;
    *) fail "unknown verb '$verb'; one of create, setup, run, logs, status, delete" ;;
  esac
  allowed=" name zone project dry_run$allowed"
  while (($#)); do
    if [[ $1 == -- ]]; then
      [[ $verb == run ]] || fail "takes no command; only run does"
      shift
      command=("$@")
      return
    fi
    [[ $1 == --?* ]] || fail "does not know '$1'; options start with --, and run's command follows --"
    key=${1%%=*}
    key=${key#--}
    [[ $key =~ ^[a-z_]+$ && $allowed == *" $key "* ]] || fail "does not know --$key; its options are$(dashed "$allowed")"
    if [[ $key == spot || $key == yes || $key == dry_run ]]; then
      [[ $1 != *=* ]] || fail "--$key takes no value; write it alone or leave it out"
      value=1
    elif [[ $1 == *=* ]]; then
      value=${1#*=}
    else
      (($# > 1)) || fail "--$key needs a value"
      value=$2
      shift
    fi
    [[ $value ]] || fail "--$key is empty; give it a value or leave it out"
    printf -v "$key" '%s' "$value"
    shift
  done
}

dashed() {
  local key
  for key in $1; do printf ' --%s' "$key"; done
}

# check OPTION EXAMPLE PATTERN: the option's value, if any, matches.
check() {
  local value=${!1}
  [[ -z $value || $value =~ $3 ]] || fail "--$1 '$value' is malformed; write it like $2"
}

check_arguments() {
  [[ $name ]] || fail "needs --name, what the TPU VM is called, for example --name my-tpu"
  [[ $zone ]] || fail "needs --zone, where the TPU VM lives, for example --zone us-central1-a"
  check name my-tpu '^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$'
  check zone us-central1-a '^[a-z]+-[a-z]+[0-9]+-[a-z]$'
  check project my-project-123 '^([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]$'
  check type "$types" '^((v5litepod|v6e)-(1|4|8|16|32|64|128|256)|(v4|v5p)-[1-9][0-9]{0,4})$'
  [[ ! $type =~ ^v(4|5p)- ]] || ((${type##*-} % 8 == 0)) || fail "--type '$type' has no multiple of 8 cores; write $types"
  check version v2-alpha-tpuv5-lite '^[a-z0-9][-a-z0-9.]*$'
  check lines 200 '^[1-9][0-9]{0,6}$'
  check git "$repository" '^(https|ssh)://[^[:space:]]+$|^git@[^[:space:]]+$'
  check ref 'main, v0.1.0 or a commit' '^[A-Za-z0-9][-A-Za-z0-9_./]*$'
}

# What each TPU type is

one_host() {
  [[ $1 =~ ^((v5litepod|v6e)-(1|4|8)|(v4|v5p)-8)$ ]]
}

runtime_of() {
  case $1 in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    v4-*) echo tpu-ubuntu2204-base ;;
  esac
}

# What the workers do: ~/mxjax is the working directory, ~/mxjax_venv Python, ~/mxjax_job the job's log and state

install_uv() {
  cat <<'EOF'
set -eu
test -x ~/.local/bin/uv || { curl -LsSf https://astral.sh/uv/install.sh -o ~/uv_install.sh; sh ~/uv_install.sh; }
~/.local/bin/uv venv --allow-existing --python 3.12 ~/mxjax_venv
EOF
}

# install TARGET: mxjax, what gs:// paths need, and a look at the TPU.
install() {
  cat <<EOF
~/.local/bin/uv pip install --python ~/mxjax_venv/bin/python --reinstall-package mxjax $1 gcsfs
JAX_PLATFORMS=tpu ~/mxjax_venv/bin/mxjax doctor
EOF
}

checkout() {
  cat <<EOF
git init -q ~/mxjax
git -C ~/mxjax fetch -q --depth 1 $(quoted "$git" "$ref")
git -C ~/mxjax checkout -q --force --detach FETCH_HEAD
EOF
}

start_job() {
  printf 'set -- %s\n' "$(quoted "${command[@]}")"
  cat <<'EOF'
set -eu
test -d ~/mxjax_venv || { echo "$(hostname): mxjax is not installed; run tpu_vm.sh setup first" >&2; exit 1; }
mkdir -p ~/mxjax_job
cd ~/mxjax_job
flock -n lock true || { echo "$(hostname): a job is running; see tpu_vm.sh logs" >&2; exit 1; }
rm -f exit_code
nohup flock -n lock bash -c '
  cd ~/mxjax
  export PATH=~/mxjax_venv/bin:$PATH
  echo "== $(date -u +%FT%TZ) $*"
  "$@"
  echo $? > ~/mxjax_job/exit_code
' job "$@" >> log 2>&1 < /dev/null &
echo "$(hostname): started"
EOF
}

job_state() {
  cat <<'EOF'
cd ~/mxjax_job 2> /dev/null || { echo "$(hostname): no job yet"; exit 0; }
if ! flock -n lock true; then state=running
elif test -e exit_code; then state="exited $(cat exit_code)"
else state="stopped without an exit code: killed, or the VM restarted"
fi
EOF
}

# Verbs

create() {
  [[ $type ]] || fail "needs --type, for example $types"
  one_host "$type" || note "$type has several hosts, and mxjax computes on one so far; use $types"
  local choices=("--accelerator-type=$type" "--version=${version:-$(runtime_of "$type")}")
  if [[ $spot ]]; then choices+=(--spot); fi
  tpu create "$name" "${choices[@]}"
}

setup() {
  if [[ $wheel ]]; then
    [[ -z $git$ref ]] || fail "takes either --wheel or --git with --ref, not both; drop one"
    [[ ${wheel##*/} =~ ^mxjax-[A-Za-z0-9_.+-]+\.whl$ ]] ||
      fail "--wheel '$wheel' is not a wheel of mxjax; make one with python -m build, or pip wheel --no-deps ."
    [[ -f $wheel ]] || fail "--wheel '$wheel' does not exist; check the path"
    local here folder
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    folder=$(cd "$(dirname "$wheel")" && pwd)
    on_workers 'mkdir -p ~/mxjax'
    tpu scp --recurse "$folder/${wheel##*/}" "$here/configs" "$name:mxjax/" --worker=all
    on_workers "$(install_uv && install "\$HOME/mxjax/${wheel##*/}'[tpu,data,code]'")"
  else
    git=${git:-$repository} ref=${ref:-HEAD}
    on_workers "$(install_uv && checkout && install "-e ~/mxjax'[tpu,data,code]'")"
  fi
}

# Whether the command is a verb that computes, which mxjax does in one process so far.
in_one_process() {
  local word previous=''
  for word in "${command[@]}"; do
    if [[ ${previous##*/} == mxjax && $word =~ ^(train|sft|evaluate|solve)$ ]]; then return 0; fi
    previous=$word
  done
  return 1
}

run() {
  local word
  [[ ${command[0]:-} ]] || fail "needs the command after --, for example -- mxjax train --config configs/quickstart.py"
  if [[ $workdir ]]; then
    for word in "${command[@]}"; do
      [[ $word != --workdir && $word != --workdir=* ]] || fail "has two workdirs; give --workdir before -- or after it"
    done
    [[ $workdir != *://* || $workdir =~ ^gs://[a-z0-9][-a-z0-9_.]+/. ]] ||
      fail "--workdir '$workdir' is malformed; write it like gs://BUCKET/PATH, or a directory of the VM"
    [[ $workdir == gs://* ]] || note "a workdir on the VM is lost with it; gs://BUCKET/PATH is kept"
    command+=(--workdir "$workdir")
  fi
  if in_one_process; then
    if [[ -z $type ]]; then
      local ask=(describe "$name" '--format=value(acceleratorType)')
      if [[ $dry_run ]]; then tpu "${ask[@]}"; else type=$(tpu "${ask[@]}"); fi
    fi
    [[ -z $type ]] || one_host "$type" ||
      fail "mxjax computes in one process so far, and $type has several hosts; use $types"
  fi
  on_workers "$(start_job)"
}

logs() {
  on_workers "$(job_state)
tail -n ${lines:-100} log | sed \"s/^/\$(hostname): /\"
echo \"\$(hostname): \$state\""
}

status() {
  tpu describe "$name" '--format=value(state,health,acceleratorType)'
  on_workers "$(job_state)
echo \"\$(hostname): \$state\""
}

delete() {
  if [[ $yes ]]; then tpu delete "$name" --quiet; else tpu delete "$name"; fi
}

verb=''
if ((!$#)); then
  usage >&2
  exit 2
fi
case $1 in -h | --help | help)
  usage
  exit 0
  ;;
esac
verb=$1
shift
name='' zone='' project='' type='' version='' spot='' git='' ref='' wheel='' workdir='' lines='' yes='' dry_run=''
command=()
parse "$@"
check_arguments
[[ $dry_run ]] || type -P gcloud > /dev/null ||
  fail "gcloud is not on PATH; install the Google Cloud CLI (https://cloud.google.com/sdk), or add --dry_run"
"$verb"
