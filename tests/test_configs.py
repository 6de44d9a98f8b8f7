"""Every recipe loads, builds, trains a step, and survives YAML.

Networks are of full size. They train on two images of 32x32 pixels (8x8 for digits), whatever the
recipe's resolution; ViTs are built for that resolution.
"""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.utils import import_modules_from_strings
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from torch import nn

import aekt_mm  # noqa: F401
from aekt_mm.analysis.recipe_table import COLLECTIONS
from aekt_mm.datasets import ArrayDataset, ViewDataset
from aekt_mm.engine.publishing import publish_student
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.registry import MODELS, build
from aekt_mm.structures import ViewKey

pytestmark = pytest.mark.stack

CONFIGS = Path(__file__).parents[1] / 'configs'
BASES = CONFIGS / '_base_'
RECIPES = sorted(
    path
    for method in COLLECTIONS
    for path in (CONFIGS / method).iterdir()
    if path.suffix in ('.py', '.yaml')
)
DISTILLATIONS = [path for path in RECIPES if path.parent.name != 'vanilla']

#: DKD's weight of the non-target classes in the code of Zhao et al. (2022); 8 where not overridden.
PUBLISHED_BETA = {
    'resnet56_resnet20_cifar100': 2.0,
    'resnet110_resnet32_cifar100': 2.0,
    'resnet32x4_resnet8x4_cifar100': 8.0,
    'wrn-40-2_wrn-16-2_cifar100': 6.0,
    'wrn-40-2_wrn-40-1_cifar100': 6.0,
    'vgg13_vgg8_cifar100': 6.0,
    'resnet32x4_shufflenet-v1_cifar100': 8.0,
    'wrn-40-2_shufflenet-v1_cifar100': 8.0,
    'vgg13_mobilenet-v2_cifar100': 6.0,
    'resnet50_mobilenet-v2_cifar100': 8.0,
    'resnet32x4_shufflenet-v2_cifar100': 8.0,
    'r34_r18_imagenet': 0.5,
    'r50_mobilenet-v1_imagenet': 2.0,
}


def names(paths):
    return [path.name for path in paths]


def loaded(recipe):
    cfg = Config.fromfile(recipe)
    init_default_scope(cfg.default_scope)
    import_modules_from_strings(**cfg.custom_imports)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg


@functools.cache
def frozen_teacher(config):
    """Recipes of a pair share their teacher here: to build one takes longer than a step."""
    return build(MODELS, json.loads(config))


def shrink_vits(config):
    """Build ViTs for the images of this test."""
    if isinstance(config, dict):
        if config.get('type') == 'VisionTransformer':
            config.img_size = 32
        for part in config.values():
            shrink_vits(part)


def batch(cfg, size):
    """Two random images as the recipe's dataset would hand them out."""
    images = np.random.RandomState(0).randint(0, 256, (2, size, size, 3), dtype=np.uint8)
    keys = [ViewKey(0, 0, 0), ViewKey(0, 0, 1)]
    if cfg.data_preprocessor.type == 'BatchPreprocessor':
        return ArrayDataset(images, [0, 1], 'ab').__getitems__(keys)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    views = ViewDataset(
        [dict(inputs=inputs[k], data_samples=DataSample().set_gt_label(k)) for k in range(2)]
    )
    return pseudo_collate([views[key] for key in keys])


