"""Recipes by name: made of their parts, equal to those that have files."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from aekt_mm.datasets import ArrayDataset
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.models import FeaturePairs, OnlineTeacher
from aekt_mm.recipes import compose, methods
from aekt_mm.registry import MODELS, build
from aekt_mm.structures import ViewKey

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
SCHEDULES = CONFIGS / '_base_' / 'schedules'
CIFAR_PAIRS = Config.fromfile(CONFIGS / '_base_' / 'stages.py').pairs
FIGURES = yaml.safe_load((CONFIGS / 'results.yml').read_text(encoding='utf-8'))
#: Whose recipes are files.
WRITTEN = ('kd', 'dkd', 'aekt')
COMPOSED = [method for method in methods() if method not in WRITTEN]


def model_of(name, **teacher):
    cfg = load_recipe(name)
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.update(checkpoint=None, **teacher)
    torch.manual_seed(0)
    return cfg, build(MODELS, dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize('method', WRITTEN)
@pytest.mark.parametrize(
    'pair',
    ['resnet56_resnet20_cifar100', 'r50_mobilenet-v1_imagenet', 'resnet20_resnet8_cifar100_8e'],
)
def test_what_is_composed_is_what_is_written(method, pair):
    """But for what was found, and what DKD's and AEKT's files keep of the pair by its name."""
    composed = compose(f'{method}_{pair}')
    written = Config.fromfile(CONFIGS / method / f'{method}_{pair}.py')
    if 'found' in written:
        composed.found = written.found
        composed.model.losses[method].update(written.found)
        composed.model.connector = None
    assert composed.to_dict() == written.to_dict()


def test_a_name_with_a_file_is_that_file():
    name = 'dkd_resnet56_resnet20_cifar100'
    assert load_recipe(name).to_dict() == load_recipe(CONFIGS / 'dkd' / f'{name}.py').to_dict()


@pytest.mark.parametrize('method', COMPOSED)
def test_every_method_trains_a_step(method):
    """On the pair to try things out with, for a short schedule."""
    cfg, model = model_of(f'{method}_resnet20_resnet8_cifar100_8e')
    assert cfg.train_cfg.max_epochs == 8
    if method == 'crd':
        model.features['crd'].set_num_samples(4)
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8).numpy()
    data = ArrayDataset(images, [0, 1, 0, 1], 'ab').__getitems__(
        [ViewKey(0, 0, k) for k in range(4)]
    )
    loss, logs = model.parse_losses(
        model(**model.data_preprocessor(data, training=True), mode='loss')
    )
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(value.isfinite().all() for value in logs.values())
    assert any('.' in name for name in logs)


@pytest.fixture(scope='module')
def networks():
    """The networks of the literature's pairs, each built once."""
    built = {}

    def network(config):
        key = json.dumps(config, sort_keys=True)
        if key not in built:
            built[key] = build(MODELS, config).eval()
        return built[key]

    return network


@pytest.mark.slow
@pytest.mark.parametrize('pair', ['_'.join(pair) for pair in CIFAR_PAIRS])
def test_feature_methods_find_their_stages(pair, networks):
    features = {}
    for method in ('fitnet', 'at', 'rkd', 'reviewkd'):
        try:
            cfg = load_recipe(f'{method}_{pair}_cifar100')
        except ValueError:  # ReviewKD's authors have no constants for those with MobileNetV2 or VGG
            assert method == 'reviewkd' and re.search('vgg|mobilenet', pair)
        else:
            features |= cfg.model.features
    student = networks(cfg.pair.student)
    teacher = OnlineTeacher(networks(cfg.pair.teacher.model), checkpoint=None)
    model = FeaturePairs(features, student, teacher)
    model.watch()
    images = torch.rand(2, 3, 32, 32)
    teacher(images)
    student(images)
    losses = model(torch.tensor([0, 1]), None)
    assert set(losses) == set(features)
    assert all(part['loss'].isfinite() for part in losses.values())


@pytest.mark.parametrize(
    'name', ['reviewkd_r34_r18_imagenet', 'at_r50_mobilenet-v1_imagenet', 'crd_r34_r18_imagenet']
)
def test_feature_methods_find_their_stages_on_imagenet(name):
    cfg = load_recipe(name)
    cfg.model.teacher.checkpoint = None
    model = build(MODELS, cfg.model)
    assert len(model.features) == 1


def test_constants_of_a_pair_are_its_own():
    def loss(name):
        cfg = load_recipe(name)
        [part] = [*(cfg.model.get('losses') or {}).values()] or [
            feature.loss for feature in cfg.model.features.values()
        ]
        return part

    assert loss('kd-ls_resnet56_resnet20_cifar100').temperature == 2.0
    assert loss('kd-ls_vgg13_vgg8_cifar100').temperature == 3.0
    dkd = loss('dkd-ls_resnet56_resnet20_cifar100')
    assert (dkd.temperature, dkd.alpha, dkd.beta) == (3.0, 18.0, 36.0)
    dkd = loss('dkd-ls_r34_r18_imagenet')
    assert (dkd.temperature, dkd.alpha, dkd.beta) == (2.0, 9.0, 4.5)
    assert loss('dkd-ls_r50_mobilenet-v1_imagenet').beta == 18.0
    assert loss('mlkd-ls_vgg13_vgg8_cifar100').weight == 6.0
    assert loss('ctkd-ls_r34_r18_imagenet').alpha == 2.0
    assert loss('rld_r50_mobilenet-v1_imagenet').beta == 2.0
    assert loss('rld_r34_r18_imagenet').beta == 0.5
    assert loss('nkd_r34_r18_imagenet').gamma == 1.5
    assert loss('reviewkd_resnet32x4_shufflenet-v2_cifar100').weight == 8.0
    light = load_recipe('rkd_resnet32x4_shufflenet-v2_cifar100')
    assert light.optim_wrapper.optimizer.lr == 0.01


