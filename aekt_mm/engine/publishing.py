"""A distilled student as a plain mmpretrain model."""

import copy
import inspect
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from aekt_mm.models import backbones
from aekt_mm.models.checkpoints import load_restricted, save_weights
from aekt_mm.models.classifiers import (
    config_order,
    num_classes,
    output_layers,
    pipeline_side,
    read_classifier,
    trial_images,
)
from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.models.weights import TRAINING_PARTS, load_own_weights
from aekt_mm.registry import MODELS, SCOPE, build

from .model_card import model_card
from .onnx_export import check_packages, export_onnx
from .recipes import load_recipe

#: What is there where a published student is used; parts of a student from elsewhere come along.
STACK = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmpretrain')

#: At the head of a published config beside which definitions of the student's parts lie.
IMPORT_DEFINITIONS = """\
import sys

sys.path.insert(0, '{{{{ fileDirname }}}}')
custom_imports = dict(imports={modules!r}, allow_failed_imports=False)
"""

#: Loads a student as plain mmpretrain does, in a process that finds nothing but what is installed.
LOAD_ALONE = """\
import json, sys
config, weights, trial, places = sys.argv[1:]
sys.path += json.loads(places)
sys.modules['aekt_mm'] = None  # which makes its import fail
import torch
from mmpretrain import get_model
model = get_model(config)
model.load_state_dict(torch.load(weights, weights_only=True)['state_dict'])
images, expected = torch.load(trial, weights_only=True)
if images is not None:
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-3)
"""


def publish_student(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    safetensors: bool = False,
    onnx: bool = False,
) -> list[Path]:
    """Write the student of a training run so that plain mmpretrain loads it.

    The connector is dropped, or folded into the student's last linear layer; the prediction is
    compared with the distiller's. Parts of the student that are not mmpretrain's come along as the
    files that define them. Before anything is written, a process that has no more than these files
    and what is installed loads the student and predicts with it.

    Args:
        config: The recipe that the run trained, a distiller's or a plain classifier's, see
            :func:`~aekt_mm.engine.recipes.load_recipe`.
        checkpoint: What the run saved.
        folder: Where to write ``student.py`` and ``student.pth``, the definitions of parts that
            mmpretrain lacks, in folders as their modules' names, and a model card, ``README.md``.
        safetensors: Whether to write the weights as ``student.safetensors`` too, for what is not
            MMEngine.
        onnx: Whether to write the student as ``student.onnx`` too, see
            :func:`~aekt_mm.engine.onnx_export.export_onnx`.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: If the config or the checkpoint is not there.
        ValueError: If the checkpoint is not the recipe's, the connector can't be folded into the
            student's head, the student can't be loaded alone or is another as ONNX; the message
            says what is missing.
    """
    if onnx:
        check_packages()
    cfg = load_recipe(config)
    recipe = copy.deepcopy(cfg)
    init_default_scope(cfg.get('default_scope', SCOPE))
    saved = load_restricted(str(checkpoint))
    state = saved.get('state_dict', {})

    if 'teacher' in cfg.model:
        cfg.model.teacher = None  # predicts without it, and without what only training needs
        state = {k: v for k, v in state.items() if k.split('.')[0] not in TRAINING_PARTS}
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if isinstance(cfg.model.get('student'), str):
        cfg.model.student = read_classifier(cfg.model.student)
    model = build(MODELS, cfg.model).eval()
    if isinstance(model, LogitDistiller):
        del model.losses
    load_own_weights(model, state, checkpoint)
    student = model.student if isinstance(model, LogitDistiller) else model
    if isinstance(model, LogitDistiller):
        _fold_connector(model)

    folder, definitions = Path(folder), _definitions(student)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.student_', dir=folder.parent.resolve()) as partial:
        written = [Path(partial, name) for name in ('student.pth', 'student.py')]
        meta = {'dataset_meta': saved.get('meta', {}).get('dataset_meta', {})}
        save_weights(student.state_dict(), written[0], meta=meta)
        plain = _plain_config(cfg)
        imports = IMPORT_DEFINITIONS.format(modules=list(definitions)) if definitions else ''
        written[1].write_text(imports + plain.dump(), encoding='utf-8')
        for module, definition in definitions.items():
            written.append(Path(partial, *module.split('.')).with_suffix('.py'))
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            copyfile(definition, written[-1])
        parameters = sum(parameter.numel() for parameter in student.parameters())
        card = model_card(recipe, plain, parameters, saved.get('meta', {}), Path(checkpoint), onnx)
        written.append(Path(partial, 'README.md'))
        written[-1].write_text(card, encoding='utf-8')
        if onnx:
            written.append(Path(partial, 'student.onnx'))
            export_onnx(student, _side(plain), written[-1])
        if safetensors:
            written.append(Path(partial, 'student.safetensors'))
            save_weights(student.state_dict(), written[-1])
        _load_alone(*written[1::-1], student)
        return [_move(path, folder / path.relative_to(partial)) for path in written]


