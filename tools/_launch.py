"""Start the processes of tools/dist_train.sh and tools/dist_test.sh with torchrun.

    python tools/_launch.py PROCESSES SCRIPT [arguments]

On a single machine any free port does, and only this machine can reach it. On several each gets
NNODES, NODE_RANK, MASTER_ADDR and PORT from the environment. What a signal or a failed process ends
leaves with the usual exit code.
"""

import os
import signal
import socket
import sys
from pathlib import Path

from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from torch.distributed.run import main

LOOPBACK = '127.0.0.1'

#: How many seconds the processes have to find each other, as torchrun has it.
TIMEOUT = 600


def options() -> list[str]:
    """Return torchrun's options for how the processes find each other."""
    nodes, node = os.environ.get('NNODES', '1'), os.environ.get('NODE_RANK', '0')
    if nodes == '1':
        return ['--rdzv_backend=loopback', f'--rdzv_endpoint={LOOPBACK}']
    port = os.environ.get('PORT', '29500')
    if node == '0':
        _listen('', port).close()
    return [
        f'--nnodes={nodes}',
        f'--node_rank={node}',
        f'--master_addr={os.environ.get("MASTER_ADDR", LOOPBACK)}',
        f'--master_port={port}',
    ]


def _listen(address: str, port: str) -> socket.socket:
    """Return a socket that listens, or leave and say why it can't."""
    try:
        return socket.create_server((address, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f'PORT={port} can not be used ({error}): set PORT to a free one')


class Loopback(StaticTCPRendezvous):
    """Let the processes of this machine meet where no other can reach them.

    The store that torchrun opens listens on all interfaces. This one gets a socket that does not.
    """

    def __init__(self, parameters: RendezvousParameters) -> None:
        listener = _listen(LOOPBACK, os.environ.get('PORT', '0'))
        port = listener.getsockname()[1]
        super().__init__(LOOPBACK, port, 0, 1, parameters.run_id, TIMEOUT)
        self._store = TCPStore(
            LOOPBACK, port, is_master=True, multi_tenant=True, master_listen_fd=listener.detach()
        )

    def get_backend(self) -> str:
        """Return what torchrun knows it by."""
        return 'loopback'


rendezvous_handler_registry.register('loopback', Loopback)


def launch(processes: str, *script: str) -> None:
    """Run a script in so many processes."""
    if not processes.isdigit() or int(processes) < 1:
        sys.exit(f'PROCESSES must be a whole number of at least 1, but is {processes}')
    # what a process compares its parent with, to end with it
    os.environ['AEKT_MM_LAUNCHER'] = str(os.getpid())
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # torchrun's default, which it says in 6 lines
    if os.environ.get('NNODES', '1') == '1':
        for _, interface in socket.if_nameindex():
            if interface in ('lo', 'lo0'):  # through which processes exchange gradients
                os.environ.setdefault('GLOO_SOCKET_IFNAME', interface)
                os.environ.setdefault('NCCL_SOCKET_IFNAME', interface)
    try:
        main([*options(), f'--nproc_per_node={processes}', *script])
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:  # it has said what happened
            sys.exit(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        print(f'{Path(script[0]).stem}: rank {rank} was ended by {name}', file=sys.stderr)
        sys.exit(128 - failure.exitcode)


if __name__ == '__main__':
    launch(*sys.argv[1:])
