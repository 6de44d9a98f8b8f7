"""From image files to a run that reads them prepared."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from aekt_mm.engine.image_preparing import verify_images

pytest.importorskip('pyarrow')

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'dataset_converters' / 'prepare_images.py'
CONFIG = """
custom_imports = dict(imports=['aekt_mm'])
images = dict(type='CustomDataset', data_root='files', pipeline=[dict(type='LoadImageFromFile')])
train_dataloader = dict(dataset=dict(type='aekt_mm.ViewDataset', dataset=images))
val_dataloader = dict(dataset=dict(images, data_prefix='held'))
"""


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """Run the tool beside a config and its images; return what it printed."""
    (tmp_path / 'config.py').write_text(CONFIG)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        for place in ('files', 'files/held'):
            path = tmp_path / place / ('ant', 'bee')[index % 2] / f'{index}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    monkeypatch.chdir(tmp_path)

    def prepare(*arguments):
        command = [str(TOOL), 'config.py', 'out', '--workers', '0', *arguments]
        monkeypatch.setattr('sys.argv', command)
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return prepare


def test_prepares_all_sets_and_verifies_them(prepare, tmp_path):
    (tmp_path / 'files/held/ant/torn.jpg').write_bytes(b'torn')
    printed = prepare('--short-side', '20')
    train, val = (line for line in printed.splitlines() if line.startswith('out/'))
    assert train.startswith('out/train: 12 images in 1 files') and '12 re-encoded' in train
    assert val.startswith('out/val: 6 images in 1 files') and '6 kept' in val
    assert 'left out: ant/torn.jpg' in printed
    assert verify_images(tmp_path / 'out' / 'val') == 6
    assert 'out/val: all 6 images are whole' in prepare('--verify')


def test_keeps_bytes_and_prepares_only_what_is_asked_for(prepare, tmp_path):
    assert '6 kept' in prepare('--keep-bytes', '--sets', 'val')
    assert not (tmp_path / 'out' / 'train').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--sets', 'tests'], "has no image set 'tests': it has train, val"),
        (['--quality', '0'], 'quality must be a whole number from 1 to 100, but is 0'),
        (['--verify'], 'there is no prepared image set in out/train'),
        (
            ['--cfg-options', 'val_dataloader.dataset.data_root=nowhere'],
            'CustomDataset was looked for in nowhere, which is not there',
        ),
    ],
)
def test_mistakes_are_named(prepare, arguments, message):
    with pytest.raises(SystemExit, match=message):
        prepare(*arguments)


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        ('vanilla_resnet8slim_digits', [], 'the train set, Digits, is no set of image files'),
        ('config.py', ['--workers', '-1'], 'workers must be a whole number of at least 0, but is'),
        ('nosuch.py', [], 'there is no config nosuch.py'),
    ],
)
def test_mistakes_are_answered_in_a_line(config, options, message, prepare, monkeypatch):
    monkeypatch.setattr('sys.argv', [str(TOOL), config, 'out', *options])
    with pytest.raises(SystemExit, match=f'^prepare_images: {message}'):
        runpy.run_path(str(TOOL), run_name='__main__')
