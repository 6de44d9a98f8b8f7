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
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from aekt_mm.models import backbones
from aekt_mm.models.checkpoints import load_restricted, save_weights
from aekt_mm.models.classifiers import (
    class_logits,
    num_classes,
    output_layers,
    pipeline_side,
    read_classifier,
    trial_images,
    unchanged,
)
from aekt_mm.models.distillers import LogitDistiller
from aekt_mm.models.weights import TRAINING_PARTS, load_own_weights
from aekt_mm.registry import MODELS, SCOPE, build, type_name
from aekt_mm.structures import config_order

from .config_check import explain
from .launching import check_files
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
model = get_model(config, pretrained=weights)
read, held = torch.load(weights, weights_only=True)['state_dict'], model.state_dict()
def same(a, b):
    return a.equal(b) or a.shape == b.shape and a.is_floating_point() and torch.allclose(a, b)
lost = [name for name in {**held, **read}
        if name not in held or name not in read or not same(held[name], read[name])]
if lost:
    sys.exit(f'{len(lost)} of its {len(held)} weights are not loaded, the first {lost[0]}')
images, expected = torch.load(trial, weights_only=True)
if images is not None:
    with torch.no_grad():
        logits = model(images)
    logits = sum(logits) if isinstance(logits, tuple) else logits
    error = (logits - expected).abs().max().item() / max(1, expected.abs().max().item())
    if not error <= 1e-3:
        sys.exit(f'its logits are {error:.2g} of the largest away from those of the trained one')
"""

#: On so many images the published student is compared with the trained one.
TRIAL_IMAGES = 8


def publish_student(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    safetensors: bool = False,
    onnx: bool = False,
) -> list[Path]:
    """Write the student of a training run so that plain mmpretrain loads it.

    The connector is dropped, or folded into the student's last linear layer. Parts of the student
    that are not mmpretrain's come along as the files that define them. Before anything is written,
    a process that has no more than these files and what is installed loads the student; it must
    hold all its weights, and its logits must be the distiller's. They are compared on images of
    the recipe's test or validation data; where there are none, on random images, which is said.

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
            student's head, or the student can't be loaded alone, predicts something else than the
            distiller, or is another as ONNX; the message says what is missing.
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
    network = cfg.model.get('student', cfg.model)
    if network.get('pretrained') is True:
        network.pretrained = False  # its weights are in the checkpoint
    model = build(MODELS, cfg.model).eval()
    if isinstance(model, LogitDistiller):
        del model.losses
    load_own_weights(model, state, checkpoint)
    student = model.student if isinstance(model, LogitDistiller) else model
    images = _images(cfg, model)
    expected = None if images is None else _logits(model, images)
    if isinstance(model, LogitDistiller):
        _fold_connector(model, images, expected)

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
            with unchanged(student):
                export_onnx(student, _side(plain), written[-1])
        if safetensors:
            written.append(Path(partial, 'student.safetensors'))
            save_weights(student.state_dict(), written[-1])
        weights, config = written[:2]
        _load_alone(config, weights, images, expected)
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
    return list(dict.fromkeys([*(str(Path(file).parents[1]) for file in stack if file), *places]))


def _images(cfg: Config, model: Any) -> Tensor | None:
    """Return images of a recipe's data as its model sees them, or else random ones, and say so."""
    absent = 'the recipe names no test or validation data'
    for name in ('test_dataloader', 'val_dataloader'):
        if not cfg.get(name):
            continue
        try:
            check_files(cfg, name)
            few = dict(batch_size=TRIAL_IMAGES, num_workers=0, persistent_workers=False)
            batch = next(iter(Runner.build_dataloader({**cfg[name], **few})))
            return model.data_preprocessor(batch, training=False)['inputs']
        except Exception as error:  # whatever a data set raises that is not here
            absent = f'{name} can not be read: {explain(error)}'
    try:
        images, how = trial_images(model), 'on random images'
    except ValueError:
        images, how = None, 'by its weights alone'
    print_log(
        f"The published student is compared with the trained one {how}, not on the recipe's "
        f'data: {absent}',
        'current',
        level=30,
    )
    return images


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with unchanged(model):
        return class_logits(model, model(images))


def _load_alone(
    config: Path, weights: Path, images: Tensor | None, expected: Tensor | None
) -> None:
    """Load a published student in a process without this package and the user's own modules.

    Args:
        config: Of the student.
        weights: Of the student.
        images: To try it on, (N, 3, H, W).
        expected: What it must make of them, (N, C).

    Raises:
        ValueError: If it does not load there with all its weights, or predicts something else.
    """
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place, 'trial.pth')
        torch.save((images, expected), trial)
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
        if found is None:
            said = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
            raise ValueError(
                f'the student is another where only mmpretrain is, and was not written: {said}'
            )
        raise ValueError(
            f'the student does not load where only mmpretrain is, and was not written: {found[0]}. '
            'The files that define its parts must import no more than what is installed, and '
            'register them with mmpretrain.registry.MODELS'
        )


@torch.no_grad()
def _fold_connector(
    distiller: LogitDistiller, images: Tensor | None, expected: Tensor | None
) -> None:
    """Fold the connector into the student's output layers, and see that nothing changed."""
    if distiller.connector is None:
        return
    if not hasattr(distiller.connector, 'fold_into'):
        raise ValueError(
            f'{type(distiller.connector).__name__} has no method fold_into(linear): a student '
            'without it would not predict as it was trained to'
        )
    if images is None or expected is None:
        raise ValueError(
            'whether the connector folds into the head can not be tried out: the student takes '
            "images of no usual size, and none of the recipe's are here"
        )
    student = distiller.student
    for layer in output_layers(student):
        distiller.connector.fold_into(layer)
    error = (_logits(student, images) - expected).abs().max().item()
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
    if type_name(trained) == 'BatchPreprocessor':
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
    """Copy a config without mentions of this project's scope, which is not there any more.

    Classes, which a config in pure Python has as types, go by their registered names.
    """
    if isinstance(part, dict):
        found = {key: _unscoped(value) for key, value in part.items()}
        if inspect.isclass(part.get('type')):
            found['type'] = type_name(part)
        return {key: value for key, value in found.items() if (key, value) != ('_scope_', SCOPE)}
    if isinstance(part, list | tuple):
        return type(part)(map(_unscoped, part))
    return part.removeprefix(f'{SCOPE}.') if isinstance(part, str) else part


def _move(written: Path, place: Path) -> Path:
    """Put a file that is complete where it belongs."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return written.replace(place)
