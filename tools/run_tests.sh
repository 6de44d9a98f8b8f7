#!/usr/bin/env bash
# Lint and tests, on the default stack and, but for the slow ones, on the original OpenMMLab
# distributions. Arguments are passed on to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/_environment.sh analysis digits tests

ruff check .
ruff format --check .

export OMP_NUM_THREADS=1
python -m pytest --numprocesses 2 "$@"

# beside the default stack, which has the same import names: first on the path wins
originals=(mmengine==0.10.7 mmcv-lite==2.2.0 mmpretrain==1.2.0)
echo "The same on ${originals[*]}:"
if [ ! -d .legacy/site ]; then
    rm -rf .legacy/partial
    python -m pip install --quiet --disable-pip-version-check --no-deps \
        --target .legacy/partial "${originals[@]}"
    mv .legacy/partial .legacy/site
fi
export PYTHONPATH="$PWD/.legacy/site"
python -c 'import mmengine; assert mmengine.__version__ == "0.10.7", mmengine.__file__'
python -m pytest --numprocesses 2 -m 'not slow' "$@"
