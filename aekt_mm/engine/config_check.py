"""The check of a whole config before anything is built.

What is checked is what components say of themselves: whether the registry of a place has the type,
whether its constructor takes the options and their types, and, where building it costs nothing,
whether it can be built. What MMEngine takes as it comes has its range in a table here.
"""

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import FUNCTIONS, OPTIM_WRAPPER_CONSTRUCTORS, DefaultScope, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from aekt_mm import registry as ours
from aekt_mm.datasets import ArrayDataset, CropDataset, ViewDataset
from aekt_mm.registry import SCOPE, build, type_name

from .config_effects import without_effect
from .config_shape import matches, misshapen
from .loops import ResumableEpochLoop, ResumableIterLoop

#: How many mistakes a message names.
NAMED = 3

#: The registry of each key's parts; a key that is not here has its parent's.
REGISTRIES: dict[str, Registry] = {
    'model': ours.MODELS,
    'data_preprocessor': ours.MODELS,
    'dataset': ours.DATASETS,
    'sampler': ours.DATA_SAMPLERS,
    'batch_sampler': ours.DATA_SAMPLERS,
    'collate_fn': FUNCTIONS,
    'pipeline': ours.TRANSFORMS,
    'transforms': ours.TRANSFORMS,
    'optim_wrapper': ours.OPTIM_WRAPPERS,
    'optimizer': ours.OPTIMIZERS,
    'constructor': OPTIM_WRAPPER_CONSTRUCTORS,
    'param_scheduler': ours.PARAM_SCHEDULERS,
    'default_hooks': ours.HOOKS,
    'custom_hooks': ours.HOOKS,
    'val_evaluator': ours.METRICS,
    'test_evaluator': ours.METRICS,
    'train_cfg': ours.LOOPS,
    'val_cfg': ours.LOOPS,
    'test_cfg': ours.LOOPS,
    'visualizer': ours.VISUALIZERS,
    'vis_backends': ours.VISBACKENDS,
    'log_processor': ours.LOG_PROCESSORS,
    'explicit': ours.EXPLICIT_TERMS,
    'init_cfg': ours.WEIGHT_INITIALIZERS,
    'augments': ours.BATCH_AUGMENTS,
}

#: The types of parts that name none.
DEFAULT_TYPES = {
    'optim_wrapper': 'OptimWrapper',
    'log_processor': 'LogProcessor',
    'data_preprocessor': 'ClsDataPreprocessor',
}

#: Options that a part's builder adds.
ADDED = {
    'runner', 'dataloader', 'evaluator', 'optimizer', 'params', 'dataset', 'seed', 'data_batch',
    'num_classes', 'data_preprocessor', 'vis_backends', 'save_dir', 'name', 'losses', 'teacher',
}  # fmt: skip

#: Options that a part's builder takes out.
REMOVED = {
    '_scope_', 'type', 'by_epoch', 'constructor', 'convert_to_iter_based', 'paramwise_cfg',
    'priority', 'num_batch_per_epoch',
}  # fmt: skip

#: Parts that cost nothing to build, and the arguments that building them needs.
BUILDABLE: dict[str, Callable[[], dict]] = {
    'optim_wrapper.optimizer': lambda: dict(params=[torch.nn.Parameter(torch.zeros(1))]),
    'default_hooks.*': dict,
    'custom_hooks.*': dict,
    '*_evaluator': dict,
    '*_evaluator.*': dict,
    '*.pipeline.*': dict,
    'model.losses.*': dict,
    'model.connector': lambda: dict(num_classes=10),
    'train_dataloader.sampler': lambda: dict(dataset=range(8)),
}


class Range(NamedTuple):
    """The values that are allowed: in words, and as a test."""

    words: str
    allows: Callable[[Any], bool]


def integer(lowest: int, highest: float = math.inf, other: Any = ()) -> Range:
    """Return the range of integers from lowest to highest, and one other value."""
    bounds = f'of at least {lowest}' if highest == math.inf else f'from {lowest} to {highest}'
    others = '' if other == () else f' or {other}'
    return Range(
        f'a whole number {bounds}{others}',
        lambda value: (
            (type(value) is int and lowest <= value <= highest) or (other != () and value == other)
        ),
    )


