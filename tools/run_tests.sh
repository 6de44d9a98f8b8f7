#!/usr/bin/env bash
# Lint and all tests on the default stack; on the original OpenMMLab distributions those marked
# `stack`, but for the slow ones. Arguments are passed on to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/_environment.sh analysis digits tests docs onnx

ruff check .
ruff format --check .

export OMP_NUM_THREADS=1
# halves of the files, so that what a file trains is trained once; who is done takes of the rest
workers=(--numprocesses 2 --dist worksteal)
python -m pytest "${workers[@]}" "$@"

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
touching=$(grep --recursive --files-with-matches --include='test_*.py' 'pytest\.mark\.stack' tests)
# shellcheck disable=SC2086
python -m pytest "${workers[@]}" -m 'stack and not slow' $touching "$@"
