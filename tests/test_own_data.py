"""docs/en/own_data.md as it stands: every file is written, and every command run, in its order."""

import io
import json
import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config

from aekt_mm.models.classifiers import build_classifier
from aekt_mm.models.weights import load_weights
from aekt_mm.registry import DATASETS, build

PAGE = Path(__file__).parents[1] / 'docs/en/own_data.md'
BLOCK = re.compile(r'^```(python|yaml|bash)\n(.*?)^```', re.MULTILINE | re.DOTALL)
CLASSES = ('bird', 'car', 'cat', 'cow', 'dog', 'frog', 'horse', 'plane', 'ship', 'truck')

#: Someone's network: the logits are how near the mean colour is to each class's.
THEIR_RESNET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 10)

    def forward(self, images):
        return self.linear(images.mean((2, 3)))


resnet56 = Net
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page says is there: images whose class is their colour, and a teacher of colours."""
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 215, (10, 3))
    for label, name in enumerate(CLASSES):
        for split, count in (('train', 4), ('test', 2)):
            for index in range(count):
                rgb = colours[label] + generator.integers(-30, 31, (32, 32, 3))
                file = tmp_path / f'images/{split}/{name}/{index}.png'
                mmcv.imwrite(rgb.astype(np.uint8)[..., ::-1].copy(), str(file))
    (tmp_path / 'their_resnet.py').write_text(THEIR_RESNET)
    mean, std = np.array([123.7, 116.3, 103.5]), np.array([58.4, 57.1, 57.4])
    centres = torch.from_numpy((colours - mean) / std).float()
    weights = {
        'module.linear.weight': 20 * centres,
        'module.linear.bias': -10 * centres.square().sum(1),
    }
    torch.save({'state_dict': weights, 'best_prec1': 93.39}, tmp_path / 'their_resnet56.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop('their_resnet', None)


def top1(lines):
    return float(re.findall(r'accuracy/top1: ([\d.]+)', lines)[-1])


@pytest.mark.slow
def test_the_page_as_it_stands(folder, tool, capfd):
    lines, ran = {}, []
    for language, text in BLOCK.findall(PAGE.read_text(encoding='utf-8')):
        named = re.match(r'# (\S+\.\w+)\n', text)
        if named:
            (folder / named[1]).write_text(text)
            lines[named[1]] = [line for line in text.splitlines()[1:] if line]
        elif language == 'bash':
            for command in text.splitlines():
                words = shlex.split(command, comments=True)
                if words[0] == 'export':
                    continue
                assert words[0] == 'python'
                left = tool(words[1].removeprefix('$AEKT/'), *words[2:])
                assert left is None, left
                ran.append((words[1].rpartition('/')[2], words[2], capfd.readouterr()))
        else:
            with redirect_stdout(io.StringIO()) as printed:
                exec(text, {})

    configs = ('data.py', 'pair.py', 'kd.py', 'dkd.py', 'aekt.yaml')
    assert sum(len(lines[name]) for name in configs) < 40
    assert [(name, config) for name, config, _ in ran] == [
        ('test.py', 'kd.py'),
        ('cache_teacher.py', 'kd.py'),
        *(('train.py', config) for config in ('kd.py', 'dkd.py', 'aekt.yaml')),
        ('publish_student.py', 'aekt.yaml'),
        ('test.py', 'chain.py'),
    ]
    assert top1(''.join(ran[0][2])) == 100  # weights, normalisation and channels are right
    for method in ('kd', 'dkd', 'aekt'):
        log = max(Path('work_dirs', method).glob('*/vis_data/scalars.json')).read_text()
        entries = [json.loads(line) for line in log.splitlines()]
        assert {entry['epoch'] for entry in entries if 'epoch' in entry} == set(range(1, 9))
        assert all(np.isfinite(entry.get('loss', 0)) for entry in entries)
    # the published student is that of the run, and is itself as a teacher
    trained = entries[-1]['accuracy/top1']
    assert top1(''.join(ran[-1][2])) == pytest.approx(trained, abs=1e-3)
    assert printed.getvalue().strip().endswith(CLASSES)


def test_images_too_large_for_memory(folder):
    """The page's other data."""
    text = next(text for _, text in BLOCK.findall(PAGE.read_text()) if '# large_data.py' in text)
    (folder / 'large_data.py').write_text(text)
    (folder / 'mine.py').write_text(
        "_base_ = 'aekt_mm::kd/kd_resnet20_resnet8_cifar100_8e.py?dataset=large_data.py'"
    )
    cfg = Config.fromfile('mine.py')
    for loader, count in ((cfg.train_dataloader, 40), (cfg.val_dataloader, 20)):
        dataset = build(DATASETS, loader.dataset)
        assert len(dataset) == count
        assert dataset[0]['inputs'].shape == (3, 224, 224)
        assert len(dataset.metainfo['classes']) == 10


def rows():
    table = PAGE.read_text(encoding='utf-8').split('| as written by |')[1]
    return [re.findall(r'`([^`]+)`', row) for row in table.splitlines()[2:6]]


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('key', ['state_dict', 'model', 'model_state_dict', None])
def test_names_of_weights_are_those_documented(prefix, key, tmp_path):
    """A resnet8 under each of the names goes where the page says."""
    unwrapped, classifiers, other, shortcut = rows()
    assert unwrapped[:2] == ['module.NAME', 'NAME']
    assert other[:2] == ['NAME', 'backbone.NAME']
    assert shortcut == ['NAME.shortcut.REST', 'backbone.NAME.downsample.REST']
    assert classifiers[-1] == 'head.fc.NAME'
    network = dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
    )
    source, _ = build_classifier(network)
    for classifier in classifiers[:-1]:
        state = {}
        for name, value in source.state_dict().items():
            flat = name.removeprefix('backbone.').replace('.downsample.', '.shortcut.')
            flat = flat.replace('head.fc.', classifier.removesuffix('NAME'))
            state[prefix + flat] = value
        torch.save({key: state, 'epoch': 3} if key else state, tmp_path / 'theirs.pth')
        target, _ = build_classifier(network)
        load_weights(target, str(tmp_path / 'theirs.pth'))
        for name, value in source.state_dict().items():
            assert torch.equal(target.state_dict()[name], value), name
