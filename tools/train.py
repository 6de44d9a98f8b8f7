"""Train the model of a recipe.

python tools/train.py configs/aekt/aekt_r34_r18_imagenet.py
python tools/train.py nkd_resnet56_resnet20_cifar100
bash tools/dist_train.sh configs/aekt/aekt_r34_r18_imagenet.py 8
"""

import argparse
import os

from mmengine.config import Config

from aekt_mm.engine.class_names import check_classes
from aekt_mm.engine.command_line import one_line_errors, quiet_start
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.hooks import ProgressHook
from aekt_mm.engine.interruption import StopHook, die_with_launcher, locked, resume_command
from aekt_mm.engine.launching import (
    add_shared_arguments,
    build_runner,
    check_effects,
    check_files,
    keeping,
    load_config,
    resume_point,
    use_cached_teacher,
)
from aekt_mm.engine.mixed_precision import use_mixed_precision


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='path or name of the recipe')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue at this checkpoint; without one, at the newest in the work directory',
    )
    parser.add_argument('--seed', type=int, help='seed of weights, order and views')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms, slower on a GPU'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate on the way')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from the batch size it was set for to the actual one',
    )
    parser.add_argument(
        '--no-persistent-workers', action='store_true', help='restart workers every epoch'
    )
    parser.add_argument(
        '--capture', action='store_true', help='run each step as one CUDA graph: small networks'
    )
    parser.add_argument(
        '--cached-teacher', help="folder of the teacher's logits, from tools/cache_teacher.py"
    )
    add_shared_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    die_with_launcher(args.launcher)
    stop = StopHook(resume_command(args.launcher))
    with one_line_errors('train', args), stop.listening():
        cfg = load_config(args)
        configure(cfg, args)
        check_config(cfg)
        check_effects(cfg, args.cfg_options)
        check_files(cfg, 'train_dataloader', 'val_dataloader')
        check_classes(cfg)
        with (
            quiet_start(cfg.work_dir, args.traceback) as start,
            locked(cfg.work_dir, args.launcher),
        ):
            resume_point(cfg, args.resume)
            runner = build_runner(cfg)
            runner.register_hook(stop)
            runner.register_hook(start)
            runner.register_hook(ProgressHook())
            runner.train()


def configure(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the arguments of training alone."""
    if args.no_validate:
        with keeping(cfg, args.cfg_options, '--no-validate'):
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        with keeping(cfg, args.cfg_options, '--amp'):
            use_mixed_precision(cfg)
    if args.capture:
        if not (cfg.get('train_cfg') or {}).get('by_epoch'):
            raise ValueError('--capture takes a run by epochs: set train_cfg.by_epoch=True')
        cfg.train_cfg.capture = True
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise ValueError('--auto-scale-lr: the config says no auto_scale_lr.base_batch_size')
        with keeping(cfg, args.cfg_options, '--auto-scale-lr'):
            cfg.auto_scale_lr.enable = True
    if args.no_persistent_workers:
        for loader in ('train_dataloader', 'val_dataloader'):
            if cfg.get(loader) is not None:
                cfg[loader].persistent_workers = False
    if args.seed is not None:
        with keeping(cfg, args.cfg_options, '--seed'):
            cfg.randomness.seed = args.seed
    if args.deterministic:
        with keeping(cfg, args.cfg_options, '--deterministic'):
            cfg.randomness.deterministic = True
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # torch asks for it on a GPU
    if args.cached_teacher is not None:
        if 'teacher' not in cfg.model:
            raise ValueError('--cached-teacher: the model of this recipe has no teacher')
        if cfg.model.get('features'):
            raise ValueError(
                '--cached-teacher: a cached teacher has no features, but this recipe compares '
                f'some: model.features has {", ".join(cfg.model.features)}'
            )
        use_cached_teacher(cfg, args.cached_teacher)


if __name__ == '__main__':
    main()
