"""Recipes by name: inherited whole, and with parts of one's own; each kind of them trains so."""

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.models import OnlineTeacher
from aekt_mm.recipes import CONFIGS, find_recipe
from aekt_mm.registry import MODELS, build

pytestmark = pytest.mark.stack

RECIPES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for method in ('vanilla', 'kd', 'dkd', 'aekt')
    for path in (CONFIGS / method).glob('*.py')
)
R56 = 'aekt_mm::aekt/aekt_resnet56_resnet20_cifar100.py'
R32X4 = 'aekt_mm::dkd/dkd_resnet32x4_resnet8x4_cifar100.py'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One's own folder: with data, a pair of small networks and a schedule."""
    monkeypatch.chdir(tmp_path)
    network = dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 16)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
    )
    torch.manual_seed(0)
    torch.save(build(MODELS, network).state_dict(), 'teacher.pth')
    (tmp_path / 'pair.py').write_text(f"""
network = {network}
pair = dict(
    student=network,
    teacher=dict(type='OnlineTeacher', model=network, checkpoint='teacher.pth'),
)
beta = 3.5
""")
    (tmp_path / 'short.py').write_text("""
_base_ = 'aekt_mm::_base_/schedules/cifar_onecycle_8e.py'
train_cfg = dict(max_epochs=2)
param_scheduler = dict(total_steps=2)
""")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        mmcv.imwrite(image, str(tmp_path / f'images/kind_{index % 3}/{index}.jpg'))
    return tmp_path


def config(text, suffix='.py'):
    path = Path(f'mine{suffix}')
    path.write_text(text)
    return Config.fromfile(path)


