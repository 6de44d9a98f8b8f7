"""Student's and teacher's logits for a whole test set, on a GPU where there is one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from aekt_mm.files import replace_file
from aekt_mm.models.classifiers import class_logits
from aekt_mm.models.teachers import teacher_identity
from aekt_mm.models.teachers.identity import short_digest
from aekt_mm.models.weights import load_weights
from aekt_mm.registry import MODELS, SCOPE, build
from aekt_mm.structures import batch_labels

from .launching import use_restricted_loading


@torch.no_grad()
def student_logits(cfg: Config, checkpoint: str | Path) -> tuple[Tensor, Tensor]:
    """Run the student over the test set of a recipe.

    Args:
        cfg: Of the run, a distiller's or a plain classifier's.
        checkpoint: What it saved.

    Returns:
        The logits that it predicts from, (N, C) float32, and the labels, (N,) int64.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        ValueError: If it does not fit.
    """
    model = _model(cfg, teacher=None)
    load_weights(model, str(checkpoint))
    batches = _batches(Runner.build_dataloader(cfg.test_dataloader), model)
    parts = [
        (class_logits(model, model(**data)).cpu(), batch_labels(data['data_samples']).cpu())
        for data in batches
    ]
    return torch.cat([logits for logits, _ in parts]), torch.cat([labels for _, labels in parts])


def teacher_logits(cfg: Config, kept: Path | None = None) -> Tensor:
    """Run the teacher over the test set of a distillation recipe, as its student sees it.

    Args:
        cfg: Of a recipe whose teacher sees images.
        kept: A folder, see :func:`keep_teacher_logits`.

    Returns:
        Logits (N, C) float32.
    """
    if kept is None:
        return _teacher_logits(cfg)
    return torch.from_numpy(np.load(keep_teacher_logits(cfg, kept))['logits'])


def keep_teacher_logits(cfg: Config, folder: Path) -> Path:
    """Run the teacher over the test set unless a folder has its logits for these images.

    Args:
        cfg: As for :func:`teacher_logits`.
        folder: With a file for each teacher.

    Returns:
        The npz file, which has ``logits``.
    """
    identity = logits_identity(cfg)
    path = folder / f'teacher_logits_{short_digest(identity)}.npz'
    if not path.is_file() or np.load(path)['identity'] != identity:
        logits = _teacher_logits(cfg).numpy()
        replace_file(path, lambda partial: _save(partial, logits=logits, identity=identity))
    return path


def logits_identity(cfg: Config) -> str:
    """Return what the logits of a recipe's teacher for its test set depend on."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    parts = teacher_identity(cfg.model.teacher), preprocessor, cfg.test_dataloader.dataset
    return json.dumps(parts, sort_keys=True, default=str)


def _save(path: Path, **arrays) -> None:
    with path.open('wb') as file:
        np.savez(file, **arrays)


@torch.no_grad()
def _teacher_logits(cfg: Config) -> Tensor:
    model = _model(cfg, teacher=cfg.model.teacher)
    loader = Runner.build_dataloader(cfg.test_dataloader)
    model.teacher.attach(loader, model.data_preprocessor)
    return torch.cat([model.teacher(**data).cpu() for data in _batches(loader, model)])


def _model(cfg: Config, teacher: ConfigDict | None) -> Any:
    use_restricted_loading()
    init_default_scope(cfg.get('default_scope', SCOPE))
    model = ConfigDict(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if 'teacher' in model:
        model.teacher = teacher
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return build(MODELS, model).to(device).eval()


def _batches(loader: DataLoader, model: Any) -> Iterator[dict]:
    return (model.data_preprocessor(data, training=False) for data in loader)
