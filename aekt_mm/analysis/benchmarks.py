"""Paired measurements: losses, training steps, data, memory, networks, cached logits.

Whatever is compared runs in turns in one process. Medians are taken over the turns, of values and
of ratios within a turn: a machine changes its speed more between runs than between neighbours.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from aekt_mm.datasets import ArrayDataset, ViewSampler, whole_batch
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.models import BatchPreprocessor
from aekt_mm.models.teachers import LogitCache, data_identity
from aekt_mm.models.teachers.logit_cache import FORMATS
from aekt_mm.registry import DATASETS, MODELS, build
from aekt_mm.structures import BatchSample

#: (N, C) of the loss benchmark: CIFAR-100, ImageNet-1k and ImageNet-21k batches.
LOSS_SHAPES = ((128, 100), (256, 1000), (64, 21841))

#: Losses on logits by recipe's method, with the options that cost something.
LOSSES: dict[str, dict] = {
    'kd': dict(type='KDLoss'),
    'dkd': dict(type='DKDLoss'),
    'aekt': dict(type='AEKTLoss'),
    'nkd': dict(type='NKDLoss', temperature=3.0, gamma=3.5),
    'dist': dict(type='DISTLoss'),
    'ttm': dict(type='TTMLoss'),
    'wttm': dict(type='TTMLoss', weighted=True),
    'rld': dict(type='RLDLoss'),
    'mlkd': dict(type='MLKDLoss'),
    'ctkd': dict(type='KDLoss', temperature=dict(type='CurriculumTemperature')),
    'kd-ls': dict(type='KDLoss', transform=dict(type='LogitStandardization')),
    'dkd-ls': dict(type='DKDLoss', transform=dict(type='LogitStandardization')),
}

#: Losses on features by method, with the student's and the teacher's features that they compare:
#: those of resnet56 → resnet20 on CIFAR-100, and of ResNet-50 → MobileNetV1 on ImageNet.
STAGES = {
    'resnet56 → resnet20': ([(16, 32, 32), (32, 16, 16), (64, 8, 8)],) * 2,
    'r50 → mobilenet-v1': (
        [(128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)],
        [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)],
    ),
}
FEATURE_LOSSES: dict[str, tuple] = {
    'fitnet': (dict(type='FitNetLoss'), lambda stages: stages[1]),
    'at': (dict(type='ATLoss'), lambda stages: stages),
    'rkd': (dict(type='RKDLoss'), lambda stages: stages[-1][:1]),
    'crd': (dict(type='CRDLoss', num_samples=50000), lambda stages: stages[-1][:1]),
    'reviewkd': (dict(type='ReviewKDLoss'), lambda stages: [*stages, stages[-1][:1]]),
}


def take_turns(
    functions: Mapping[str, Callable[[], float | None]], rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Call functions in turn, round after round, each in an order of its own.

    What runs finds the processor's caches as another left them: in a fixed order a loss took 1.15
    times as long as itself.

    Args:
        functions: By name. What one returns is its measurement; where it returns None, the seconds
            that the call took are.
        rounds: How often each is measured.
        warmup: How often each is called before.

    Returns:
        The measurements of each function.
    """
    measured: dict[str, list[float]] = {name: [] for name in functions}
    shuffled, order = random.Random(0), list(functions.items())
    for turn in range(warmup + rounds):
        shuffled.shuffle(order)
        for name, function in order:
            started = time.perf_counter()
            result = function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warmup:
                seconds = time.perf_counter() - started
                measured[name].append(seconds if result is None else result)
    return measured


