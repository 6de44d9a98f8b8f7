"""The model card of a published student, in the form of Hugging Face's hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from aekt_mm.models.classifiers import pipeline_side
from aekt_mm.version import __version__

#: The model card's front matter knows these; a licence is the author's to state.
FRONT_MATTER = """\
---
library_name: mmpretrain
pipeline_tag: image-classification
tags:
- image-classification
- knowledge-distillation
- aekt_mm
metrics:
- accuracy
---
"""

LOAD = """\
## Loading it

With mmpretrain alone, in this folder:

```python
from mmpretrain import ImageClassificationInferencer

classify = ImageClassificationInferencer('student.py', pretrained='student.pth')
print(classify('IMAGE.jpg')[0]['pred_class'])
```
"""

LOAD_ONNX = """
Without torch, from images that are prepared as above:

```python
import onnxruntime

session = onnxruntime.InferenceSession('student.onnx')
logits = session.run(['logits'], {'images': images})[0]
```
"""


def model_card(
    cfg: Config, plain: Config, parameters: int, meta: dict, checkpoint: Path, onnx: bool
) -> str:
    """Return the text of a published student's card.

    What is not known is left out: a licence, an accuracy that the run's log does not have.

    Args:
        cfg: The recipe that was trained.
        plain: The published config.
        parameters: How many the student has.
        meta: Of the checkpoint.
        checkpoint: Whose folder has the run's log.
        onnx: Whether the student is there as ONNX too.
    """
    name = Path(cfg.filename).stem
    rows = [('recipe', f'`{name}`'), *_distillation(cfg), *_data(cfg, meta)]
    rows += [('parameters', f'{parameters:,}'), ('images', _images(plain))]
    rows += _accuracy(meta, checkpoint)
    lines = [f'# {name}', '', f'An image classifier, trained with aekt_mm {__version__}.', '']
    lines += ['| | |', '|---|---|', *(f'| {what} | {value} |' for what, value in rows), '']
    return FRONT_MATTER + '\n'.join(lines) + '\n' + LOAD + (LOAD_ONNX if onnx else '')


def _distillation(cfg: Config) -> Iterator[tuple[str, str]]:
    if 'student' not in cfg.model:
        return
    for name in ('losses', 'features'):
        for part in (cfg.model.get(name) or {}).values():
            yield 'distilled with', f'`{_call(part.get("loss", part))}`'
    connector = cfg.model.get('connector')
    if connector:
        yield 'connector', f'`{_call(connector)}`'
    teacher = cfg.model.get('teacher')
    if not teacher:
        return
    teacher = teacher.get('online') or teacher  # a cached teacher is one that ran earlier
    yield 'teacher', f'`{_network(teacher)}`'
    weights = teacher.get('checkpoint') or teacher.get('cache')
    if weights:
        yield "teacher's weights", f'`{weights if "://" in str(weights) else Path(weights).name}`'


def _call(part: dict) -> str:
    """Return a component as one would write it, in a line."""
    options = (f'{key}={value!r}' for key, value in part.items() if key not in ('type', '_scope_'))
    return f'{part["type"]}({", ".join(options)})'.replace('|', r'\|')


def _network(teacher: dict) -> str:
    model = teacher.get('model', teacher.get('type'))
    if not isinstance(model, dict):  # a config's path, of which others need not know the folder
        return str(model) if '::' in str(model) else Path(str(model)).name
    return _call(model.get('backbone') or model)


def _data(cfg: Config, meta: dict) -> Iterator[tuple[str, str]]:
    dataset: Any = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset.dataset
    if dataset:
        root = dataset.get('data_root')
        named = f'`{dataset.type}`' + (f' in `{Path(root).name}`' if root else '')
        yield 'data', named
    classes = (meta.get('dataset_meta') or {}).get('classes') or ()
    if classes:
        shown = ', '.join(map(str, classes[:10])) + (', ...' if len(classes) > 10 else '')
        yield 'classes', f'{len(classes)}: {shown}'


def _images(plain: Config) -> str:
    trained = plain.model.data_preprocessor
    side = pipeline_side(plain.test_dataloader.dataset.pipeline)
    order = 'RGB' if trained.to_rgb else 'BGR'
    size = f', {side}×{side} pixels' if side else ''
    mean, std = trained.get('mean'), trained.get('std')
    return f'{order}{size}, (pixel - {list(mean)}) / {list(std)}' if mean else f'{order}{size}'


def _accuracy(meta: dict, checkpoint: Path) -> Iterator[tuple[str, str]]:
    epoch, found = meta.get('epoch'), _logged(meta.get('epoch'), checkpoint.parent)
    held_out = 'HeldOut' in meta.get('cfg', '')
    part = 'held-out part of the training set' if held_out else "the recipe's validation data"
    if 'accuracy/top1' in found:
        yield f'top-1, {part}', f'{found["accuracy/top1"]:.2f} %, after epoch {epoch}'
    if 'accuracy/top5' in found:
        yield f'top-5, {part}', f'{found["accuracy/top5"]:.2f} %'
    if 'teacher_top1' in found:
        yield (
            'teacher',
            (
                f'right on {found["teacher_top1"]:.2f} % of the last training images, as they were '
                'augmented'
            ),
        )


def _logged(epoch: int | None, work_dir: Path) -> dict[str, Any]:
    """Return what the run's log says of an epoch; of several logs the newest counts."""
    found: dict[str, Any] = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            # training's entries name the epoch; validation's step is the epoch
            if entry.get('epoch', entry.get('step')) == epoch:
                found.update(entry)
    return found
