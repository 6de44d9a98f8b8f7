"""Start-up under Slurm, with stand-ins for its commands; and how the scripts are called."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Notes what it is to do; with RUN it does it, with as many processes, each told what Slurm tells.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$SEEN"
[ -n "${RUN:-}" ] || exit 0
for argument in "$@"; do
    case "$argument" in
        --ntasks=*) tasks=${argument#*=} ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
export SLURM_NTASKS=$tasks SLURM_NODELIST=node[1-2]
for ((rank = 0; rank < tasks; rank++)); do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
    processes+=($!)
done
for process in "${processes[@]}"; do wait "$process" || failed=1; done
exit "${failed:-0}"
"""
SCONTROL = """#!/usr/bin/env bash
[ "$*" = 'show hostname node[1-2]' ] && printf 'localhost\\nnode2\\n'
"""


@pytest.fixture
def slurm(tmp_path, run):
    """Run a script of tools/ and return the command that srun got, word by word, and the output."""
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, text in (('srun', SRUN), ('scontrol', SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ['PATH']])

    def slurm(*command, **environment):
        seen = tmp_path / 'seen'
        output = run('env', f'PATH={path}', 'bash', *command, SEEN=str(seen), **environment)
        return seen.read_text().splitlines(), output

    return slurm


def test_trains_on_two_nodes_without_gpus(slurm, digits_recipe, tmp_path):
    recipe, work_dir = tmp_path / 'with space.py', tmp_path / 'run'
    digits_recipe.train_cfg.max_epochs = 1
    digits_recipe.dump(recipe)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    command, output = slurm(
        *('tools/slurm_train.sh', 'cpus', 'a name', recipe, work_dir, '--seed', 5),
        RUN='yes',
        GPUS='2',
        GPUS_PER_NODE='1',
        GRES='',
        SRUN_ARGS='--exclusive --time=10',
        MASTER_PORT=port,
    )
    for part in ('--partition=cpus', '--job-name=a name', '--ntasks-per-node=1', '--exclusive'):
        assert part in command
    assert not any('--gres' in part for part in command)
    assert 'Distributed launcher: slurm' in output
    assert 'GPU number: 2' in output
    assert (work_dir / 'epoch_1.pth').exists()


def test_tests_on_gpus(slurm):
    command, _ = slurm(
        'tools/slurm_test.sh', 'gpus', 'test', 'a recipe.py', 'x.pth', '--out', 'a b.pkl'
    )
    for part in ('--gres=gpu:8', '--ntasks=8', '--ntasks-per-node=8', '--cpus-per-task=8'):
        assert part in command
    called = command[command.index('-u') + 1 :]
    assert called == [
        *('tools/test.py', 'a recipe.py', 'x.pth', '--launcher', 'slurm', '--out', 'a b.pkl')
    ]


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_says_how_to_call_it(script):
    command = ['bash', f'tools/{script}.sh']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert f'usage: bash tools/{script}.sh ' in done.stderr
