"""A cached teacher belongs to one teacher's logits of one run's data, or is refused."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from aekt_mm.datasets import Digits, ViewSampler, whole_batch
from aekt_mm.models import BatchPreprocessor, LogitDistiller
from aekt_mm.models.teachers import CachedTeacher, LogitCache, data_identity, teacher_identity
from aekt_mm.registry import MODELS

pytestmark = pytest.mark.stack

ONLINE = dict(type='OnlineTeacher', model=dict(type='torchvision.models.resnet18'), checkpoint=None)


def loader(seed=0, split='train', sampler=ViewSampler):
    dataset = Digits(split)
    return DataLoader(dataset, 16, sampler=sampler(dataset, seed=seed), collate_fn=whole_batch)


def preprocessor(**options):
    options = dict(crop_padding=1, **options)
    return BatchPreprocessor(mean=[0.0] * 3, std=[1.0] * 3, **options)


@pytest.fixture
def cache(tmp_path):
    """Two views of the digits in which the logits say view, sample and label."""
    data = loader()
    labels = data.dataset.labels
    manifest = dict(
        views=2,
        samples=len(data.dataset),
        classes=10,
        format='float32',
        k=1,
        temperature=1.0,
        identity={'teacher': teacher_identity(ONLINE), **data_identity(data, preprocessor())},
    )
    cache = LogitCache.create(tmp_path, manifest)
    for view in range(2):
        logits = torch.zeros(len(labels), 10)
        logits[:, 0], logits[:, 1], logits[:, 2] = view, torch.arange(len(labels)), labels
        samples = np.arange(len(labels))
        cache.write(view, samples, labels, logits)
        cache.flush([(view, samples)])
    cache.seal()
    return tmp_path


def test_looks_up_by_view_and_sample(cache):
    teacher = MODELS.build(dict(type='CachedTeacher', cache=str(cache), online=ONLINE))
    data = loader()
    teacher.attach(data, preprocessor(), epochs=5)
    assert teacher.num_classes == 10
    assert teacher.identity()['teacher'] == teacher_identity(ONLINE)
    for epoch, view in enumerate((0, 1, 0)):  # views come again in turn
        data.sampler.set_epoch(epoch)
        batch = next(iter(data))
        logits = teacher(batch['inputs'], batch['data_samples'])
        assert (logits[:, 0] == view).all()
        assert (logits[:, 1] == torch.from_numpy(batch['data_samples'].sample_idx)).all()
        assert (logits[:, 2] == batch['data_samples'].gt_label).all()


def test_takes_a_list_of_samples(cache):
    teacher = CachedTeacher(cache)
    teacher.attach(loader(), preprocessor(), epochs=2)
    samples = [DataSample(metainfo=dict(sample_idx=i, view=1)).set_gt_label(0) for i in (7, 3)]
    assert teacher(torch.zeros(2), samples)[:, :2].tolist() == [[1, 7], [1, 3]]


@pytest.mark.parametrize(
    ('run', 'message'),
    [
        (dict(data=loader(seed=1)), r'seed: the cache has 0, the run has 1'),
        (dict(data=loader(split='test')), r'dataset\.content: the cache has'),
        (
            dict(options=dict(flip=True)),
            r'preprocessor\.flip: the cache has False, the run has True',
        ),
    ],
)
def test_other_data_is_refused(cache, run, message):
    with pytest.raises(ValueError, match=message):
        CachedTeacher(cache).attach(
            run.get('data', loader()), preprocessor(**run.get('options', {})), epochs=2
        )


@pytest.mark.parametrize(
    ('teacher', 'message'),
    [
        (dict(model=dict(type='torchvision.models.resnet34')), r'teacher\.model\.type'),
        (dict(checkpoint='torchvision://resnet18'), r'teacher\.checkpoint'),
        (dict(data_preprocessor=dict(mean=[0.0])), r'teacher\.data_preprocessor'),
    ],
)
def test_another_teacher_is_refused(cache, teacher, message):
    with pytest.raises(ValueError, match=message):
        CachedTeacher(cache, online={**ONLINE, **teacher})


def test_other_weights_are_another_teacher(tmp_path):
    path = tmp_path / 'teacher.pth'
    identities = []
    for content in (b'one', b'two'):
        path.write_bytes(content)
        identities.append(teacher_identity({**ONLINE, 'checkpoint': str(path)}))
    assert identities[0] != identities[1]


def test_mixing_needs_as_many_views_as_epochs(cache):
    mixing = preprocessor(
        num_classes=10, batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)])
    )
    teacher = CachedTeacher(cache)
    teacher.cache.manifest['identity'].update(data_identity(loader(), mixing))
    teacher.attach(loader(), mixing, epochs=2)
    with pytest.raises(ValueError, match='3 epochs need as many views where images are mixed'):
        teacher.attach(loader(), mixing, epochs=3)


def test_mixing_by_other_random_numbers_is_refused(cache):
    mixing = MODELS.build(
        dict(
            type='ClsDataPreprocessor',
            num_classes=10,
            batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)]),
        )
    )
    teacher = CachedTeacher(cache)
    teacher.cache.manifest['identity'].update(data_identity(loader(), mixing))
    with pytest.raises(TypeError, match="set type='ViewPreprocessor'"):
        teacher.attach(loader(), mixing, epochs=2)


def test_data_without_views_is_refused(cache):
    def plain(dataset, seed):
        return torch.utils.data.SequentialSampler(dataset)

    with pytest.raises(TypeError, match='set sampler=dict'):
        CachedTeacher(cache).attach(loader(sampler=plain), preprocessor(), epochs=2)


def test_unattached_is_refused(cache):
    with pytest.raises(RuntimeError, match='DistillCheckHook'):
        CachedTeacher(cache)(torch.zeros(1), [DataSample()])


def test_it_has_no_features(cache):
    features = dict(hint=dict(student='backbone', teacher='backbone', loss=dict(type='FitNetLoss')))
    student = dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
    )
    with pytest.raises(ValueError, match="a cached teacher has no features, but 'backbone' is"):
        LogitDistiller(student, CachedTeacher(cache), features=features)
