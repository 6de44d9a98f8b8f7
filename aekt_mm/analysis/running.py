"""Running the trials of a study on Ray Tune: on the cores of one machine, or on a cluster."""

import copy
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from mmengine.config import Config
from ray import tune
from ray._private import ray_constants
from ray.tune.execution import tune_controller

import aekt_mm
from aekt_mm.engine.checkpoints import noted_checkpoint
from aekt_mm.engine.class_names import check_classes
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.launching import check_files, hold_out, override, use_cached_teacher
from aekt_mm.engine.predicting import keep_teacher_logits, student_logits
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.evaluation import measure
from aekt_mm.files import replace_text
from aekt_mm.models.teachers import CachedTeacher, teacher_identity
from aekt_mm.models.teachers.identity import short_digest
from aekt_mm.models.teachers.wrapping import describes_a

from .runs import flatten
from .study import MEASURES, Study, Trial, add_result, missing

VIEW_SEED = 0  # where trials of all seeds share a teacher's cache


def run_study(study: Study, tools: Path, work_dir: Path) -> list[str]:
    """Run what is missing of a study and add it to its results, as it comes.

    Each trial is a run of ``tools/train.py`` in a process and a work directory of its own. What was
    killed goes on where it was; what failed is reported and does not end the others.

    Args:
        study: What to run.
        tools: The folder of ``train.py``.
        work_dir: Where trials keep logs and checkpoints; on a cluster all machines share it.

    Returns:
        The names of the trials that failed.

    Raises:
        ValueError: If an arm is no recipe that can be trained, a trial's folder has a run of other
            settings, or the folder of the cached teacher has another's logits.
    """
    work_dir = work_dir.resolve()
    trials = missing(study)
    total = len(study.trials)
    print(f'{study.path}: {len(trials)} of {total} trials to run', flush=True)
    if not trials:
        return []
    configs = {trial: trial_config(study, trial) for trial in trials}
    check_arms(study, configs)
    first = {trial.arm: trial for trial in reversed(study.trials)}
    arms = {arm: trial_config(study, first[arm]) for arm in study.arms}
    folders = cache_folders(study, arms)
    for trial, cfg in configs.items():
        if trial.arm in folders:
            cfg.model.teacher.cache = folders[trial.arm]
        check_begun(work_dir / trial.name, cfg)
    for trial, cfg in configs.items():
        folder = work_dir / trial.name
        folder.mkdir(parents=True, exist_ok=True)
        # beside it, since a run writes its own
        replace_text(folder.with_suffix('.py'), cfg.pretty_text)
    wanted = list(dict.fromkeys(trial.arm for trial in trials))
    _cache_teachers(study, {arm: arms[arm] for arm in wanted}, folders)
    teachers = keep_teachers(arms, wanted, work_dir)

    report = _Report(study, trials)
    _start_ray()
    try:
        tune.Tuner(
            tune.with_resources(
                partial(_run, tools=tools.resolve(), threads=study.threads),
                {'cpu': study.threads, 'gpu': study.gpus},
            ),
            param_space={
                'trial': tune.grid_search(
                    [
                        {
                            'name': trial.name,
                            'folder': str(work_dir / trial.name),
                            'teacher': teachers.get(trial.arm),
                        }
                        for trial in trials
                    ]
                )
            },
            # workers only start processes: one may serve trial after trial
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name='tune', storage_path=str(work_dir), verbose=0, callbacks=[report]
            ),
        ).fit()
    finally:
        ray.shutdown()
    return report.failed


def _start_ray() -> None:
    """Start Ray on this machine, out of reach of others, or join the cluster at ``RAY_ADDRESS``."""
    os.environ['RAY_CHDIR_TO_TRIAL_DIR'] = '0'
    os.environ['TUNE_DISABLE_AUTO_CALLBACK_LOGGERS'] = '1'
    os.environ['RAY_AIR_NEW_OUTPUT'] = '0'  # which has no way to be quiet
    # a trial is a run like any other: at Ray's 15 it stands still beside them
    os.environ.setdefault('RAY_worker_niceness', '0')
    logging.getLogger(tune_controller.__name__).addFilter(_is_no_failed_trial)
    address = os.environ.get('RAY_ADDRESS', 'local')
    if address == 'local':
        ray_constants.ENABLE_RAY_CLUSTER = False  # services listen on the loopback, as on macOS
    ray.init(
        address=address,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={'env_vars': {'PYTHONPATH': _python_path()}},
    )