def number(words: str, allows: Callable[[float], bool]) -> Range:
    """Return a range of finite numbers."""
    return Range(
        f'a finite number {words}',
        lambda value: type(value) in (int, float) and math.isfinite(value) and allows(value),
    )


FLAG = Range('True or False', lambda value: isinstance(value, bool))

#: Ranges of options that MMEngine and torch do not check.
RANGES: dict[str, Range] = {
    'train_cfg.max_epochs': integer(1),
    'train_cfg.max_iters': integer(1),
    'train_cfg.val_interval': integer(1),
    'train_cfg.val_begin': integer(1),
    'train_cfg.by_epoch': FLAG,
    '*_dataloader.batch_size': integer(1),
    '*_dataloader.num_workers': integer(0),
    '*_dataloader.drop_last': FLAG,
    '*_dataloader.persistent_workers': FLAG,
    '*_dataloader.prefetch_factor': integer(1, other=None),
    'randomness.seed': integer(0, 2**32 - 1, other=None),
    'randomness.deterministic': FLAG,
    'optim_wrapper.optimizer.lr': number('of at least 0', lambda value: value >= 0),
    'optim_wrapper.optimizer.weight_decay': number('of at least 0', lambda value: value >= 0),
    'optim_wrapper.optimizer.momentum': number('from 0 to below 1', lambda v: 0 <= v < 1),
    'optim_wrapper.accumulative_counts': integer(1),
    'optim_wrapper.clip_grad.max_norm': number('above 0', lambda value: value > 0),
    'default_hooks.logger.interval': integer(1),
    'default_hooks.checkpoint.interval': integer(1, other=-1),
    'default_hooks.checkpoint.max_keep_ckpts': integer(1, other=-1),
    'auto_scale_lr.base_batch_size': integer(1),
    'log_processor.window_size': integer(1),
    '*_evaluator.topk': Range(
        'whole numbers of at least 1',
        lambda value: all(
            type(k) is int and k >= 1
            for k in (value if isinstance(value, list | tuple) else [value])
        ),
    ),
    'model.label_weight': number('of at least 0', lambda value: value >= 0),
    'resume': FLAG,
    'load_from': Range('a path or None', lambda value: isinstance(value, str | None)),
    'work_dir': Range(
        'the path of a folder', lambda value: isinstance(value, str) and not Path(value).is_file()
    ),
    'log_level': Range(
        'DEBUG, INFO, WARNING or ERROR',
        lambda value: value in ('DEBUG', 'INFO', 'WARNING', 'ERROR'),
    ),
}

#: Callables that take the options of other parts.
OPTIONS_OF = {'*_dataloader': DataLoader, 'randomness': Runner.set_randomness}

#: Required keys of a config.
NEEDED = {
    'train': ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
    'test': ('model', 'test_dataloader', 'test_cfg', 'test_evaluator'),
}
#: Parts of a loop: MMEngine wants all of them or none.
LOOP_PARTS = ('dataloader', 'cfg', 'evaluator')


def check_config(cfg: Config, purpose: str = 'train') -> None:
    """Check a config as far as possible without building networks or datasets.

    Args:
        cfg: As it will be run.
        purpose: 'train' or 'test'.

    Raises:
        ValueError: Naming each place, its value and what would be right, up to three of them.
    """
    mistakes: list[str] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for mistake in _mistakes(cfg, purpose):
            # a part that can't be built since an option is wrong needs no mention of its own
            place = re.split(r'[: ]', mistake)[0]
            if not any(other.startswith(place) for other in mistakes):
                mistakes.append(mistake)
    if mistakes:
        more = f'\n... and {len(mistakes) - NAMED} more' if len(mistakes) > NAMED else ''
        raise ValueError('\n'.join(mistakes[:NAMED]) + more)


