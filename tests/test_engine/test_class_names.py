"""Classes are compared by name, wherever names are known."""

import copy

import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset

from aekt_mm.datasets import Digits, HeldOut, InMemory, ViewDataset
from aekt_mm.engine import class_names
from aekt_mm.engine.class_names import (
    ClassNames,
    check_built_classes,
    check_checkpoint_classes,
    check_classes,
    compare,
)
from aekt_mm.engine.image_preparing import prepare_images

pytestmark = pytest.mark.stack

ANIMALS = ('bird', 'cat', 'cow', 'dog')
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A folder a split; the test split lacks cats, and another has one more class."""
    root = tmp_path_factory.mktemp('images')
    splits = dict(
        train=ANIMALS,
        val=ANIMALS,
        first=ANIMALS[:3],
        test=('bird', 'cow', 'dog'),
        more=(*ANIMALS, 'emu'),
        others=('1', '2', '3', '4'),
    )
    for split, classes in splits.items():
        for label, name in enumerate(classes):
            for index in range(2):
                image = np.full((8, 8, 3), 50 * label + index, np.uint8)
                mmcv.imwrite(image, str(root / split / name / f'{index}.png'))
    (root / 'list.txt').write_text('bird/0.png 0\ncow/0.png 2\n')
    (root / 'list.json').write_text(
        '{"metainfo": {"classes": ["bird", "cow", "cat", "dog"]}, "data_list": '
        '[{"img_path": "a.png", "gt_label": 0}]}'
    )
    return root


def files(root, split, **options):
    return dict(type='CustomDataset', data_root=str(root / split), pipeline=PIPELINE, **options)


def config(train, test):
    loaders = {
        f'{split}_dataloader': dict(dataset=d) for split, d in (('train', train), ('test', test))
    }
    return Config(copy.deepcopy(loaders))


WRAPPED = {
    'as it is': lambda d: d,
    'InMemory': lambda d: dict(type='aekt_mm.InMemory', dataset=d),
    'ViewDataset of HeldOut': lambda d: dict(
        type='aekt_mm.ViewDataset', dataset=dict(type='aekt_mm.HeldOut', dataset=d, part='fit')
    ),
    'RepeatDataset': lambda d: dict(type='RepeatDataset', times=2, dataset=d),
    'ConcatDataset': lambda d: dict(type='ConcatDataset', datasets=[d, d]),
}


@pytest.mark.parametrize('kind', WRAPPED)
def test_a_class_without_a_folder(images, kind):
    wrap = WRAPPED[kind]
    train = files(images, 'train')
    for alike in ('val', 'first', 'absent'):
        check_classes(config(wrap(train), files(images, alike)))
    with pytest.raises(ValueError) as refused:
        check_classes(config(train, wrap(files(images, 'test'))))
    where, _, said = str(refused.value).partition(' numbers ')
    assert where.startswith('test_dataloader.dataset')
    assert said == (
        "its classes otherwise than train_dataloader.dataset: 1 is 'cat' in training, but 'cow' "
        "there; it lacks 'cat'. Give it the same folders, empty ones where a class has no image"
    )
    with pytest.raises(ValueError, match="4 is none in training, but 'emu' there; it alone has"):
        check_classes(config(train, wrap(files(images, 'more'))))


@pytest.mark.parametrize(
    'command', ['train.py', 'test.py --teacher', 'test.py any.pth', 'cache_teacher.py --views=1']
)
def test_the_tools_ask_first(images, tmp_path, tool, monkeypatch, command):
    (tmp_path / 'mine.py').write_text(f"""