@pytest.mark.parametrize('recipe', RECIPES, ids=names(RECIPES))
def test_trains_a_step(recipe):
    cfg = loaded(recipe)
    shrink_vits(cfg.model)
    if 'teacher' in cfg.model:
        cfg.model.teacher.checkpoint = None
        cfg.model.teacher = frozen_teacher(json.dumps(cfg.model.teacher, sort_keys=True))
    model = build(MODELS, cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    before = [parameter.clone() for parameter in model.parameters()]

    model.train()
    data = model.data_preprocessor(batch(cfg, 8 if 'digits' in recipe.name else 32), training=True)
    loss, logs = model.parse_losses(model(**data, mode='loss'))
    optimizer.backward(loss)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    optimizer.step()

    assert without == []
    assert all(value.isfinite().all() for value in logs.values())
    assert any('.' in name for name in logs) == ('teacher' in cfg.model)
    assert not any(
        torch.equal(*pair) for pair in zip(before, model.parameters()) if pair[0].ndim > 1
    )


@pytest.mark.parametrize('recipe', DISTILLATIONS, ids=names(DISTILLATIONS))
def test_trains_by_views_so_that_its_teacher_can_be_cached(recipe):
    cfg = Config.fromfile(recipe)
    loader = cfg.train_dataloader
    assert loader.sampler.type == 'ViewSampler'
    if loader.collate_fn.type == 'whole_batch':
        assert cfg.data_preprocessor.type == 'BatchPreprocessor'
    else:
        assert loader.dataset.type == 'ViewDataset'
        assert cfg.data_preprocessor.type == 'ViewPreprocessor'


@pytest.mark.parametrize('recipe', RECIPES, ids=names(RECIPES))
def test_the_same_after_yaml(recipe, tmp_path):
    """So that whatever is built of it is the same."""
    cfg = Config.fromfile(recipe)
    cfg.dump(tmp_path / 'dumped.yaml')
    assert Config.fromfile(tmp_path / 'dumped.yaml').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('recipe', RECIPES, ids=names(RECIPES))
def test_says_only_what_is_particular(recipe):
    lines = [line for line in recipe.read_text(encoding='utf-8').splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize(
    'recipe',
    [
        'aekt_resnet56_resnet20_cifar100',
        'aekt_wrn-40-2_wrn-16-2_cifar100',
        'aekt_vgg13_vgg8_cifar100',
        'aekt_vgg13_mobilenet-v2_cifar100',
        'aekt_resnet32x4_shufflenet-v1_cifar100',
        'aekt_resnet32x4_shufflenet-v2_cifar100',
        'aekt_r34_r18_imagenet',
        'aekt_r50_mobilenet-v1_imagenet',
        'aekt_efficientnet-b3_efficientnet-b0_imagenet',
        'aekt_regnety-16gf_deit-tiny_imagenet',
        'vanilla_resnet50_cifar100',
    ],
)
@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_is_saved_and_published(recipe, tmp_path):
    """One recipe of each family of students."""
    path = CONFIGS / recipe.split('_')[0] / f'{recipe}.py'
    cfg = loaded(path)
    if 'teacher' in cfg.model:
        cfg.model.teacher = None
    model = build(MODELS, cfg.model).eval()
    if hasattr(model, 'connector'):
        nn.init.normal_(model.connector.fc.weight, std=0.1)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'epoch.pth')

    config, weights = publish_student(path, tmp_path / 'epoch.pth', tmp_path / 'out')[1::-1]
    plain = Config.fromfile(config)
    student = MODELS.build({'_scope_': 'mmpretrain', **plain.model}).eval()
    student.load_state_dict(torch.load(weights, weights_only=True)['state_dict'])
    size = 32 if 'cifar100' in recipe else 224
    with torch.no_grad():
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        expected = model(images)
        tolerance = 1e-4 * max(1, expected.abs().max().item())
        torch.testing.assert_close(student(images), expected, rtol=0, atol=tolerance)


def test_every_network_has_a_vanilla_recipe():
    recipes = [path.read_text(encoding='utf-8') for path in (CONFIGS / 'vanilla').glob('*.py')]
    used = {re.search(r'networks/(\S+)\.py', text)[1] for text in recipes}
    assert used == {path.stem for path in (BASES / 'networks').glob('*.py')}


@pytest.mark.parametrize('pair', sorted(path.stem for path in (BASES / 'pairs').glob('*.py')))
def test_every_pair_is_a_recipe_of_every_method(pair):
    for method in ('kd', 'dkd', 'aekt'):
        cfg = load_recipe(f'{method}_{pair}')
        said = Config.fromfile(BASES / 'pairs' / f'{pair}.py').pair
        assert list(cfg.model.losses) == [method]
        assert cfg.model.teacher == said.teacher
        assert cfg.model.student.backbone == said.student.backbone


@pytest.mark.parametrize('pair', PUBLISHED_BETA)
def test_constants_are_those_published(pair):
    imagenet = pair.endswith('imagenet')
    dkd = Config.fromfile(CONFIGS / 'dkd' / f'dkd_{pair}.py')
    aekt = Config.fromfile(CONFIGS / 'aekt' / f'aekt_{pair}.py')
    kd = Config.fromfile(CONFIGS / 'kd' / f'kd_{pair}.py')
    temperature = 1.0 if imagenet else 4.0
    assert dkd.model.losses.dkd == dict(
        type='DKDLoss', temperature=temperature, alpha=1.0, beta=PUBLISHED_BETA[pair]
    )
    assert {key: aekt.model.losses.aekt[key] for key in ('temperature', 'alpha', 'beta')} == {
        key: dkd.model.losses.dkd[key] for key in ('temperature', 'alpha', 'beta')
    }
    assert kd.model.losses.kd.temperature == temperature
    assert kd.model.losses.kd.alpha == (0.5 if imagenet else 0.9)
    assert kd.model.label_weight == (0.5 if imagenet else 0.1)
    # 20 of 240 epochs, and on ImageNet 1, which has its whole weight
    for cfg in (dkd, aekt):
        warmup = [hook.share for hook in cfg.custom_hooks if hook.type == 'DistillWarmupHook']
        assert warmup == ([] if imagenet else [pytest.approx(20 / cfg.train_cfg.max_epochs)])
    light = 'mobilenet' in pair or 'shufflenet' in pair
    lr = 0.2 if imagenet else 0.01 if light else 0.05
    assert {cfg.optim_wrapper.optimizer.lr for cfg in (kd, dkd, aekt)} == {lr}


@pytest.mark.parametrize(
    ('recipe', 'weight'),
    [
        ('kd_resnet20_resnet8_cifar100', 0.1),
        ('kd-ls_resnet20_resnet8_cifar100', 0.1),
        ('ctkd_resnet20_resnet8_cifar100', 0.1),
        ('mlkd_resnet20_resnet8_cifar100', 0.1),
        ('kd-ls_r34_r18_imagenet', 1.0),
        ('ctkd_r34_r18_imagenet', 1.0),
        ('mlkd_r34_r18_imagenet', 0.5),
        ('dkd_resnet20_resnet8_cifar100', None),
    ],
)
def test_a_method_says_the_labels_weight(recipe, weight):
    """Whatever loss the student of the pair brings."""
    cfg = load_recipe(recipe)
    assert cfg.model.get('label_weight') == weight
    assert 'loss_weight' not in cfg.model.student.head.get('loss', {})


@pytest.mark.parametrize('network', ['mobilenet-v2', 'shufflenet-v1', 'shufflenet-v2', 'vgg8'])
def test_light_networks_also_learn_slowly_alone(network):
    cfg = Config.fromfile(CONFIGS / 'vanilla' / f'vanilla_{network}_cifar100.py')
    assert cfg.optim_wrapper.optimizer.lr == (0.05 if network == 'vgg8' else 0.01)


@pytest.mark.parametrize('schedule', sorted((BASES / 'schedules').glob('*.py')), ids=str)
def test_learning_rate_follows_the_schedule(schedule):
    """It rises to what the schedule says and ends lower than a tenth of it."""
    cfg = Config.fromfile(schedule)
    lr, iterations = cfg.optim_wrapper.optimizer.lr, 30  # so that the peak is near one
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = []
    for config in [cfg.param_scheduler] if 'type' in cfg.param_scheduler else cfg.param_scheduler:
        config = dict(config)
        if config.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(config.pop('type'))
            schedulers.append(
                kind.build_iter_from_epoch(optimizer, epoch_length=iterations, **config)
            )
        else:
            config.setdefault('end', cfg.train_cfg.max_epochs)  # as the runner does
            schedulers.append(
                PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer))
            )
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(iterations):
            rates.append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    assert max(rates) == pytest.approx(lr, rel=1e-3)
    assert rates[-1] < lr / 10


