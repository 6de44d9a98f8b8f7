"""What the tools have in common at the terminal: a mistake is answered in a line."""

import argparse
import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import DictAction
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from aekt_mm.files import naming

from .config_check import explain
from .settings import read_literal

#: What goes wrong by no fault of the program, once training has begun.
EXPECTED = (OSError, ValueError, FloatingPointError, MemoryError)


class Options(DictAction):
    """``KEY=VALUE`` pairs of a command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Refuse what is no pair, or is set twice, and parse the rest."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for value in values:
            key, equals, text = value.partition('=')
            if not equals or not all(key.split('.')):
                parser.error(f'{option_string} {value}: must be KEY=VALUE')
            if key in options:
                parser.error(f'{option_string} {value}: it was {options[key]!r} before')
            try:
                options[key] = _read(text)
            except (AssertionError, ValueError) as error:
                parser.error(f'{option_string} {value}: {error}')
        setattr(namespace, self.dest, options)


def at_least_one(text: str) -> int:
    """Read a whole number of at least 1 from a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 1, but is {text}')
    return int(text)


def _read(text: str) -> Any:
    """Return the value that a text stands for, as MMEngine does, a dict or one with spaces too."""
    if '{' in text or 'dict(' in text:
        return read_literal(text)
    if not set(text) & set(',()[]'):
        return DictAction._parse_int_float_bool(text.strip('\'"'))
    return DictAction._parse_iterable(text)


def add_traceback_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that asks for all of an error."""
    parser.add_argument(
        '--traceback', action='store_true', help='show all of an error, not only what it says'
    )


@contextlib.contextmanager
def mistakes_in_a_line(tool: str, args: argparse.Namespace) -> Iterator[None]:
    """End a tool with what an error says, and exit code 1.

    Of a job of several processes the first of each machine says it.

    Args:
        tool: Its name.
        args: Its arguments; with ``--traceback`` errors come as they are.
    """
    try:
        yield
    except Exception as error:
        started = getattr(error, 'started', False)
        if args.traceback or (started and not isinstance(error, EXPECTED)):
            raise
        first = all(os.environ.get(name, '0') == '0' for name in ('LOCAL_RANK', 'SLURM_LOCALID'))
        sys.exit(f'{tool}: {explain(error)}' if first or started else 1)


@contextlib.contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """End a tool that imports what is not installed with how to install it.

    Args:
        extra: Of this package, which has what the tool needs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        tool = Path(sys.argv[0]).stem
        sys.exit(f"{tool}: {error.name} is not installed: pip install -e '.[{extra}]'")


@contextlib.contextmanager
def quiet_start(work_dir: str | Path, traceback: bool) -> Iterator['StartHook']:
    """Hold back what MMEngine prints of environment and config until the first step is done.

    If it never is, it is not printed, and what the start made in the work directory is removed.

    Args:
        work_dir: Of the run.
        traceback: Whether to print everything at once.
    """
    work_dir = Path(work_dir)
    before = set(work_dir.iterdir()) if work_dir.is_dir() else set()
    missing = [folder for folder in (work_dir, *work_dir.parents) if not folder.exists()]
    hook = StartHook()
    if traceback:
        yield hook
        return
    hook.hold()
    try:
        with naming(work_dir):  # where MMEngine writes, too
            yield hook
    except BaseException as error:
        if hook.started:
            error.started = True
        hook.release(say=hook.started or not isinstance(error, Exception))
        if not hook.started:
            _remove_new(work_dir, before, missing)
        raise
    hook.release()


def _remove_new(work_dir: Path, before: set[Path], missing: list[Path]) -> None:
    new = set(work_dir.iterdir()) - before if work_dir.is_dir() else set()
    for path in new:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for folder in missing:
        with contextlib.suppress(OSError):  # something else is in it by now
            folder.rmdir()


class StartHook(Hook):
    """Lets go of what was held back of the output when a run has taken its first step."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.started = False
        self.held: io.StringIO | None = None

    def hold(self) -> None:
        """Keep what is printed from now on."""
        self.held, self.outputs = io.StringIO(), (sys.stdout, sys.stderr)
        sys.stdout = sys.stderr = self.held

    def release(self, say: bool = True) -> None:
        """Print from now on, and what was kept if it is to be said."""
        if self.held is None:
            return
        held, self.held = self.held, None
        if sys.stdout is held:
            sys.stdout = self.outputs[0]
        if sys.stderr is held:
            sys.stderr = self.outputs[1]
        for logger in MMLogger._instance_dict.values():
            for handler in logger.handlers:
                if getattr(handler, 'stream', None) is held:
                    handler.setStream(self.outputs[0])
        if say:
            self.outputs[0].write(held.getvalue())
            self.outputs[0].flush()

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Note that the run has begun: all its parts have been tried."""
        if not self.started:
            self.started = True
            self.release()

    def after_test_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Note that the test has begun."""
        self.after_train_iter(runner)