def trial_config(study: Study, trial: Trial) -> Config:
    """Return the config that a trial is a run of.

    It is the recipe with the trial's options and seed, without the study's held-out part, and with
    its cached teacher, for whose sake all seeds then see the same views. Its ``test_dataloader`` is
    what it is measured on.

    Raises:
        ValueError: If there is no such recipe, or an option is not in it; the message names the
            arm.
    """
    try:
        cfg = load_recipe(trial.recipe)
        override(cfg, trial.options)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f'{study.path}: arms.{trial.arm}: {error}') from error
    cfg.setdefault('randomness', {})['seed'] = trial.seed
    if study.hold_out is not None:
        of_test_set = copy.deepcopy(cfg.test_dataloader)
        hold_out(cfg, study.hold_out)
        if study.measured_on == 'test':
            cfg.test_dataloader = of_test_set
    if study.cached_teacher is not None:
        cfg.train_dataloader.sampler.view_seed = VIEW_SEED
        if _shares_cache(cfg):
            use_cached_teacher(cfg, study.cached_teacher.folder)
    return cfg


def check_arms(study: Study, configs: Mapping[Trial, Config]) -> None:
    """Refuse a study with an arm that cannot be trained, before others are for hours.

    Args:
        study: What they are of.
        configs: Of its trials, of which one of each arm is looked at.

    Raises:
        ValueError: As ``tools/train.py`` would say it; the message names the arm.
    """
    for arm, cfg in {trial.arm: cfg for trial, cfg in configs.items()}.items():
        try:
            check_config(cfg)
            check_files(cfg, 'train_dataloader', 'test_dataloader')
            check_classes(cfg)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f'{study.path}: arms.{arm}: {error}') from error


def check_begun(folder: Path, cfg: Config) -> None:
    """Refuse to go on with a run of other settings, whose student would count as one of these.

    Args:
        folder: Of a trial, which need not be there.
        cfg: Of the trial as it is to be. On what it is measured may be another.

    Raises:
        ValueError: If the folder has a checkpoint of another config; the message names the
            first setting that differs.
    """
    if not (folder / 'last_checkpoint').is_file():
        return
    config, hint = folder.with_suffix('.py'), 'remove the folder, or set another --work-dir'
    if not config.is_file():
        raise ValueError(f"{folder} has a run that is not this study's: {hint}")
    begun, wanted = (flatten(c.to_dict()) for c in (Config.fromfile(config), cfg))
    for name in sorted(begun.keys() | wanted.keys()):
        there, asked = begun.get(name), wanted.get(name)
        if there != asked and not name.startswith(('val_', 'test_')):
            raise ValueError(
                f'{folder} has a run with {name} {there!r}, but the study has {asked!r}: {hint}'
            )


def _shares_cache(cfg: Config) -> bool:
    # a method that looks at features has its teacher beside it: a cache has none
    return cfg.model.get('teacher') is not None and not cfg.model.get('features')


def cache_folders(study: Study, arms: Mapping[str, Config]) -> dict[str, str]:
    """Tell the caches of a study's teachers apart.

    Args:
        study: Of the arms.
        arms: The configs of all of them, as of :func:`trial_config`.

    Returns:
        By arm, for those whose teacher is cached: the study's folder for its first teacher, and for
        each other one a folder beside it.
    """
    if study.cached_teacher is None:
        return {}
    folders: dict[str, str] = {}
    found = {}
    for arm, cfg in arms.items():
        if _shares_cache(cfg):
            key = short_digest(teacher_identity(_online(cfg).model.teacher))
            folder = study.cached_teacher.folder
            found[arm] = folders.setdefault(key, f'{folder}_{key}' if folders else folder)
    return found


def _cache_teachers(study: Study, arms: Mapping[str, Config], folders: Mapping[str, str]) -> None:
    """Write what is missing of the caches of arms."""
    cached = study.cached_teacher
    for folder, arm in {folders[arm]: arm for arm in reversed(arms) if arm in folders}.items():
        cache_teacher(_online(arms[arm]), Path(folder), cached.views, cached.format, cached.k)


def keep_teachers(
    arms: Mapping[str, Config], wanted: Sequence[str], work_dir: Path
) -> dict[str, str]:
    """Write the logits that the agreement of arms is measured with, once for all trials.

    Args:
        arms: The configs of all arms of a study, as of :func:`trial_config`.
        wanted: The arms that are measured.
        work_dir: Where the files go, one for each teacher.

    Returns:
        The file of each arm's own teacher. An arm without a teacher has that of the others, where
        all have the same, or else none.
    """
    taught = {arm: _online(cfg) for arm, cfg in arms.items() if cfg.model.get('teacher')}
    # a cache alone has nothing of these images
    taught = {a: c for a, c in taught.items() if not describes_a(CachedTeacher, c.model.teacher)}
    files = {arm: keep_teacher_logits(taught[arm], work_dir) for arm in wanted if arm in taught}
    distinct = {short_digest(teacher_identity(cfg.model.teacher)) for cfg in taught.values()}
    if len(distinct) == 1 and len(files) < len(wanted):
        common = keep_teacher_logits(next(iter(taught.values())), work_dir)
        files = {arm: files.get(arm, common) for arm in wanted}
    return {arm: str(path) for arm, path in files.items()}


