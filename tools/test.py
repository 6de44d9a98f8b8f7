"""Evaluate a checkpoint, or the teacher, on the test set of a recipe.

    python tools/test.py configs/aekt/aekt_r34_r18_imagenet.py work_dirs/.../epoch_100.pth
    python tools/test.py configs/aekt/aekt_r34_r18_imagenet.py --teacher

The checkpoint may also be one of torchvision, RepDistiller or mdistiller for the same network. A
recipe's teacher is not needed and not loaded then. With --teacher it is what the student learns
from that is evaluated: its own checkpoint and normalisation, on the images that the student gets.
"""

import argparse
import sys
from pathlib import Path

import mmengine
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from aekt_mm.engine.class_names import check_checkpoint_classes, check_classes
from aekt_mm.engine.command_line import one_line_errors, quiet_start
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.hooks.distill_check_hook import check_topk
from aekt_mm.engine.interruption import die_with_launcher
from aekt_mm.engine.launching import (
    add_shared_arguments,
    build_runner,
    check_files,
    load_config,
)
from aekt_mm.engine.teacher_evaluation import check_teacher, swap_in_teacher
from aekt_mm.models.classifiers import num_classes
from aekt_mm.models.weights import load_weights

#: What results are written as.
OUT_FORMATS = {'metrics': ('.json', '.yaml', '.pkl'), 'pred': ('.pkl',)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='path or name of the recipe')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('checkpoint', nargs='?', help='path or URL of the weights')
    what.add_argument('--teacher', action='store_true', help="evaluate the recipe's teacher")
    parser.add_argument('--out', type=Path, help='file to write results to')
    parser.add_argument(
        '--out-item',
        choices=OUT_FORMATS,
        default='pred',
        help='what to write there: predictions (.pkl) or metrics (.json, .yaml or .pkl)',
    )
    add_shared_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    die_with_launcher(args.launcher)
    if args.out and args.out.suffix not in OUT_FORMATS[args.out_item]:
        formats = ' or '.join(OUT_FORMATS[args.out_item])
        sys.exit(f'test: --out {args.out}: --out-item {args.out_item} is written as {formats}')
    with one_line_errors('test', args):
        evaluate(args)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate, and write what is asked for."""
    cfg = load_config(args)
    if args.teacher:
        check_teacher(cfg)
    elif 'teacher' in cfg.model:
        cfg.model.teacher = None
    cfg.resume, cfg.load_from = False, None  # nothing is to take the checkpoint's place
    cfg.custom_hooks = []  # they concern training
    check_config(cfg, 'test')
    check_files(cfg, 'test_dataloader')
    check_classes(cfg)
    if args.amp:
        cfg.test_cfg.fp16 = True
    with quiet_start(cfg.work_dir, args.traceback) as start:
        runner = build_runner(cfg)
        runner.register_hook(start)
        model = getattr(runner.model, 'module', runner.model)
        check_topk(runner.test_evaluator.metrics, num_classes(getattr(model, 'student', model)))
        if args.teacher:
            swap_in_teacher(runner)
        else:
            names = load_weights(model, args.checkpoint)
            check_checkpoint_classes(names, args.checkpoint, runner.test_dataloader.dataset)
        if args.out and args.out_item == 'pred':
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(args.out)))
        metrics = runner.test()
    if args.out and args.out_item == 'metrics' and is_main_process():
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
