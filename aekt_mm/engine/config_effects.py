"""Settings of a config without effect: overruled by another, or read by nothing."""

import difflib
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from aekt_mm import registry as ours
from aekt_mm.registry import build, type_name

from .config_shape import is_plain
from .settings import flatten

#: Settings that a part has, and that are easily set beside it.
PARTS_OF = {
    'train_cfg': ('max_epochs', 'max_iters', 'val_interval'),
    'train_dataloader': ('batch_size', 'num_workers'),
    'optim_wrapper.optimizer': ('lr', 'momentum', 'weight_decay'),
    'optim_wrapper': ('accumulative_counts',),
    'randomness': ('seed', 'deterministic'),
    'model': ('label_weight',),
}


def without_effect(cfg: Config) -> Iterator[str]:
    """Yield the settings of a training config that have no effect.

    Args:
        cfg: Whose parts are known to be right.
    """
    yield from _one_cycle(cfg)
    yield from _monitors(cfg)
    yield from _top_level(cfg)


def _one_cycle(cfg: Config) -> Iterator[str]:
    """Check that nothing else sets a rate beside OneCycleLR, which begins and ends by its peak."""
    places = {place: each for place, each in _schedules(cfg) if type_name(each) == 'OneCycleLR'}
    if not places:
        return
    optimizer = cfg.optim_wrapper.get('optimizer')
    lr = optimizer.get('lr') if isinstance(optimizer, dict) else None
    for place, schedule in places.items():
        peak = schedule.get('eta_max', 0)
        if isinstance(lr, int | float) and peak != lr and schedule.get('begin', 0) == 0:
            yield (
                f'optim_wrapper.optimizer.lr is {lr}, but the rate under OneCycleLR is that of '
                f'{place}.eta_max, which is {peak}: set both to the same'
            )
        elif (cfg.get('auto_scale_lr') or {}).get('enable'):
            yield (
                f'auto_scale_lr has no effect, since the rate under OneCycleLR is that of {place}.'
                'eta_max: set there what is right for the batch size'
            )
    parts = {'paramwise_cfg': cfg.optim_wrapper.get('paramwise_cfg')}
    if isinstance(parts['paramwise_cfg'], dict):
        keys = parts['paramwise_cfg'].get('custom_keys')
        for key, part in keys.items() if isinstance(keys, dict) else ():
            parts[f'paramwise_cfg.custom_keys.{key}'] = part
    for place, part in parts.items():
        for name, value in part.items() if isinstance(part, dict) else ():
            if name.endswith(('lr_mult', 'layer_decay_rate')) and value != 1:
                yield (
                    f'optim_wrapper.{place}.{name} is {value!r}, but OneCycleLR sets one rate '
                    'for all parameters: take another param_scheduler, such as CosineAnnealingLR'
                )


def _schedules(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Yield schedules that are given as dicts, with their places."""
    schedules = cfg.get('param_scheduler') or []
    if isinstance(schedules, dict):
        yield 'param_scheduler', schedules
        return
    for index, each in enumerate(schedules):
        if isinstance(each, dict):
            yield f'param_scheduler.{index}', each


def _monitors(cfg: Config) -> Iterator[str]:
    """Check that monitored measures are measured."""
    wanted: list[tuple[str, Any]] = []
    for place, schedule in _schedules(cfg):
        if 'ReduceOnPlateau' in type_name(schedule):
            wanted.append((f'{place}.monitor', schedule.get('monitor', 'loss')))
    hooks = [(f'default_hooks.{n}', hook) for n, hook in (cfg.get('default_hooks') or {}).items()]
    hooks += [(f'custom_hooks.{n}', hook) for n, hook in enumerate(cfg.get('custom_hooks') or [])]
    validates = cfg.get('val_cfg') is not None
    for place, hook in hooks:
        if not isinstance(hook, dict):
            continue
        best = hook.get('save_best') if validates else None  # without it there is no best, as said
        names = [best] if isinstance(best, str) else best or []
        wanted += [(f'{place}.save_best', name) for name in names if name != 'auto']
        if type_name(hook) == 'EarlyStoppingHook' and 'monitor' in hook:
            wanted.append((f'{place}.monitor', hook['monitor']))
    if not wanted:
        return
    measured = _measured(cfg.get('val_evaluator')) if validates else []
    for place, name in wanted:
        if not validates:
            yield f'{place} is {name!r}, but validation is off, so that nobody measures it'
        elif measured and name not in measured:
            auto = 'auto or ' if place.endswith('save_best') else ''
            yield (
                f'{place} must be {auto}what val_evaluator measures, {", ".join(measured)}, but is '
                f'{name!r}'
            )


def _measured(evaluator: dict | list | None) -> list[str]:
    """Return what an evaluator measures, by trying it; nothing where it wants other samples."""
    sample = DataSample().set_pred_score(torch.linspace(0, 1, 1000)).set_gt_label(0)
    names: list[str] = []
    for part in [evaluator] if isinstance(evaluator, dict) else evaluator or []:
        try:
            metric = build(ours.METRICS, dict(part))
            metric.process({}, [sample.to_dict()])
            names += metric.evaluate(1)
        except Exception:  # metrics raise whatever they stumble over
            return []
    return names


def _top_level(cfg: Config) -> Iterator[str]:
    """Check that no name at the top is misspelt."""
    from .config_check import REGISTRIES
    from .launching import RUNNER_OPTIONS

    for key, value in cfg.items():
        if key in RUNNER_OPTIONS or key in REGISTRIES or not is_plain(value):
            continue  # what a config in pure Python imports stands at its top too
        close = difflib.get_close_matches(key, RUNNER_OPTIONS, n=1, cutoff=0.8)
        if close and not (isinstance(value, dict) and _occurs_in(value, cfg._cfg_dict, top=True)):
            yield f'the config sets {key!r}, which nothing reads: did you mean {close[0]}?'


def _occurs_in(value: dict, part: Any, top: bool = False) -> bool:
    """Return whether a variable of a config's file is used: whether a part below its top is it."""
    if not isinstance(part, dict | list | tuple):
        return False
    within = part.values() if isinstance(part, dict) else part
    return any((not top and each == value) or _occurs_in(value, each) for each in within)


def beside_its_part(cfg: Config) -> Iterator[str]:
    """Say which settings a config file has at its top that belong into a part, and differ from it.

    A file may have variables: where any part has the value, it is one.

    Args:
        cfg: As its file says it, before anything is overridden.
    """
    settings = [(name.rpartition('.')[2], value) for name, value in flatten(cfg.to_dict()).items()]
    for part, names in PARTS_OF.items():
        for name in names:
            value = cfg.get(name)
            if isinstance(value, int | float) and settings.count((name, value)) < 2:
                yield f'Nothing reads {name}={value!r} at the top of the config: see {part}.{name}'
