#!/usr/bin/env bash
# Evaluate on several GPUs (or CPU processes) of one or more machines:
#
#     bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
#
# On several machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
: "${3:?usage: bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]}"
CONFIG=$1
CHECKPOINT=$2
PROCESSES=$3

# exec: whoever signals or kills this script means what it started
PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
exec python "$(dirname "$0")/_launch.py" "$PROCESSES" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
