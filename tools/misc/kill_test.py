"""Kill a run at random moments, resume it, and compare how it ends with a run left alone.

    python tools/misc/kill_test.py CONFIG FOLDER --minutes 60
    python tools/misc/kill_test.py CONFIG FOLDER --kills 2 --processes 2 --options --seed 5

Runs are killed with SIGKILL, SIGTERM and SIGINT in turn, at any moment of their lives, imports
included, and resumed until they finish; then the next begins. The last checkpoint must be that of
the undisturbed run bit for bit: weights, optimizer, schedules, counters. Ten seconds after a kill
nothing of a run may be left. Memory and open files are sampled on the way. Ends with a summary in
JSON, and exit code 1 where anything differed.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from aekt_mm.engine.checkpoints import latest_whole_checkpoint
from aekt_mm.models.checkpoints import load_restricted

TOOLS = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Seconds that what a killed run started has to end.
GRACE = 10.0


class Run:
    """A training run with all its processes."""

    def __init__(self, args: argparse.Namespace, work_dir: Path) -> None:
        script = ['bash', TOOLS / 'dist_train.sh', args.config, str(args.processes)]
        if args.processes == 1:
            script = [sys.executable, TOOLS / 'train.py', args.config]
        self.work_dir = work_dir
        work_dir.mkdir(parents=True, exist_ok=True)
        self.output = (work_dir / 'output.txt').open('a')
        self.process = subprocess.Popen(
            [*script, '--work-dir', work_dir, *args.options, '--resume'],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.memory: list[float] = []
        self.files: list[int] = []

    def processes(self) -> list[Path]:
        """Return the /proc folders of what is alive of it: whatever names its work directory.

        Ranks are in sessions of their own, and loaders' workers have the command of their owner.
        """
        alive = []
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                named = os.fsencode(self.work_dir) in (folder / 'cmdline').read_bytes().split(b'\0')
            except OSError:  # gone meanwhile
                continue
            if named:
                alive.append(folder)
        return alive

    def sample(self) -> None:
        """Note memory in MiB and open files of all its processes."""
        memory, files = 0.0, 0
        for folder in self.processes():
            try:
                pages = int((folder / 'statm').read_text().split()[1])
                files += len(list((folder / 'fd').iterdir()))
            except OSError:
                continue
            memory += pages * os.sysconf('SC_PAGE_SIZE') / 2**20
        self.memory.append(memory)
        self.files.append(files)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end, but no longer; return its exit code."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                code = self.process.wait(min(1.0, max(end - time.monotonic(), 0.01)))
            except subprocess.TimeoutExpired:
                self.sample()
            else:
                self.output.close()
                return code
        return None

    def kill(self, number: signal.Signals) -> tuple[int, list[str]]:
        """Kill it; return its exit code, and what of it was alive after the grace."""
        self.process.send_signal(number)
        code = self.wait(60)
        end = time.monotonic() + GRACE
        while (alive := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        for folder in alive:
            os.kill(int(folder.name), signal.SIGKILL)
        return code, [folder.name for folder in alive]


def differences(expected: dict, found: dict) -> list[str]:
    """Return where two checkpoints of runs differ."""

    def compare(a: object, b: object, place: str) -> list[str]:
        if isinstance(a, torch.Tensor):
            return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) else [place]
        if isinstance(a, dict | list | tuple):
            if type(a) is not type(b) or len(a) != len(b):
                return [place]
            items = a.items() if isinstance(a, dict) else enumerate(a)
            return [d for key, value in items for d in compare(value, b[key], f'{place}.{key}')]
        return [] if a == b else [place]

    parts = ('state_dict', 'optimizer', 'param_schedulers')
    found_in = [d for part in parts for d in compare(expected[part], found[part], part)]
    counters = [
        d for n in ('epoch', 'iter') for d in compare(expected['meta'][n], found['meta'][n], n)
    ]
    return found_in + counters


def kill_test(args: argparse.Namespace) -> dict:
    """Run it all, and return the figures."""
    shutil.rmtree(args.folder, ignore_errors=True)
    started = time.monotonic()
    run = Run(args, args.folder / 'whole')
    if run.wait(3600) != 0:
        sys.exit(f'kill_test: the undisturbed run failed: {args.folder / "whole/output.txt"}')
    length = time.monotonic() - started
    expected = load_restricted(latest_whole_checkpoint(args.folder / 'whole'))

    chance, signals = random.Random(args.seed), itertools.cycle(SIGNALS)
    result = dict(kills={s.name: 0 for s in SIGNALS}, finished=0, differing=[], left=[], codes=[])
    memory, files = list(run.memory), list(run.files)
    while True:
        folder = args.folder / f'killed_{result["finished"]}'
        kills = sum(result['kills'].values())
        enough = (
            kills >= args.kills if args.kills else time.monotonic() - started > args.minutes * 60
        )
        run = Run(args, folder)
        code = run.wait(3600 if enough else chance.uniform(0, length))
        if code is None:
            number = next(signals)
            code, left = run.kill(number)
            result['kills'][number.name] += 1
            result['left'] += left
            if code not in (128 + number, -number):
                result['codes'].append(f'{number.name}: {code}')
        elif code == 0:
            found = load_restricted(latest_whole_checkpoint(folder))
            result['differing'] += differences(expected, found)
            result['finished'] += 1
            memory.append(max(run.memory, default=0))
            files.append(max(run.files, default=0))
            shutil.rmtree(folder)
            if enough:
                break
        else:
            sys.exit(f'kill_test: a resumed run failed with {code}: {folder / "output.txt"}')
    result['codes'] = sorted(set(result['codes']))
    minutes = (time.monotonic() - started) / 60
    return result | dict(
        minutes=round(minutes, 1), memory_mib=round(max(memory)), open_files=max(files)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='a recipe, of a run of seconds or minutes')
    parser.add_argument('folder', type=Path, help='where the runs go; emptied before')
    how_long = parser.add_mutually_exclusive_group(required=True)
    how_long.add_argument('--minutes', type=float, help='how long to go on')
    how_long.add_argument('--kills', type=int, help='how many kills')
    parser.add_argument('--processes', type=int, default=1, help='of each run (1)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (0)')
    parser.add_argument(
        '--options', nargs=argparse.REMAINDER, default=[], help='of tools/train.py; the last'
    )
    result = kill_test(parser.parse_args())
    print(json.dumps(result, indent=2))
    if result['differing'] or result['left']:
        sys.exit('kill_test: a run ended differently, or left processes behind')


if __name__ == '__main__':
    main()
