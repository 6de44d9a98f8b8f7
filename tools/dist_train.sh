#!/usr/bin/env bash
# Train on several GPUs (or CPU processes) of one or more machines:
#
#     bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
#
# On several machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
: "${2:?usage: bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]}"
CONFIG=$1
PROCESSES=$2

PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$PROCESSES" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
