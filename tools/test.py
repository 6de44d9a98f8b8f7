"""Evaluate a checkpoint on the test set of a recipe.

    python tools/test.py configs/aekt/aekt_r34_r18_imagenet.py work_dirs/.../epoch_100.pth

The checkpoint may also be one of torchvision, RepDistiller or mdistiller for the same network. A
recipe's teacher is not needed and not loaded.
"""

import argparse
import sys

import mmengine
from mmengine.evaluator import DumpResults

from aekt_mm.engine.launching import add_shared_arguments, build_runner, load_config
from aekt_mm.models.weights import load_weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of the recipe')
    parser.add_argument('checkpoint', help='path or URL of the weights')
    parser.add_argument('--out', help='file to write results to: .json, .yaml or .pkl')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='pred',
        help='what to write there; predictions need a .pkl',
    )
    add_shared_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        cfg = load_config(args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'test: {error}')
    if args.amp:
        cfg.test_cfg.fp16 = True
    if 'teacher' in cfg.model:
        cfg.model.teacher = None
    cfg.custom_hooks = []  # they concern training
    runner = build_runner(cfg)
    load_weights(getattr(runner.model, 'module', runner.model), args.checkpoint)
    if args.out and args.out_item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
