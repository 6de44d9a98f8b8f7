"""Finished runs: config, checkpoint and logs, grouped by seed."""

import itertools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from mmengine.config import Config

from aekt_mm.engine.checkpoints import noted_checkpoint
from aekt_mm.engine.launching import override
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.engine.settings import flatten
from aekt_mm.models.checkpoints import absent, load_restricted

#: Settings that make no other arm of a run.
INCIDENTAL = re.compile(
    r'(randomness\.seed|work_dir|experiment_name|launcher|resume|load_from|log_level|visualizer\..*'
    r'|default_hooks\..*|env_cfg\..*|custom_imports\..*|.*\.pin_memory|.*\.persistent_workers)'
)

#: Lines of the environment that are the same for every run.
_TEDIOUS = ('compiling details', ' - ', 'numpy_random_seed', 'Runtime environment', 'mp_cfg')


@dataclass(frozen=True)
class Run:
    """A run, or a recipe with or without weights.

    Attributes:
        name: What it is called here.
        cfg: Its config.
        checkpoint: Its last; None where only the recipe is known.
        folder: Its work directory; None where only a recipe and perhaps a checkpoint are known.
        epoch_length: Iterations of an epoch; None where the run does not count epochs.
    """

    name: str
    cfg: Config
    checkpoint: Path | None = None
    folder: Path | None = None
    epoch_length: float | None = None

    @property
    def seed(self) -> int | None:
        """Of its weights and order."""
        return (self.cfg.get('randomness') or {}).get('seed')


def read_runs(specs: Sequence[str], options: dict[str, Any] | None = None) -> list[Run]:
    """Read what a command line names.

    Args:
        specs: Each the work directory of a run; ``RECIPE=CHECKPOINT``; or a recipe alone.
        options: What to override in their configs, as in ``--cfg-options``.

    Returns:
        The runs, with names that differ.

    Raises:
        FileNotFoundError: If there is no such folder, recipe or checkpoint.
        ValueError: If a folder is no run's, its run is not finished, or two are the same.
    """
    runs = [_read(spec) for spec in specs]
    for run in runs:
        if options:
            override(run.cfg, options)
    paths = [(run.folder or run.checkpoint or Path(spec)) for run, spec in zip(runs, specs)]
    places = [tuple(Path(os.path.abspath(path)).parts) for path in paths]  # noqa: PTH100
    twice = next((spec for k, spec in enumerate(specs) if places[k] in places[:k]), None)
    if twice is not None:
        raise ValueError(f'{twice} is named twice')
    names = _distinct([run.name for run in runs], places)
    return [replace(run, name=name) for name, run in zip(names, runs)]


def _read(spec: str) -> Run:
    if not Path(spec).is_dir():  # whose name may have a =
        return _read_recipe(spec)
    folder = Path(spec)
    starts = sorted(folder.glob('*/vis_data/config.py'))
    if not starts:
        raise ValueError(
            f'{folder} is no work directory of a run: it has no TIME/vis_data/config.py, which '
            'training writes'
        )
    checkpoint = noted_checkpoint(folder)
    if checkpoint is None:
        raise ValueError(f'{folder} is of a run that is not finished: it has no checkpoint yet')
    cfg = Config.fromfile(starts[-1])
    meta = load_restricted(checkpoint).get('meta', {})
    _check_finished(folder, cfg, meta)
    length = meta['iter'] / meta['epoch'] if 'max_epochs' in cfg.train_cfg else None
    return Run(folder.resolve().name, cfg, checkpoint, folder, length)


def _read_recipe(spec: str) -> Run:
    recipe, equals, checkpoint = spec.rpartition('=')
    if equals:
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(absent(checkpoint))
        return Run(Path(recipe).stem, load_recipe(recipe), Path(checkpoint))
    if os.sep in spec and not Path(spec).suffix:
        raise FileNotFoundError(f'there is no folder {spec}')
    try:
        return Run(Path(spec).stem, load_recipe(spec))
    except FileNotFoundError as error:
        raise FileNotFoundError(f'there is no folder {spec}, and {error}') from error


def _check_finished(folder: Path, cfg: Config, meta: dict) -> None:
    loop = cfg.get('train_cfg') or {}
    unit = 'epoch' if 'max_epochs' in loop else 'iter'
    done, wanted = meta.get(unit), loop.get(f'max_{unit}s')
    if done is not None and wanted is not None and done < wanted:
        name = {'epoch': 'epochs', 'iter': 'iterations'}[unit]
        raise ValueError(
            f'{folder} is of a run that is not finished: {done} of {wanted} {name}; train.py '
            '--resume goes on with it'
        )


def _distinct(names: list[str], places: list[tuple[str, ...]]) -> list[str]:
    """Put as many folders before names as tell them apart."""
    depth = 1
    while len(set(names)) < len(names) and depth < max(map(len, places)):
        depth += 1
        names = ['/'.join(place[-depth:]) for place in places]
    return names


def group_by_seed(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Put runs together that differ in nothing but the seed.

    Returns:
        Arms by name, in the order of their first runs. An arm of several runs is called what their
        names have in common, or the folder that has them.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        settings = flatten(run.cfg.to_dict())
        kept = {key: str(v) for key, v in settings.items() if not INCIDENTAL.fullmatch(key)}
        groups.setdefault(json.dumps(kept, sort_keys=True), []).append(run)
    named: dict[str, list[Run]] = {}
    for members in groups.values():
        name = _arm_name(members)
        named[name if name not in named else members[0].name] = members
    return named


def _arm_name(runs: list[Run]) -> str:
    folder = runs[0].folder
    if folder is not None and re.fullmatch(r'seed_\d+', folder.resolve().name):
        return folder.resolve().parent.name
    if len(runs) == 1:
        return runs[0].name
    letters = itertools.takewhile(
        lambda same: len(set(same)) == 1, zip(*(run.name for run in runs))
    )
    return ''.join(same[0] for same in letters).rstrip('_-./ ') or runs[0].name


def read_scalars(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what a run logged, over all its starts.

    Returns:
        What was logged of training and of validation: a column a scalar, indexed by the epoch,
        which has a fraction within one, or by the iteration where a run does not count epochs.
    """
    of_training: dict[int, dict] = {}
    of_validation: dict[int, dict] = {}
    for path in sorted(run.folder.glob('*/vis_data/scalars.json')) if run.folder else ():
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill may have cut it
            # a later start has the last word on the steps that it repeated
            (of_training if 'iter' in entry else of_validation)[entry.get('step')] = entry
    train, val = (pd.DataFrame(list(entries.values())) for entries in (of_training, of_validation))
    if not train.empty:
        train = train.sort_values('iter')
        train.index = train['iter'] / (run.epoch_length or 1)
        train = train.drop(columns=['iter', 'step', 'epoch'], errors='ignore')
    if not val.empty:
        val = val.sort_values('step').set_index('step')
    return train, val


def read_environment(run: Run) -> dict[str, str]:
    """Read from a run's log what it ran on; empty where there is none."""
    logs = sorted(run.folder.glob('*/*.log')) if run.folder else ()
    if not logs:
        return {}
    with logs[-1].open(encoding='utf-8', errors='replace') as file:
        head = file.read(20_000)
    found = re.search(r'System environment:\n(.*?)\n-{20}', head, re.DOTALL)
    lines = [] if found is None else found[1].splitlines()
    pairs = (line.strip().split(': ', 1) for line in lines if not any(t in line for t in _TEDIOUS))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
