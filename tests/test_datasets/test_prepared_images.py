"""A prepared set stands where the files stood, in every pipeline and under every wrapper."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import fileio
from mmengine.dataset import ConcatDataset, default_collate
from torch.utils.data import DataLoader

from aekt_mm.datasets import HeldOut, ViewDataset, ViewSampler
from aekt_mm.datasets.prepared_images import PreparedIndex
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.models.teachers.identity import data_identity
from aekt_mm.registry import DATASETS, build
from aekt_mm.structures import ViewKey

pytestmark = pytest.mark.stack

pytest.importorskip('pyarrow')

RANDOM = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=24),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
PLAIN = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Twelve JPEGs of 32x32 pixels in three classes, and the set prepared of them."""
    files, prepared = tmp_path_factory.mktemp('files'), tmp_path_factory.mktemp('prepared')
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        (files / f'class_{index % 3}').mkdir(exist_ok=True)
        cv2.imwrite(str(files / f'class_{index % 3}' / f'{index:02} a.b#c.jpg'), image)
    prepare_images(from_files(files, []), prepared, workers=0, images_per_file=5)
    return files, prepared


def from_files(folder, pipeline):
    return build(DATASETS, dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline))


def from_prepared(folder, pipeline, **options):
    return build(
        DATASETS,
        dict(type='PreparedImages', data_root=str(folder), pipeline=pipeline, **options),
    )


def test_the_same_images_labels_and_classes(folders):
    files, prepared = from_files(folders[0], PLAIN), from_prepared(folders[1], PLAIN)
    assert len(prepared) == len(files) == 12
    assert prepared.metainfo['classes'] == files.metainfo['classes']
    assert prepared.get_gt_labels().tolist() == files.get_gt_labels().tolist()
    for k in (*range(12), -1):
        ours, theirs = prepared[k], files[k]
        assert torch.equal(ours['inputs'], theirs['inputs'])
        assert ours['data_samples'].gt_label == theirs['data_samples'].gt_label
        info = prepared.get_data_info(k)
        assert info['sample_idx'] == k % 12
        assert Path(info['img_path']).name == Path(files.get_data_info(k)['img_path']).name
        assert prepared.get_cat_ids(k) == files.get_cat_ids(k)
    with pytest.raises(IndexError):
        prepared.get_data_info(12)


@pytest.mark.parametrize('workers', [0, 2])
def test_the_same_views_for_any_number_of_workers(folders, workers):
    expected = ViewDataset(from_files(folders[0], RANDOM))
    dataset = ViewDataset(from_prepared(folders[1], RANDOM))
    sampler = ViewSampler(dataset, seed=3)
    sampler.set_epoch(1)
    loader = DataLoader(
        dataset, 4, sampler=sampler, num_workers=workers, collate_fn=default_collate
    )
    seen = []
    for batch in loader:
        for inputs, sample in zip(batch['inputs'], batch['data_samples']):
            seen.append(sample.sample_idx)
            assert torch.equal(inputs, expected[ViewKey(3, 1, sample.sample_idx)]['inputs'])
    assert sorted(seen) == list(range(12))


def test_in_memory_and_mmengines_wrappers(folders):
    inner = dict(type='PreparedImages', data_root=str(folders[1]), pipeline=PLAIN)
    memory = build(DATASETS, dict(type='InMemory', dataset=inner))
    files = build(DATASETS, dict(type='InMemory', dataset=from_files(folders[0], PLAIN)))
    assert torch.equal(memory.images, files.images) and torch.equal(memory.labels, files.labels)

    prepared = from_prepared(folders[1], PLAIN)
    both = ConcatDataset([prepared, from_prepared(folders[1], PLAIN)])
    assert len(both) == 24 and torch.equal(both[13]['inputs'], prepared[1]['inputs'])


def test_parts_of_a_set(folders):
    prepared = from_prepared(folders[1], PLAIN)
    last = prepared.get_subset([11, 6])
    assert torch.equal(last[0]['inputs'], prepared[11]['inputs'])
    assert last.get_gt_labels().tolist() == prepared.get_gt_labels()[[11, 6]].tolist()
    first = from_prepared(folders[1], PLAIN, indices=3)
    assert [first.get_data_info(k)['img_path'] for k in range(3)] == [
        prepared.get_data_info(k)['img_path'] for k in range(3)
    ]
    assert prepared.get_subset(-2)[1]['inputs'].equal(prepared[11]['inputs'])
    part = last.get_subset([1])
    assert part.get_data_info(0)['img_path'] == prepared.get_data_info(6)['img_path']
    assert len({each.digest for each in (prepared, last, first, part)}) == 4
    assert prepared.get_subset(list(range(12))).digest == prepared.digest


def test_a_part_held_out(folders):
    parts = [
        HeldOut(from_data(folder, PLAIN), 'validation', share=0.25)
        for from_data, folder in zip((from_prepared, from_files), folders[::-1])
    ]
    assert len(parts[0]) == 3 and isinstance(parts[0].data_list, PreparedIndex)
    for ours, theirs in zip(*parts):
        assert torch.equal(ours['inputs'], theirs['inputs'])


def test_goes_to_other_processes_as_its_path(folders):
    prepared = from_prepared(folders[1], PLAIN)
    for index in (prepared.data_list, prepared.data_list[3:7]):
        copied = pickle.loads(pickle.dumps(index))
        assert isinstance(copied, PreparedIndex) and copied.digest == index.digest
        assert list(copied) == list(index)


def test_a_cached_teachers_data_is_known_without_a_look_at_each(folders, tmp_path, monkeypatch):
    def identity(folder):
        dataset = ViewDataset(from_prepared(folder, RANDOM))
        loader = DataLoader(dataset, sampler=ViewSampler(dataset, seed=0))
        monkeypatch.setattr(PreparedIndex, '__getitem__', None)
        found = data_identity(loader, None)
        monkeypatch.undo()
        return found

    moved = tmp_path / 'moved'
    moved.mkdir()
    for path in folders[1].iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert identity(folders[1]) == identity(moved)

    smaller = tmp_path / 'smaller'
    prepare_images(from_files(folders[0], []), smaller, short_side=16, workers=0)
    assert identity(smaller) != identity(moved)  # other pixels


def test_addresses(folders):
    address = PreparedIndex(folders[1])[6]['img_path']
    assert address.startswith(f'arrow://{folders[1]}/00001.arrow/1/class_1/')
    data = next(folders[0].rglob(Path(address).name)).read_bytes()
    assert fileio.get(address) == data
    for wrong in (f'arrow://{folders[1]}', 'arrow://x.arrow/one/name'):
        with pytest.raises(ValueError, match='an image in an Arrow file is arrow'):
            fileio.get(wrong)


def test_no_prepared_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'there is no prepared image set in {tmp_path}'):
        from_prepared(tmp_path, PLAIN)
