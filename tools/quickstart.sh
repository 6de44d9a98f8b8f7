#!/usr/bin/env bash
# From nothing to a distilled student: installs, then trains a digits teacher and the same small
# student alone, with KD, with DKD and with AEKT, and prints one table.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/_environment.sh analysis digits
exec python tools/quickstart.py "$@"