def _mistakes(cfg: Config, purpose: str) -> Iterator[str]:
    missing = [name for name in NEEDED[purpose] if cfg.get(name) is None]
    if missing:
        yield f'the config has no {" and no ".join(missing)}: is it a recipe?'
        return
    places = [key for key in cfg if key in REGISTRIES or key.endswith('_dataloader')]
    if purpose == 'test':
        places = [key for key in places if key in ('model', 'data_preprocessor') or 'test' in key]
    for key in places:
        if key.split('_')[-1] in LOOP_PARTS and not isinstance(cfg[key], dict | list | None):
            yield f'{key} must be a dict, but is {cfg[key]!r}'
            return
    for key in ('model', 'optim_wrapper', 'train_cfg'):
        if key in places and not isinstance(cfg[key], dict):
            yield f'{key} must be a dict, but is {cfg[key]!r}'
            return
    read = cfg if purpose == 'train' else [key for key in cfg if not _of_training(key)]
    shapes = list(misshapen({key: cfg[key] for key in read}))
    if shapes:
        yield from shapes
        return
    wrong = list(_out_of_range({key: cfg[key] for key in read}, ''))
    yield from wrong
    for place, taker in OPTIONS_OF.items():
        for key in [key for key in read if fnmatchcase(key, place)]:
            part = cfg[key] or {}
            yield from _options(taker, {k: v for k, v in part.items() if k not in REMOVED}, key)
    scope = cfg.get('default_scope', 'mmengine')
    if ours.MODELS._get_root_registry()._search_child(scope) is None:
        yield f'default_scope is {scope!r}, which no package that is imported has'
        return
    for key in places:
        if key == 'model' and 'type' not in cfg.model:
            yield f'model has no type: it must say what it is, as in {key}=dict(type=...)'
        yield from _parts(cfg[key], key, REGISTRIES.get(key, ours.MODELS))
    if wrong or purpose == 'test':
        return
    for split in ('val', 'test'):
        absent = [f'{split}_{part}' for part in LOOP_PARTS if cfg.get(f'{split}_{part}') is None]
        if 0 < len(absent) < len(LOOP_PARTS):
            yield f'{" and ".join(absent)} must be set where the rest of {split}_* is'
    yield from _schedule(cfg)
    yield from _stepping(cfg)
    yield from _views(cfg)
    yield from _collating(cfg)
    yield from _precision(cfg)
    yield from _colours(cfg)
    yield from _pictures(cfg)
    yield from without_effect(cfg)


def _of_training(key: str) -> bool:
    return key.startswith(('train_', 'val_', 'optim_')) or key == 'auto_scale_lr'


def _out_of_range(part: dict, place: str) -> Iterator[str]:
    for key, value in part.items():
        here = f'{place}.{key}' if place else key
        for pattern, allowed in RANGES.items():
            if matches(here, pattern) and not allowed.allows(value):
                yield f'{here} must be {allowed.words}, but is {value!r}'
        if isinstance(value, dict) and here.count('.') < 2:
            yield from _out_of_range(value, here)


def _parts(part: Any, place: str, registry: Registry) -> Iterator[str]:
    """Check a part of a config and the parts within."""
    if isinstance(part, list | tuple):
        for index, item in enumerate(part):
            yield from _parts(item, f'{place}.{index}', registry)
        return
    key = place.rpartition('.')[2]
    if isinstance(part, str) and key in REGISTRIES.keys() - {'model', 'constructor'}:
        yield f"{place} must be a dict, as in dict(type='...'), but is {part!r}"
    if not isinstance(part, dict):
        return
    if key == 'clip_grad':
        return  # whose type is one of two functions
    kind = part.get('type', DEFAULT_TYPES.get(key))
    if place == 'train_cfg' and kind is None:
        kind = ResumableEpochLoop if part.get('by_epoch') else ResumableIterLoop
    if (kind is not None and not key.endswith('_cfg')) or place == 'train_cfg':
        mistakes = list(_component(part, kind, place, registry)) if kind is not None else []
        yield from mistakes
        if mistakes:
            return
    named = key in ('default_hooks', 'losses')  # whose keys are the user's
    for name, value in part.items():
        within = registry if named else REGISTRIES.get(name, registry)
        yield from _parts(value, f'{place}.{name}', within)


def _component(part: dict, kind: Any, place: str, registry: Registry) -> Iterator[str]:
    cls = kind if callable(kind) else _find(kind, registry)
    if cls is None:
        where = f'{place}.type'
        if not isinstance(kind, str):
            yield f'{where} must be a name, but is {kind!r}'
            return
        close = difflib.get_close_matches(kind.rpartition('.')[2], _names(registry), n=1)
        hint = f'did you mean {close[0]}?' if close else 'is the module that has it imported?'
        yield f'{where} is {kind!r}, and there is no such {registry.name}: {hint}'
        return
    options = {name: value for name, value in part.items() if name not in REMOVED}
    wrong = list(_options(cls, options, place)) if inspect.isclass(cls) else []
    yield from wrong
    tried = next((needs for pattern, needs in BUILDABLE.items() if matches(place, pattern)), None)
    if tried is not None and not wrong:
        named = {name: part[name] for name in ('type', '_scope_') if name in part}
        try:
            build(registry, {**tried(), **options, **named})
        except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
            yield f'{place}: {explain(error)}'
        except Exception:  # needs more of a run than is there yet
            return