def _online(cfg: Config) -> Config:
    """Return a config with the teacher itself in the place of its cache."""
    cfg = copy.deepcopy(cfg)
    cfg.model.teacher = cfg.model.teacher.get('online') or cfg.model.teacher
    return cfg


def _python_path() -> str:
    root = str(Path(aekt_mm.__file__).parents[1])
    return os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))


def _run(config: dict[str, Any], tools: Path, threads: int) -> None:
    """Train one trial in a process of its own and measure the student of its last epoch."""
    folder = Path(config['trial']['folder'])
    command = [sys.executable, tools / 'train.py', folder.with_suffix('.py')]
    # the student of the last epoch is measured here
    command += ['--work-dir', folder, '--resume', '--no-validate']
    environment = {**os.environ, 'PYTHONPATH': _python_path(), 'OMP_NUM_THREADS': str(threads)}
    fresh = not (folder / 'last_checkpoint').exists()
    started = time.monotonic()
    with (folder / 'output.txt').open('a', encoding='utf-8') as output:
        code = subprocess.run(
            list(map(str, command)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_end_with_parent,
        ).returncode
    if code:
        lines = (folder / 'output.txt').read_text(encoding='utf-8').strip().splitlines()
        raise RuntimeError(f'{lines[-1] if lines else code} (all of it: {folder}/output.txt)')
    seconds = time.monotonic() - started if fresh else float('nan')

    torch.set_num_threads(threads)
    cfg = Config.fromfile(folder.with_suffix('.py'))
    logits, labels = student_logits(cfg, noted_checkpoint(folder))
    teacher = config['trial']['teacher']
    beside = None if teacher is None else torch.from_numpy(np.load(teacher)['logits'])
    found = measure(logits, labels, beside)
    tune.report({**found, 'epochs': cfg.train_cfg.max_epochs, 'seconds': round(seconds, 1)})


def _end_with_parent() -> None:
    """Let a trial's process end when the worker that started it is gone (Linux)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _is_no_failed_trial(record: logging.LogRecord) -> bool:
    """Leave out Tune's forty lines of a trial that failed: the report has the one that counts."""
    return not str(record.msg).startswith('Trial task failed')


class _Report(tune.Callback):
    """Keep each result and say how far the study is, a line a trial."""

    def __init__(self, study: Study, trials: list[Trial]) -> None:
        self.study = study
        self.trials = {trial.name: trial for trial in trials}
        self.failed: list[str] = []
        self.ended = 0
        self.started = time.monotonic()
        self.commit = _commit()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info) -> None:
        name = trial.config['trial']['name']
        result = trial.last_result
        columns = ('epochs', *MEASURES, 'seconds')
        found = {column: result[column] for column in columns if column in result}
        add_result(self.study, self.trials[name], {'commit': self.commit, **found})
        self._say(f'{name}: top-1 {found["top1"]:.2f}')

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info) -> None:
        name = trial.config['trial']['name']
        self.failed.append(name)
        text = Path(trial.error_file).read_text(encoding='utf-8') if trial.error_file else ''
        self._say(f'{name} failed: {text.strip().splitlines()[-1] if text else "no message"}')

    def _say(self, what: str) -> None:
        self.ended += 1
        left = len(self.trials) - self.ended
        minutes = (time.monotonic() - self.started) / self.ended * left / 60
        count = f'{self.ended} of {len(self.trials)}'
        print(f'{count}  {what}; about {minutes:.0f} min left', flush=True)


def _commit() -> str:
    """Return the commit of the code, marked where code was changed since, or the release."""
    git = ['git', '-C', str(Path(aekt_mm.__file__).parents[1])]
    try:
        named = subprocess.run(
            [*git, 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=True
        )
        # results are committed beside studies, and change while one runs
        changed = subprocess.run([*git, 'diff', '--quiet', 'HEAD', '--', ':(exclude)*.csv'])
    except (OSError, subprocess.CalledProcessError):
        return f'v{aekt_mm.__version__}'
    return named.stdout.strip() + ('-dirty' if changed.returncode else '')
