"""Any pipeline of mmpretrain draws from the view alone."""

import random

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from aekt_mm.datasets import ViewDataset, ViewSampler
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=24),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
    ),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
    dict(type='PackInputs'),
]


@pytest.fixture
def dataset(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        folder = tmp_path / f'class_{index % 2}'
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'{index}.png'), image)
    inner = dict(type='CustomDataset', data_root=str(tmp_path), pipeline=PIPELINE)
    return build(DATASETS, dict(type='ViewDataset', dataset=inner))


def test_same_in_any_order_and_with_any_workers(dataset):
    forward = {k: dataset[ViewKey(0, 2, k)]['inputs'] for k in range(6)}
    torch.rand(3)
    for k in reversed(range(6)):
        assert torch.equal(dataset[ViewKey(0, 2, k)]['inputs'], forward[k])
    sampler = ViewSampler(dataset, seed=0)
    sampler.set_epoch(2)
    for workers in (0, 2):
        loader = DataLoader(dataset, None, sampler=sampler, num_workers=workers)
        for item in loader:
            assert torch.equal(item['inputs'], forward[item['data_samples'].sample_idx])
            assert item['data_samples'].view == 2


def test_views_and_seeds_differ(dataset):
    images = [dataset[ViewKey(*key)]['inputs'] for key in ((0, 0, 1), (0, 1, 1), (1, 0, 1))]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_global_generators_are_left_alone(dataset):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    dataset[ViewKey(0, 0, 1)]
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_looks_like_the_dataset(dataset):
    assert isinstance(dataset, ViewDataset)
    assert len(dataset) == 6
    assert dataset.metainfo['classes'] == ('class_0', 'class_1')
    assert dataset[3]['inputs'].shape == (3, 24, 24)