_base_ = 'aekt_mm::kd/kd_resnet20_resnet8_cifar100_8e.py'
memory = dict(_delete_=True, type='InMemory')
train_dataloader = dict(dataset=dict(dataset={files(images, 'train')}, **memory))
val_dataloader = dict(dataset=dict(dataset={files(images, 'test')}, **memory))
test_dataloader = val_dataloader
model = dict(teacher=dict(checkpoint=None))
""")
    monkeypatch.chdir(tmp_path)
    name, *arguments = command.split()
    folder = ['logits'] if 'cache' in name else []
    said = tool(f'tools/{name}', 'mine.py', *folder, *arguments)
    assert 'val_dataloader.dataset.dataset numbers its classes otherwise than' in said


def test_names_that_are_given(images):
    train = files(images, 'train')
    listed = files(images, 'train', ann_file=str(images / 'list.txt'))
    check_classes(config(train, listed))  # which names nothing
    check_classes(config(train, dict(listed, metainfo=dict(classes=ANIMALS))))
    check_classes(config(train, dict(listed, classes=list(ANIMALS))))
    with pytest.raises(ValueError, match=r'Set metainfo=dict\(classes='):
        check_classes(config(train, dict(listed, classes=['bird', 'dog', 'cow', 'cat'])))
    annotated = dict(type='BaseDataset', ann_file=str(images / 'list.json'), pipeline=PIPELINE)
    with pytest.raises(ValueError, match="1 is 'cat' in training, but 'cow' there"):
        check_classes(config(train, annotated))


def test_folders_count_where_both_have_them(images):
    """Names may say more than folders, as ImageNet's do."""
    named = dict(files(images, 'val'), classes=['a', 'b', 'c', 'd'])
    check_classes(config(named, files(images, 'train')))
    with pytest.raises(ValueError, match="1 is 'cat'"):
        check_classes(config(named, files(images, 'test')))


def test_other_names_for_all_are_said(images, monkeypatch):
    said = []
    monkeypatch.setattr(class_names, 'print_log', lambda text, *_, **__: said.append(text))
    check_classes(config(files(images, 'train'), files(images, 'others')))
    assert len(said) == 1 and "0 is 'bird' in training, and '1' there" in said[0]


def test_prepared_sets(images, tmp_path):
    pytest.importorskip('pyarrow')
    for split in ('train', 'test'):
        dataset = CustomDataset(str(images / split), serialize_data=False)
        prepare_images(dataset, tmp_path / split, short_side=None, workers=0)
    sets = [
        dict(type='aekt_mm.PreparedImages', data_root=str(tmp_path / split))
        for split in ('train', 'test')
    ]
    check_classes(config(sets[0], sets[0]))
    check_classes(config(files(images, 'train'), sets[0]))
    with pytest.raises(ValueError, match="it lacks 'cat'"):
        check_classes(config(*sets))


def test_what_is_built(images):
    train, test = (
        CustomDataset(str(images / split), pipeline=PIPELINE, serialize_data=False)
        for split in ('train', 'test')
    )
    training = ViewDataset(HeldOut(train, 'fit', share=0.5))
    check_built_classes({'a': training, 'b': train})
    for other in (test, InMemory(test), ViewDataset(test)):
        with pytest.raises(ValueError, match=r'^b numbers its classes otherwise than a: 1 is'):
            check_built_classes({'a': training, 'b': other})
    check_built_classes({'a': Digits('train'), 'b': Digits('test'), 'c': object()})


def test_of_a_checkpoint(images):
    test = CustomDataset(str(images / 'test'), serialize_data=False)
    check_checkpoint_classes(None, 'student.pth', test)
    check_checkpoint_classes(('bird', 'cow', 'dog'), 'student.pth', test)
    with pytest.raises(ValueError, match=r"the data set numbers .* than student\.pth: 1 is 'cat'"):
        check_checkpoint_classes(ANIMALS, 'student.pth', test)


def test_longer_lists_are_cut():
    names = tuple(map(str, range(9)))
    with pytest.raises(ValueError, match=r"it lacks '1', '2', '3', \.\.\.; it alone has 'a'"):
        compare(ClassNames('x', names, None), ClassNames('y', ('0', 'a', '5'), None))
