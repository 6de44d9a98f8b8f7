"""A batch's crops are those of its views, drawn as mmpretrain draws them."""

import math

import cv2
import mmcv
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.transforms import RandomResizedCrop
from torch.utils.data import DataLoader

from aekt_mm.datasets import ViewSampler, whole_batch
from aekt_mm.datasets.crop_dataset import ATTEMPTS, random_crop
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.models.teachers import data_identity
from aekt_mm.models.teachers.identity import differences
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey, data_order, draw, view_keys

pytestmark = pytest.mark.stack

pytest.importorskip('simplejpeg')

RANGES = [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.6), (0.2, 0.25)), ((0.9, 1.0), (3.0, 4.0))]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twelve JPEGs of several sizes in three classes."""
    folder = tmp_path_factory.mktemp('images')
    for index in range(12):
        coarse = np.random.default_rng(index).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        (folder / f'class_{index % 3}').mkdir(exist_ok=True)
        path = folder / f'class_{index % 3}' / f'{index:02}.jpg'
        cv2.imwrite(str(path), cv2.resize(coarse, (40 + 3 * index, 60 - index)))
    return folder


def crops(folder, scale=24, **options):
    inner = dict(type='CustomDataset', data_root=str(folder), pipeline=[])
    return build(DATASETS, dict(type='CropDataset', scale=scale, dataset=inner, **options))


def loaded(dataset, workers=0, view=2, batch_size=5):
    """Return crops, labels, indices and keys in the order of a loader."""
    sampler = ViewSampler(dataset, seed=3)
    sampler.set_epoch(view)
    loader = DataLoader(
        dataset, batch_size, sampler=sampler, num_workers=workers, collate_fn=whole_batch
    )
    batches = list(loader)
    samples = [batch['data_samples'] for batch in batches]
    assert all(each.view == view for each in samples)
    return (
        torch.cat([batch['inputs'] for batch in batches]),
        torch.cat([each.gt_label for each in samples]),
        np.concatenate([each.sample_idx for each in samples]),
        torch.cat([each.view_key for each in samples]),
    )


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 600),
    st.integers(1, 600),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=4 * ATTEMPTS, max_size=4 * ATTEMPTS),
    st.sampled_from(RANGES),
)
def test_mmpretrains_crop_of_the_same_numbers(height, width, draws, ranges):
    step = RandomResizedCrop(8, *ranges, max_attempts=ATTEMPTS)
    # mmpretrain draws a place where a crop fits, and here each attempt has its four numbers
    left, attempt = list(draws), []

    def number():
        if not attempt:
            attempt.extend(left[:4])
            del left[:4]
        return attempt.pop(0)

    def uniform(low, high):
        if len(attempt) == 2:  # the last one did not fit
            attempt.clear()
        return low + number() * (high - low)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, 'uniform', uniform)
        patch.setattr(np.random, 'randint', lambda low, high: low + int(number() * (high - low)))
        expected = step.rand_crop_params(np.empty((height, width, 0)))
    found = random_crop(height, width, draws, *ranges)
    assert found == expected or (min(expected[2:]) == 0 and min(found[2:]) == 1)


def test_pixels_labels_and_samples(folder):
    dataset, files = crops(folder, scale=(31, 40)), CustomDataset(data_root=str(folder))
    images, labels, index, keys = loaded(dataset)
    assert images.shape == (12, 31, 40, 3) and images.dtype == torch.uint8
    assert sorted(index) == list(range(12))
    assert torch.equal(keys, view_keys(3, 2, torch.from_numpy(index)))
    draws = draw(view_keys(3, 2, -1 - torch.from_numpy(index)), 4 * ATTEMPTS).T.tolist()
    for image, label, sample, drawn in zip(images, labels, index, draws):
        info = files.get_data_info(int(sample))
        assert label == info['gt_label']
        pixels = mmcv.imread(info['img_path'])
        top, left, height, width = random_crop(*pixels.shape[:2], drawn, *RANGES[0])
        crop = pixels[top : top + height, left : left + width]
        assert np.array_equal(image, mmcv.imresize(crop, (40, 31)))


def test_the_same_views_in_any_company(folder, tmp_path):
    expected = loaded(crops(folder))
    for workers, batch_size in ((2, 5), (0, 12), (0, 1)):
        for ours, theirs in zip(loaded(crops(folder), workers, 2, batch_size), expected):
            assert (ours == theirs).all()
    alone = crops(folder)[ViewKey(3, 2, int(expected[2][0]))]
    assert torch.equal(alone['inputs'][0], expected[0][0])
    others = [loaded(crops(folder), view=view)[0] for view in (1, 3)]
    assert not any(torch.equal(other, expected[0]) for other in others)


def test_a_workers_batch_is_in_shared_memory_before_it_is_handed_over(folder):
    dataset = crops(folder)
    for workers in (0, 1):
        loader = DataLoader(
            dataset,
            batch_size=12,
            sampler=ViewSampler(dataset, seed=3),
            num_workers=workers,
            collate_fn=lambda batch: batch['inputs'].is_shared(),
        )
        assert list(loader) == [workers == 1]


def test_prepared_images_are_the_same(folder, tmp_path):
    pytest.importorskip('pyarrow')
    prepare_images(CustomDataset(data_root=str(folder)), tmp_path, workers=0, images_per_file=5)
    inner = dict(type='PreparedImages', data_root=str(tmp_path))
    prepared = build(DATASETS, dict(type='CropDataset', scale=24, dataset=inner))
    for ours, theirs in zip(loaded(prepared), loaded(crops(folder))):
        assert (ours == theirs).all()


def test_crops_do_not_follow_the_flips():
    """The device flips images by the first number of their own keys."""
    samples = torch.arange(20000)
    flip = draw(view_keys(0, 0, samples), 1)[0]
    areas = draw(view_keys(0, 0, -1 - samples), 4)
    correlation = torch.corrcoef(torch.cat([flip[None], areas]))[0, 1:]
    assert correlation.abs().max() < 4 / math.sqrt(len(samples))


def test_areas_and_aspects_are_even():
    draws = draw(view_keys(1, 0, -1 - torch.arange(4000)), 4 * ATTEMPTS).T.tolist()
    boxes = np.array([random_crop(4000, 4000, drawn, (0.08, 0.5), (0.5, 2)) for drawn in draws])
    area = (boxes[:, 2] * boxes[:, 3] / 4000**2 - 0.08) / 0.42
    aspect = np.log2(boxes[:, 3] / boxes[:, 2]) / 2 + 0.5
    top, left = boxes[:, 0] / (4001 - boxes[:, 2]), boxes[:, 1] / (4001 - boxes[:, 3])
    for values in (area, aspect, top, left):
        counts = np.histogram(values, 10, (0, 1))[0]
        assert counts.sum() >= 3990 and abs(counts - 400).max() < 100  # 5 standard deviations


def test_what_a_cache_is_told(folder):
    def identity(**options):
        dataset = crops(folder, **options)
        return data_identity(DataLoader(dataset, sampler=ViewSampler(dataset, seed=0)), None)

    assert differences(identity(), identity()) == []
    assert differences(identity(), identity(crop_ratio_range=(0.2, 1))) == [
        'pipeline.transforms.crop_ratio_range.0: the cache has 0.08, the run has 0.2'
    ]
    assert data_order(crops(folder)) == 'BGR'


def test_unreadable_images_are_named_and_passed_over(folder, tmp_path):
    for index, path in enumerate(sorted(folder.rglob('*.jpg'))):
        (tmp_path / 'a').mkdir(exist_ok=True)
        (tmp_path / 'a' / path.name).write_bytes(b'nothing' if index == 4 else path.read_bytes())
    names = sorted(path.name for path in (tmp_path / 'a').iterdir())
    broken = next(k for k in range(12) if (tmp_path / 'a' / names[k]).read_bytes() == b'nothing')
    with pytest.raises(ValueError, match=rf'{names[broken]} can not be read: it is no image'):
        loaded(crops(tmp_path))
    images, *_ = loaded(crops(tmp_path, max_unreadable=1))
    assert len(images) == 12


def test_mistakes(folder):
    with pytest.raises(TypeError, match=r"set sampler=dict\(type='ViewSampler'\)"):
        crops(folder)[3]
    with pytest.raises(ValueError, match='one seed and be in one view'):
        crops(folder).__getitems__([ViewKey(0, 0, 1), ViewKey(0, 1, 2)])
    for options in (dict(scale=0), dict(scale=(1, 2, 3)), dict(crop_ratio_range=(0.5, 1.5))):
        with pytest.raises(ValueError, match=next(iter(options))):
            crops(folder, **options)
