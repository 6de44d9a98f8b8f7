"""Distil a digits teacher into a small student in four ways and compare: see quickstart.sh.

Every run is one of tools/train.py with a recipe of configs/, two at a time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aekt_mm.analysis.intervals import paired_interval
from aekt_mm.files import replace_text

PAIR = 'resnet20_resnet8slim_digits'
TEACHER = 'vanilla/vanilla_resnet20_digits.py'
STUDENTS = {
    'vanilla': ('student alone', 'vanilla/vanilla_resnet8slim_digits.py'),
    'kd': ('KD', f'kd/kd_{PAIR}.py'),
    'dkd': ('DKD', f'dkd/dkd_{PAIR}.py'),
    'aekt': ('AEKT', f'aekt/aekt_{PAIR}.py'),
}
EPOCHS = {'teacher': 20, 'student': 5}


def train(recipe: str, work_dir: Path, *options: str) -> float:
    """Run tools/train.py in a process of its own and return the top-1 accuracy it ends with."""
    command = [sys.executable, 'tools/train.py', f'configs/{recipe}', '--work-dir', str(work_dir)]
    work_dir.mkdir(parents=True, exist_ok=True)
    log = work_dir / 'output.txt'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(Path.cwd())}
    with log.open('w', encoding='utf-8') as output:
        failed = subprocess.run(
            [*command, *options], stdout=output, stderr=subprocess.STDOUT, env=environment
        ).returncode
    if failed:
        raise RuntimeError(
            f'{" ".join(command)} failed; the end of {log}:\n{log.read_text()[-2000:]}'
        )
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1].read_text().splitlines()
    return next(
        entry['accuracy/top1']
        for entry in map(json.loads, reversed(scalars))
        if 'accuracy/top1' in entry
    )


def run_tool(name: str, arguments: list) -> None:
    """Run another tool, which says nothing unless it fails."""
    subprocess.run(
        [sys.executable, f'tools/{name}.py', *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, 'PYTHONPATH': str(Path.cwd()), 'PYTHONWARNINGS': 'ignore'},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--seeds', type=int, default=5, help='how many runs of each student')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f'--seeds must be at least 1, but is {args.seeds}')
    console = Console()

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(2) as pool:
        task = progress.add_task('teacher', total=1 + args.seeds * len(STUDENTS))

        teacher = train(TEACHER, args.work_dir / 'teacher')
        progress.update(task, advance=1, description='students')
        checkpoint = args.work_dir / 'teacher' / f'epoch_{EPOCHS["teacher"]}.pth'

        def train_student(method: str, seed: int) -> float:
            options = ['--seed', str(seed)]
            if method != 'vanilla':
                options += ['--cfg-options', f'model.teacher.checkpoint={checkpoint}']
            accuracy = train(STUDENTS[method][1], args.work_dir / f'{method}_{seed}', *options)
            progress.update(task, advance=1)
            return accuracy

        # a seed at a time, so that a glance on the way sees all methods
        jobs = {
            (method, seed): pool.submit(train_student, method, seed)
            for seed in range(args.seeds)
            for method in STUDENTS
        }
        accuracies = {
            method: [jobs[method, seed].result() for seed in range(args.seeds)]
            for method in STUDENTS
        }

    table = Table(
        '', 'top-1, %', 'lowest', 'gain over alone', title='Handwritten digits, 899 test images'
    )
    table.add_row('teacher, resnet20', f'{teacher:.2f}', '', '', end_section=True)
    for method, values in accuracies.items():
        gains = [value - alone for value, alone in zip(values, accuracies['vanilla'])]
        mean, interval = paired_interval(gains)
        gain = '' if method == 'vanilla' else f'{mean:+.2f} ± {interval:.2f}'
        table.add_row(
            STUDENTS[method][0], f'{statistics.mean(values):.2f}', f'{min(values):.2f}', gain
        )
    console.print(table)
    console.print(
        f'The mean of {args.seeds} seeds; gains are paired, seed by seed, ± their 95 % interval.'
    )

    results_file = args.work_dir / 'results.json'
    results = {'teacher': teacher, **accuracies}
    replace_text(results_file, json.dumps(results, indent=2) + '\n')

    # beside each other, as what takes the time is to start
    student, report = args.work_dir / 'student', args.work_dir / 'report.html'
    runs = [args.work_dir / f'{method}_{seed}' for method in STUDENTS for seed in range(args.seeds)]
    published = [f'configs/{STUDENTS["aekt"][1]}']
    published += [args.work_dir / 'aekt_0' / f'epoch_{EPOCHS["student"]}.pth', student]
    with ThreadPoolExecutor(2) as pool:
        written = [
            pool.submit(run_tool, 'publish_student', published),
            pool.submit(run_tool, 'report', [*runs, '--out', report]),
        ]
        for each in written:
            each.result()
    console.print(f'Results: {results_file}')
    console.print(f'The AEKT student, for plain mmpretrain: {student}')
    console.print(f'What the students learned, in a browser: {report}')


if __name__ == '__main__':
    main()
