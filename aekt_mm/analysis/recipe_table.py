"""The table of recipes in the documentation, and MIM's index of them."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

import aekt_mm  # noqa: F401
from aekt_mm.models.classifiers import build_classifier, pipeline_side

from .complexity import Size, network_size

#: The papers of the methods, by folder of recipes.
COLLECTIONS: dict[str, dict[str, Any]] = {
    'vanilla': dict(Name='Vanilla', Title='A network alone, with cross-entropy', URL=None),
    'kd': dict(
        Name='KD',
        Title='Distilling the Knowledge in a Neural Network',
        URL='https://arxiv.org/abs/1503.02531',
    ),
    'dkd': dict(
        Name='DKD',
        Title='Decoupled Knowledge Distillation',
        URL='https://arxiv.org/abs/2203.08679',
    ),
    'aekt': dict(
        Name='AEKT',
        Title='Adaptive Explicit Knowledge Transfer for Knowledge Distillation',
        URL='https://arxiv.org/abs/2409.01679',
    ),
}

#: What the methods are called, by the first part of a recipe's name.
METHODS = {
    'kd': 'KD',
    'fitnet': 'FitNet',
    'at': 'AT',
    'rkd': 'RKD',
    'crd': 'CRD',
    'reviewkd': 'ReviewKD',
    'dkd': 'DKD',
    'dist': 'DIST',
    'ctkd': 'CTKD',
    'nkd': 'NKD',
    'mlkd': 'MLKD',
    'ttm': 'TTM',
    'wttm': 'WTTM',
    'kd-ls': 'KD+LS',
    'dkd-ls': 'DKD+LS',
    'ctkd-ls': 'CTKD+LS',
    'mlkd-ls': 'MLKD+LS',
    'rld': 'RLD',
    'aekt': 'AEKT',
    'aekt-ls': 'AEKT+LS',
}

DATASETS = {
    'cifar100': 'CIFAR-100',
    'digits': 'Digits',
    'fashionmnist': 'Fashion-MNIST',
    'food101': 'Food-101',
    'imagenet': 'ImageNet-1k',
    'tinyimagenet': 'Tiny ImageNet',
}


@dataclass(frozen=True)
class Recipe:
    """What a recipe trains, as its file name METHOD_TEACHER_STUDENT_DATASET says and it holds."""

    path: Path
    method: str
    teacher: str | None
    student: str
    dataset: str
    epochs: int
    image_size: int
    student_size: Size
    teacher_size: Size | None


def find_recipes(configs: Path) -> list[Path]:
    """Return the recipes in Python, by dataset and then by name.

    Args:
        configs: The folder that has ``vanilla``, ``kd``, ``dkd`` and ``aekt``.
    """
    found = [path for method in COLLECTIONS for path in (configs / method).glob('*.py')]
    return sorted(found, key=lambda path: (_parts(path)[3], _parts(path)[1:3], path.name))


def read_recipe(path: Path) -> Recipe:
    """Build the networks of a recipe, without their weights, and measure them.

    Counted by MMEngine's analysis, as in mmpretrain's tables, at the resolution of validation.
    """
    cfg = Config.fromfile(path)
    method, teacher, student, dataset = _parts(path)
    size = pipeline_side(cfg.test_pipeline)
    if size is None:
        raise ValueError(f'the test_pipeline of {path} does not say how large images are')
    online = cfg.model.get('teacher')
    return Recipe(
        path=path,
        method=method,
        teacher=teacher or None,
        student=student,
        dataset=dataset,
        epochs=cfg.train_cfg.max_epochs,
        image_size=size,
        student_size=_measure(cfg.model.get('student', cfg.model), size),
        teacher_size=online and _measure(online.model, size),
    )


def markdown(recipes: Iterable[Recipe]) -> str:
    """Return a table of recipes for each dataset; the recipes come by dataset."""
    lines = []
    for dataset, group in groupby(recipes, key=lambda recipe: recipe.dataset):
        lines += [
            f'## {DATASETS[dataset]}',
            '',
            '| recipe | image | epochs | teacher | student | parameters | ratio | multiply-adds '
            '| ratio |',
            '|---|---:|---:|---|---|---:|---:|---:|---:|',
            *map(_row, group),
            '',
        ]
    return '\n'.join(lines)


def figures(results: list[dict]) -> str:
    """Return tables of top-1 accuracy, a row for each pair and a column for each method.

    Args:
        results: As for :func:`metafile`. What was measured here is in italics; a dagger marks what
            the recipe is not like in every respect, and the ``note`` beside the source says how.
    """
    cells: dict[str, dict[str, dict[str, list[str]]]] = {}
    for result in results:
        form = ('{:.2f}' if 'source' in result else '*{:.2f}*') + '†' * ('note' in result)
        for name, top1 in result['top1'].items():
            method, *networks, dataset = name.removesuffix('_8e').split('_')
            if len(networks) == 2:
                pair = ' → '.join(networks) + (', 8 epochs' if name.endswith('_8e') else '')
                row = cells.setdefault(dataset, {}).setdefault(pair, {})
                row.setdefault(method, []).append(form.format(top1))
    lines = ['## Figures', '']
    for dataset in sorted(cells):
        used = {method for row in cells[dataset].values() for method in row}
        columns = [method for method in METHODS if method in used]
        lines += [
            f'{DATASETS[dataset]}, top-1 in percent, *measured here* or published:',
            '',
            f'| teacher → student | {" | ".join(METHODS[method] for method in columns)} |',
            f'|---|{"---:|" * len(columns)}',
            *(
                f'| {pair} | {" | ".join(" ".join(row.get(m, [])) for m in columns)} |'
                for pair, row in cells[dataset].items()
            ),
            '',
        ]
    lines += ['Sources of what is published:', '']
    for result in results:
        used = {name.partition('_')[0] for name in result['top1']} - {'vanilla'}
        if 'source' in result and used:
            named = ', '.join(METHODS[method] for method in METHODS if method in used)
            note = f'. † {result["note"]}' if 'note' in result else ''
            lines.append(f'- {named}: {result["source"]}{note}')
    return '\n'.join([*lines, ''])


def metafile(method: str, recipes: Iterable[Recipe], results: list[dict]) -> str:
    """Return the metafile of a folder of recipes, for MIM and mmpretrain's index.

    Args:
        method: The folder.
        recipes: Its recipes.
        results: Figures: ``top1`` by recipe and either the ``source`` that published them or the
            ``command`` that measured them.

    Raises:
        ValueError: If a result says both or neither.
    """
    collection = COLLECTIONS[method]
    paper = {key: collection[key] for key in ('Title', 'URL') if collection[key]}
    index = dict(
        Collections=[
            dict(Name=collection['Name'], Paper=paper, README=f'configs/{method}/README.md')
        ],
        Models=[_model(recipe, collection['Name'], results) for recipe in recipes],
    )
    return yaml.safe_dump(index, sort_keys=False, allow_unicode=True, width=100)


def _parts(path: Path) -> tuple[str, str, str, str]:
    """Return method, teacher (or ''), student and dataset from a recipe's file name."""
    method, *networks, dataset = path.stem.removesuffix('_8e').split('_')
    teacher, student = networks if len(networks) == 2 else ('', *networks)
    return method, teacher, student, dataset


