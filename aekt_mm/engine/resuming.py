"""The comparison of a resumed run with its checkpoint."""

import re
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from .settings import flatten, read_settings

#: What bears on where a run ends.
DECISIVE = re.compile(
    r'(model|data_preprocessor|train_dataloader|train_cfg|optim_wrapper|custom_hooks|randomness)\b'
    r'|auto_scale_lr\.enable'
)
#: What of it does not, or is written in two ways.
INCIDENTAL = re.compile(
    r'train_cfg\.(type|by_epoch|val_.*|dynamic_intervals.*)'
    r'|.*\.(_scope_|pin_memory|persistent_workers|num_workers|prefetch_factor)'
)
#: What is in a checkpoint, whose values take the place of those that are set.
KEPT = re.compile(
    r'optim_wrapper\.(optimizer|paramwise_cfg|constructor)\b|auto_scale_lr\.enable'
    r'|randomness\.seed|param_scheduler\b'
)
#: How many differences are named.
NAMED = 10


def check_same_run(cfg: Config, meta: dict, checkpoint: str | Path) -> None:
    """Compare a run with the one that it resumes, and say what differs.

    Args:
        cfg: Of the run, before its runner is built.
        meta: Of the checkpoint.
        checkpoint: Where that is.

    Raises:
        ValueError: If settings differ that would have no effect: the checkpoint has the optimizer's
            and the schedule's, also how long the schedule is.
    """
    try:
        before = read_settings(meta['cfg'])
    except (KeyError, TypeError, ValueError):
        print_log(f'{checkpoint} does not say how its run was set: not compared', 'current')
        return
    there, now = _decisive(before), _decisive(cfg.to_dict())
    differences = {
        name: f'{name} was {there.get(name)!r} and is {now.get(name)!r}'
        for name in [*there, *(name for name in now if name not in there)]
        if there.get(name) != now.get(name)
    }
    if now.get('randomness.seed') is None:
        differences.pop('randomness.seed', None)  # then it is the checkpoint's
    idle = [text for name, text in differences.items() if KEPT.match(name)]
    if idle:
        raise ValueError(
            f'{_list(idle)}\nThat has no effect on a run that is resumed: optimizer, schedule and '
            'seed are in its checkpoint. Set it back, or start anew from the weights, in another '
            f'work directory: --cfg-options load_from={checkpoint}'
        )
    if differences:
        text = _list(list(differences.values()))
        print_log(f'The run is not as the one that it resumes:\n{text}', 'current', level=30)


def _list(lines: list[str]) -> str:
    more = [f'... and {len(lines) - NAMED} more'] if len(lines) > NAMED else []
    return '\n'.join(lines[:NAMED] + more)


def _decisive(settings: dict) -> dict[str, Any]:
    """Return the settings that count, with schedules as they are laid over the run."""
    found = {
        name: value
        for name, value in flatten(settings).items()
        if DECISIVE.match(name) and not INCIDENTAL.fullmatch(name)
    }
    if not found.get('auto_scale_lr.enable'):
        found.pop('auto_scale_lr.enable', None)
    schedules = settings.get('param_scheduler') or []
    single = isinstance(schedules, dict)
    for index, schedule in enumerate([schedules] if single else schedules):
        place = 'param_scheduler' if single else f'param_scheduler.{index}'
        found |= flatten(_laid(schedule, settings.get('train_cfg') or {}), place)
    return found


def _laid(schedule: dict, train_cfg: dict) -> dict:
    """Return a schedule with its end, which is the run's where it says none."""
    unit = 'max_epochs' if schedule.get('by_epoch', True) else 'max_iters'
    laid = {'end': train_cfg.get(unit), **schedule}
    laid.pop('_scope_', None)
    milestones = schedule.get('milestones')
    if isinstance(milestones, list) and laid['end'] and max(milestones, default=0) < laid['end']:
        del laid['end']  # there is nothing to do after the last
    return laid
