"""Ends from outside: signals, a dead launcher, a second run in the same folder."""

import ctypes
import errno
import fcntl
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

import torch.distributed
from mmengine.dist import barrier, is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.distributed import is_torchelastic_launched

from aekt_mm.files import remove_partials, replace_text

from .loops import ResumableEpochLoop

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: The checkpoint that a signal leaves.
INTERRUPTED = 'interrupted.pth'

#: Seconds within which a second signal is taken for the first, which launchers pass on as well.
ECHO = 2.0

#: Where launchers say which process of a job one is.
RANK_VARIABLES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}

_PR_SET_PDEATHSIG = 1


class StopHook(Hook):
    """Save a run that gets SIGTERM, SIGINT or SIGHUP, say how it goes on, and leave as is usual.

    The step at hand is completed; all ranks of a distributed run agree on which, also where only
    one of them got the signal. The exit code is 128 + the signal's number. Slurm and torchrun wait
    30 seconds before they kill. Before the first step and during validation there is nothing to
    save: the run leaves at once, and says which checkpoint stands. A second signal ends it where it
    is. A SIGHUP that is ignored, as under ``nohup``, stays so; what torchrun passes on is heard.

    Args:
        command: What to say goes on with the run.
    """

    priority = 'LOWEST'  # after what a step does to schedules and averages

    def __init__(self, command: str) -> None:
        self.command = command
        self.signal: int | None = None
        self.since = 0.0
        self.training = False
        self.pid = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive the signals, instead of whoever does otherwise."""
        numbers = set(SIGNALS)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN and not is_torchelastic_launched():
            numbers.remove(signal.SIGHUP)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        except Exception:
            if self.signal is None or self.training:
                raise
            # whoever catches everything (a formatter of configs does) took leaving for an error
            raise SystemExit(128 + self.signal) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:
            # a dataloader's worker, which gets what its group gets: its owner is to end it
            signal.signal(number, signal.SIG_DFL)
            return
        if self.signal is not None and time.monotonic() - self.since > ECHO:
            signal.signal(number, signal.SIG_DFL)
            os.kill(self.pid, number)
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            if not self.training:
                self._leave('before the first step: there is nothing to save')

    def before_train(self, runner: Runner) -> None:
        """Let signals wait for the end of a step from here on."""
        self.training = True

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Save and leave, if all ranks are to do so after this step."""
        # within steps whose gradients add up there is no state to save
        if not self._due(runner) or not runner.optim_wrapper.should_update():
            return
        if isinstance(runner.train_loop, ResumableEpochLoop | IterBasedTrainLoop):
            runner.save_checkpoint(runner.work_dir, INTERRUPTED, by_epoch=False)
            path = Path(runner.work_dir) / INTERRUPTED
            if is_main_process():
                replace_text(path.with_name('last_checkpoint'), str(path))
            barrier()
            self._leave(f'after iteration {runner.iter + 1}, saved in {path}')
        self._leave(f'after iteration {runner.iter + 1}: {_standing(runner)}')

    def after_val_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Leave: the epoch that is validated has been saved or was not to be."""
        if self.signal is not None:
            self._leave(f'during validation: {_standing(runner)}')

    def after_train(self, runner: Runner) -> None:
        """Leave at once again: all is saved."""
        self.training = False

    def _due(self, runner: Runner) -> bool:
        """Return whether all ranks leave after this step.

        No rank ends the next step with gradients in it without the others, so that what one rank
        puts into their store after a step is seen by all when they end the next.
        """
        if not is_distributed():
            return self.signal is not None
        store = torch.distributed.distributed_c10d._get_default_store()
        if store.check(['aekt_mm/stop']):
            step, number = map(int, store.get('aekt_mm/stop').split())
            self.signal = self.signal or number
            return runner.iter >= step
        if self.signal is not None:
            store.set('aekt_mm/stop', f'{runner.iter + 1} {self.signal}')
        return False

    def _leave(self, where: str) -> None:
        assert self.signal is not None  # whoever calls has seen one
        # before the process group there is only the environment that tells ranks apart
        if is_main_process() and os.environ.get('RANK', '0') == '0':
            name = signal.Signals(self.signal).name
            with suppress(OSError):  # the terminal may be what is gone
                print(f'\ntrain: stopped by {name} {where}. To go on: {self.command}', flush=True)
        raise SystemExit(128 + self.signal)


def _standing(runner: Runner) -> str:
    noted = Path(runner.work_dir) / 'last_checkpoint'
    return f'{noted.read_text()} stands' if noted.is_file() else 'no checkpoint was saved yet'


def resume_command(launcher: str) -> str:
    """Return the command that goes on with this run."""
    arguments = list(sys.argv)
    if '--resume' in arguments:
        at = arguments.index('--resume')
        named = at + 1 < len(arguments) and not arguments[at + 1].startswith('-')
        del arguments[at : at + 1 + named]
    if launcher == 'none':
        return shlex.join(['python', *arguments, '--resume'])
    if launcher == 'pytorch' and os.environ.get('GROUP_WORLD_SIZE') == '1':
        script = str(Path(arguments[0]).with_name('dist_train.sh'))
        at = arguments.index('--launcher')
        options = [*arguments[2:at], *arguments[at + 2 :], '--resume']
        return shlex.join(['bash', script, arguments[1], os.environ['LOCAL_WORLD_SIZE'], *options])
    return 'the same command with --resume'


def die_with_launcher(launcher: str) -> None:
    """Let the kernel end this process when torchrun is killed, which could not pass that on."""
    if launcher != 'pytorch' or not sys.platform.startswith('linux'):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get('AEKT_MM_LAUNCHER')  # set by tools/_launch.py
    if parent is not None and os.getppid() != int(parent):
        sys.exit('train: its launcher is gone')


@contextmanager
def locked(work_dir: str | Path, launcher: str) -> Iterator[None]:
    """Hold a work directory for this run; of a distributed run its first process holds it.

    The lock goes with the process, however it ends. What a kill left half written is removed.

    Args:
        work_dir: Of the run, made if it is not there.
        launcher: Of the run.

    Raises:
        BlockingIOError: If another run holds it.
        OSError: If its ``.lock`` is not a file of its own.
    """
    if os.environ.get(RANK_VARIABLES.get(launcher, ''), '0') != '0':
        yield
        return
    path = Path(work_dir) / '.lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_own(path) as file:
        if not _lock(file):
            file.seek(0)
            raise BlockingIOError(
                f'{work_dir} is in use by {file.read().strip() or "another run"}: give this run '
                'a --work-dir of its own'
            )
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        # the second: of each start's log
        remove_partials(work_dir, *(folder for folder in path.parent.iterdir() if folder.is_dir()))
        # MMEngine opens these to write, and would write through a link
        for name in ('last_checkpoint', '*.py'):
            for written in path.parent.glob(name):
                if written.is_symlink():
                    written.unlink()
        yield


def _open_own(path: Path) -> IO:
    """Open a file to read and write, unless its name is a link to another's."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(f'{path} is a link, which is not written through: remove it') from error
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        raise OSError(f'{path} is a hard link to another file: remove it')
    return os.fdopen(handle, 'a+')


def _lock(file: IO) -> bool:
    try:
        # not flock: a dataloader's worker would hold that on after the run's death
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        print_log(f'{file.name} can not be locked ({error}): take care that no other run uses it')
    return True