def _measure(model: dict, image_size: int) -> Size:
    return _measure_cached(json.dumps(model, sort_keys=True), image_size)


@functools.cache
def _measure_cached(model: str, image_size: int) -> Size:
    network, _ = build_classifier(json.loads(model))
    return network_size(network, image_size)


def _row(recipe: Recipe) -> str:
    start = (
        f'| `{recipe.path.stem}` | {recipe.image_size} | {recipe.epochs} | {recipe.teacher or ""} '
    )
    cells = []
    for quantity in ('parameters', 'multiply_adds'):
        count = getattr(recipe.student_size, quantity)
        if recipe.teacher_size is None:
            cells += [_short(count), '']
        else:
            teacher = getattr(recipe.teacher_size, quantity)
            cells += [f'{_short(teacher)} → {_short(count)}', f'{teacher / count:.1f}']
    return start + f'| {recipe.student} | {" | ".join(cells)} |'


def _short(count: int) -> str:
    """Return a count with three digits.

    Examples:
        >>> _short(278324), _short(41224448), _short(1819065856)
        ('278 k', '41.2 M', '1.82 G')
    """
    for unit, name in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if count >= unit:
            return f'{count / unit:#.3g}'.rstrip('.') + f' {name}'
    return str(count)


def _model(recipe: Recipe, collection: str, results: list[dict]) -> dict:
    metadata: dict[str, Any] = {
        'Parameters': recipe.student_size.parameters,
        'FLOPs': recipe.student_size.multiply_adds,
        'Epochs': recipe.epochs,
        'Training Data': DATASETS[recipe.dataset],
    }
    if recipe.teacher is not None:
        metadata['Teacher'] = recipe.teacher
    metrics = {}
    for result in results:
        if ('source' in result) == ('command' in result):
            raise ValueError(
                f'a result needs the source that published it or the command that measured it, and '
                f'not both: {result}'
            )
        if recipe.path.stem in result['top1']:
            label = 'published' if 'source' in result else 'measured here'
            metrics[f'Top 1 Accuracy ({label})'] = result['top1'][recipe.path.stem]
            metadata[f'Figure {label}'] = result.get('source') or result['command'].replace(
                'RECIPE', f'configs/{recipe.method}/{recipe.path.name}'
            )
    model: dict[str, Any] = {
        'Name': recipe.path.stem,
        'In Collection': collection,
        'Config': f'configs/{recipe.method}/{recipe.path.name}',
        'Metadata': metadata,
    }
    if metrics:
        model['Results'] = [
            {
                'Task': 'Image Classification',
                'Dataset': DATASETS[recipe.dataset],
                'Metrics': metrics,
            }
        ]
    return model