def _find(kind: Any, registry: Registry) -> Any:
    """Return what a type's name stands for, in the registry of its place or in any other."""
    if not isinstance(kind, str):
        return None
    for candidate in (registry, *REGISTRIES.values()):
        try:
            found = candidate.get(kind)
        except Exception:  # a dotted path that leads nowhere
            found = None
        if found is not None:
            return found
    return None


def _names(registry: Registry | None) -> set[str]:
    names: set[str] = set()
    while registry is not None:
        names |= registry.module_dict.keys()
        registry = registry.parent
    return names


def _options(cls: Callable, options: dict, place: str) -> Iterator[str]:
    """Compare options with what a constructor takes."""
    known, takes_more = _parameters(cls)
    for name, value in options.items():
        if name in known:
            allowed = _allowed(known[name])
            # the hints of others are often narrower than what they take
            trusted = cls.__module__.startswith(SCOPE) or isinstance(value, str)
            if trusted and allowed is not None and not allowed.allows(value):
                yield f'{place}.{name} must be {allowed.words}, but is {value!r}'
            continue
        close = difflib.get_close_matches(
            name, [*known, 'type'], n=1, cutoff=0.8 if takes_more else 0.6
        )
        if close or not takes_more:
            hint = f'did you mean {close[0]}?' if close else f'it has {", ".join(known)}'
            yield f'{place}: {cls.__name__} has no option {name!r}; {hint}'
            return
    needed = [
        name
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in options and name not in ADDED
    ]
    if needed:
        yield f'{place}: {cls.__name__} needs {", ".join(needed)}'


