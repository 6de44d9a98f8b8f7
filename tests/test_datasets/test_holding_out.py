"""A held-out part is stratified, disjoint from the rest, and follows from its seed."""

import copy

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from aekt_mm.datasets import ArrayDataset
from aekt_mm.datasets.holding_out import HeldOut, split
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.engine.launching import hold_out
from aekt_mm.registry import DATASETS, build

pytestmark = pytest.mark.stack


@given(
    labels=st.lists(st.integers(0, 4), min_size=20, max_size=200),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_every_class_keeps_its_share(labels, share, seed):
    kept, held_out = split(labels, share, seed)
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    for label in set(labels):
        of_class = [index for index in held_out if labels[index] == label]
        assert abs(len(of_class) - share * labels.count(label)) <= 0.5
    again = split(labels, share, seed)
    assert np.array_equal(again[0], kept)


def test_another_seed_holds_out_others():
    labels = np.arange(1000) % 10
    first, second = (set(split(labels, 0.2, seed)[1]) for seed in (0, 1))
    assert len(first) == len(second) == 200
    assert first != second


def test_parts_of_arrays():
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    labels = np.arange(40) % 4
    parts = [HeldOut(ArrayDataset(images, labels, 'abcd'), part) for part in ('fit', 'validation')]
    assert [len(part) for part in parts] == [32, 8]
    assert sorted(np.concatenate([p.images[:, 0, 0, 0] for p in parts])) == list(range(40))
    for part in parts:
        assert np.array_equal(part.images[:, 0, 0, 0] % 4, part.labels)


@pytest.mark.parametrize('views', ['ViewDataset', 'CropDataset'])
def test_parts_of_image_files_under_views(tmp_path, views):
    for index in range(20):
        (tmp_path / f'class_{index % 2}').mkdir(exist_ok=True)
        image = np.zeros((4, 4, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'class_{index % 2}/{index}.png'), image)
    train_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs'),
    ]
    test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    folder = dict(type='CustomDataset', data_root=str(tmp_path))
    wrapped = dict(type='ViewDataset', dataset=dict(**folder, pipeline=train_pipeline))
    if views == 'CropDataset':
        pytest.importorskip('simplejpeg')
        wrapped = dict(type='aekt_mm.CropDataset', scale=4, dataset=folder)
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=wrapped),
            val_dataloader=dict(dataset=dict(type='TheTestSet', pipeline=test_pipeline)),
        )
    )
    hold_out(cfg, 0.2)
    training = build(DATASETS, cfg.train_dataloader.dataset)
    validation = build(DATASETS, cfg.val_dataloader.dataset)
    assert (len(training), len(validation)) == (16, 4)
    assert sorted(validation.get_gt_labels()) == [0, 0, 1, 1]
    assert len(validation.pipeline.transforms) == 2  # images are read as for evaluation
    files = {validation.get_data_info(index)['img_path'] for index in range(4)}
    assert files.isdisjoint(
        training.dataset.get_data_info(index)['img_path'] for index in range(16)
    )


@pytest.fixture
def files(tmp_path):
    """Twenty images of a class, six of another; no two alike."""
    for index in range(26):
        folder = tmp_path / f'class_{index >= 20:d}'
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'{index}.png'), np.full((4, 4, 3), index, np.uint8))
    lines = [f'class_{k >= 20:d}/{k}.png {k >= 20:d}' for k in range(26)]
    (tmp_path / 'twice.txt').write_text('\n'.join(lines + lines[::2]))
    folder = dict(
        type='CustomDataset',
        data_root=str(tmp_path),
        metainfo=dict(classes=('many', 'few')),
        serialize_data=False,  # which takes half a second to clear memory
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    link = tmp_path.with_name(f'{tmp_path.name}_link')  # the same files by another name
    link.symlink_to(tmp_path)
    listed = dict(folder, ann_file=str(tmp_path / 'twice.txt'))
    return dict(
        repeated=dict(type='RepeatDataset', times=3, dataset=folder),
        joined=dict(type='ConcatDataset', datasets=[folder, dict(folder, data_root=str(link))]),
        nested=dict(
            type='ConcatDataset',
            datasets=[folder, dict(type='RepeatDataset', times=2, dataset=listed)],
        ),
        balanced=dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=folder),
        listed=listed,
        prepared=folder,
    )


