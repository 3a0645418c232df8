#!/usr/bin/env bash
# Trains in a Slurm job, one task per GPU:
#
#   tools/slurm_train.sh PARTITION JOB CONFIG WORKDIR [options of train.py]
#
# Environment: GPUS (default 8), GPUS_PER_NODE (default 8, at most GPUS), CPUS_PER_TASK (default 5), PORT (default
# 29500), SRUN_ARGS (further options of srun).
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# < 4)); then
    echo 'usage: tools/slurm_train.sh PARTITION JOB CONFIG WORKDIR [options of train.py]' >&2
    exit 2
fi
partition=$1 job=$2 config=$3 work_dir=$4
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
export MASTER_PORT=${PORT:-29500}
export PYTHONPATH="$(dirname "$tools")${PYTHONPATH:+:$PYTHONPATH}" # where it is not installed

# shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$tools/train.py" "$config" --work-dir "$work_dir" "${@:5}" --launcher slurm
