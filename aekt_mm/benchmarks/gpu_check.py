"""Checks of a machine with a GPU, and the time of a training step there.

The checks need no data: images and teacher are random.
"""

import hashlib
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from aekt_mm.datasets import ArrayDataset
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.models import DKDLoss
from aekt_mm.models.data_preprocessors.batch_preprocessor import crop_and_flip
from aekt_mm.registry import DATASETS, MODELS, build
from aekt_mm.structures import draw, view_keys

#: Packages that matter, as they are called where they are installed.
PACKAGES = (
    *('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'),
    *('mmengine', 'mmcv-lite', 'mmpretrain', 'timm', 'numpy'),
)

#: Of the draws and the crops that :func:`views` makes, on whatever device.
VIEWS = 'efa4c1795e778211'

#: Steps that a timing leaves out, and steps that it counts; few on a CPU, where one takes long.
SKIPPED, COUNTED = (30, 200) if torch.cuda.is_available() else (2, 5)

RECIPE = 'dkd_resnet56_resnet20_cifar100'


@DATASETS.register_module()
class RandomImages(ArrayDataset):
    """Random pixels with random labels, the same every time.

    Args:
        count: Of images.
        size: Of their sides, in pixels.
        num_classes: Of labels.
    """

    def __init__(self, count: int, size: int = 32, num_classes: int = 100) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (count, size, size, 3)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(num_classes, (count,), generator=generator)
        names = [str(k) for k in range(num_classes)]
        super().__init__(images.numpy(), labels.numpy(), names)


