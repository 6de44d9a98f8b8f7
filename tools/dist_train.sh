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

# exec: whoever signals or kills this script means what it started
PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
exec python "$(dirname "$0")/_launch.py" "$PROCESSES" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
