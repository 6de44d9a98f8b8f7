#!/usr/bin/env bash
# Lint, types and all tests on the default stack; on the original OpenMMLab distributions those
# marked `stack`, but for the slow ones. One of these in front takes a part of it; all other
# arguments are passed on to pytest.
#
#     bash tools/run_tests.sh --quick       # lint, and what a change usually breaks
#     bash tools/run_tests.sh --default     # the default stack
#     bash tools/run_tests.sh --originals   # the original distributions
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/_environment.sh analysis digits tests docs onnx

part=all
case "${1:-}" in --quick | --default | --originals) part=${1#--} && shift ;; esac
export OMP_NUM_THREADS=1
# halves of the files, so that what a file trains is trained once; who is done takes of the rest
workers=(--numprocesses 2 --dist worksteal)

if [ "$part" != originals ]; then
    ruff check .
    ruff format --check .
fi
if [ "$part" = quick ]; then
    quick=(tests/test_{structures,evaluation,registry.py,recipes.py}
        tests/test_models/test_{losses,connectors,distillers})
    exec python -m pytest "${workers[@]}" -m 'not slow' "${quick[@]}" "$@"
fi
if [ "$part" != originals ]; then
    mypy
    python -m pytest "${workers[@]}" "$@"
fi
[ "$part" != default ] || exit 0

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