def installed() -> dict[str, Any]:
    """Return releases, the GPU and what it can do."""
    found: dict[str, Any] = {'python': platform.python_version(), 'cpu cores': os.cpu_count()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found['gpu'] = f'{torch.cuda.device_count()} x {properties.name}'
        found['gpu memory, GiB'] = round(properties.total_memory / 2**30, 1)
        found['cuda'], found['cudnn'] = torch.version.cuda, torch.backends.cudnn.version()
        found['nccl'] = '.'.join(map(str, torch.cuda.nccl.version()))
        found['bfloat16'] = torch.cuda.is_bf16_supported(including_emulation=False)
    return found


def processes() -> str:
    """Add up a number of each process over NCCL, or gloo where there is no GPU.

    Returns:
        What was added up.

    Raises:
        RuntimeError: If the sum is wrong.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    alone: dict[str, Any] = dict(store=torch.distributed.HashStore(), rank=0, world_size=1)
    launched = {} if 'WORLD_SIZE' in os.environ else alone
    torch.distributed.init_process_group('nccl' if cuda else 'gloo', **launched)
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    number = torch.tensor(float(rank + 1), device='cuda' if cuda else 'cpu')
    torch.distributed.all_reduce(number)
    torch.distributed.destroy_process_group()
    if number.item() != count * (count + 1) / 2:
        raise RuntimeError(f'{count} processes added up to {number.item()}')
    return f'{"nccl" if cuda else "gloo"}, {count} process{"es" * (count > 1)}'


def views(device: torch.device) -> str:
    """Compare draws and crops with those of every other machine.

    Returns:
        Their checksum.

    Raises:
        RuntimeError: If it is not ``VIEWS``.
    """
    keys = view_keys(7, 3, torch.arange(512, device=device))
    images = (torch.arange(512 * 32 * 32 * 3, device=device) * 31 % 251).to(torch.uint8)
    crops = crop_and_flip(images.view(512, 32, 32, 3), keys, padding=4, flip=True)
    digest = hashlib.blake2b(digest_size=8)
    for part in (draw(keys, 4), crops):
        digest.update(part.cpu().numpy().tobytes())
    if digest.hexdigest() != VIEWS:
        raise RuntimeError(
            f'views are others than elsewhere: their checksum is {digest.hexdigest()}, but should '
            f'be {VIEWS}. Cached teachers of other machines do not fit here'
        )
    return digest.hexdigest()


def recipe(work_dir: str | Path, **options: Any) -> Config:
    """Return the recipe that is timed, with random images and an untrained teacher.

    Args:
        work_dir: Of its runs.
        **options: Dotted names with ``__`` in the place of dots.
    """
    cfg = load_recipe(RECIPE)
    images = dict(type='RandomImages', count=64 * (SKIPPED + COUNTED + 1))
    cfg.train_dataloader.dataset = images
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.model.teacher.checkpoint = None
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), 'none', 'ERROR'
    cfg.experiment_name = f'check_{time.monotonic_ns()}'
    cfg.train_cfg.max_epochs = 1
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
    return cfg


class Stopwatch(Hook):
    """Measure the seconds of a step, from the ``SKIPPED``-th step on."""

    priority = 'LOWEST'

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Start after the first steps, stop after the last."""
        if runner.iter + 1 in (SKIPPED, SKIPPED + COUNTED):
            _wait()
            if runner.iter + 1 == SKIPPED:
                self.started = time.perf_counter()
            else:
                self.seconds = (time.perf_counter() - self.started) / COUNTED


def loop(**options: Any) -> float:
    """Return the seconds of a step of the recipe in this package's loop, data included.

    Args:
        **options: See :func:`recipe`.
    """
    with tempfile.TemporaryDirectory() as folder:
        runner = build_runner(recipe(folder, **options))
        watch = Stopwatch()
        runner.register_hook(watch)
        runner.train()
    return watch.seconds


def by_hand(device: torch.device, capture: bool, precision: torch.dtype = torch.float32) -> float:
    """Return the seconds of a step of the same work in a loop written by hand.

    Augmentation, both networks, losses and optimizer, from images that lie on the device; nothing
    is logged and nothing is checked.

    Args:
        device: Where.
        capture: Whether the step is one CUDA graph.
        precision: Of the networks; float32 or bfloat16 under autocast.
    """
    cfg = load_recipe(RECIPE)
    student, teacher = (
        build(MODELS, part).to(device, memory_format=torch.channels_last)
        for part in (cfg.model.student, cfg.model.teacher.model)
    )
    student.train()
    teacher.eval().requires_grad_(False)
    optimizer = torch.optim.SGD(
        student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, fused=True
    )
    loss = DKDLoss(temperature=4.0, alpha=1.0, beta=2.0)
    data = RandomImages(64 * 50)
    images, labels = data.images.to(device), data.labels.to(device)
    mean, std = (
        torch.tensor(getattr(cfg.data_preprocessor, name), device=device)
        for name in ('mean', 'std')
    )
    index = torch.arange(64, device=device)

    def step() -> None:
        batch = crop_and_flip(images[index], view_keys(0, 0, index), 4, True)
        inputs = ((batch.float() - mean) / std).permute(0, 3, 1, 2)
        with torch.autocast(
            device.type, precision, enabled=precision != torch.float32, cache_enabled=not capture
        ):
            with torch.no_grad():
                teacher_logits = teacher(inputs, mode='tensor')
            logits = student(inputs, mode='tensor')
        target = labels[index]
        parts = loss(logits, teacher_logits, target)
        distillation = parts['loss_explicit'] + parts['loss_implicit']
        (F.cross_entropy(logits, target) + distillation).backward()
        optimizer.step()
        optimizer.zero_grad()

    run: Callable[[], None] = step
    if capture:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    for k in range(SKIPPED + COUNTED):
        if k == SKIPPED:
            _wait()
            started = time.perf_counter()
        index.copy_(torch.arange(k % 49 * 64, k % 49 * 64 + 64, device=device))
        run()
    _wait()
    return (time.perf_counter() - started) / COUNTED


def resumes_exactly(**options: Any) -> bool:
    """Return whether a run that resumes after its first epoch ends to the bit as one that did not.

    Args:
        **options: See :func:`recipe`.
    """
    options |= dict(train_dataloader__dataset__count=64 * 9, randomness__deterministic=True)
    options |= dict(train_cfg__max_epochs=2, default_hooks__checkpoint__max_keep_ckpts=5)
    with tempfile.TemporaryDirectory() as folder:
        whole = build_runner(recipe(f'{folder}/whole', **options))
        whole.train()
        point = f'{folder}/whole/epoch_1.pth'
        rest = build_runner(recipe(f'{folder}/rest', resume=True, load_from=point, **options))
        rest.train()
    ours, theirs = (_weights(runner.model) for runner in (rest, whole))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in model.state_dict().items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
