"""From a command line to a runner: what tools/train.py and tools/test.py share."""

import argparse
import copy
import difflib
import inspect
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from aekt_mm.recipes import CONFIGS
from aekt_mm.registry import SCOPE
from aekt_mm.silence import about_the_run

from .checkpoints import (
    check_resumable,
    latest_whole_checkpoint,
    use_restricted_loading,
    write_whole_files,
)
from .command_line import Options, add_traceback_argument
from .hooks import ChanceHook, ResumeHook
from .prepared_sets import use_prepared
from .recipes import load_recipe

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

#: What each of them sets for its processes, with what starts it.
LAUNCHED = {
    'pytorch': ('tools/dist_train.sh', ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')),
    'slurm': ('tools/slurm_train.sh', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': ('mpirun', ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR')),
}

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
    'fashion-mnist': 'https://github.com/zalandoresearch/fashion-mnist (data/fashion)',
    'food-101': 'https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz',
    'imagenet': 'https://image-net.org/download-images (as {train,val}/CLASS/IMAGE.JPEG)',
    'tiny-imagenet-200': 'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
}


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing have in common."""
    parser.add_argument('--work-dir', help='where logs and results go; ./work_dirs/CONFIG else')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--prepared', metavar='FOLDER', help='read images from this prepared set')
    parser.add_argument('--no-pin-memory', action='store_true', help='no pin_memory in loaders')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override settings of the config, as in model.losses.aekt.beta=2.0; lists as "[a,b]"',
    )
    parser.add_argument(
        '--hold-out',
        type=float,
        metavar='SHARE',
        help='train without this share of the training set, and evaluate on it, not the test set',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    add_traceback_argument(parser)
    # torch.distributed.launch passes it; torchrun sets the environment variable instead
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line and merge the shared arguments.

    Raises:
        FileNotFoundError: If there is no such config or recipe.
        ValueError: If the recipe's method says nothing for its pair, or an option of
            ``--cfg-options`` is not in the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_recipe(args.config)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'the config {args.config} has no model: is it a recipe?')
    if args.cfg_options is not None:
        override(cfg, args.cfg_options)
    if getattr(args, 'prepared', None) is not None:  # a caller's own namespace may lack it
        use_prepared(cfg, args.prepared)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    if args.hold_out is not None:
        hold_out(cfg, args.hold_out)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(cfg.get(loader), dict):
            # the defaults of mmpretrain's tools, where they are possible
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
            cfg[loader].setdefault('persistent_workers', bool(cfg[loader].get('num_workers')))
            pin = cfg[loader].get('pin_memory', True) and torch.cuda.is_available()
            cfg[loader].pin_memory = pin and not args.no_pin_memory
    return cfg


def _check_launched(launcher: str) -> None:
    """Refuse a launcher that is named but has not started this process."""
    script, variables = LAUNCHED.get(launcher, ('', ()))
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: this process was not started by it, since {missing[0]} is not '
            f'set in its environment: use {script}, or leave --launcher out'
        )


def hold_out(cfg: Config, share: float, seed: int = 0) -> None:
    """Let a run train on a part of its training set and be evaluated on the rest.

    Settings that were chosen so owe nothing to the test set, which is not read.

    Args:
        cfg: Of the run, changed in place.
        share: Of each class that is held out, see :func:`~aekt_mm.datasets.HeldOut`.
        seed: Of the choice.

    Raises:
        ValueError: If the share is not above 0 and below 1.
    """
    if not 0 < share < 1:
        raise ValueError(f'--hold-out must be above 0 and below 1, but is {share!r}')
    owner = cfg.train_dataloader
    if owner.dataset.type.removeprefix('aekt_mm.') in ('ViewDataset', 'CropDataset'):
        owner = owner.dataset  # views are of what is left
    training = owner.dataset
    owner.dataset = dict(
        type='aekt_mm.HeldOut', dataset=training, part='fit', share=share, seed=seed
    )
    for loader in ('val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            held_out = copy.deepcopy(training)
            if 'pipeline' in cfg[loader].dataset:  # images are read as for evaluation
                held_out.pipeline = cfg[loader].dataset.pipeline
            cfg[loader].dataset = dict(
                type='aekt_mm.HeldOut', dataset=held_out, part='validation', share=share, seed=seed
            )


def use_cached_teacher(cfg: Config, folder: str | Path) -> None:
    """Let the logits in a folder take the place of a recipe's teacher, whose they must be."""
    cfg.model.teacher = dict(type='CachedTeacher', cache=str(folder), online=cfg.model.teacher)


def override(cfg: Config, options: dict) -> None:
    """Set what a config has by dotted names, as ``--cfg-options`` and studies do.

    One after the other, so that one may name a part of what another has put there. A mapping takes
    the place of what is there, so that nothing of that outlives it. What is None is filled by
    naming its parts: ``model.connector.type`` where a recipe has no connector. With the number of
    epochs go the schedules that ended with it, but where their own end is given.

    Args:
        cfg: Changed in place.
        options: The new values.

    Raises:
        ValueError: If the config has no such option, see :func:`check_option`.
    """
    before = (cfg.get('train_cfg') or {}).get('max_epochs')
    for option, value in options.items():
        check_option(cfg, option)
        *parts, last = option.split('.')
        place = cfg._cfg_dict
        for part in parts:
            if isinstance(place, dict) and place.get(part) is None:
                place[part] = {}
            place = place[part] if isinstance(place, dict) else place[int(part)]
        if isinstance(value, dict) and isinstance(place, dict) and last in place:
            value = {**value, '_delete_': True}
        cfg.merge_from_dict({option: value})
    if before is not None and type(options.get('train_cfg.max_epochs')) is int:
        _end_schedules(cfg, before, options)


