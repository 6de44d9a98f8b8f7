"""A config reads prepared sets in place of its image files, and is otherwise what it was."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from PIL import Image

from aekt_mm.datasets import Digits
from aekt_mm.engine import prepared_sets
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.prepared_sets import (
    LOADERS,
    check_source,
    image_sets,
    origin,
    use_prepared,
)
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.registry import DATASETS, build

pytestmark = pytest.mark.stack

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of prepared sets, of which nothing but that they are there is looked at."""
    monkeypatch.setattr(prepared_sets, 'check_source', lambda *_: None)
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


def test_a_set_of_other_images(tmp_path):
    pytest.importorskip('pyarrow')
    for place, names in (('a', 'ab'), ('renamed', 'ac'), ('other', 'ab')):
        for label in names:
            path = tmp_path / place / label / f'{place == "other"}.jpg'
            path.parent.mkdir(parents=True)
            Image.new('RGB', (8, 8)).save(path)
    files = {
        place: dict(type='CustomDataset', data_root=str(tmp_path / place), serialize_data=False)
        for place in ('a', 'renamed', 'other')
    }
    for name, of in (('set', origin(files['a'])), ('older', None)):
        prepare_images(build(DATASETS, files['a']), tmp_path / name, workers=0, origin=of)
        check_source(files['a'], tmp_path / name)
        for place in ('renamed', 'other'):
            with pytest.raises(ValueError, match='was not made of the images of the config, in'):
                check_source(files[place], tmp_path / name)
    # the same images elsewhere are the same
    (tmp_path / 'a').rename(tmp_path / 'moved')
    check_source(dict(files['a'], data_root=str(tmp_path / 'moved')), tmp_path / 'set')
    # and where they are not here, what the config says of them, and the names of their classes
    check_source(dict(files['a'], data_root='elsewhere'), tmp_path / 'set')
    with pytest.raises(ValueError, match=r"has ann_file None, and the config 'val\.txt'"):
        check_source(dict(files['a'], data_root='elsewhere', ann_file='val.txt'), tmp_path / 'set')
    with pytest.raises(ValueError, match=r"classes are 'a', 'b', \.\.\., and those of .*elsewhere"):
        named = dict(files['a'], data_root='elsewhere', classes=['a', 'c'])
        check_source(named, tmp_path / 'older')


@pytest.mark.slow
def test_a_cached_teacher_over_a_prepared_set(digits_recipe, tmp_path):
    """A recipe of image files, prepared, with its teacher cached, trains as with its teacher."""
    for package in ('pyarrow', 'simplejpeg'):
        pytest.importorskip(package)
    digits = Digits('train')
    for index in range(96):
        path = tmp_path / 'files' / str(digits.labels[index].item()) / f'{index}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[index].numpy()).save(path)
    files = dict(type='CustomDataset', data_root=str(tmp_path / 'files'))
    prepare_images(build(DATASETS, dict(files, pipeline=[])), tmp_path / 'sets/train', workers=0)

    cfg = digits_recipe
    cfg.default_hooks.checkpoint.interval = 2
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    dataset = dict(type='CropDataset', scale=8, dataset=files)
    cfg.train_dataloader = dict(
        cfg.train_dataloader, dataset=dataset, collate_fn=dict(type='whole_batch')
    )
    cfg.data_preprocessor = dict(
        type='ViewPreprocessor', mean=[78.0] * 3, std=[96.0] * 3, view_augments=dict(flip=True)
    )
    use_prepared(cfg, str(tmp_path / 'sets'))
    online = cfg.model.teacher
    cached = dict(type='CachedTeacher', cache=str(tmp_path / 'cache'), online=online)
    cache_teacher(cfg.copy(), tmp_path / 'cache', views=2, form='float32', k=1)
    states = []
    for teacher, workers in ((online, 0), (cached, 2)):
        run = cfg.copy()
        run.model = dict(run.model, teacher=teacher)
        run.train_dataloader.num_workers = workers
        states.append(build_runner(run).train().state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
