#!/usr/bin/env bash
# Evaluates a model on several GPUs (or CPU processes), which share the questions:
#
#   tools/dist_test.sh CONFIG MODEL GPUS [options of test.py]
#
# GPUS: processes on this machine. Several machines, or none with a GPU: as tools/dist_train.sh.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [[ ! ${3:-} =~ ^[1-9][0-9]*$ ]]; then
    echo 'usage: tools/dist_test.sh CONFIG MODEL GPUS [options of test.py]; GPUS is a number of at least 1' >&2
    exit 2
fi
exec "$tools/_launch.sh" "$3" "$tools/test.py" "$1" "$2" "${@:4}" --launcher pytorch