def summarise(measured: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return the median of each function's measurements, and of its ratios to the first's.

    A ratio is of one round, within which a machine's speed changes least.

    Examples:
        >>> summarise({'a': [1.0, 2.0, 9.0], 'b': [2.0, 4.0, 9.0]})['b']
        {'median': 4.0, 'ratio': 2.0}
    """
    first = next(iter(measured.values()))
    return {
        name: {
            'median': statistics.median(values),
            'ratio': statistics.median(value / base for value, base in zip(values, first)),
        }
        for name, values in measured.items()
    }


def losses(
    rounds: int = 100,
    against: Callable | None = None,
    device: str = 'cpu',
    methods: Sequence[str] = ('kd', 'dkd', 'aekt'),
) -> dict:
    """Measure forward and backward of the losses, with torch's own KL distillation as the floor.

    Args:
        rounds: How often each is measured.
        against: A loss to compare with, from (student_logits, teacher_logits, target) to a scalar.
        device: Where.
        methods: Of ``LOSSES``.

    Returns:
        Milliseconds by shape and loss.
    """

    def torch_kl(student: torch.Tensor, teacher: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        student, teacher = F.log_softmax(student / 4, 1), F.softmax(teacher / 4, 1)
        return F.kl_div(student, teacher, reduction='batchmean') * 16

    def summed(loss: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        return reduce(add, (value for name, value in loss(*batch).items() if 'loss' in name))

    candidates = {'torch KL': torch_kl}
    for method in methods:
        candidates[method] = partial(summed, build(MODELS, LOSSES[method]).to(device))
    if against is not None:
        candidates['against'] = against

    results = {}
    for n, c in LOSS_SHAPES:
        generator = torch.Generator().manual_seed(0)
        student = torch.randn(n, c, generator=generator).to(device).requires_grad_()
        teacher = torch.randn(n, c, generator=generator).to(device)
        target = torch.randint(c, (n,), generator=generator).to(device)

        def step(loss: Callable, batch: tuple = (student, teacher, target)) -> None:
            batch[0].grad = None
            loss(*batch).backward()

        functions = {name: partial(step, loss) for name, loss in candidates.items()}
        seconds = take_turns(functions, rounds, warmup=10)
        results[f'({n}, {c})'] = summarise(_in_ms(seconds))
    return results


def features(
    method: str,
    rounds: int = 20,
    against: Callable | None = None,
    device: str = 'cpu',
    batch_size: int = 64,
) -> dict:
    """Measure forward and backward of a loss on features, its projection included.

    Args:
        method: Of ``FEATURE_LOSSES``.
        rounds: How often each is measured.
        against: A loss to compare with, from (student, teacher, target, sample_idx) to a scalar;
            what it projects with is its own.
        device: Where.
        batch_size: Of the features.

    Returns:
        Milliseconds by pair of networks.
    """
    config, choose = FEATURE_LOSSES[method]
    results = {}
    for pair, stages in STAGES.items():
        generator = torch.Generator().manual_seed(0)
        shapes = [choose(side) for side in stages]
        student, teacher = (_random_features(shape, batch_size, generator) for shape in shapes)
        student = [x.to(device).requires_grad_() for x in student]
        teacher = [x.to(device) for x in teacher]
        target = torch.randint(100, (batch_size,), generator=generator).to(device)
        sample_idx = torch.randperm(50000, generator=generator)[:batch_size].to(device)
        single = isinstance(shapes[0], tuple)
        features = (student[0], teacher[0]) if single else (student, teacher)
        loss = build(MODELS, config)
        loss.build_projection(*shapes)
        candidates: dict[str, Callable] = {'ours': partial(_value, loss.to(device))}
        if against is not None:
            candidates['against'] = against

        def step(loss: Callable, batch: tuple = (*features, target, sample_idx)) -> None:
            loss(*batch).backward()

        functions = {name: partial(step, loss) for name, loss in candidates.items()}
        results[pair] = summarise(_in_ms(take_turns(functions, rounds, warmup=2)))
    return results


def _random_features(
    shape: tuple | list[tuple], batch_size: int, generator: torch.Generator
) -> list[torch.Tensor]:
    shapes = [shape] if isinstance(shape, tuple) else shape
    return [torch.randn(batch_size, *size, generator=generator).relu() for size in shapes]


def _value(loss: nn.Module, *batch: object) -> torch.Tensor:
    return loss(*batch)['loss']


def _in_ms(seconds: dict[str, list[float]], images: int = 1) -> dict[str, list[float]]:
    return {name: [value * 1e3 / images for value in values] for name, values in seconds.items()}


class _StopwatchHook(Hook):
    """Measure images a second of a training run, then stop it."""

    priority = 'LOWEST'

    class Done(Exception):
        """Enough iterations were measured."""

    def __init__(self, skip: int, iterations: int) -> None:
        self.skip, self.iterations = skip, iterations
        self.images_per_second = 0.0

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """Start the clock after the first iterations, stop the run after the last."""
        if runner.iter + 1 in (self.skip, self.skip + self.iterations):
            _wait()
        if runner.iter + 1 == self.skip:
            self.started = time.perf_counter()
        elif runner.iter + 1 == self.skip + self.iterations:
            seconds = time.perf_counter() - self.started
            batch = runner.train_dataloader.batch_size
            self.images_per_second = self.iterations * batch / seconds
            raise self.Done


def run_recipe(cfg: Config, iterations: int) -> float:
    """Return the images a second of a recipe, data included, through MMEngine's loop."""
    torch.compiler.reset()  # a model compiled before would count against the limit of recompiling
    with tempfile.TemporaryDirectory() as folder:
        cfg = cfg.copy()
        cfg.work_dir, cfg.launcher, cfg.log_level = folder, 'none', 'ERROR'
        cfg.experiment_name = Path(folder).name
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
        runner = build_runner(cfg)
        watch = _StopwatchHook(skip=max(iterations // 4, 2), iterations=iterations)
        runner.register_hook(watch)
        try:
            runner.train()
        except watch.Done:
            return watch.images_per_second
    raise ValueError(f'{iterations} iterations are more than the recipe has')


def bare_loop(cfg: Config, iterations: int) -> float:
    """Return the images a second of a plain loop over one ready batch: what nothing can beat."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    student = build(MODELS, cfg.model.get('student', cfg.model)).to(device).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    batch = cfg.train_dataloader.batch_size
    images = torch.randn(batch, 3, 32, 32, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)
    skip = max(iterations // 4, 2)
    for iteration in range(skip + iterations):
        if iteration == skip:
            _wait()
            started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(student(images), labels).backward()
        optimizer.step()
    _wait()
    return iterations * batch / (time.perf_counter() - started)


def _wait() -> None:
    """Wait for what the GPU was given to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def pretend_cache(cfg: Config, folder: Path) -> dict:
    """Write a cache of random logits that passes for the recipe's, and return its teacher config.

    Reading it costs what reading a real one costs, and writing it no run of the teacher.
    """
    cfg = cfg.copy()
    cfg.work_dir, cfg.launcher, cfg.log_level = str(folder), 'none', 'ERROR'
    cfg.experiment_name = folder.name
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loader = runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)
    samples, classes = len(loader.dataset), model.teacher.num_classes
    manifest = dict(
        views=1, samples=samples, classes=classes, format='float16', k=1, temperature=1.0
    )
    identity = data_identity(loader, model.data_preprocessor)
    cache = LogitCache.create(folder / 'cache', {**manifest, 'identity': identity})
    labels = torch.zeros(samples, dtype=torch.int64)
    cache.write(0, np.arange(samples), labels, torch.randn(samples, classes))
    cache.flush([(0, np.arange(samples))])
    cache.seal()
    return dict(type='CachedTeacher', cache=str(folder / 'cache'))


def steps(
    recipe: str,
    vanilla: str,
    batch_sizes: Sequence[int] = (64, 256),
    iterations: int = 40,
    rounds: int = 3,
    against: Callable | None = None,
    compiled: bool = False,
) -> dict:
    """Measure whole training, data included: student alone, online, cached, and a bare loop.

    Args:
        recipe: Path or name of a distillation recipe; its teacher runs with random weights. One
            that compares features has no cached way.
        vanilla: Path of the recipe of its student alone.
        batch_sizes: What to measure.
        iterations: Of one measurement.
        rounds: How often each is measured.
        against: A loop to compare with, from (teacher, student, batch_size, iterations), both
            modules as the recipe builds them, to images a second.
        compiled: Whether the recipes run with MMEngine's ``compile=True``; the others never do.

    Returns:
        Images a second by batch size and way of training.
    """
    results = {}
    for batch_size in batch_sizes:
        online = load_recipe(recipe)
        online.model.teacher.checkpoint = None
        alone = Config.fromfile(vanilla)
        for cfg in (online, alone):
            cfg.train_dataloader.batch_size = batch_size
            cfg.compile = compiled
        with tempfile.TemporaryDirectory() as folder:
            functions = {
                'bare loop': partial(bare_loop, alone, iterations),
                'student alone': partial(run_recipe, alone, iterations),
                'online': partial(run_recipe, online, iterations),
            }
            if not online.model.get('features'):
                cached = online.copy()
                cached.model = dict(online.model, teacher=pretend_cache(online, Path(folder)))
                functions['cached'] = partial(run_recipe, cached, iterations)
            if against is not None:
                functions['against'] = partial(
                    _against_loop, against, online, batch_size, iterations
                )
            results[str(batch_size)] = summarise(take_turns(functions, rounds, warmup=0))
    return results


def _against_loop(loop: Callable, cfg: Config, batch_size: int, iterations: int) -> float:
    teacher = build(MODELS, cfg.model.teacher.model).eval()
    student = build(MODELS, cfg.model.student).train()
    return loop(teacher, student, batch_size, iterations)


def data(images: int = 4096, rounds: int = 3) -> dict:
    """Measure how fast 32x32 images are read, cropped, flipped and normalised, on this process.

    Args:
        images: Of one measurement, random ones.
        rounds: How often each is measured.

    Returns:
        Images a second by pipeline: ours, mmpretrain's and torchvision's.
    """
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 100, images)
    mean, std = [129.3] * 3, [68.2] * 3

    def rate(loader: DataLoader, prepare: Callable) -> float:
        started = time.perf_counter()
        for batch in loader:
            prepare(batch)
        return images / (time.perf_counter() - started)

    dataset = ArrayDataset(pixels, labels, [str(k) for k in range(100)])
    sampler = ViewSampler(dataset, seed=0)
    ours = DataLoader(dataset, 128, sampler=sampler, collate_fn=whole_batch)
    crop = BatchPreprocessor(mean=mean, std=std, crop_padding=4, flip=True)

    theirs = DataLoader(_mmpretrain_dataset(pixels, labels), 128, collate_fn=_pseudo_collate)
    normalise = build(MODELS, dict(type='ClsDataPreprocessor', mean=mean, std=std))

    torchvisions = DataLoader(_TorchvisionDataset(pixels, labels, mean, std), 128)
    functions = {
        'aekt_mm': lambda: rate(ours, lambda batch: crop(batch, training=True)),
        'mmpretrain': lambda: rate(theirs, lambda batch: normalise(batch, training=True)),
        'torchvision': lambda: rate(torchvisions, lambda batch: batch),
    }
    return summarise(take_turns(functions, rounds))


def _pseudo_collate(samples: list) -> dict:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def _mmpretrain_dataset(pixels: np.ndarray, labels: np.ndarray) -> torch.utils.data.Dataset:
    """Return the images behind mmpretrain's pipeline for CIFAR."""
    base: Any = DATASETS.get('BaseDataset')

    class Images(base):
        def load_data_list(self) -> list[dict]:
            return [dict(img=img, gt_label=int(label)) for img, label in zip(pixels, labels)]

    return Images(
        ann_file='',
        pipeline=[
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    )


class _TorchvisionDataset(torch.utils.data.Dataset):
    """The images behind torchvision's transforms for CIFAR, as RepDistiller uses them."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, mean: list, std: list) -> None:
        from torchvision import transforms

        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([m / 255 for m in mean], [s / 255 for s in std]),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple:
        return self.transform(self.pixels[index]), self.labels[index]


def cache_reads(samples: int = 2048, batch_size: int = 64, rounds: int = 20) -> dict:
    """Measure how fast a cached teacher's logits are looked up, in each format.

    The files are in the operating system's page cache: what is measured is the processor's part.

    Args:
        samples: Of a cache, with random logits.
        batch_size: Of a look-up, of random samples.
        rounds: How often each is measured.

    Returns:
        Images a second by number of classes and format.
    """
    results = {}
    for classes, k in ((100, 20), (1000, 50), (21841, 50)):
        labels, logits = torch.zeros(samples, dtype=torch.int64), torch.randn(samples, classes)
        with tempfile.TemporaryDirectory() as folder:
            look_ups = {}
            for form in FORMATS:
                manifest = dict(views=1, samples=samples, classes=classes, format=form, k=k)
                cache = LogitCache.create(Path(folder) / form, {**manifest, 'temperature': 1.0})
                cache.write(0, np.arange(samples), labels, logits)
                index = np.random.default_rng(0).permutation(samples)[:batch_size]
                look_ups[form] = partial(cache.read, 0, index, labels[index])

            def rate(look_up: Callable) -> float:
                started = time.perf_counter()
                for _ in range(10):
                    look_up()
                return 10 * batch_size / (time.perf_counter() - started)

            rates = {name: partial(rate, look_up) for name, look_up in look_ups.items()}
            results[f'{classes} classes, k = {k}'] = summarise(take_turns(rates, rounds))
    return results


def networks(recipe: str, batch_size: int = 8, side: int = 224, rounds: int = 5) -> dict:
    """Measure what a recipe's networks cost: a student's training step and a teacher's forward.

    Args:
        recipe: Path of a distillation recipe; both run with random weights on ready images.
        batch_size: Of the images.
        side: Height and width of the images in pixels.
        rounds: How often each is measured.

    Returns:
        Milliseconds an image of each, and of both together, which is an online step's.
    """
    cfg = Config.fromfile(recipe)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    images = torch.randn(batch_size, 3, side, side, device=device)
    images = images.to(memory_format=torch.channels_last)
    student = build(MODELS, cfg.model.student).to(device).train()
    teacher = build(MODELS, dict(cfg.model.teacher, checkpoint=None)).to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        student(images).square().mean().backward()
        optimizer.step()

    def teach() -> None:
        teacher(images)

    functions = {'student, step': step, 'teacher, forward': teach}
    cost = _in_ms(take_turns(functions, rounds), images=batch_size)
    return summarise({**cost, 'online': [sum(turn) for turn in zip(*cost.values())]})


def memory(recipe: str, batch_size: int = 64) -> dict:
    """Measure the peak memory of a training step: student alone, online, cached.

    Args:
        recipe: Path of a distillation recipe.
        batch_size: Of the step.

    Returns:
        MiB by way of training, and the teacher's weights.
    """
    cfg = Config.fromfile(recipe)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    images = torch.randn(batch_size, 3, 32, 32, device=device)
    images = images.to(memory_format=torch.channels_last)
    samples = BatchSample(gt_label=torch.zeros(batch_size, dtype=torch.int64, device=device))
    teacher = build(MODELS, dict(cfg.model.teacher, checkpoint=None)).to(device)
    stored = torch.randn(batch_size, teacher.num_classes, device=device)

    def peak(model: nn.Module, *held: object) -> float:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            losses = model(images, samples, mode='loss')
            sum(value for name, value in losses.items() if 'loss' in name).backward()
            optimizer.step()

        return peak_memory(step, model, optimizer, *held)

    def distiller(teacher: Callable) -> nn.Module:
        return build(MODELS, dict(cfg.model, teacher=teacher)).to(device)

    weights = sum(t.numel() * t.element_size() for t in teacher.state_dict().values())
    cached = peak(distiller(lambda inputs, data_samples: stored))
    online = distiller(teacher)
    teacher.requires_grad_(True)  # the tracker hooks parameters; the teacher records no graph
    return summarise(
        {
            'student alone': [peak(build(MODELS, cfg.model.student).to(device))],
            'online': [peak(online, teacher)],
            'cached': [cached],
            "teacher's weights": [weights / 2**20],
        }
    )


def peak_memory(step: Callable[[], None], *held: Any) -> float:
    """Return the peak memory of a step, its model and optimizer included, in MiB.

    Args:
        step: What is measured.
        *held: The modules and optimizers that it works on.
    """
    from torch.distributed._tools.mem_tracker import MemTracker

    step()
    tracker = MemTracker()
    tracker.track_external(*held)
    with tracker:
        step()
    peak = tracker.get_tracker_snapshot('peak')
    return sum(kinds['Total'] for kinds in peak.values()) / 2**20
