"""From a command line to a runner: what tools/train.py and tools/test.py share."""

import argparse
import difflib
import inspect
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from aekt_mm.registry import SCOPE

from .checkpoints import latest_whole_checkpoint, use_restricted_loading, write_whole_files

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

#: What a config need not have for an option to set it: MMEngine's Runner asks for it by name.
RUNNER_OPTIONS = (
    *inspect.signature(Runner).parameters,
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
)

#: Where the data come from that recipes look for in a folder of this name.
DATA_SOURCES = {
    'cifar100': 'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz',
    'food-101': 'https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz',
    'imagenet': 'https://image-net.org/download-images (as {train,val}/CLASS/IMAGE.JPEG)',
    'tiny-imagenet-200': 'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
}


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
            # the defaults of mmpretrain's tools, where they are possible
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
            cfg[loader].setdefault('persistent_workers', bool(cfg[loader].get('num_workers')))
            pin = cfg[loader].get('pin_memory', True) and torch.cuda.is_available()
            cfg[loader].pin_memory = pin and not args.no_pin_memory
    return cfg


def check_options(cfg: Config, options: dict) -> None:
    """Refuse overrides of what the config does not have, which are misspelt.

    Only the last part of an option's name may be new, since a component may have options that the
    config leaves at their defaults; the component then refuses what it does not know. An option
    without a dot may also be one of MMEngine's Runner.

    Raises:
        ValueError: Naming the option and what comes closest to it.
    """
    for option in options:
        parts = option.split('.')
        place = cfg._cfg_dict
        for depth, part in enumerate(parts):
            where = '.'.join(parts[:depth]) or 'the config'
            if not isinstance(place, dict | list | tuple):
                raise ValueError(f'--cfg-options {option}: {where} is {place!r}, without parts')
            known = list(place) if isinstance(place, dict) else [str(i) for i in range(len(place))]
            if depth == 0:
                known += RUNNER_OPTIONS
            elif depth == len(parts) - 1 and isinstance(place, dict):
                break  # may be new
            if part not in known:
                close = difflib.get_close_matches(part, known, n=1)
                hint = f'did you mean {close[0]}?' if close else f'it has {", ".join(known)}'
                raise ValueError(f'--cfg-options {option}: {where} has no {part!r}; {hint}')
            place = place.get(part, {}) if isinstance(place, dict) else place[int(part)]


def check_files(cfg: Config, *loaders: str) -> None:
    """Check that what a run reads is there, before anything is built.

    Args:
        cfg: Of the run.
        *loaders: The names of its dataloaders.

    Raises:
        FileNotFoundError: If a dataset's folder, the teacher's weights or the checkpoint to
            continue from is missing; the message says how to get it, where that is known.
    """
    for loader in loaders:
        place, dataset = f'{loader}.dataset', (cfg.get(loader) or {}).get('dataset', {})
        if 'dataset' in dataset:  # what a ViewDataset wraps
            place, dataset = f'{place}.dataset', dataset.dataset
        root = dataset.get('data_root')
        if _missing(root, Path.is_dir):
            source = DATA_SOURCES.get(Path(root).name)
            get = f'get it from {source} or ' if source else ''
            raise FileNotFoundError(
                f'{dataset.type} was looked for in {root}, which is not there: {get}set '
                f'{place}.data_root'
            )
    checkpoint = (cfg.model.get('teacher') or {}).get('checkpoint')
    if _missing(checkpoint, Path.is_file):
        recipe = f'{Path(checkpoint).parent.name}.py'
        known = next(Path(cfg.filename).resolve().parents[1].glob(f'*/{recipe}'), None)
        get = f'train it with tools/train.py {_relative(known)} or ' if known else ''
        raise FileNotFoundError(
            f"the teacher's weights were looked for in {checkpoint}, which is not there: {get}set "
            'model.teacher.checkpoint'
        )
    if _missing(cfg.get('load_from'), Path.is_file):
        raise FileNotFoundError(f'there is no checkpoint {cfg.load_from}')


def _missing(path: str | None, is_there: Callable[[Path], bool]) -> bool:
    return path is not None and '://' not in path and not is_there(Path(path).expanduser())


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, with checkpoints read safely and gloo where there is no GPU.

    Where training goes by epochs, it can go on in the middle of one.

    MMEngine takes a GPU for granted in two places of a distributed start: it sets a CUDA device
    before the process group exists, and wraps the model for one. On a CPU both are done here.
    """
    use_restricted_loading()
    write_whole_files()
    if cfg.get('compile'):
        # MMEngine compiles the whole step; the optimizer's part anew for every learning rate
        OptimWrapper.update_params = torch.compiler.disable(OptimWrapper.update_params)
    if (cfg.get('train_cfg') or {}).get('by_epoch'):
        loop = {key: value for key, value in cfg.train_cfg.items() if key != 'by_epoch'}
        cfg.train_cfg = dict(type='ResumableEpochLoop', _scope_=SCOPE, **loop)
    launcher = cfg.get('launcher', 'none')
    if launcher != 'none' and not torch.cuda.is_available():
        _init_gloo(launcher)
        cfg.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
            **(cfg.get('model_wrapper_cfg') or {}),
            'device_ids': None,
        }
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _init_gloo(launcher: str) -> None:
    if torch.distributed.is_initialized():
        return
    if launcher == 'slurm':
        os.environ.setdefault('MASTER_PORT', '29500')
        nodes = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
        if 'MASTER_ADDR' not in os.environ:
            os.environ['MASTER_ADDR'] = subprocess.check_output(nodes, text=True).split()[0]
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
    if resume is None and cfg.get('resume') and cfg.get('load_from') is None:
        resume = 'auto'  # as MMEngine does it
    if resume is None:
        return
    point = latest_whole_checkpoint(cfg.work_dir) if resume == 'auto' else resume
    if point is None:
        print_log(f'{cfg.work_dir} has nothing to resume from: the run starts anew', 'current')
    cfg.resume = point is not None
    cfg.load_from = point or cfg.get('load_from')
