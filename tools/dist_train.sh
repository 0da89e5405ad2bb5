#!/usr/bin/env bash
# Train on several GPUs of one node or of several.
#
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# On several nodes, run the same on each, with its number:
#
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST tools/dist_train.sh CONFIG 8
#   NNODES=2 NODE_RANK=1 MASTER_ADDR=HOST tools/dist_train.sh CONFIG 8
#
# Where there is no GPU, GPUS is the number of processes. PORT, NNODES, NODE_RANK,
# MASTER_ADDR and PYTHON (default: that of .venv, if it is there) are read from
# the environment.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
config=$1
gpus=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
if [ ! -x "$python" ]; then python=${PYTHON:-python}; fi
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"

exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/train.py" "$config" --launcher pytorch "${@:3}"
