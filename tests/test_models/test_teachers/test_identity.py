"""What logits are of is told apart, and the same in every process."""

import json
import sys

import pytest
from torch.utils.data import DataLoader

from aekt_mm.datasets import ViewDataset, ViewSampler
from aekt_mm.models.teachers import data_identity
from aekt_mm.models.teachers.identity import differences
from aekt_mm.registry import MODELS, build

pytestmark = pytest.mark.stack

TRANSFORMS = [
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
    ),
    dict(type='RandomErasing', erase_prob=0.25, mode='rand', fill_std=[1.0, 2.0, 3.0]),
    dict(type='NumpyToPIL'),
    dict(type='torchvision/RandomAffine', degrees=20, interpolation='bilinear'),
    dict(type='PILToNumpy'),
]
MIXING = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]


class Files:
    """Stands for a dataset of mmpretrain."""

    def __init__(self, transforms):
        from mmpretrain.datasets.transforms import PackInputs  # noqa: F401
        from mmpretrain.registry import TRANSFORMS as registry

        self.pipeline = [registry.build(transform) for transform in transforms]

    def __len__(self):
        return 2

    def get_data_info(self, index):
        return dict(img_path=f'folder/{index}.jpg', gt_label=index)


def identity(transforms=TRANSFORMS, mixing=MIXING):
    dataset = ViewDataset(Files(transforms))
    loader = DataLoader(dataset, sampler=ViewSampler(dataset, seed=3))
    preprocessor = dict(
        type='ViewPreprocessor', num_classes=2, batch_augments=dict(augments=mixing)
    )
    return data_identity(loader, build(MODELS, preprocessor))


def test_the_same_in_another_process(run):
    code = (
        'import sys; sys.path.insert(0, "tests/test_models/test_teachers"); '
        'import json, test_identity; print("IDENTITY" + json.dumps(test_identity.identity()))'
    )
    printed = run(sys.executable, '-c', code)
    other = json.loads(printed.split('IDENTITY')[1])
    assert differences(other, json.loads(json.dumps(identity()))) == []


@pytest.mark.parametrize(
    ('place', 'option', 'value'),
    [(0, 'backend', 'cv2'), (1, 'magnitude_level', 8), (2, 'fill_color', (1, 2, 4))],
)
def test_an_option_of_a_transform_is_seen(place, option, value):
    changed = [dict(transform) for transform in TRANSFORMS]
    changed[place][option] = value
    lines = differences(identity(), identity(changed))
    assert lines
    assert all(line.startswith(f'pipeline.transforms.{place}.') for line in lines)


def test_an_option_of_mixing_is_seen():
    mixing = [dict(MIXING[0], alpha=0.2), MIXING[1]]
    assert differences(identity(), identity(mixing=mixing)) == [
        'pipeline.preprocessor.batch_augments.augments.0.alpha: the cache has 0.8, the run has 0.2'
    ]
