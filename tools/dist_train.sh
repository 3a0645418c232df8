#!/usr/bin/env bash
# Trains on several GPUs (or CPU processes) of one machine or of several:
#
#   tools/dist_train.sh [CONFIG] GPUS [options of train.py]
#
# CONFIG: default configs/otter_mimicit.py. GPUS: processes on this machine.
# Several machines: run it on each with NNODES, NODE_RANK (0 on the first), MASTER_ADDR (the first one's address) and
# PORT (default 29500) set. MAX_RESTARTS (default 0): how often all processes are started again, from the newest
# checkpoint, after one has failed; NNODES=MIN:MAX lets machines come and go. Without a GPU, or with CUDA_VISIBLE_DEVICES= (empty), the processes train on the CPU.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    default=$(dirname "$tools")/configs/otter_mimicit.py
    set -- "${default#"$PWD"/}" "$@"
fi
if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
    echo 'usage: tools/dist_train.sh [CONFIG] GPUS [options of train.py]; GPUS is a number of at least 1' >&2
    exit 2
fi
config=$1 gpus=$2
exec "$tools/_launch.sh" "$gpus" "$tools/train.py" "$config" "${@:3}" --launcher pytorch
