import runpy
from pathlib import Path

import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

import aekt_mm  # noqa: F401
from aekt_mm.registry import DATASETS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'dataset_converters' / 'tiny_imagenet.py'


@pytest.fixture
def write_lists(monkeypatch):
    def write_lists(folder):
        monkeypatch.setattr('sys.argv', [str(TOOL), str(folder)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return write_lists


@pytest.fixture
def unpacked(tmp_path):
    """Tiny ImageNet as its archive unpacks, with two classes and five images."""
    folder = tmp_path / 'tiny-imagenet-200'
    grey = np.zeros((64, 64, 3), np.uint8)
    files = [
        'train/n02/images/n02_0.JPEG',
        'train/n01/images/n01_0.JPEG',
        'train/n01/images/n01_1.JPEG',
        'val/images/val_0.JPEG',
        'val/images/val_1.JPEG',
    ]
    for file in files:
        mmcv.imwrite(grey, str(folder / file))
    (folder / 'train/n01/n01_boxes.txt').write_text('n01_0.JPEG\t0\t0\t63\t63\n')
    (folder / 'val/val_annotations.txt').write_text(
        'val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t2\t3\t4\t5\n'
    )
    (folder / 'words.txt').write_text('n00\tnone of these\nn01\tgoldfish, Carassius\nn02\ttoad\n')
    return folder


def test_the_recipes_dataset_reads_what_is_written(unpacked, write_lists):
    write_lists(unpacked)
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/tinyimagenet.py')
    init_default_scope('aekt_mm')
    found = {}
    for split, loader in (('train', cfg.train_dataloader), ('val', cfg.val_dataloader)):
        files = loader.dataset.dataset
        files.data_root, files.classes = str(unpacked), str(unpacked / 'meta' / 'classes.txt')
        in_memory = DATASETS.build(loader.dataset)
        assert in_memory.metainfo['classes'] == ('goldfish, Carassius', 'toad')
        assert in_memory.images.shape == (len(in_memory), 64, 64, 3)
        dataset = DATASETS.build(files)
        infos = [dataset.get_data_info(k) for k in range(len(dataset))]
        assert [info['gt_label'] for info in infos] == in_memory.labels.tolist()
        found[split] = [(Path(info['img_path']).name, info['gt_label']) for info in infos]
    assert found == {
        'train': [('n01_0.JPEG', 0), ('n01_1.JPEG', 0), ('n02_0.JPEG', 1)],
        'val': [('val_0.JPEG', 1), ('val_1.JPEG', 0)],
    }


def test_says_what_is_missing(tmp_path, write_lists):
    with pytest.raises(SystemExit, match=f'{tmp_path / "train"} is not there: unpack'):
        write_lists(tmp_path)


def test_refuses_labels_that_training_does_not_have(unpacked, write_lists):
    (unpacked / 'val/val_annotations.txt').write_text('val_0.JPEG\tn09\t0\t32\t44\t62\n')
    with pytest.raises(SystemExit, match=r'val_0.JPEG is of n09'):
        write_lists(unpacked)
    assert not (unpacked / 'meta').exists()
