"""The order of channels is what the way of the data makes it."""

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.datasets import CIFAR10, CustomDataset
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import ConcatDataset, Subset

from aekt_mm.datasets import ArrayDataset, CropDataset, InMemory, ViewDataset
from aekt_mm.registry import MODELS, build
from aekt_mm.structures import ViewKey, data_order, input_order, pipeline_order

PIPELINES = [
    [],
    [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True)],
    [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')],
    [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)],
]


@pytest.fixture
def red(tmp_path):
    """A folder with one red image."""
    (tmp_path / 'kind').mkdir()
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / 'kind/red.png'), image)
    return tmp_path


def files(folder, steps=()):
    pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
    return CustomDataset(data_root=str(folder), pipeline=pipeline)


def test_a_crop_that_is_decoded_at_its_scale(red):
    pytest.importorskip('simplejpeg')
    dataset = CropDataset(CustomDataset(data_root=str(red)), scale=8)
    batch = dataset[ViewKey(0, 0, 0)]
    assert data_order(dataset) == seen(batch['inputs'][0].permute(2, 0, 1))


def seen(image):
    """The order that the channels of a red image are in."""
    return {0: 'RGB', 2: 'BGR'}[int(image.float().mean((1, 2)).argmax())]


@pytest.mark.parametrize('steps', PIPELINES)
@pytest.mark.parametrize('to_rgb', [True, False])
def test_as_a_red_image_shows(red, steps, to_rgb):
    dataset = files(red, steps)
    order = data_order(dataset)
    assert order == seen(dataset[0]['inputs'])
    assert pipeline_order([dict(type='mmpretrain.LoadImageFromFile'), *steps]) == order
    for wrapped in (ViewDataset(dataset), ConcatDataset([dataset]), Subset(dataset, [0])):
        assert data_order(wrapped) == order
    preprocessor = build(MODELS, dict(type='ClsDataPreprocessor', to_rgb=to_rgb))
    inputs = preprocessor(dict(inputs=[dataset[0]['inputs']]))['inputs']
    assert input_order(order, preprocessor) == seen(inputs[0])
    assert input_order(order, dict(to_rgb=to_rgb)) == seen(inputs[0])

    in_memory = InMemory(dataset)  # whatever it was
    assert data_order(in_memory) == seen(in_memory.images[0].permute(2, 0, 1)) == 'RGB'


def test_arrays_are_rgb():
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8).numpy()
    assert data_order(ArrayDataset(pixels, [0], 'a')) == 'RGB'
    cifar = object.__new__(CIFAR10)  # its images are arrays, which a pipeline packs
    cifar.pipeline = [TRANSFORMS.build(dict(type='PackInputs'))]
    assert data_order(cifar) == 'RGB'


def test_a_dataset_may_say_it_itself():
    class Raw:
        channel_order = 'BGR'

    assert data_order(Subset(Raw(), [])) == 'BGR'
