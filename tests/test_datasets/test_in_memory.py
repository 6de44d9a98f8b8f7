"""A small dataset of mmpretrain, read once, is an array dataset."""

import multiprocessing
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from aekt_mm.datasets import ArrayDataset
from aekt_mm.registry import DATASETS, build

pytestmark = pytest.mark.stack


@pytest.fixture
def pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        (tmp_path / f'class_{index // 2}').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f'class_{index // 2}/{index}.png'), image[..., ::-1])
    return pixels


def in_memory(folder, *transforms, **options):
    pipeline = [dict(type='LoadImageFromFile'), *transforms, dict(type='PackInputs')]
    inner = dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    return build(DATASETS, dict(type='InMemory', dataset=inner, **options))


def test_holds_images_labels_and_classes(pixels, tmp_path):
    dataset = in_memory(tmp_path)
    assert isinstance(dataset, ArrayDataset)
    assert np.array_equal(dataset.images, pixels)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.metainfo['classes'] == ('class_0', 'class_1', 'class_2')
    assert dataset.channel_order == 'RGB'


def test_says_how_far_it_is_in_lines(pixels, tmp_path, capfd):
    in_memory(tmp_path)
    out, err = capfd.readouterr()
    assert out.splitlines() == [f'{n} of 6 images read into memory' for n in range(1, 7)]
    assert not err


def test_images_may_be_rgb_already(pixels, tmp_path):
    assert np.array_equal(in_memory(tmp_path, to_rgb=False).images, pixels[..., ::-1])


def test_images_of_several_sizes_are_refused(pixels, tmp_path):
    cv2.imwrite(str(tmp_path / 'class_1/3.png'), pixels[0, :5])
    with pytest.raises(
        ValueError, match=r'class_1/3\.png is \(5, 12, 3\), but the first image is \(10, 12, 3\)'
    ):
        in_memory(tmp_path)
    assert in_memory(tmp_path, dict(type='Resize', scale=(8, 8))).images.shape == (6, 8, 8, 3)


def test_all_that_can_not_be_read_is_named_at_once(pixels, tmp_path, monkeypatch):
    for index in (0, 4):
        (tmp_path / f'class_{index // 2}/{index}.png').write_bytes(b'torn')
    said = []
    monkeypatch.setattr(
        'aekt_mm.datasets.in_memory.print_log', lambda text, *_, **__: said.append(text)
    )
    for most in (0, 1):
        with pytest.raises(ValueError) as refused:
            in_memory(tmp_path, max_unreadable=most)
        lines = str(refused.value).splitlines()
        assert lines[0] == f"2 images can't be read, max_unreadable is {most}:"
        for line, name in zip(lines[1:], ('class_0/0.png', 'class_2/4.png')):
            assert f'{name} can not be read as an image: it is empty' in line
    assert not said
    dataset = in_memory(tmp_path, max_unreadable=2)
    assert np.array_equal(dataset.images, pixels[[1, 2, 3, 5]])
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    assert len(said) == 1 and 'class_2/4.png' in said[0]
    with pytest.raises(ValueError, match='max_unreadable must be at least 0, but is -1'):
        in_memory(tmp_path, max_unreadable=-1)


def test_only_some_are_named(tmp_path):
    (tmp_path / 'a').mkdir()
    for index in range(25):
        (tmp_path / f'a/{index:02}.png').write_bytes(b'torn')
    with pytest.raises(ValueError, match=r'a/00\.png can not be read'):  # not one can
        in_memory(tmp_path)
    cv2.imwrite(str(tmp_path / 'a/99.png'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"(?s)25 images can't .*19\.png .*\n  \.\.\. and 5 more"):
        in_memory(tmp_path)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match='list has no images'):
        build(DATASETS, dict(type='InMemory', dataset=[]))


def process(rank, folder, read, shared):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    dataset = in_memory(folder / 'images')
    read.put((dataset.images.numpy().copy(), dataset.labels.tolist()))
    torch.distributed.barrier()
    if rank == 0:
        dataset.images[3] = 7
    torch.distributed.barrier()
    shared.put((dataset.images[3].unique().tolist(), list(Path(folder).glob('aekt_mm_*'))))
    torch.distributed.barrier()  # the other reads from here too
    torch.distributed.destroy_process_group()


def test_processes_of_a_machine_share_the_pixels(pixels, tmp_path, monkeypatch):
    images = tmp_path / 'images'
    images.mkdir()
    for path in tmp_path.glob('class_*'):
        path.rename(images / path.name)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    context = multiprocessing.get_context('fork')
    read, shared = context.Queue(), context.Queue()  # one may be through before the other began
    processes = [
        context.Process(target=process, args=(rank, tmp_path, read, shared)) for rank in (0, 1)
    ]
    for each in processes:
        each.start()
    for images, labels in [read.get(timeout=60) for _ in processes]:
        assert np.array_equal(images, pixels)
        assert labels == [0, 0, 1, 1, 2, 2]
    for seen, files in [shared.get(timeout=60) for _ in processes]:
        assert seen == [7]  # what one writes, both have
        assert files == []
    for each in processes:
        each.join(timeout=60)
        assert each.exitcode == 0
