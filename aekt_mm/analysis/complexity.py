"""What networks and methods cost: parameters, multiply-adds, time and memory of a training step."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.jit_handles import get_shape
from mmengine.registry import init_default_scope
from torch import nn

from aekt_mm.models.classifiers import build_classifier, pipeline_side
from aekt_mm.registry import MODELS, SCOPE, build
from aekt_mm.structures import BatchSample

from .benchmarks import peak_memory, summarise, take_turns
from .drawing import colors, short
from .findings import Findings, Panel, Table
from .runs import Run

TEXT = (
    'Networks: parameters, and multiply-adds for one image at the size of validation; what is '
    'trained beside the student (FC layer, projections) is gone when it is published. A step: '
    "forward, losses, backward and update on random images, the teacher's forward included where "
    'it runs beside the student, without reading data. The methods take turns, and times are '
    'medians of them on the machine at hand; memory is the most that a step holds at once.'
)


@dataclass(frozen=True)
class Size:
    """What a network costs: parameters, and multiply-adds for one image."""

    parameters: int
    multiply_adds: int


def network_size(network: nn.Module, image_size: int) -> Size:
    """Count by MMEngine's analysis, as in mmpretrain's tables.

    Args:
        network: From images (N, 3, H, W); left in evaluation mode.
        image_size: H and W.
    """
    analyzer = FlopAnalyzer(network.eval(), (torch.zeros(1, 3, image_size, image_size),))
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.set_op_handle('aten::scaled_dot_product_attention', _attention)
    return Size(parameter_count(network)[''], int(analyzer.total()))


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count both products of attention, which MMEngine does not know as one operation."""
    query, key = get_shape(inputs[0]), get_shape(inputs[1])
    return 2 * prod(query) * key[-2]


def complexity(runs: Sequence[Run], batch_size: int | None = None, rounds: int = 5) -> Findings:
    """Count and measure what runs or recipes cost.

    Args:
        runs: Of one data set or of several.
        batch_size: Of the step that is measured; each recipe's own, if not given.
        rounds: How often each step is measured.

    Returns:
        A table by run, and a picture of each of the costs.

    Raises:
        ValueError: If a config has no ``test_pipeline``, which says how large images are.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rows: dict[str, dict[str, float]] = {}
    steps, held = {}, {}
    for run in runs:
        if 'test_pipeline' not in run.cfg:
            raise ValueError(f'{run.name} has no test_pipeline, which says how large images are')
        side = pipeline_side(run.cfg.test_pipeline)
        if side is None:
            raise ValueError(f'the test_pipeline of {run.name} does not say how large images are')
        config = run.cfg.model
        online = config.get('teacher') or {}
        student, _ = build_classifier(config.get('student', config))
        size = network_size(student, side)
        row: dict[str, float] = {
            'student, parameters': size.parameters,
            'student, multiply-adds': size.multiply_adds,
        }
        network = online.get('online', online).get('model')
        if network is not None:
            size = network_size(build_classifier(network)[0], side)
            row |= {'teacher, parameters': size.parameters}
            row |= {'teacher, multiply-adds': size.multiply_adds}
        batch = batch_size or run.cfg.train_dataloader.batch_size
        model, step, of_step = _training_step(run, batch, side, device)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        row['trained beside the student'] = trained - row['student, parameters']
        rows[run.name], steps[run.name], held[run.name] = row, step, of_step
    times = summarise(take_turns(steps, rounds))
    for name, row in rows.items():
        row['step, ms'] = 1e3 * times[name]['median']
        row['step, MiB'] = peak_memory(steps[name], *held[name])
    table = pd.DataFrame.from_dict(rows, orient='index')
    counts = [column for column in table if 'step' not in column]
    table[counts] = table[counts].astype('Int64')
    key = colors(table.index)
    panels = [_bars(column, table[column], key) for column in table]
    return Findings('Complexity', TEXT, [Table('complexity', table, '', 1)], panels, key)


def _training_step(
    run: Run, batch_size: int, side: int, device: str
) -> tuple[nn.Module, Callable[[], None], list]:
    """Return a run's model with random weights, a step of it, and what the step works on."""
    init_default_scope(run.cfg.get('default_scope', SCOPE))
    config = dict(run.cfg.model)
    config.setdefault('data_preprocessor', run.cfg.get('data_preprocessor'))
    images = torch.randn(batch_size, 3, side, side, device=device)
    images = images.to(memory_format=torch.channels_last)
    samples = BatchSample(
        metainfo=dict(sample_idx=torch.arange(batch_size).numpy()),
        gt_label=torch.zeros(batch_size, dtype=torch.int64, device=device),
    )
    held: list = []
    teacher = config.get('teacher')
    if teacher is not None and 'online' in teacher:  # cached: what it takes is to look up
        stored = torch.randn(batch_size, _classes(run), device=device)
        config['teacher'] = lambda inputs, data_samples: stored
    elif teacher is not None:
        logging.disable(logging.WARNING)  # that it is untrained, and how
        untrained = {'checkpoint': None} if 'checkpoint' in teacher else {}
        config['teacher'] = build(MODELS, {**teacher, **untrained}).to(device)
        logging.disable(logging.NOTSET)
        held.append(config['teacher'])
    model = build(MODELS, config).to(device).train()
    for network in held:
        network.requires_grad_(True)  # the tracker hooks parameters; no graph is recorded
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        losses = model(images, samples, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()

    return model, step, [model, optimizer, *held]


def _classes(run: Run) -> int:
    student: Any = build_classifier(run.cfg.model.student)[0]
    return student.head.num_classes


def _bars(title: str, values: pd.Series, key: dict[str, str]) -> Panel:
    shown = values.dropna()[::-1]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(shown)), shown.astype(float), color=[key[name] for name in shown.index])
        axes.set_yticks(range(len(shown)), [short(name) for name in shown.index])
        axes.grid(axis='y', visible=False)
        axes.xaxis.set_major_formatter(EngFormatter(sep=' '))

    return Panel(title, draw, 4.2, 1.0 + 0.3 * len(shown))
