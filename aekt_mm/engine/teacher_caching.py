"""Run a recipe's teacher over views of its training set, once, and keep the logits."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader

from aekt_mm.models.teachers import CachedTeacher, LogitCache, data_identity, teacher_identity
from aekt_mm.models.teachers.identity import differences
from aekt_mm.models.teachers.logit_cache import record_type
from aekt_mm.models.teachers.wrapping import describes_a
from aekt_mm.structures import batch_views

from .launching import build_runner

#: Batches between two writes to disk, which is what a kill loses at most.
FLUSH_INTERVAL = 50


def cache_teacher(cfg: Config, folder: Path, views: int, form: str, k: int) -> LogitCache:
    """Write the logits of a recipe's teacher for views of its training set.

    The batches are those that a training run of the same batch size, seed and number of processes
    takes in its first epochs, in the same order, so that the logits equal the online teacher's bit
    for bit. Several processes share the work. Killed and called again, it goes on.

    Args:
        cfg: A distillation recipe with a teacher.
        folder: Of the cache.
        views: How many views of each sample, at least 1.
        form: Format of the records, see :class:`~aekt_mm.models.teachers.LogitCache`.
        k: How many non-target logits the format ``topk`` keeps.

    Returns:
        The sealed cache.

    Raises:
        ValueError: If the recipe has no teacher of its own or no views, or the folder has a cache
            of something else.
    """
    teacher = cfg.model.get('teacher')
    if teacher is None or describes_a(CachedTeacher, teacher):
        raise ValueError("the recipe's model has no teacher of its own to cache")
    if not isinstance(views, int) or views < 1:
        raise ValueError(f'views must be a whole number of at least 1, but is {views!r}')
    cfg.train_dataloader.drop_last = False  # every sample of every view
    runner = _silent_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loader = runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)
    if not hasattr(loader.sampler, 'num_views'):
        raise ValueError(
            'logits are kept by views: set sampler=dict(type="ViewSampler") in train_dataloader'
        )
    model.teacher.attach(loader, model.data_preprocessor)
    classes = model.teacher.num_classes
    if classes is None:
        raise ValueError(
            f'the teacher {type(model.teacher).__name__} does not say how many classes it tells '
            'apart: set its num_classes'
        )
    record_type(form, classes, k)
    identity = {
        'teacher': teacher_identity(teacher),
        **data_identity(loader, model.data_preprocessor),
    }
    manifest = dict(
        views=views,
        samples=len(loader.dataset),
        classes=classes,
        format=form,
        k=k,
        temperature=_temperature(model),
        identity=identity,
    )
    cache = _open(folder, manifest)
    if not cache.complete:
        _fill(cache, runner, model, loader)
        barrier()
        if is_main_process():
            cache.seal()
        barrier()
    return LogitCache(folder)


def _silent_runner(cfg: Config) -> Runner:
    """Build a runner that trains nothing: what it says of settings and hooks goes nowhere."""
    cfg.log_level = 'WARNING'
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        # of its own: MMEngine tells the runners of a process apart by name and second
        cfg.experiment_name = Path(cfg.work_dir).name
        return build_runner(cfg)


def _temperature(model: Any) -> float:
    """Return at which temperature the mass of the rest is to be exact: that of the first loss."""
    temperature = getattr(next(iter(model.losses.values()), None), 'temperature', 1.0)
    return float(temperature) if isinstance(temperature, int | float) else 1.0  # one that learns


def _open(folder: Path, manifest: dict) -> LogitCache:
    """Make the cache, or go on with the one that is there if it is of the same."""
    if is_main_process() and not (folder / 'manifest.json').exists():
        LogitCache.create(folder, manifest)
    barrier()
    cache = LogitCache(folder, writable=True)
    of_topk = set() if manifest['format'] == 'topk' else {'k', 'temperature'}
    told_apart = set(manifest) - of_topk
    found = differences(cache.manifest, {name: manifest[name] for name in told_apart})
    if found:
        raise ValueError(
            f'{folder} has the cache of something else: take another folder or remove it\n  '
            + '\n  '.join(found)
        )
    return cache


def _fill(cache: LogitCache, runner: Runner, model: Any, loader: DataLoader) -> None:
    batches = [batch for view in range(cache.views) for batch in _missing(cache, loader, view)]
    console = Console()
    if is_main_process():
        console.print(
            f'{cache.views} views of {cache.samples} samples: '
            f'{decimal(cache.records.nbytes)} in {cache.folder}; '
            f'{len(batches)} batches to go for this process',
            soft_wrap=True,
        )
    remaining = DataLoader(
        loader.dataset,
        batch_sampler=batches,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
    )
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    # for its context: the precision of the training run
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    pending: list[tuple[int, Any]] = []
    started = time.monotonic()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not is_main_process()
    ) as progress:
        task = progress.add_task('teacher', total=len(batches))
        for number, data in enumerate(remaining, 1):
            with wrapper.optim_context(model):
                data = model.data_preprocessor(data, training=True)
                logits = model.teacher(**data)
            view, samples, labels = batch_views(data['data_samples'])
            cache.write(view, samples, labels, logits)
            pending.append((view, samples))
            if number % FLUSH_INTERVAL == 0 or number == len(batches):
                cache.flush(pending)
                pending.clear()
                if is_main_process() and not console.is_terminal:  # which has no progress bar
                    console.print(f'{number} of {len(batches)} batches')
            progress.advance(task)
            if number == 10 and is_main_process():
                minutes = (time.monotonic() - started) / 10 * len(batches) / 60
                console.print(f'about {minutes:.1f} minutes')


def _missing(cache: LogitCache, loader: DataLoader, view: int) -> Iterator[list]:
    """Return the batches of this process in an epoch that are not written yet."""
    sampler: Any = loader.sampler
    sampler.set_epoch(view)
    for batch in loader.batch_sampler or ():
        if not cache.written[view, [key.sample for key in batch]].all():
            yield batch
