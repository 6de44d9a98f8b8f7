"""A distilled student as a plain mmpretrain model."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from aekt_mm.files import replace_file, replace_text
from aekt_mm.models import backbones
from aekt_mm.models.checkpoints import load_restricted, save_weights
from aekt_mm.models.classifiers import num_classes, output_layers, read_classifier, trial_images
from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.models.weights import load_own_weights
from aekt_mm.registry import MODELS, SCOPE, build

from .launching import read_config

#: At the head of a published config whose backbone's definition lies beside it.
IMPORT_BACKBONE = """\
import sys

sys.path.insert(0, '{{{{ fileDirname }}}}')
custom_imports = dict(imports=[{module!r}], allow_failed_imports=False)
"""


def publish_student(
    config: str | Path, checkpoint: str | Path, folder: str | Path, safetensors: bool = False
) -> list[Path]:
    """Write the student of a training run so that plain mmpretrain loads it.

    The connector is dropped, or folded into the student's last linear layer; the prediction is
    compared with the distiller's before anything is written.

    Args:
        config: The recipe that the run trained, a distiller's or a plain classifier's.
        checkpoint: What the run saved.
        folder: Where to write ``student.py`` and ``student.pth``, and the definition of the
            backbone where mmpretrain has none.
        safetensors: Whether to write the weights as ``student.safetensors`` too, for what is not
            MMEngine.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: If the config or the checkpoint is not there.
        ValueError: If the checkpoint is not the recipe's, or the connector can't be folded into
            the student's head.
    """
    cfg = read_config(config)
    init_default_scope(cfg.get('default_scope', SCOPE))
    saved = load_restricted(str(checkpoint))
    state = saved.get('state_dict', {})

    if 'teacher' in cfg.model:
        cfg.model.teacher = None  # predicts without it
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if isinstance(cfg.model.get('student'), str):
        cfg.model.student = read_classifier(cfg.model.student)
    model = build(MODELS, cfg.model).eval()
    load_own_weights(model, state, checkpoint)
    student = model.student if isinstance(model, LogitDistiller) else model
    if isinstance(model, LogitDistiller):
        _fold_connector(model)

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text, definition = _plain_config(cfg, student)
    meta = {'dataset_meta': saved.get('meta', {}).get('dataset_meta', {})}
    written = [folder / 'student.pth', folder / 'student.py']
    save_weights(student.state_dict(), written[0], meta=meta)
    replace_text(written[1], text)
    if definition is not None:
        written.append(folder / definition.name)
        replace_file(written[2], lambda path: shutil.copyfile(definition, path))
    if safetensors:
        written.append(folder / 'student.safetensors')
        save_weights(student.state_dict(), written[-1])
    return written


@torch.no_grad()
def _fold_connector(distiller: LogitDistiller) -> None:
    """Fold the connector into the student's output layers, and see that nothing changed."""
    if distiller.connector is None:
        return
    if not hasattr(distiller.connector, 'fold_into'):
        raise ValueError(
            f'{type(distiller.connector).__name__} has no method fold_into(linear): a student '
            'without it would not predict as it was trained to'
        )
    student = distiller.student
    images = trial_images(student)
    expected = distiller(images)
    for layer in output_layers(student):
        distiller.connector.fold_into(layer)
    error = (student(images) - expected).abs().max().item()
    tolerance = 1e-4 * max(1.0, expected.abs().max().item())
    if not error <= tolerance:
        raise ValueError(
            f'the connector does not fold into the head {type(student.head).__name__}: logits '
            f'differ by {error:.2g}. A head must end in a linear layer of {num_classes(student)} '
            'outputs'
        )


def _plain_config(cfg: Config, student: nn.Module) -> tuple[str, Path | None]:
    """Return the text of the published config, and the backbone's definition where it is ours."""
    model = _unscoped(cfg.model.get('student', cfg.model))
    preprocessor = _unscoped(cfg.model.data_preprocessor or model.get('data_preprocessor') or {})
    if preprocessor.get('type') == 'BatchPreprocessor':
        # trained on arrays in RGB; from now on images come from files, which mmcv reads as BGR
        preprocessor = {k: preprocessor[k] for k in ('mean', 'std')} | {'to_rgb': True}
    preprocessor['type'] = 'ClsDataPreprocessor'
    model['data_preprocessor'] = preprocessor

    pipeline = _unscoped(cfg.get('test_pipeline', []))
    plain = Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            # where mmpretrain's inferencer looks for how to read an image
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
        )
    )
    # by name: where a published student was loaded before, its copy of the class is registered
    ours = getattr(backbones, type(getattr(student, 'backbone', student)).__name__, None)
    if ours is None:
        return plain.dump(), None
    definition = Path(inspect.getfile(ours))
    return IMPORT_BACKBONE.format(module=definition.stem) + plain.dump(), definition


def _unscoped(part: Any) -> Any:
    """Copy a config without mentions of this project's scope, which is not there any more."""
    if isinstance(part, dict):
        found = {key: _unscoped(value) for key, value in part.items()}
        return {key: value for key, value in found.items() if (key, value) != ('_scope_', SCOPE)}
    if isinstance(part, list | tuple):
        return type(part)(map(_unscoped, part))
    return part.removeprefix(f'{SCOPE}.') if isinstance(part, str) else part
