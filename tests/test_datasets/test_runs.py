"""Whole runs of MMEngine's Runner: batches, and what follows from them, bit for bit."""

import hashlib

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from aekt_mm.datasets import Digits
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.engine.launching import build_runner
from aekt_mm.registry import DATASETS, build

pytestmark = pytest.mark.stack

NETWORK = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 16)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16),
)
BATCHES = dict(
    preprocessor=dict(type='BatchPreprocessor', crop_padding=1, flip=True),
    collate_fn=dict(type='whole_batch'),
    dataset=dict(type='Digits', split='train'),
)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Eight digits a class as files, and their pipeline."""
    folder = tmp_path_factory.mktemp('digits')
    digits = Digits('train')
    for index in range(80):
        path = folder / str(digits.labels[index].item()) / f'{index}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), digits.images[index].numpy())
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=8),
        dict(type='RandomErasing', erase_prob=0.5),
        dict(type='PackInputs'),
    ]
    inner = dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    mix = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])
    return dict(
        preprocessor=dict(type='ViewPreprocessor', num_classes=10, batch_augments=mix),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='ViewDataset', dataset=inner),
    )


@pytest.fixture(scope='module')
def prepared(images, tmp_path_factory):
    """The same files prepared, decoded to size, and augmented on the device."""
    pytest.importorskip('pyarrow')
    pytest.importorskip('simplejpeg')
    folder = tmp_path_factory.mktemp('prepared')
    files = dict(images['dataset']['dataset'], pipeline=[])
    prepare_images(build(DATASETS, files), folder, workers=0, images_per_file=30)
    inner = dict(type='PreparedImages', data_root=str(folder))
    augments = dict(flip=True, color_jitter=dict(brightness=0.3, hue=0.1), erasing=dict())
    return dict(
        images,
        preprocessor=dict(images['preprocessor'], view_augments=augments),
        collate_fn=dict(type='whole_batch'),
        dataset=dict(type='CropDataset', scale=8, dataset=inner),
    )


def recipe(work_dir, data, epochs, workers, resume=False, **options):
    network = {**NETWORK, 'head': {**NETWORK['head']}}
    if data is not BATCHES:
        network['head']['loss'] = dict(type='CrossEntropyLoss', use_soft=True)
    return Config(
        dict(
            default_scope='aekt_mm',
            model=network,
            data_preprocessor=dict(mean=[78.0] * 3, std=[96.0] * 3, **data['preprocessor']),
            train_dataloader=dict(
                batch_size=32,
                num_workers=workers,
                num_batch_per_epoch=2,
                sampler=dict(type='ViewSampler'),
                collate_fn=data['collate_fn'],
                dataset=data['dataset'],
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
            randomness=dict(seed=5),
            work_dir=str(work_dir),
            resume=resume,
            launcher='none',
            log_level='WARNING',
            experiment_name=f'{work_dir.name}_{epochs}',
            **options,
        )
    )


class Recorder(Hook):
    """Keeps a digest of each batch as the network gets it."""

    def __init__(self):
        self.digests = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        batch = runner.model.data_preprocessor(data_batch, True)
        inputs = batch['inputs'].contiguous().numpy()
        self.digests[runner.epoch, batch_idx] = hashlib.sha256(inputs).hexdigest()


def train(*args, **options):
    recorder = Recorder()
    runner = build_runner(recipe(*args, **options))
    runner.register_hook(recorder)
    runner.train()
    return recorder.digests, runner.model.state_dict()


@pytest.mark.parametrize('path', ['batches', 'images', 'prepared'])
def test_a_resumed_run_sees_the_same_batches(path, request, tmp_path):
    data = BATCHES if path == 'batches' else request.getfixturevalue(path)
    digests, weights = train(tmp_path / 'whole', data, epochs=3, workers=0)
    assert len(set(digests.values())) == 3 * 2  # a view is never seen again

    train(tmp_path / 'parts', data, epochs=1, workers=0)
    rest, resumed = train(tmp_path / 'parts', data, epochs=3, workers=2, resume=True)
    assert rest == {step: digest for step, digest in digests.items() if step[0] > 0}
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


class Keep(Hook):
    """Keeps the metrics of each validation."""

    def __init__(self, metrics):
        self.metrics = metrics

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append(metrics)


def test_mmpretrains_classifier_and_metric_take_whole_batches(tmp_path):
    cfg = recipe(
        tmp_path / 'run',
        BATCHES,
        epochs=4,
        workers=0,
        val_dataloader=dict(
            batch_size=500,
            num_workers=0,
            pin_memory=torch.cuda.is_available(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='whole_batch'),
            dataset=dict(type='Digits', split='test'),
        ),
        val_cfg=dict(),
        val_evaluator=dict(type='Accuracy', topk=(1, 5)),
    )
    del cfg.train_dataloader['num_batch_per_epoch']
    runner = build_runner(cfg)
    metrics = []
    runner.register_hook(Keep(metrics))
    runner.train()

    digits, model = Digits('test'), runner.model.eval()
    inputs = ((digits.images.float() - 78) / 96).permute(0, 3, 1, 2)
    with torch.no_grad():
        best = model(inputs).topk(5).indices
    hits = (best == digits.labels[:, None]).float()
    for metric, right in (('top1', hits[:, 0]), ('top5', hits.sum(1))):
        expected = 100 * right.mean().item()
        assert metrics[-1][f'accuracy/{metric}'] == pytest.approx(expected, abs=0.2)
    assert metrics[-1]['accuracy/top1'] > 30  # it learns