def _end_schedules(cfg: Config, before: int, options: dict) -> None:
    """Let schedules that ended with the run, at epoch ``before``, end with it still."""
    schedules = cfg.get('param_scheduler') or []
    for schedule in [schedules] if isinstance(schedules, dict) else schedules:
        for end in ('total_steps', 'T_max', 'end'):
            given = any(name.split('.')[-1] == end for name in options)
            if schedule.get(end) == before and not given:
                schedule[end] = cfg.train_cfg.max_epochs


def check_option(cfg: Config, option: str) -> None:
    """Refuse an override of what the config does not have, which is misspelt.

    Only the last part of an option's name may be new, since a component may have options that the
    config leaves at their defaults; the component then refuses what it does not know. An option
    without a dot may also be one of MMEngine's Runner.

    Raises:
        ValueError: Naming the option and what comes closest to it.
    """
    if option == 'launcher':
        raise ValueError('--cfg-options launcher: set it with --launcher')
    parts = option.split('.')
    place = cfg._cfg_dict
    for depth, part in enumerate(parts):
        where = '.'.join(parts[:depth]) or 'the config'
        place = {} if place is None else place
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
        while isinstance(dataset.get('dataset'), dict):  # what a ViewDataset, say, wraps
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
    if not isinstance(checkpoint, str | Path | None):
        raise ValueError(f'model.teacher.checkpoint must be a path or URL, but is {checkpoint!r}')
    if _missing(checkpoint, Path.is_file):
        recipe = f'{Path(checkpoint).parent.name}.py'
        known = next(CONFIGS.glob(f'*/{recipe}'), None) if CONFIGS else None
        get = f'train it with tools/train.py {_relative(known)} or ' if known else ''
        raise FileNotFoundError(
            f"the teacher's weights were looked for in {checkpoint}, which is not there: {get}set "
            'model.teacher.checkpoint'
        )
    if _missing(cfg.get('load_from'), Path.is_file):
        raise FileNotFoundError(f'there is no checkpoint {cfg.load_from}')
    if _asks_hub(cfg.model):
        _look_for_hub()


def _asks_hub(part: Any) -> bool:
    """Return whether a part of a config has weights of timm's, which come from its hub."""
    if isinstance(part, list | tuple):
        return any(map(_asks_hub, part))
    if not isinstance(part, dict):
        return False
    timm = 'timm' in str(part.get('type')).lower() and part.get('pretrained') is True
    return timm or any(map(_asks_hub, part.values()))


def _look_for_hub() -> None:
    """Let the hub's client look into its cache alone where its host is not known.

    It would try for a minute. Behind a proxy the host need not be known here.
    """
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE or getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
        print_log(
            f"{host} is not known here: timm's weights (pretrained=True) are looked for in its "
            'cache alone. Without a network set pretrained=False, and the file: checkpoint of a '
            'teacher, checkpoint_path of a student',
            'current',
            level=30,
        )


def _missing(path: str | None, is_there: Callable[[Path], bool]) -> bool:
    return path is not None and '://' not in path and not is_there(Path(path).expanduser())


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, with checkpoints read safely and gloo where there is no GPU.

    Training by epochs or iterations gets the loop, and a hook, that is exact after a resume, and a
    hook that tells where nothing is learned.

    MMEngine takes a GPU for granted in two places of a distributed start: it sets a CUDA device
    before the process group exists, and wraps the model for one. On a CPU both are done here.

    Raises:
        ValueError: If the config's launcher has not started this process.
    """
    use_restricted_loading()
    write_whole_files()
    if cfg.get('compile'):
        # MMEngine compiles the whole step; the optimizer's part anew for every learning rate
        OptimWrapper.update_params = torch.compiler.disable(OptimWrapper.update_params)
    train_cfg = cfg.get('train_cfg') or {}
    if 'by_epoch' in train_cfg:
        loop = {key: value for key, value in train_cfg.items() if key != 'by_epoch'}
        kind = 'ResumableEpochLoop' if train_cfg.by_epoch else 'ResumableIterLoop'
        cfg.train_cfg = dict(type=kind, _scope_=SCOPE, **loop)
    launcher = cfg.get('launcher', 'none')
    _check_launched(launcher)
    if launcher != 'none' and not torch.cuda.is_available():
        _init_gloo(launcher)
        cfg.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
            **(cfg.get('model_wrapper_cfg') or {}),
            'device_ids': None,
        }
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.logger.addFilter(about_the_run)
    runner.register_hook(ResumeHook())
    runner.register_hook(ChanceHook())
    return runner


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
    if point is not None:
        check_resumable(point)
    else:
        print_log(f'{cfg.work_dir} has nothing to resume from: the run starts anew', 'current')
    cfg.resume = point is not None
    cfg.load_from = point or cfg.get('load_from')