def test_dist_is_optimised_on_imagenet_as_by_its_authors():
    """resnet_dist.yaml on 8 GPUs: Nesterov, and what has one dimension is not decayed."""
    cfg = load_recipe('dist_r34_r18_imagenet')
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (32, 256)
    assert (cfg.param_scheduler.milestones, cfg.train_cfg.max_epochs) == ([30, 60, 90], 100)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 4)
    )
    optimizer = build_optim_wrapper(network, cfg.optim_wrapper).optimizer
    for group in optimizer.param_groups:
        [parameter] = group['params']
        assert group['weight_decay'] == (0 if parameter.ndim == 1 else 1e-4)
        assert (group['lr'], group['momentum'], group['nesterov']) == (0.1, 0.9, True)
    for method in ('nkd', 'reviewkd'):
        cfg = load_recipe(f'{method}_r50_mobilenet-v1_imagenet')
        assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (32, 0.1)
    # DeiT's schedule stays what it is, and what a user swaps wins
    assert load_recipe('dist_deit-base_deit-small_imagenet').optim_wrapper.optimizer.type == 'AdamW'
    cfg = compose('dist_r34_r18_imagenet', {'schedule': SCHEDULES / 'imagenet_100e.py'})
    assert (cfg.optim_wrapper.optimizer.lr, cfg.train_dataloader.batch_size) == (0.2, 32)


def test_every_figure_is_of_a_recipe():
    for result in FIGURES:
        for name in result['top1']:
            load_recipe(name)


def test_a_recipe_says_nothing_but_what_a_run_needs():
    written = Config.fromfile(CONFIGS / 'kd' / 'kd_resnet56_resnet20_cifar100.py')
    assert set(load_recipe('at_resnet56_resnet20_cifar100')) == set(written)
    name = 'reviewkd_resnet56_resnet20_cifar100'
    assert set(load_recipe(name)) == {*written, 'custom_hooks'}


@pytest.mark.parametrize(
    ('name', 'error', 'message'),
    [
        (
            'nkd_resnet56_resnet21_cifar100',
            FileNotFoundError,
            'near it are resnet56_resnet20',
        ),
        ('nkt_resnet56_resnet20_cifar100', FileNotFoundError, 'begins with one of aekt, aekt-ls'),
        ('configs/nkd/nkd.py', FileNotFoundError, r'there is no config configs/nkd/nkd\.py'),
        ('fitnet_r34_r18_imagenet', ValueError, 'fitnet has no constants for ImageNet'),
        (
            'reviewkd_vgg13_vgg8_cifar100',
            ValueError,
            r'reviewkd\.py says nothing for vgg13',
        ),
    ],
)
def test_what_there_is_not(name, error, message):
    with pytest.raises(error, match=message):
        load_recipe(name)


def test_a_method_takes_nothing_from_another_methods_recipe():
    """KD's file of this pair has a temperature of its own."""
    assert set(load_recipe('nkd_micronet_resnet8_cifar100').model.losses) == {'nkd'}


def test_a_pair_whose_student_has_no_recipe_alone_is_refused(tmp_path, monkeypatch):
    for folder in ('methods', 'pairs'):
        (tmp_path / '_base_' / folder).mkdir(parents=True)
    (tmp_path / '_base_/methods/nkd.py').touch()
    (tmp_path / '_base_/pairs/resnet56_mlp_cifar100.py').touch()
    monkeypatch.setattr('aekt_mm.recipes.CONFIGS', tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no configs/vanilla/vanilla_mlp_cifar100\.py'):
        compose('nkd_resnet56_mlp_cifar100')


def test_a_run_keeps_a_copy_that_is_the_recipe(tmp_path):
    cfg = load_recipe('nkd_resnet56_resnet20_cifar100')
    assert Path(cfg.filename).name == 'nkd_resnet56_resnet20_cifar100.py'
    cfg.dump(tmp_path / 'copy.py')
    assert Config.fromfile(tmp_path / 'copy.py').to_dict() == cfg.to_dict()


def test_it_is_printed_by_name(monkeypatch, capsys):
    name = 'nkd_resnet20_resnet8_cifar100_8e'
    monkeypatch.setattr(sys, 'argv', ['tools/misc/print_config.py', name])
    runpy.run_path(str(ROOT / 'tools/misc/print_config.py'), run_name='__main__')
    assert "type='NKDLoss'" in capsys.readouterr().out