def _parameters(cls: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the named parameters of a constructor, and whether it takes others.

    One that passes on what it does not know has its bases' beside its own.
    """
    known: dict[str, inspect.Parameter] = {}
    takes_more = True
    for base in getattr(cls, '__mro__', [cls]):
        init = vars(base).get('__init__') if inspect.isclass(base) else base
        if not inspect.isfunction(init):
            continue
        hints = _hints(init)
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                if base is not cls and takes_more and known:
                    parameter = parameter.replace(default=None)  # perhaps set on the way
                annotation = hints.get(parameter.name, parameter.empty)
                known.setdefault(parameter.name, parameter.replace(annotation=annotation))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            # what a class passes on need not go to its base
            takes_more = takes_more and base is not _constructor(cls)
            break
    return known, takes_more


def _constructor(cls: Callable) -> Callable | None:
    if not inspect.isclass(cls):
        return cls
    return next((base for base in cls.__mro__ if '__init__' in vars(base)), None)


def _hints(function: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # of what is only imported for type checkers
        return {}


_WORDS = {
    int: 'a whole number',
    float: 'a number',
    bool: 'True or False',
    str: 'a text',
    dict: 'a dict',
    list: 'a list',
    tuple: 'a tuple',
    type(None): 'None',
}


def _allowed(parameter: inspect.Parameter) -> Range | None:
    """Return what an annotation allows, where it is of plain types."""
    annotation = parameter.annotation
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = list(typing.get_args(annotation)) if union else [annotation]
    kinds = [typing.get_origin(kind) or kind for kind in kinds]
    if not kinds or not all(kind in _WORDS for kind in kinds):
        return None
    if parameter.default is None and type(None) not in kinds:
        kinds.append(type(None))
    accepted = set(kinds)
    if accepted & {list, tuple, dict}:
        accepted |= {list, tuple}  # several where one is meant, as for init_cfg
    if float in accepted:
        accepted.add(int)

    def allows(value: Any) -> bool:
        if isinstance(value, bool):
            return bool in accepted
        return isinstance(value, tuple(accepted)) or (bool in accepted and value in (0, 1))

    return Range(' or '.join(_WORDS[kind] for kind in kinds), allows)


def _schedule(cfg: Config) -> Iterator[str]:
    """Check that the schedule is as long as the run."""
    by_epoch = cfg.train_cfg.get('by_epoch', 'max_epochs' in cfg.train_cfg)
    length = cfg.train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    unit = 'epochs' if by_epoch else 'iterations'
    if length is None:
        yield f'train_cfg must say how long to train: max_{"epochs" if by_epoch else "iters"}'
        return
    begin = cfg.train_cfg.get('val_begin', 1)
    if begin > length and cfg.get('val_cfg') is not None:
        yield (
            f'train_cfg.val_begin is {begin}, but the run has only {length} {unit}: it would never '
            'be validated'
        )
    schedules = cfg.get('param_scheduler') or []
    single = isinstance(schedules, dict)
    for index, schedule in enumerate([schedules] if single else schedules):
        place = 'param_scheduler' if single else f'param_scheduler.{index}'
        known = isinstance(schedule, dict) and _find(schedule.get('type'), ours.PARAM_SCHEDULERS)
        if not known or schedule.get('by_epoch', True) != by_epoch:
            continue
        begin, end = schedule.get('begin', 0), schedule.get('end', length)
        steps = schedule.get('total_steps')
        if steps is not None and type(steps) is int and steps < length:
            yield (
                f'{place}.total_steps is {steps}, but the run has {length} {unit} '
                '(train_cfg): the schedule must be as long'
            )
        elif begin >= length:
            yield (
                f'{place} begins after {begin} {unit}, but the run has only {length} (train_cfg)'
            )
        elif begin >= end:
            yield f'{place} must end after it begins, but has begin={begin} and end={end}'
        elif beyond := [m for m in _milestones(schedule) if m > length]:
            yield (
                f'{place}.milestones has {", ".join(map(str, beyond))}, but the run has only '
                f'{length} {unit} (train_cfg): that is never reached'
            )
        elif fixed := _schedule_error(schedule, length):
            yield f'{place}: {fixed}'


def _milestones(schedule: dict) -> list[int]:
    milestones = schedule.get('milestones')
    return [m for m in milestones if isinstance(m, int)] if isinstance(milestones, list) else []


def _schedule_error(schedule: dict, length: int) -> str | None:
    options = {name: value for name, value in schedule.items() if name != 'convert_to_iter_based'}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    if schedule['type'] in ('CosineAnnealingLR', 'CosineAnnealingParamScheduler'):
        options.setdefault('T_max', length)  # MMEngine fills it in
    try:
        build(ours.PARAM_SCHEDULERS, dict(optimizer=optimizer, **options))
    except Exception as error:
        return explain(error)
    return None


def _stepping(cfg: Config) -> Iterator[str]:
    """Try two steps of the optimizer on one parameter: wrong options often show only there."""
    options = cfg.optim_wrapper.get('optimizer')
    if not isinstance(options, dict) or 'constructor' in cfg.optim_wrapper:
        return
    if torch.cuda.is_available():  # where more is possible than is tried here
        options = {name: value for name, value in options.items() if name != 'capturable'}
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    try:
        optimizer = build(ours.OPTIMIZERS, dict(options, params=[parameter]))
        wrapper = OptimWrapper(optimizer, clip_grad=cfg.optim_wrapper.get('clip_grad'))
        for _ in range(2):
            parameter.grad = torch.ones_like(parameter)
            wrapper.step()
    except Exception as error:
        yield f'optim_wrapper: a step is not possible: {explain(error)}'


def _views(cfg: Config) -> Iterator[str]:
    """Check that no wrapper stands around a ``ViewDataset``: views are drawn by sample number."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    place, outer = 'train_dataloader.dataset', None
    while isinstance(dataset, dict):
        cls = _find(dataset.get('type'), ours.DATASETS)
        name = getattr(cls, '__name__', str(cls))
        if outer is not None and inspect.isclass(cls) and issubclass(cls, ViewDataset):
            yield (
                f'{outer} stands around {name} ({place}), which draws views by the numbers of '
                f'samples: put it into the {name}, whose dataset it then is'
            )
            return
        outer, place, dataset = name, f'{place}.dataset', dataset.get('dataset')


def _collating(cfg: Config) -> Iterator[str]:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name) or {}
        dataset = loader.get('dataset')
        cls = _find(dataset.get('type'), ours.DATASETS) if isinstance(dataset, dict) else None
        if not inspect.isclass(cls):
            continue
        batches = issubclass(cls, ArrayDataset | CropDataset)
        collate = loader.get('collate_fn') or {}
        found = collate.get('type') if isinstance(collate, dict) else collate
        if batches != (found == 'whole_batch'):
            right = "dict(type='whole_batch')" if batches else "dict(type='default_collate')"
            how = 'hands out whole batches' if batches else 'hands out single samples'
            yield f'{name}.collate_fn must be {right}, since {cls.__name__} {how}; it is {found!r}'


