"""A config reads prepared sets in place of its image files, and is otherwise what it was."""

from copy import deepcopy
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

from aekt_mm.engine.prepared_sets import LOADERS, image_sets, use_prepared

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def folder(tmp_path):
    for name in ('train', 'val'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'manifest.json').touch()
    return tmp_path


@pytest.mark.parametrize(
    'recipe, wrappers, types',
    [
        ('aekt/aekt_r34_r18_imagenet.py', (['ViewDataset'], []), ('ImageNet', 'ImageNet')),
        ('kd/kd_deit-base_deit-small_imagenet.py', (['ViewDataset'], []), ('ImageNet',) * 2),
        ('dkd/dkd_resnet50_resnet18_food101.py', (['ViewDataset'], []), ('Food101', 'Food101')),
        (
            'vanilla/vanilla_resnet18_tinyimagenet.py',
            (['InMemory'], ['InMemory']),
            ('CustomDataset', 'CustomDataset'),
        ),
    ],
)
def test_recipes(recipe, wrappers, types, folder):
    cfg = Config.fromfile(CONFIGS / recipe)
    before = deepcopy(cfg)
    assert {name: dataset.type for name, dataset in image_sets(cfg).items()} == dict(
        zip(('train', 'val'), types)
    )
    assert cfg.to_dict() == before.to_dict()

    use_prepared(cfg, str(folder))
    for loader, name, outer in (
        ('train_dataloader', 'train', wrappers[0]),
        ('val_dataloader', 'val', wrappers[1]),
        ('test_dataloader', 'val', wrappers[1]),
    ):
        dataset, original = cfg[loader].dataset, before[loader].dataset
        for kind in outer:
            assert dataset.type == kind
            dataset, original = dataset.dataset, original.dataset
        assert dataset == dict(
            type='aekt_mm.PreparedImages',
            data_root=str(folder / name),
            pipeline=original.pipeline,
        )
    after, before = cfg.to_dict(), before.to_dict()
    for name in LOADERS:
        del after[name], before[name]
    assert after == before


def test_a_held_out_part_reads_the_training_set(folder):
    images = dict(type='CustomDataset', data_root='data/x')
    part = dict(type='HeldOut', dataset=dict(images, pipeline=[dict(type='A')]))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(images, pipeline=[dict(type='B')])),
            val_dataloader=dict(dataset=part),
            test_dataloader=None,
        )
    )
    assert list(image_sets(cfg)) == ['train']
    use_prepared(cfg, str(folder))
    assert cfg.val_dataloader.dataset.type == 'HeldOut'
    assert cfg.val_dataloader.dataset.dataset.data_root == str(folder / 'train')
    assert cfg.val_dataloader.dataset.dataset.pipeline == [dict(type='A')]


def test_loaders_may_be_one_object(folder):
    cfg = Config.fromfile(CONFIGS / 'vanilla/vanilla_r18_imagenet.py')
    cfg._cfg_dict['test_dataloader'] = cfg._cfg_dict['val_dataloader']
    assert isinstance(cfg.test_dataloader, ConfigDict)
    use_prepared(cfg, str(folder))
    assert cfg.test_dataloader.dataset.data_root == str(folder / 'val')


def test_a_set_that_is_not_there(tmp_path):
    recipe = CONFIGS / 'vanilla/vanilla_r18_imagenet.py'
    with pytest.raises(
        FileNotFoundError,
        match=f'the prepared set train was looked for in {tmp_path}/train, which has none: write '
        f'it with tools/dataset_converters/prepare_images.py {recipe} {tmp_path}',
    ):
        use_prepared(Config.fromfile(recipe), str(tmp_path))