def samples(dataset):
    """The images of a dataset, each as the number that is its colour."""
    if isinstance(dataset, ArrayDataset):
        return dataset.images[:, 0, 0, 0].tolist()
    return [dataset[index]['inputs'][0, 0, 0].item() for index in range(len(dataset))]


@pytest.mark.parametrize('in_memory', [False, True])
@pytest.mark.parametrize('kind', ['repeated', 'joined', 'nested', 'balanced', 'listed', 'prepared'])
def test_nothing_is_in_both_parts(files, tmp_path, kind, in_memory):
    dataset = files[kind]
    if kind == 'prepared':
        pytest.importorskip('pyarrow')
        prepare_images(build(DATASETS, dataset), tmp_path / 'set', short_side=None, workers=0)
        one = dict(dataset, type='aekt_mm.PreparedImages', data_root=str(tmp_path / 'set'))
        one = {key: one[key] for key in ('type', 'data_root', 'pipeline')}
        dataset = dict(type='ConcatDataset', datasets=[one, one])
    if in_memory:
        dataset = dict(type='aekt_mm.InMemory', dataset=dataset)
    whole = build(DATASETS, copy.deepcopy(dataset))
    fit, validation = (
        HeldOut(copy.deepcopy(dataset), part, 0.25) for part in ('fit', 'validation')
    )
    trained, held_out = samples(fit), samples(validation)
    assert set(trained).isdisjoint(held_out)
    assert set(trained) | set(held_out) == set(range(26))
    assert sorted(held_out) == sorted(set(held_out))  # once each
    assert [sum(k < 20 for k in held_out), sum(k >= 20 for k in held_out)] == [5, 2]
    # what is trained on comes as often as before
    if kind == 'balanced' and not in_memory:
        assert trained.count(max(trained)) > trained.count(min(trained)) == 1
    else:
        assert sorted(trained) == sorted(k for k in samples(whole) if k not in held_out)


def test_what_repeats_nothing_is_split_as_ever(files):
    dataset = build(DATASETS, files['repeated']['dataset'])
    labels = dataset.get_gt_labels()
    colours = np.array(samples(dataset))
    held_out = split(labels, 0.2, 0)[1]
    assert samples(HeldOut(dataset, 'validation')) == colours[held_out].tolist()
    arrays = ArrayDataset(
        np.zeros((26, 2, 2, 3), np.uint8), labels, 'ab'
    )  # pixels are not looked at
    assert len(HeldOut(arrays, 'validation')) == len(held_out)


def test_what_can_not_be_split():
    with pytest.raises(TypeError, match='no part of list can be held out: it has no get_gt_labels'):
        HeldOut([1, 2], 'fit')


def test_validation_reads_as_for_evaluation_below_wrappers(files):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=2),
        dict(type='PackInputs'),
    ]
    val = dict(type='aekt_mm.InMemory', dataset=dict(files['listed'], pipeline=pipeline))
    train = dict(type='aekt_mm.ViewDataset', dataset=files['nested'])
    cfg = Config(dict(train_dataloader=dict(dataset=train), val_dataloader=dict(dataset=val)))
    hold_out(cfg, 0.2)
    assert build(DATASETS, cfg.val_dataloader.dataset)[0]['inputs'].shape == (3, 2, 2)
    assert build(DATASETS, cfg.train_dataloader.dataset)[0]['inputs'].shape == (3, 4, 4)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(part='test'), r"part must be one of \('fit', 'validation'\), but is 'test'"),
        (dict(part='fit', share=1.0), 'share must be a number above 0 and below 1, but is 1.0'),
        (dict(part='fit', share=0.001), 'leaves a part empty'),
    ],
)
def test_bad_options(options, message):
    dataset = ArrayDataset(np.zeros((10, 2, 2, 3), np.uint8), [0] * 10, 'a')
    with pytest.raises(ValueError, match=message):
        HeldOut(dataset, **options)
    with pytest.raises(ValueError, match='--hold-out must be above 0 and below 1, but is 2'):
        hold_out(Config(), 2)
