"""From a command line to a runner: what tools/train.py and tools/test.py share."""

import argparse
import difflib
import os
from pathlib import Path

import torch
import torch.distributed
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .checkpoints import latest_whole_checkpoint, use_restricted_loading

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing have in common."""
    parser.add_argument('--work-dir', help='where logs and results go; ./work_dirs/CONFIG else')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--no-pin-memory', action='store_true', help='no pin_memory in loaders')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as in model.losses.aekt.beta=2.0; lists as "[a,b]"',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable instead
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line and merge the shared arguments.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If an option of ``--cfg-options`` is not in the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'there is no config {args.config}')
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        check_options(cfg, args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            # mmpretrain's tools default to this collation
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
            cfg[loader].pin_memory = not args.no_pin_memory and torch.cuda.is_available()
    return cfg


def check_options(cfg: Config, options: dict) -> None:
    """Refuse overrides of what the config does not have, which are misspelt.

    Only the last part of an option's name may be new, since a component may have options that the
    config leaves at their defaults; the component then refuses what it does not know.

    Raises:
        ValueError: Naming the option and what comes closest to it.
    """
    for option in options:
        *path, last = option.split('.')
        place = cfg._cfg_dict
        for depth, part in enumerate(path or [last]):
            known = list(place) if isinstance(place, dict) else list(map(str, range(len(place))))
            if part not in known:
                close = difflib.get_close_matches(part, known, n=1) or known
                where = '.'.join(path[:depth]) or 'the config'
                raise ValueError(
                    f'--cfg-options {option}: {where} has no {part!r}; did you mean '
                    f'{" or ".join(close)}?'
                )
            place = place[part] if isinstance(place, dict) else place[int(part)]
            if depth + 1 < len(path) and not isinstance(place, dict | list | tuple):
                raise ValueError(
                    f'--cfg-options {option}: {".".join(path[: depth + 1])} is no dict'
                )


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, with checkpoints read safely and gloo where there is no GPU.

    MMEngine takes a GPU for granted in two places of a distributed start: it sets a CUDA device
    before the process group exists, and wraps the model for one. On a CPU both are done here.
    """
    use_restricted_loading()
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        _init_gloo(cfg.launcher)
        wrapper = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.setdefault('model_wrapper_cfg', wrapper)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _init_gloo(launcher: str) -> None:
    if torch.distributed.is_initialized():
        return
    if launcher == 'slurm':
        os.environ.setdefault('MASTER_PORT', '29500')
        os.environ.setdefault(
            'MASTER_ADDR', os.environ.get('SLURM_LAUNCH_NODE_IPADDR', '127.0.0.1')
        )
        os.environ['RANK'] = os.environ['SLURM_PROCID']
        os.environ['LOCAL_RANK'] = os.environ['SLURM_LOCALID']
        os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    elif launcher == 'mpi':
        os.environ.setdefault('MASTER_PORT', '29500')
        os.environ['RANK'] = os.environ['OMPI_COMM_WORLD_RANK']
        os.environ['LOCAL_RANK'] = os.environ['OMPI_COMM_WORLD_LOCAL_RANK']
        os.environ['WORLD_SIZE'] = os.environ['OMPI_COMM_WORLD_SIZE']
    torch.distributed.init_process_group('gloo')


def resume_point(cfg: Config, resume: str | None) -> None:
    """Set where a run continues: at a checkpoint, or with 'auto' at the newest whole one."""
    if resume is None:
        return
    cfg.resume = True
    cfg.load_from = latest_whole_checkpoint(cfg.work_dir) if resume == 'auto' else resume
