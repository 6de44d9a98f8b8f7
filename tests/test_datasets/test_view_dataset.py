"""Any pipeline of mmpretrain draws from the view alone."""

import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from aekt_mm.datasets import ViewDataset, ViewSampler
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey, batch_key, batch_views, view_keys

pytestmark = pytest.mark.stack

RAND_AUGMENT = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
)
RANDOM = [
    dict(type='RandomResizedCrop', scale=24),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    RAND_AUGMENT,
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
]
TORCHVISION = [  # which draws from torch's generator where mmcv draws from numpy's
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/RandomAffine', degrees=20),
    dict(type='PILToNumpy', to_bgr=True),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        (folder / f'class_{index % 2}').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'class_{index % 2}/{index}.png'), image)
    return folder


@pytest.fixture
def dataset(folder):
    return view_dataset(folder, RANDOM)


def view_dataset(folder, transforms):
    pipeline = [dict(type='LoadImageFromFile'), *transforms, dict(type='PackInputs')]
    inner = dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    return build(DATASETS, dict(type='ViewDataset', dataset=inner))


@pytest.mark.parametrize(
    'transforms', [*([t] for t in RANDOM), RANDOM, TORCHVISION], ids=lambda ts: ts[-1]['type']
)
def test_a_view_follows_from_its_key(folder, transforms):
    dataset = view_dataset(folder, transforms)
    views = [dataset[ViewKey(0, view, 2)]['inputs'] for view in range(20)]
    torch.rand(3), np.random.rand(3), random.random()
    dataset[ViewKey(0, 0, 1)]
    for view in reversed(range(20)):
        assert torch.equal(dataset[ViewKey(0, view, 2)]['inputs'], views[view])
    assert not all(torch.equal(view, views[0]) for view in views)
    seeds = [dataset[ViewKey(seed, 0, 2)]['inputs'] for seed in range(20)]
    assert not all(torch.equal(view, views[0]) for view in seeds)


@pytest.mark.parametrize('ranks', [1, 2])
@pytest.mark.parametrize('workers', [0, 2, 4])
def test_same_with_any_workers_and_ranks(dataset, workers, ranks):
    expected = {k: dataset[ViewKey(0, 2, k)]['inputs'] for k in range(6)}
    seen = []
    for rank in range(ranks):
        sampler = ViewSampler(dataset, seed=0)
        sampler.rank, sampler.world_size, sampler.num_samples = rank, ranks, 6 // ranks
        sampler.set_epoch(2)
        loader = DataLoader(
            dataset, 2, sampler=sampler, num_workers=workers, collate_fn=default_collate
        )
        for batch in loader:
            view, indices, labels = batch_views(batch['data_samples'])
            assert view == 2
            assert batch_key(batch['data_samples']) == view_keys(0, 2, torch.tensor(indices))[0]
            for inputs, index, label in zip(batch['inputs'], indices, labels):
                assert torch.equal(inputs, expected[index])
                assert label == dataset.dataset.get_data_info(int(index))['gt_label']
            seen += indices.tolist()
    assert sorted(seen) == list(range(6))


def test_global_generators_are_left_alone(dataset):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    dataset[ViewKey(0, 0, 1)]
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_a_batch_has_the_views_that_its_samples_have(dataset):
    keys = [ViewKey(5, view, sample) for view, sample in ((0, 3), (1, 3), (0, 0))]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    for key, item in zip(keys, dataset.__getitems__(keys), strict=True):
        assert torch.equal(item['inputs'], dataset[key]['inputs'])
        sample = item['data_samples']
        assert (sample.view, sample.sample_idx) == key[1:]
        assert sample.view_key == view_keys(*key[:2], torch.tensor([key.sample])).item()
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_a_plain_index_draws_as_the_dataset_does(dataset):
    np.random.seed(0), random.seed(0)
    expected = dataset.dataset[3]
    np.random.seed(0), random.seed(0)
    item = dataset[3]
    assert torch.equal(item['inputs'], expected['inputs'])
    assert 'view' not in item['data_samples']


def test_looks_like_the_dataset(dataset):
    assert isinstance(dataset, ViewDataset)
    assert len(dataset) == 6
    assert dataset.metainfo['classes'] == ('class_0', 'class_1')
    assert dataset[3]['inputs'].shape == (3, 24, 24)


def test_loads_lazily_what_loads_lazily(folder):
    inner = dict(type='CustomDataset', data_root=str(folder), lazy_init=True, pipeline=[])
    dataset = ViewDataset(inner)
    assert not dataset.dataset._fully_initialized
    dataset.full_init()
    assert dataset.metainfo['classes'] == ('class_0', 'class_1')
