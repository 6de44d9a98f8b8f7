"""How the processes of a distributed run are started."""

import os
import runpy
import socket
from pathlib import Path

import pytest
from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousParameters,
    rendezvous_handler_registry,
)

LOOPBACK = ['--rdzv_backend=loopback', '--rdzv_endpoint=127.0.0.1']
LAUNCH = Path(__file__).parents[2] / 'tools/_launch.py'


@pytest.fixture(scope='module')
def launcher():
    return runpy.run_path(str(LAUNCH), run_name='launcher')


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize('port', [None, 'free'])
def test_a_single_machine_meets_where_no_other_can_reach_it(port, launcher, monkeypatch):
    if port == 'free':
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        monkeypatch.setenv('PORT', str(port))
    assert launcher['options']() == LOOPBACK
    parameters = RendezvousParameters('loopback', '', 'run', 1, 1)
    info = rendezvous_handler_registry.create_handler(parameters).next_rendezvous()
    met = info.bootstrap_store_info
    assert (info.rank, info.world_size, met.master_addr) == (0, 1, '127.0.0.1')
    assert port in (None, met.master_port)
    info.store.set('asked', 'answered')
    other = TCPStore('127.0.0.1', met.master_port, is_master=False)
    assert other.get('run/asked') == b'answered'
    tables = [Path('/proc/net/tcp'), Path('/proc/net/tcp6')]
    if all(table.exists() for table in tables):
        lines = ''.join(table.read_text() for table in tables).split('\n')
        at = f':{met.master_port:04X}'
        found = [line.split()[1] for line in lines if at in line and line.split()[3] == '0A']
        assert found == [f'0100007F{at}']  # listening on 127.0.0.1


def test_processes_of_a_machine_talk_through_its_loopback(launcher, monkeypatch):
    started = []
    monkeypatch.setitem(launcher['launch'].__globals__, 'main', started.append)
    for name in ('GLOO_SOCKET_IFNAME', 'NCCL_SOCKET_IFNAME', 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, 'set')  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv('AEKT_MM_LAUNCHER', '0')
    names = {name for _, name in socket.if_nameindex()} & {'lo', 'lo0'}
    monkeypatch.setenv('NNODES', '2')
    launcher['launch']('2', 'train.py')
    assert 'GLOO_SOCKET_IFNAME' not in os.environ
    monkeypatch.delenv('NNODES')
    launcher['launch']('2', 'train.py')
    assert {os.environ['GLOO_SOCKET_IFNAME'], os.environ['NCCL_SOCKET_IFNAME']} == names
    assert started[-1] == [*LOOPBACK, '--nproc_per_node=2', 'train.py']


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
        monkeypatch.setenv('NNODES', '2')
        with pytest.raises(SystemExit, match=f'PORT={port} can not be used .*set PORT to a free'):
            launcher['options']()


@pytest.mark.parametrize('processes', ['0', 'two', '-1'])
def test_a_wrong_number_of_processes(processes, launcher):
    with pytest.raises(
        SystemExit, match=f'must be a whole number of at least 1, but is {processes}'
    ):
        launcher['launch'](processes, 'train.py')
