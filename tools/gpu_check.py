"""Check what a machine with a GPU gives, before anything is trained on it.

    python tools/gpu_check.py
    torchrun --nproc_per_node 8 tools/gpu_check.py --only processes

It needs no data. The table says what is installed, whether processes reach each other, whether
augmentation is that of other machines, whether a run resumes exactly, and what a training step
takes: of this package's loop, eager and as a CUDA graph (tools/train.py --capture), beside a loop
written by hand that does the same and no more.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from aekt_mm.benchmarks import gpu_check

BFLOAT16 = dict(optim_wrapper__type='aekt_mm.BFloat16OptimWrapper')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the findings here too')
    parser.add_argument('--only', nargs='+', metavar='CHECK', help='run these checks alone')
    args = parser.parse_args()
    checks = all_checks()
    unknown = set(args.only or ()) - set(checks)
    if unknown:
        parser.error(f'there is no check {unknown.pop()!r}: there are {", ".join(checks)}')

    found = {} if args.only else gpu_check.installed()
    table = Table('check', 'finding', 'seconds', title=found.get('gpu', 'no GPU: on the CPU'))
    for name, value in found.items():
        table.add_row(name, str(value))
    failed = False
    console = Console(soft_wrap=True)
    if not torch.cuda.is_available():
        console.print('There is no GPU that torch sees: the checks run on the CPU, with few steps')
    for name in args.only or checks:
        console.print(f'{name} ...')
        started = time.perf_counter()
        try:
            found[name] = checks[name]()
        except Exception as error:
            found[name], failed = f'FAILED: {type(error).__name__}: {error}', True
        table.add_row(name, str(found[name]), f'{time.perf_counter() - started:.1f}')
    if os.environ.get('RANK', '0') == '0':
        console.print(table)
        if args.json is not None:
            args.json.write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    raise SystemExit(failed)


def all_checks() -> dict[str, Callable[[], Any]]:
    """Return the checks of this machine by name, in their order."""
    cuda = torch.cuda.is_available()
    device = torch.device('cuda' if cuda else 'cpu')

    def microseconds(function: Callable[..., float], *args: Any, **options: Any) -> str:
        return f'{1e6 * function(*args, **options):,.0f} µs'

    checks: dict[str, Callable[[], Any]] = {
        'processes': gpu_check.processes,
        'views': partial(gpu_check.views, device),
        'exact resume': gpu_check.resumes_exactly,
        'step by hand': partial(microseconds, gpu_check.by_hand, device, False),
        'step': partial(microseconds, gpu_check.loop),
        'step, bfloat16': partial(microseconds, gpu_check.loop, **BFLOAT16),
    }
    if cuda:
        capture = dict(train_cfg__capture=True)
        by_hand = partial(microseconds, gpu_check.by_hand, device, True)
        checks |= {
            'exact resume, captured': partial(gpu_check.resumes_exactly, **capture),
            'step by hand, captured': by_hand,
            'step, captured': partial(microseconds, gpu_check.loop, **capture),
            'step by hand, captured, bfloat16': partial(by_hand, torch.bfloat16),
            'step, captured, bfloat16': partial(
                microseconds, gpu_check.loop, **capture, **BFLOAT16
            ),
        }
    return checks


if __name__ == '__main__':
    main()
