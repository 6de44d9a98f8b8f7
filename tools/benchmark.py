"""Measure losses, training, data, memory, networks and caches, each comparison paired in one run.

    python tools/benchmark.py losses --methods kd nkd
    python tools/benchmark.py features --methods rkd
    python tools/benchmark.py step --methods aekt nkd --against FILE.py:FUNCTION
    python tools/benchmark.py data
    python tools/benchmark.py memory
    python tools/benchmark.py networks
    python tools/benchmark.py cache
    python tools/benchmark.py images FOLDER

With --against a function of yours takes its turns beside ours:

- losses: one from (student_logits, teacher_logits, target) to a scalar;
- features: one from (student, teacher, target, sample_idx) to a scalar, the first two of which are
  features or lists of them;
- step: a training loop from (teacher, student, batch_size, iterations) to images a second.

With --out the figures also go to a JSON file.
"""

import argparse
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from aekt_mm.analysis import benchmarks, image_benchmarks
from aekt_mm.engine.command_line import (
    add_traceback_argument,
    one_line_errors,
    output_file,
    whole_number,
)
from aekt_mm.files import replace_text
from aekt_mm.recipes import CONFIGS

PAIRS = {
    'resnet56_resnet20': 'vanilla_resnet20',
    'resnet20_resnet8': 'vanilla_resnet8',
}
IMAGENET_PAIRS = ('r34_r18', 'deit-base_deit-small')
UNITS = {
    'losses': 'ms',
    'features': 'ms',
    'step': 'images/s',
    'data': 'images/s',
    'memory': 'MiB',
    'networks': 'ms/image',
    'cache': 'images/s',
    'images': 'images/s of a core, and bytes of an image',
}


def load_function(spec: str) -> Callable:
    """Return the function that FILE.py:FUNCTION names."""
    path, _, name = spec.rpartition(':')
    if not Path(path).is_file():
        raise FileNotFoundError(f'--against {spec}: there is no file {path!r}')
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise ValueError(f'--against {spec}: {path} has no function {name!r}')
    return getattr(module, name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('what', choices=UNITS)
    parser.add_argument('folder', nargs='?', type=Path, help='with images, for images')
    parser.add_argument('--against', metavar='FILE.py:FUNCTION', help='what to compare with')
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=[*benchmarks.LOSSES, *benchmarks.FEATURE_LOSSES],
        help='whose losses (kd, dkd and aekt; all on features) or steps (aekt)',
    )
    parser.add_argument('--pairs', nargs='+', choices=PAIRS, default=list(PAIRS))
    parser.add_argument('--batch-sizes', nargs='+', type=whole_number(1), default=[64, 256])
    parser.add_argument(
        '--rounds',
        type=whole_number(1),
        help='measurements of each; 100 losses, 20 features, else 3',
    )
    parser.add_argument(
        '--iterations', type=whole_number(1), default=40, help='of one measurement of a step'
    )
    parser.add_argument('--compile', action='store_true', help="steps with MMEngine's compile")
    parser.add_argument(
        '--threads', type=whole_number(1), default=torch.get_num_threads(), help='CPU threads'
    )
    parser.add_argument('--out', type=output_file, help='JSON file for the figures')
    add_traceback_argument(parser)
    args = parser.parse_args()
    if args.what == 'images' and args.folder is None:
        parser.error('images needs a folder of images')
    kinds = dict(losses=benchmarks.LOSSES, features=benchmarks.FEATURE_LOSSES)
    known = kinds.get(args.what, args.methods)
    for method in args.methods or ():
        if method not in known:
            parser.error(f'{args.what} --methods {method}: choose from {", ".join(known)}')
    with one_line_errors('benchmark', args):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Measure, and say what was found."""
    torch.set_num_threads(args.threads)
    against = args.against and load_function(args.against)

    rounds = args.rounds or {'losses': 100, 'features': 20}.get(args.what, 3)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    recipes = {
        pair: (
            str(CONFIGS / f'aekt/aekt_{pair}_cifar100.py'),
            str(CONFIGS / f'vanilla/{vanilla}_cifar100.py'),
        )
        for pair, vanilla in PAIRS.items()
        if pair in args.pairs
    }
    if args.what == 'losses':
        methods = args.methods or ('kd', 'dkd', 'aekt')
        figures = benchmarks.losses(rounds, against, device, methods)
    elif args.what == 'features':
        figures = {
            f'{method}, {pair}': row
            for method in args.methods or benchmarks.FEATURE_LOSSES
            for pair, row in benchmarks.features(method, rounds, against, device).items()
        }
    elif args.what == 'data':
        figures = {'32x32, crop and flip': benchmarks.data(rounds=rounds)}
    elif args.what == 'memory':
        figures = {
            f'{pair}, batch {size}': benchmarks.memory(recipe, size)
            for pair, (recipe, _) in recipes.items()
            for size in args.batch_sizes
        }
    elif args.what == 'networks':
        figures = {
            pair: benchmarks.networks(str(CONFIGS / f'aekt/aekt_{pair}_imagenet.py'), rounds=rounds)
            for pair in IMAGENET_PAIRS
        }
    elif args.what == 'cache':
        figures = benchmarks.cache_reads(rounds=rounds)
    elif args.what == 'images':
        figures = image_benchmarks.images(args.folder, rounds=rounds)
    else:
        settings = args.batch_sizes, args.iterations, rounds, against, args.compile
        figures = {
            f'{method}, {pair}, batch {size}': row
            for method in args.methods or ('aekt',)
            for pair, (_, vanilla) in recipes.items()
            for size, row in benchmarks.steps(
                f'{method}_{pair}_cifar100', vanilla, *settings
            ).items()
        }

    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    table = Table(
        '', *names, title=f'{args.what}, {UNITS[args.what]}: median (median ratio to {names[0]})'
    )
    for row, values in figures.items():
        found = [values.get(name) for name in names]
        table.add_row(row, *(f'{v["median"]:,.4g} ({v["ratio"]:.2f})' if v else '' for v in found))
    Console().print(table)
    if args.out:
        machine = dict(
            torch=torch.__version__,
            threads=args.threads,
            processor=torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else platform.machine(),
        )
        content = dict(
            command=sys.argv[1:], unit=UNITS[args.what], machine=machine, figures=figures
        )
        replace_text(args.out, json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    main()
