#!/usr/bin/env bash
# What starts several processes: _launch.sh PROCESSES SCRIPT [arguments], under torchrun.
# Ends with the exit code of the first process that failed.
set -euo pipefail
processes=$1

if [[ -z ${OMP_NUM_THREADS:-} ]]; then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=$((cores > processes ? cores / processes : 1))
fi
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}

if [[ ${NNODES:-1} == *:* ]]; then # as many machines as are there, which may come and go
    where=(--nnodes "$NNODES" --rdzv-backend c10d --rdzv-id "${JOB:-mmgpt}"
        --rdzv-endpoint "${MASTER_ADDR:?set MASTER_ADDR to the address of the first machine}:${PORT:-29500}")
elif ((${NNODES:-1} > 1)); then
    where=(--nnodes "$NNODES" --node-rank "${NODE_RANK:?set NODE_RANK to the number of this machine, 0 on the first}"
        --master-addr "${MASTER_ADDR:?set MASTER_ADDR to the address of the first machine}"
        --master-port "${PORT:-29500}")
elif [[ -n ${PORT:-} ]]; then
    where=(--master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "$PORT")
else
    where=(--standalone) # finds a free port
fi

# torchrun's main, without its own report of a failure: the process that failed has said what there is to say.
export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR}
export PYTHONPATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}" # where it is not installed
exec "${PYTHON:-python}" -c '
import logging, signal, sys
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main
logging.disable(logging.ERROR)
try:
    main()
except ChildFailedError as error:
    rank, failure = error.get_first_failure()
    code = failure.exitcode
    if code < 0:  # it could not say it itself
        print(f"process {rank} was killed by {signal.Signals(-code).name}", file=sys.stderr)
    sys.exit(code if code > 0 else 128 - code)
except SignalException as error:  # such as Ctrl-C
    sys.exit(128 + error.sigval.value)
' "${where[@]}" --max-restarts "${MAX_RESTARTS:-0}" --nproc-per-node "$processes" "${@:2}"