def _colours(cfg: Config) -> Iterator[str]:
    """Check that a normalisation is one number, or one a channel."""
    model = cfg.get('model') or {}
    for place, part in (('', cfg), ('model.', model)):
        preprocessor = part.get('data_preprocessor')
        settings = preprocessor if isinstance(preprocessor, dict) else {}
        for name in ('mean', 'std'):
            value = settings.get(name)
            if isinstance(value, list | tuple) and len(value) not in (1, 3):
                yield (f'{place}data_preprocessor.{name} must be three numbers, but is {value!r}')


def _pictures(cfg: Config) -> Iterator[str]:
    """Check that who draws predictions has a visualizer that can."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    draws = any(
        isinstance(hook, dict) and type_name(hook) == 'VisualizationHook' and hook.get('enable')
        for hook in hooks
    )
    visualizer = cfg.get('visualizer') or {}
    kind = _find(visualizer.get('type'), ours.VISUALIZERS) if isinstance(visualizer, dict) else None
    if draws and inspect.isclass(kind) and not hasattr(kind, 'visualize_cls'):
        yield (
            f'visualizer is a {kind.__name__}, which can not draw the predictions of '
            "VisualizationHook: set visualizer.type='UniversalVisualizer'"
        )


def _precision(cfg: Config) -> Iterator[str]:
    cls = _find(cfg.optim_wrapper.get('type', 'OptimWrapper'), ours.OPTIM_WRAPPERS)
    if inspect.isclass(cls) and issubclass(cls, AmpOptimWrapper) and _only_cpu():
        yield (
            'optim_wrapper.type is AmpOptimWrapper, which needs a GPU, and there is none: leave it '
            "out, or set type='aekt_mm.BFloat16OptimWrapper' (--amp does)"
        )


def _only_cpu() -> bool:
    from mmengine.device import get_device

    return get_device() == 'cpu'


def explain(error: BaseException) -> str:
    """Return an error's message in a few lines, without a traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith('Caught '):  # in a dataloader's worker, with its traceback
        text = text.rstrip().splitlines()[-1].partition(': ')[2]
    sizes = re.search(r'equal size, but got (\[.*\]) at entry \d+ and (\[.*\]) at entry', text)
    if sizes:
        return (
            f'the images of a batch must be of one size, but one is {sizes[1]} and another '
            f'{sizes[2]}: let the pipeline end in a Resize or a crop of fixed size'
        )
    # MMEngine's registries put the component before it, with the place of its code
    text = re.sub(r'class `(\w+)` in [\w./-]+\.py: ', r'\1: ', text)
    text = re.sub(r'^(?:\w+: )*(\w+: )', r'\1', text)
    text = re.sub(r'\w+\.__init__\(\) ', '', text)
    text = re.sub(r', the current sys\.path is:.*', '', text, flags=re.DOTALL)
    text = re.sub(r'\. Please check whether the value of .*', '', text, flags=re.DOTALL)
    if not text.strip():
        frame = inspect.getinnerframes(error.__traceback__)[-1] if error.__traceback__ else None
        where = f' in {Path(frame.filename).name}, line {frame.lineno}' if frame else ''
        return f'{type(error).__name__}{where} (--traceback shows all)'
    plain = isinstance(
        error, ValueError | TypeError | OSError | KeyError | ArithmeticError | AssertionError
    )
    lines = [line[:500] for line in text.strip().splitlines()]
    text = '\n'.join(lines[:6]) + ('\n...' if len(lines) > 6 else '')
    return text if plain else f'{type(error).__name__}: {text} (--traceback shows where)'
