"""How the processes of a distributed run are started."""

import runpy
import socket
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / 'tools/_launch.py'


@pytest.fixture(scope='module')
def launcher():
    return runpy.run_path(str(LAUNCH), run_name='launcher')


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(name, raising=False)


def test_a_single_machine_takes_any_free_port(launcher):
    assert launcher['options']() == ['--standalone']


def test_several_machines_meet_where_they_are_told(launcher, monkeypatch):
    for name, value in (('NNODES', '2'), ('NODE_RANK', '1'), ('MASTER_ADDR', 'a'), ('PORT', '7')):
        monkeypatch.setenv(name, value)
    assert launcher['options']() == [
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=a',
        '--master_port=7',
    ]


@pytest.mark.parametrize('port', ['used', 'x', '99999'])
def test_a_port_that_can_not_be_used(port, launcher, monkeypatch):
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = str(other.getsockname()[1]) if port == 'used' else port
        monkeypatch.setenv('PORT', port)
        with pytest.raises(SystemExit, match=f'PORT={port} can not be used .*set PORT to a free'):
            launcher['options']()


@pytest.mark.parametrize('processes', ['0', 'two', '-1'])
def test_a_wrong_number_of_processes(processes, launcher):
    with pytest.raises(
        SystemExit, match=f'must be a whole number of at least 1, but is {processes}'
    ):
        launcher['launch'](processes, 'train.py')