@pytest.mark.parametrize(('number', 'recipe'), enumerate(RECIPES))
def test_by_name_it_is_what_it_is_by_path(number, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = Config.fromfile(CONFIGS / recipe).to_dict()
    if number % 2:
        cfg = config(f"_base_ = 'aekt_mm::{recipe}'")
    else:
        cfg = config(f'_base_: aekt_mm::{recipe}', '.yaml')
    assert cfg.to_dict() == expected


#: What is swapped of mmpretrain's image data sets: the folder, and how many images at a time.
FILES = """
_base_ = 'aekt_mm::_base_/datasets/{base}.py'
files = dict(_delete_=True, type='CustomDataset', data_root='images')
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(dataset=dict(pipeline=_base_.train_pipeline, **files)),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=_base_.test_pipeline, **files),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
"""


@pytest.mark.parametrize(
    ('kind', 'suffix'), [('arrays', '.py'), ('images', '.yaml'), ('mixed', '.py')]
)
def test_each_kind_trains(kind, suffix, folder):
    if kind == 'arrays':
        pytest.importorskip('sklearn')
        recipe = 'aekt_mm::aekt/aekt_resnet20_resnet8slim_digits.py?schedule=short.py'
        text = "model = dict(teacher=dict(checkpoint='digits.pth'))"
        network = Config.fromfile(find_recipe('aekt_mm::vanilla/vanilla_resnet20_digits.py')).model
        torch.save(build(MODELS, network).state_dict(), 'digits.pth')
    else:
        base = 'imagenet' if kind == 'images' else 'imagenet_deit'
        name = 'r34_r18' if kind == 'images' else 'regnety-16gf_deit-tiny'
        recipe = (
            f'aekt_mm::aekt/aekt_{name}_imagenet.py?dataset=data.py&pair=pair.py&schedule=short.py'
        )
        text = ''
        data = FILES.format(base=base)
        if kind == 'images':  # a student of files as they are, and a teacher of RGB
            data += 'data_preprocessor = dict(to_rgb=False)\n'
        if kind == 'mixed':
            data += 'data_preprocessor = dict(num_classes=3)\n'
        (folder / 'data.py').write_text(data)
    if suffix == '.yaml':  # Python and YAML inherit from each other
        (folder / 'over.py').write_text(f'_base_ = {recipe!r}\n{text}')
        cfg = config('_base_: over.py', '.yaml')
    else:
        cfg = config(f'_base_ = {recipe!r}\n{text}')
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(folder / 'run'), 'none', folder.name
    runner = Runner.from_cfg(cfg) if suffix == '.py' else build_runner(cfg)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    saved = torch.load(folder / 'run/epoch_2.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in saved.values())
    assert not saved['student.head.fc.weight'].equal(before['student.head.fc.weight'])
    assert runner.message_hub.get_scalar('train/aekt.loss_implicit').current() > 0
    assert (runner.model.data_preprocessor.batch_augments is not None) == (kind == 'mixed')
    assert isinstance(runner.model.teacher, OnlineTeacher)
    assert runner.model.teacher.adapter.swap_channels == (kind == 'images')
    assert runner.model.distill_weight == 1  # a twelfth of 2 epochs is no warm-up


def test_a_pair_brings_its_beta(folder):
    for method, recipe in (
        ('aekt', R56),
        ('dkd', R32X4),
        ('dkd', 'aekt_mm::dkd/dkd_r34_r18_imagenet.py'),
    ):
        own = Config.fromfile(find_recipe(recipe))
        cfg = config(f"_base_ = '{recipe}?pair=./pair.py'")
        assert own.model.losses[method].beta != 3.5
        assert cfg.model.losses[method] == dict(own.model.losses[method], beta=3.5)
        assert cfg.model.student.backbone.stage_channels == (8, 8, 8, 16)
        assert cfg.model.teacher.checkpoint == 'teacher.pth'
        assert cfg.train_dataloader == own.train_dataloader
        assert cfg.optim_wrapper == own.optim_wrapper


def test_a_schedule_keeps_the_warmups_share(folder):
    cfg = config(f"_base_ = '{R56}?schedule=./short.py'")
    own = Config.fromfile(find_recipe(R56))
    assert cfg.train_cfg.max_epochs == 2
    assert cfg.param_scheduler.type == 'OneCycleLR'
    assert cfg.model == own.model
    assert cfg.custom_hooks == own.custom_hooks  # which is of 2 epochs what it is of 240


def test_a_data_set_alone(folder):
    (folder / 'sub').mkdir()
    (folder / 'sub/data.py').write_text(FILES.format(base='imagenet'))
    # paths are relative to the config that names them
    (folder / 'sub/mine.py').write_text(f"_base_ = '{R56}?dataset=data.py'\nseed = 3")
    cfg = config("_base_ = './sub/mine.py'")
    own = Config.fromfile(find_recipe(R56))
    assert cfg.train_dataloader.dataset.dataset.type == 'CustomDataset'
    assert cfg.data_preprocessor.type == 'ViewPreprocessor'
    for part in ('model', 'optim_wrapper', 'train_cfg', 'default_hooks', 'custom_hooks'):
        assert cfg[part] == own[part]


def test_the_yaml_recipe_takes_parts_too(folder):
    cfg = config("_base_ = 'aekt_mm::aekt/aekt_r34_r18_imagenet.yaml?pair=pair.py'")
    assert cfg.to_dict() == (
        config("_base_ = 'aekt_mm::aekt/aekt_r34_r18_imagenet.py?pair=pair.py'").to_dict()
    )
    assert cfg.model.losses.aekt.beta == 3.5


@pytest.mark.parametrize('suffix', ['.py', '.yaml'])
def test_one_that_is_made_of_its_parts_is_inherited_like_a_file(suffix, folder):
    name = 'reviewkd_resnet56_resnet20_cifar100'  # which has constants for this pair, and hooks
    reference = f'aekt_mm::reviewkd/{name}.py'
    text = f'_base_: {reference}' if suffix == '.yaml' else f"_base_ = '{reference}'"
    assert config(text, suffix).to_dict() == load_recipe(name).to_dict()


def test_one_that_is_made_of_its_parts_takes_parts_too(folder):
    swaps = 'pair=./pair.py&schedule=./short.py'
    cfg = config(f"_base_ = 'aekt_mm::nkd/nkd_resnet56_resnet20_cifar100.py?{swaps}'")
    assert cfg.model.losses == load_recipe('nkd_resnet56_resnet20_cifar100').model.losses
    assert cfg.model.student.backbone.stage_channels == (8, 8, 8, 16)
    assert cfg.model.teacher.checkpoint == 'teacher.pth'
    assert cfg.train_cfg.max_epochs == 2


@pytest.mark.parametrize(
    ('reference', 'message'),
    [
        ('aekt_mm::nkd/nkd_resnet56_resnet21_cifar100.py', 'did you mean aekt_mm::nkd/nkd_resn'),
        ('aekt_mm::fitnet/fitnet_r34_r18_imagenet.py', 'fitnet has no constants for ImageNet'),
        ('aekt_mm::aekt/aekt_r34_r18.py', 'did you mean aekt_mm::aekt/aekt_r34_r18_imagenet.py?'),
        (f'{R56}?pair=absent.py', 'there is no pair'),
        (f'{R56}?data=pair.py', "'data=pair.py' must be one of pair, dataset, schedule, = and a"),
        (f'{R56}?pair', "'pair' must be one of"),
        (f'{R56}?pair=short.py', 'must define what a pair does: it has no beta and no pair'),
        (
            'aekt_mm::vanilla/vanilla_r18_imagenet.py?pair=pair.py',
            'vanilla_r18_imagenet.py has no pair that',
        ),
        (f'{R56}?schedule=aekt_mm::_base_/schedules/x.py', 'aekt_mm::_base_/schedules/x.py'),
    ],
)
def test_what_is_not_there_is_named(reference, message, folder):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        config(f'_base_ = {reference!r}')
    assert message in str(error.value)


def test_a_method_without_a_pair_is_refused(folder):
    """No β of another pair stands in for a pair's."""
    text = "_base_ = ['aekt_mm::_base_/methods/dkd.py', './pair.py']\nmodel = _base_.pair"
    cfg = config(text)
    init_default_scope('aekt_mm')
    with pytest.raises(ValueError, match='beta must be a finite number of at least 0, but is None'):
        build(MODELS, cfg.model)


def test_students_and_teachers_by_name():
    teacher = OnlineTeacher('aekt_mm::vanilla/vanilla_resnet8slim_digits.py', checkpoint=None)
    assert teacher.num_classes == 10
    assert teacher(torch.rand(2, 3, 8, 8)).shape == (2, 10)
