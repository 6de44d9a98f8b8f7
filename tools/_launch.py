"""Start the processes of tools/dist_train.sh and tools/dist_test.sh with torchrun.

    python tools/_launch.py PROCESSES SCRIPT [arguments]

On a single machine any free port does. On several each gets NNODES, NODE_RANK, MASTER_ADDR and PORT
from the environment. What a signal or a failed process ends leaves with the usual exit code.
"""

import os
import signal
import socket
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def options() -> list[str]:
    """Return torchrun's options for how the processes find each other."""
    port = os.environ.get('PORT')
    if os.environ.get('NNODES', '1') == '1' and port is None:
        return ['--standalone']
    port, node = port or '29500', os.environ.get('NODE_RANK', '0')
    if node == '0':
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('', int(port)))
            except (OSError, ValueError, OverflowError) as error:
                sys.exit(f'PORT={port} can not be used ({error}): set PORT to a free one')
    return [
        f'--nnodes={os.environ.get("NNODES", "1")}',
        f'--node_rank={node}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={port}',
    ]


def launch(processes: str, *script: str) -> None:
    """Run a script in so many processes."""
    if not processes.isdigit() or int(processes) < 1:
        sys.exit(f'PROCESSES must be a whole number of at least 1, but is {processes}')
    # what a process compares its parent with, to end with it
    os.environ['AEKT_MM_LAUNCHER'] = str(os.getpid())
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # torchrun's default, which it says in 6 lines
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
