#!/usr/bin/env bash
# Train in a slurm job, on one node or several: a task for each GPU.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
#
#   GPUS=16 tools/slurm_train.sh gpu amt configs/mae_amt_vit-b_400e_in1k.py \
#       work_dirs/amt --resume
#
# GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS, MASTER_PORT and
# PYTHON (default: that of .venv, if it is there) are read from the environment.
# GPUS_PER_NODE=0 asks for no GPU; then GPUS tasks run on the CPUs of one node, or
# TASKS_PER_NODE on each.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if [ "$per_node" -gt "$gpus" ]; then per_node=$gpus; fi
resources=()
tasks=${TASKS_PER_NODE:-$gpus}
if [ "$per_node" -gt 0 ]; then
    resources=(--gres="gpu:$per_node")
    tasks=$per_node
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
if [ ! -x "$python" ]; then python=${PYTHON:-python}; fi
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"

# shellcheck disable=SC2086  # SRUN_ARGS may hold several
exec srun -p "$1" --job-name="$2" "${resources[@]}" \
    --ntasks="$gpus" --ntasks-per-node="$tasks" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "$python" -u "$here/train.py" "$3" --work-dir "$4" \
    --launcher slurm "${@:5}"
