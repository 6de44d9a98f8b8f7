"""Run a recipe's teacher over views of its training set once, and keep its logits.

    python tools/cache_teacher.py CONFIG FOLDER --views 240
    python tools/train.py CONFIG --cached-teacher FOLDER

With as many views as epochs, training with the cache equals training with the teacher. With fewer,
the views come again in turn. Killed and called again, it goes on where it was.
"""

import argparse
from pathlib import Path

from mmengine.dist import is_main_process

from aekt_mm.engine.class_names import check_classes
from aekt_mm.engine.command_line import one_line_errors
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.launching import add_shared_arguments, check_files, load_config
from aekt_mm.engine.mixed_precision import use_mixed_precision
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.models.teachers.logit_cache import FORMATS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='a distillation recipe')
    parser.add_argument('folder', type=Path, help='where the cache goes')
    parser.add_argument('--views', type=int, required=True, help='how many views of each image')
    parser.add_argument(
        '--format', choices=FORMATS, default='float16', help='what is kept of each (float16)'
    )
    parser.add_argument(
        '--k', type=int, default=50, help='how many non-target logits topk keeps (50)'
    )
    parser.add_argument(
        '--seed', type=int, help="of the views; the training run's must be the same"
    )
    add_shared_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors('cache_teacher', args):
        cfg = load_config(args)
        if args.seed is not None:
            cfg.setdefault('randomness', {})['seed'] = args.seed
        if args.amp:
            use_mixed_precision(cfg)
        check_config(cfg)
        check_files(cfg, 'train_dataloader')
        check_classes(cfg)
        cache = cache_teacher(cfg, args.folder, args.views, args.format, args.k)
    if is_main_process():
        print(f'{cache.folder} is complete: train with --cached-teacher {cache.folder}')


if __name__ == '__main__':
    main()
