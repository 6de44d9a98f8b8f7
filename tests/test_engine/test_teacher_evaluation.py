"""tools/test.py --teacher shows whether a teacher's weights and normalisation are right."""

import json
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]

#: A foreign teacher, which takes no data_preprocessor: its logits are the channels' brightness.
COLOURS = """
from torch import nn


class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, images):
        return self.linear(images.mean((2, 3)))
"""

RECIPE = """
_base_ = 'aekt_mm::aekt/aekt_r34_r18_imagenet.py?pair=./pair.py'
files = dict(
    _delete_=True,
    type='CustomDataset',
    data_root='images',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
)
arrays = dict(_delete_=True, type='InMemory', dataset=files.copy())
arrays['dataset'].pop('_delete_')
test_evaluator = dict(topk=(1,))
model = dict(data_preprocessor=dict(
    type='ViewPreprocessor', mean=[1.0, 2.0, 3.0], std=[50.0, 60.0, 70.0]
))
"""

KINDS = {
    'files': """
model['data_preprocessor']['to_rgb'] = True
test_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=files)
""",
    'files as they are': """
test_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=files)
""",
    'arrays': """
model['data_preprocessor']['type'] = 'BatchPreprocessor'
test_dataloader = dict(
    batch_size=3,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    dataset=arrays,
)
""",
}

PAIR = """
pair = dict(
    student=dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
    ),
    teacher=dict(
        type='OnlineTeacher',
        model=dict(type='own_colours.Colours'),
        checkpoint='colours.pth',
        data_preprocessor=dict(mean=[120.0, 120.0, 120.0], std=[60.0, 60.0, 60.0]),
        channel_order={order!r},
    ),
)
beta = 2.0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images that are 40 % brighter in the channel of their class."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(('a_red', 'b_green', 'c_blue')):
        for index in range(3):
            image = generator.integers(50, 100, (8, 8, 3), dtype=np.uint8)
            image[..., label] += 70
            mmcv.imwrite(image[..., ::-1].copy(), str(tmp_path / f'images/{name}/{index}.png'))
    (tmp_path / 'own_colours.py').write_text(COLOURS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop('own_colours', None)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_the_teacher_sees_its_own_colours(kind, order, folder, tool):
    """Wrong channels would make red of blue, and a wrong normalisation green of all."""
    weight = torch.eye(3) if order == 'RGB' else torch.eye(3).flip(0)
    bias = torch.tensor([0.0, 0.45, 0.0])  # as much as the normalisation leaves to green
    weights = {'linear.weight': weight, 'linear.bias': bias}
    torch.save({'state_dict': {f'module.{k}': v for k, v in weights.items()}}, 'colours.pth')
    (folder / 'pair.py').write_text(PAIR.format(order=order))
    (folder / 'mine.py').write_text(RECIPE + KINDS[kind])
    out = folder / 'metrics.json'
    assert (
        tool('tools/test.py', 'mine.py', '--teacher', '--out', out, '--out-item', 'metrics') is None
    )
    assert json.loads(out.read_text())['accuracy/top1'] == 100


def test_needs_a_teacher_that_can_be_asked(folder, tool):
    vanilla = ROOT / 'configs/vanilla/vanilla_resnet8slim_digits.py'
    assert tool('tools/test.py', vanilla, '--teacher') == (
        'test: --teacher: the model of this recipe has no teacher'
    )
    (folder / 'cached.py').write_text("""
_base_ = 'aekt_mm::aekt/aekt_resnet20_resnet8slim_digits.py'
model = dict(teacher=dict(_delete_=True, type='CachedTeacher', cache='folder'))
""")
    assert 'a cached teacher has logits of the training set alone' in tool(
        'tools/test.py', 'cached.py', '--teacher'
    )
    assert tool('tools/test.py', vanilla, 'some.pth', '--teacher') == '2'