@pytest.mark.parametrize(
    ('dataset', 'side'),
    [
        ('imagenet', 224),
        ('imagenet_deit', 224),
        ('tinyimagenet', 64),
        ('tinyimagenet_32px', 32),
        ('food101', 224),
    ],
)
def test_pipelines_give_images_of_one_size(dataset, side, tmp_path):
    import mmcv

    image = np.random.RandomState(0).randint(0, 256, (80, 100, 3), dtype=np.uint8)
    mmcv.imwrite(image, str(tmp_path / 'image.jpg'))
    cfg = Config.fromfile(BASES / 'datasets' / f'{dataset}.py')
    init_default_scope('aekt_mm')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        sample = dict(img_path=str(tmp_path / 'image.jpg'), gt_label=3)
        if dataset.startswith('tinyimagenet'):  # whose images have the size of training
            mmcv.imwrite(image[:64, :64], sample['img_path'])
        for step in loader.dataset.get('dataset', loader.dataset).pipeline:
            sample = TRANSFORMS.build(step)(sample)
        assert sample['inputs'].shape == (3, side, side)
        assert sample['inputs'].dtype == torch.uint8


def test_food101_is_read_as_it_unpacks(tmp_path):
    import mmcv
    from mmpretrain.registry import DATASETS

    mmcv.imwrite(np.zeros((8, 8, 3), np.uint8), str(tmp_path / 'images' / 'waffles' / '17.jpg'))
    (tmp_path / 'meta').mkdir()
    for split in ('train', 'test'):
        (tmp_path / 'meta' / f'{split}.txt').write_text('waffles/17\n')
    cfg = Config.fromfile(BASES / 'datasets' / 'food101.py')
    init_default_scope('aekt_mm')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        files = loader.dataset.get('dataset', loader.dataset)
        dataset = DATASETS.build(dict(files, data_root=str(tmp_path)))
        assert len(dataset.CLASSES) == 101
        assert dataset[0]['data_samples'].gt_label.item() == 100


def test_python_and_yaml_inherit_from_each_other(tmp_path):
    python = CONFIGS / 'dkd' / 'dkd_resnet20_resnet8slim_digits.py'
    (tmp_path / 'a.yaml').write_text(
        f'_base_: {python}\nmodel:\n  losses:\n    dkd:\n      beta: 3.0\n'
    )
    (tmp_path / 'b.py').write_text(
        "_base_ = './a.yaml'\nmodel = dict(losses=dict(dkd=dict(alpha=2.0)))\n"
    )
    expected = Config.fromfile(python)
    expected.model.losses.dkd.update(beta=3.0, alpha=2.0)
    assert Config.fromfile(tmp_path / 'b.py').to_dict() == expected.to_dict()


def test_the_recipe_in_yaml_is_the_one_in_python():
    python = CONFIGS / 'aekt' / 'aekt_r34_r18_imagenet.py'
    assert (
        Config.fromfile(python.with_suffix('.yaml')).to_dict() == Config.fromfile(python).to_dict()
    )
