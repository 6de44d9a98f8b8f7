"""From a command line to a runner: what tools/train.py and tools/test.py share."""

import argparse
import contextlib
import copy
import difflib
import inspect
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS, DefaultScope
from mmengine.runner import Runner

from aekt_mm.models.checkpoints import absent
from aekt_mm.models.classifiers import pipeline_side
from aekt_mm.recipes import CONFIGS
from aekt_mm.registry import DATASETS, SCOPE, build, type_name
from aekt_mm.silence import about_the_run

from .checkpoints import (
    check_resumable,
    latest_whole_checkpoint,
    render_configs_once,
    use_restricted_loading,
    write_whole_files,
)
from .command_line import Options, add_traceback_argument
from .config_effects import beside_its_part
from .hooks import ChanceHook, DistillCheckHook, ResumeHook
from .interruption import RANK_VARIABLES
from .prepared_sets import use_prepared
from .recipes import load_recipe
from .resuming import check_same_run

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
#: What starts the processes of a job.
STARTERS = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}

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

LEARNING_RATE = 'optim_wrapper.optimizer.lr'

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
            ``--cfg-options`` is not in the config, or has no effect beside another argument.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_recipe(args.config)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'the config {args.config} has no model: is it a recipe?')
    for unread in beside_its_part(cfg):
        print_log(unread, 'current', level=30)
    if isinstance(cfg.get('randomness'), dict | None):
        cfg.randomness = {'seed': None, **(cfg.get('randomness') or {})}
    if args.cfg_options is not None:
        override(cfg, args.cfg_options)
    if getattr(args, 'prepared', None) is not None:  # a caller's own namespace may lack it
        with keeping(cfg, args.cfg_options, '--prepared'):
            use_prepared(cfg, args.prepared)
    rank = RANK_VARIABLES.get(args.launcher)
    if rank is not None and rank not in os.environ:
        raise ValueError(
            f'--launcher {args.launcher}: {rank} is not in the environment, which '
            f'{STARTERS[args.launcher]} sets for each process of a job'
        )
    cfg.launcher = args.launcher
    with keeping(cfg, args.cfg_options, '--work-dir'):
        default = f'./work_dirs/{Path(args.config).stem}'
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or default
    if args.hold_out is not None:
        # what is trained on is still read, one level further down
        evaluated = [name for name in args.cfg_options or () if not name.startswith('train_')]
        with keeping(cfg, evaluated, '--hold-out'):
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
    if str(owner.dataset.type).rpartition('.')[2].strip("'>") in ('ViewDataset', 'CropDataset'):
        owner = owner.dataset  # views are of what is left
    training = owner.dataset
    owner.dataset = dict(
        type='aekt_mm.HeldOut', dataset=training, part='fit', share=share, seed=seed
    )
    for loader in ('val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            held_out = copy.deepcopy(training)
            evaluated = next(_innermost(cfg[loader].dataset))
            if 'pipeline' in evaluated:  # images are read as for evaluation
                for dataset in _innermost(held_out):
                    dataset['pipeline'] = evaluated['pipeline']
            cfg[loader].dataset = dict(
                type='aekt_mm.HeldOut', dataset=held_out, part='validation', share=share, seed=seed
            )


def _innermost(dataset: dict) -> Iterator[dict]:
    """Return the datasets below what wraps or joins them."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if inner == [None]:
        yield dataset
        return
    for each in inner:
        yield from _innermost(each)


def use_cached_teacher(cfg: Config, folder: str | Path) -> None:
    """Let the logits in a folder take the place of a recipe's teacher, whose they must be."""
    cfg.model.teacher = dict(type='CachedTeacher', cache=str(folder), online=cfg.model.teacher)


def override(cfg: Config, options: dict) -> None:
    """Set what a config has by dotted names, as ``--cfg-options`` and studies do.

    One after the other, so that one may name a part of what another has put there. A mapping takes
    the place of what is there, so that nothing of that outlives it. What is None is filled by
    naming its parts: ``model.connector.type`` where a recipe has no connector. With the number of
    epochs go the schedules that ended with it, but where their own end is given; with the learning
    rate goes the peak of OneCycleLR that was equal to it, and the other way round. Where the method
    says the label's weight, a weight of the head's loss takes its place.

    Args:
        cfg: Changed in place.
        options: The new values.

    Raises:
        ValueError: If the config has no such option, see :func:`check_option`, or a later one takes
            its place.
    """
    before = (cfg.get('train_cfg') or {}).get('max_epochs')
    rate = _value(cfg, LEARNING_RATE)
    at_peak = all(cycle.get('eta_max') == rate for cycle in _cycles(cfg))
    options = _label_weight(cfg, options)
    for number, (option, value) in enumerate(options.items()):
        for earlier in list(options)[:number]:
            if earlier.startswith(f'{option}.'):
                raise ValueError(
                    f'--cfg-options {earlier} has no effect: {option} comes after it, and takes '
                    'its place'
                )
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
    if at_peak:
        _follow_rate(cfg, rate, options)


def _follow_rate(cfg: Config, before: Any, options: dict) -> None:
    """Let the optimizer's rate and the peak of OneCycleLR, both ``before``, stay the same one."""
    named = {option.split('.')[-1] for option in options}
    for cycle in _cycles(cfg):
        rate, peak = _value(cfg, LEARNING_RATE), cycle.get('eta_max')
        if peak == before and 'eta_max' not in named and isinstance(rate, int | float):
            cycle['eta_max'] = rate
        elif rate == before is not None and 'lr' not in named and isinstance(peak, int | float):
            cfg.optim_wrapper.optimizer.lr = peak


def _cycles(cfg: Config) -> list[dict]:
    schedules = cfg.get('param_scheduler') or []
    schedules = [schedules] if isinstance(schedules, dict) else schedules
    return [s for s in schedules if isinstance(s, dict) and type_name(s) == 'OneCycleLR']


def _label_weight(cfg: Config, options: dict) -> dict:
    """Translate a weight of the head's loss, which was the label's, to what it is called now."""
    name, head = 'model.label_weight', 'model.student.head.loss'
    if 'label_weight' not in (cfg.get('model') or {}) or name in options:
        return options
    translated = {}
    for option, value in options.items():
        weight = None
        if option == f'{head}.loss_weight':
            option, weight = name, value
        elif option == head and isinstance(value, dict) and 'loss_weight' in value:
            weight = translated[name] = value['loss_weight']
            value = {key: part for key, part in value.items() if key != 'loss_weight'}
        translated[option] = value
        if weight is not None:
            print_log(f'{head}.loss_weight is what {name} is here, now {weight}', 'current')
    return translated


def _end_schedules(cfg: Config, before: int, options: dict) -> None:
    """Let schedules that ended with the run, at epoch ``before``, end with it still."""
    schedules = cfg.get('param_scheduler') or []
    for schedule in [schedules] if isinstance(schedules, dict) else schedules:
        for end in ('total_steps', 'T_max', 'end'):
            given = any(name.split('.')[-1] == end for name in options)
            if schedule.get(end) == before and not given:
                schedule[end] = cfg.train_cfg.max_epochs


@contextlib.contextmanager
def keeping(cfg: Config, options: Iterable[str] | None, flag: str) -> Iterator[None]:
    """Refuse options that what is done in this context takes the place of.

    Args:
        cfg: In which they are set.
        options: As of :func:`override`, or None.
        flag: What does it, as on the command line.

    Raises:
        ValueError: On leaving, if an option no longer holds.
    """
    before = {option: copy.deepcopy(_value(cfg, option)) for option in options or ()}
    yield
    for option, value in before.items():
        if [_value(cfg, option)] != [value]:  # in lists, where NaN is itself
            raise ValueError(
                f'--cfg-options {option} has no effect beside {flag}: leave one of them out'
            )


def _value(cfg: Config, option: str) -> Any:
    """Return what a config has by a dotted name, None where it has nothing."""
    place = cfg._cfg_dict
    for part in option.split('.'):
        if isinstance(place, dict):
            place = place.get(part)
        elif isinstance(place, list | tuple) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            return None
    return place


def check_effects(cfg: Config, options: dict | None) -> None:
    """Refuse options of training that nothing reads, since something else rules in their place.

    Args:
        cfg: As it will be run.
        options: As of :func:`override`, or None.

    Raises:
        ValueError: Naming the option and what rules.
    """
    idle = {}
    if cfg.get('val_cfg') is None:
        idle['train_cfg.val_'] = 'without validation, which is off'
    if not (cfg.get('auto_scale_lr') or {}).get('enable'):
        idle['auto_scale_lr.'] = 'without --auto-scale-lr'
    # of three places for it the first that says something is read
    places = ['model.data_preprocessor', 'data_preprocessor', 'model.student.data_preprocessor']
    read = next((place for place in places if _value(cfg, place) is not None), places[-1])
    for place in places[places.index(read) + 1 :]:
        idle[f'{place}.'] = f'beside {read}'
    for option in options or ():
        for start, reason in idle.items():
            if f'{option}.'.startswith(start):
                raise ValueError(f'--cfg-options {option} has no effect {reason}')


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
    if _missing(checkpoint, Path.exists):
        recipe = f'{Path(checkpoint).parent.name}.py'
        known = next(CONFIGS.glob(f'*/{recipe}'), None) if CONFIGS else None
        get = f'train it with tools/train.py {_relative(known)} or ' if known else ''
        raise FileNotFoundError(
            f"the teacher's weights were looked for in {checkpoint}, which is not there: {get}set "
            'model.teacher.checkpoint'
        )
    for option, path in (
        ('model.teacher.checkpoint', checkpoint),
        ('load_from', cfg.get('load_from')),
    ):
        if _missing(path, Path.is_file):
            raise FileNotFoundError(f'{option}: {absent(path)}')
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


def _missing(path: Any, is_there: Callable[[Path], bool]) -> TypeGuard[str | Path]:
    return path is not None and '://' not in str(path) and not is_there(Path(path).expanduser())


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, with checkpoints read safely and gloo where there is no GPU.

    Training by epochs or iterations gets the loop, and a hook, that is exact after a resume, and a
    hook that tells where nothing is learned. Where gradients are accumulated, the learning rate is
    scaled by the images of a step, not of a batch.

    MMEngine takes a GPU for granted in two places of a distributed start: it sets a CUDA device
    before the process group exists, and wraps the model for one. On a CPU both are done here.

    Raises:
        ValueError: If the config's launcher has not started this process.
    """
    launcher = cfg.get('launcher', 'none')
    _check_launched(launcher)
    use_restricted_loading()
    write_whole_files()
    render_configs_once()
    if cfg.model.get('features') and cfg.model.get('teacher') and cfg.get('train_dataloader'):
        cfg.model.setdefault('image_size', _image_size(cfg))
    if cfg.get('compile'):
        # MMEngine compiles the whole step; the optimizer's part anew for every learning rate
        OptimWrapper.update_params = torch.compiler.disable(OptimWrapper.update_params)
    train_cfg: Any = cfg.get('train_cfg') or {}
    if 'by_epoch' in train_cfg:
        loop = {key: value for key, value in train_cfg.items() if key != 'by_epoch'}
        kind = 'ResumableEpochLoop' if train_cfg.by_epoch else 'ResumableIterLoop'
        cfg.train_cfg = dict(type=kind, _scope_=SCOPE, **loop)
    if cfg.get('val_cfg') is not None and 'type' not in cfg.val_cfg:
        cfg.val_cfg = dict(type='WholeBatchValLoop', _scope_=SCOPE, **cfg.val_cfg)
    cfg.setdefault('default_hooks', {}).setdefault('runtime_info', dict(type='aekt_mm.FiguresHook'))
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
    if torch.cuda.is_available():  # inputs are so, and convolutions would lay their weights anew
        runner.model.to(memory_format=torch.channels_last)
    runner.logger.addFilter(about_the_run)
    if not any(isinstance(hook, DistillCheckHook) for hook in runner.hooks):
        runner.register_hook(DistillCheckHook())  # a config of others has none
    runner.register_hook(ResumeHook())
    runner.register_hook(ChanceHook())
    batches = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if batches > 1:
        _count_steps(runner, batches)
    return runner


def _count_steps(runner: Runner, batches: int) -> None:
    """Mind that a step is of several batches where MMEngine counts batches."""
    scaling = runner.auto_scale_lr or {}
    if scaling.get('enable') and 'base_batch_size' in scaling:
        base = scaling['base_batch_size'] / batches
        runner.auto_scale_lr = {**scaling, 'base_batch_size': base}
        runner.logger.info(
            f'A step is of {batches} batches (accumulative_counts), each the share {base:g} of the '
            'base batch size that the learning rate is scaled from'
        )
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and 'interval' not in hook.ema_cfg:
            runner.logger.warning(
                f'{type(hook).__name__} averages after every batch, {batches} times a step '
                f'(accumulative_counts): with interval={batches} it would once'
            )


def _image_size(cfg: Config) -> int | None:
    """Return the height and width of the images that a config trains on, where known."""
    dataset = cfg.train_dataloader.dataset
    while isinstance(dataset.get('dataset'), dict) and 'scale' not in dataset:
        dataset = dataset.dataset
    side = pipeline_side([dataset, *(dataset.get('pipeline') or ())])
    if side is None and 'pipeline' not in dataset and 'datasets' not in dataset:
        with (
            suppress(OSError, ValueError),  # a test need not have them
            DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')),
        ):
            images = getattr(build(DATASETS, dataset), 'images', None)
            side = None if images is None else images.shape[1]
    return side


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
    """Set where a run continues: at a checkpoint, or with 'auto' at the newest whole one.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        ValueError: If it is no run's, or has settings whose place others would take in vain, see
            :func:`~aekt_mm.engine.resuming.check_same_run`.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'  # as MMEngine does it
    if resume is None:
        return
    point = latest_whole_checkpoint(cfg.work_dir) if resume == 'auto' else resume
    if point is not None:
        check_same_run(cfg, check_resumable(point), point)
    else:
        print_log(f'{cfg.work_dir} has nothing to resume from: the run starts anew', 'current')
    cfg.resume = point is not None
    cfg.load_from = point or cfg.get('load_from')
