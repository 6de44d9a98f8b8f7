#!/usr/bin/env bash
# Lint and tests, on the default stack and on the original OpenMMLab distributions.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/_environment.sh digits tests

ruff check .
ruff format --check .

export OMP_NUM_THREADS=1
python -m pytest --numprocesses 2 "$@"

echo 'The same on mmengine 0.10.7, mmcv-lite 2.2.0 and mmpretrain 1.2.0:'
if [ ! -d .legacy/mmpretrain ]; then
    # beside the default stack, which has the same import names: first on the path wins
    python -m pip install --quiet --disable-pip-version-check --no-deps --target .legacy \
        mmengine==0.10.7 mmcv-lite==2.2.0 mmpretrain==1.2.0
fi
PYTHONPATH="$PWD/.legacy" python -m pytest --numprocesses 2 "$@"