def _definitions(student: nn.Module) -> dict[str, Path]:
    """Return the files that define parts of a student that are not installed, by module."""
    found = {}
    parts = (
        type(module)
        for name, module in student.named_modules()
        if not name.startswith('data_preprocessor')  # another takes its place
    )
    for kind in dict.fromkeys(parts):
        # by name: where a published student was loaded before, its copy of our class is registered
        ours = getattr(backbones, kind.__name__, kind)
        kind = ours if ours.__module__.endswith(kind.__module__) else kind
        module, top = kind.__module__, kind.__module__.partition('.')[0]
        if top in STACK:
            continue
        try:
            file = Path(inspect.getfile(kind))
        except (TypeError, OSError) as error:
            raise ValueError(
                f'{kind.__name__} of the student is defined in no file that could come along: '
                f'{error}'
            ) from error
        if top == SCOPE:
            found[file.stem] = file
        elif not any(file.is_relative_to(place) for place in _installed()):
            found[module] = file
    if 'student' in found:
        raise ValueError(f'{found["student"]} has the name of what is written: rename it')
    return found


def _installed() -> list[str]:
    """Return the folders that packages are installed in."""
    stack = (import_module(name).__file__ for name in ('mmengine', 'mmcv', 'mmpretrain', 'torch'))
    places = [sysconfig.get_path('purelib'), sysconfig.get_path('platlib')]
    return list(dict.fromkeys([*(str(Path(file).parents[1]) for file in stack), *places]))


def _load_alone(config: Path, weights: Path, student: nn.Module) -> None:
    """Load a published student in a process without this package and the user's own modules.

    Raises:
        ValueError: If it does not load there, or predicts something else.
    """
    try:
        images = trial_images(student)
    except ValueError:
        images = None
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        trial = Path(place, 'trial.pth')
        torch.save((images, None if images is None else student(images)), trial)
        arguments = [*map(str, (config, weights, trial)), json.dumps(_installed())]
        done = subprocess.run(
            # neither PYTHONPATH nor what is installed editable
            [sys.executable, '-I', '-S', '-c', LOAD_ALONE, *arguments],
            cwd=place,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        # the first of several exceptions is the one that led to the others
        found = re.search(r'^[\w.]+(Error|Exception)\b.*', done.stderr, re.MULTILINE)
        reason = found[0] if found else f'exit code {done.returncode}'
        raise ValueError(
            f'the student does not load where only mmpretrain is, and was not written: {reason}. '
            'The files that define its parts must import no more than what is installed, and '
            'register them with mmpretrain.registry.MODELS'
        )


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


def _side(plain: Config) -> int:
    side = pipeline_side(plain.test_dataloader.dataset.pipeline)
    if side is None:
        raise ValueError(
            "--onnx: the recipe's test_pipeline does not say how large images are: end it with "
            "dict(type='Resize', scale=(SIDE, SIDE))"
        )
    return side


def _plain_config(cfg: Config) -> Config:
    """Return the published config, but for what imports the modules beside it."""
    model = _unscoped(cfg.model.get('student', cfg.model))
    trained = _unscoped(cfg.model.data_preprocessor or model.get('data_preprocessor') or {})
    preprocessor = dict(trained, type='ClsDataPreprocessor')
    if trained.get('type') == 'BatchPreprocessor':
        preprocessor = {key: trained[key] for key in ('mean', 'std')} | {
            'type': preprocessor['type']
        }
    # from now on images come from files, which mmcv reads as BGR
    preprocessor['to_rgb'] = config_order(cfg, trained) == 'RGB'
    model['data_preprocessor'] = preprocessor

    pipeline = _unscoped(cfg.get('test_pipeline', []))
    return Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            # where mmpretrain's inferencer looks for how to read an image
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
        )
    )


def _unscoped(part: Any) -> Any:
    """Copy a config without mentions of this project's scope, which is not there any more."""
    if isinstance(part, dict):
        found = {key: _unscoped(value) for key, value in part.items()}
        return {key: value for key, value in found.items() if (key, value) != ('_scope_', SCOPE)}
    if isinstance(part, list | tuple):
        return type(part)(map(_unscoped, part))
    return part.removeprefix(f'{SCOPE}.') if isinstance(part, str) else part


def _move(written: Path, place: Path) -> Path:
    """Put a file that is complete where it belongs."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return written.replace(place)
