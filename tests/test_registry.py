"""Names are found from this project's scope and from mmpretrain's."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

from aekt_mm import registry
from aekt_mm.models import AEKTLoss, LogitDistiller

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ('name', 'component', 'home'),
    [
        ('MODELS', 'LogitDistiller', 'aekt_mm'),
        ('MODELS', 'ImageClassifier', 'mmpretrain'),
        ('MODELS', 'CrossEntropyLoss', 'mmpretrain'),
        ('MODELS', 'ExponentialMovingAverage', 'mmengine'),
        ('MODEL_WRAPPERS', 'MMDistributedDataParallel', 'mmengine'),
        ('WEIGHT_INITIALIZERS', 'Kaiming', 'mmengine'),
        ('BATCH_AUGMENTS', 'Mixup', 'mmpretrain'),
        ('DATASETS', 'Digits', 'aekt_mm'),
        ('DATASETS', 'ImageNet', 'mmpretrain'),
        ('DATASETS', 'RepeatDataset', 'mmengine'),
        ('DATA_SAMPLERS', 'ViewSampler', 'aekt_mm'),
        ('DATA_SAMPLERS', 'RepeatAugSampler', 'mmpretrain'),
        ('DATA_SAMPLERS', 'DefaultSampler', 'mmengine'),
        ('TRANSFORMS', 'RandAugment', 'mmpretrain'),
        ('TRANSFORMS', 'LoadAnnotations', 'mmcv'),
        ('METRICS', 'Accuracy', 'mmpretrain'),
        ('EVALUATORS', 'Evaluator', 'mmengine'),
        ('HOOKS', 'DistillWarmupHook', 'aekt_mm'),
        ('HOOKS', 'PreciseBNHook', 'mmpretrain'),
        ('HOOKS', 'CheckpointHook', 'mmengine'),
        ('LOOPS', 'EpochBasedTrainLoop', 'mmengine'),
        ('RUNNERS', 'Runner', 'mmengine'),
        ('LOG_PROCESSORS', 'LogProcessor', 'mmengine'),
        ('OPTIMIZERS', 'Lamb', 'mmpretrain'),
        ('OPTIMIZERS', 'SGD', 'torch'),
        ('OPTIM_WRAPPERS', 'BFloat16OptimWrapper', 'aekt_mm'),
        ('OPTIM_WRAPPERS', 'AmpOptimWrapper', 'mmengine'),
        ('OPTIM_WRAPPER_CONSTRUCTORS', 'LearningRateDecayOptimWrapperConstructor', 'mmpretrain'),
        ('PARAM_SCHEDULERS', 'OneCycleLR', 'mmengine'),
        ('VISUALIZERS', 'UniversalVisualizer', 'mmpretrain'),
        ('VISBACKENDS', 'LocalVisBackend', 'mmengine'),
        ('EXPLICIT_TERMS', 'RatioWeighted', 'aekt_mm'),
    ],
)
def test_finds_ours_mmpretrains_and_mmengines(name, component, home):
    found = getattr(registry, name).get(component)
    assert found is not None
    assert found.__module__.split('.')[0] == home


STOCK = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['aekt_mm'], allow_failed_imports=False)
network = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=64),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
)
model = dict(
    type='aekt_mm.LogitDistiller',
    student=network,
    teacher=dict(type='OnlineTeacher', model=network, checkpoint=None),
    losses=dict(aekt=dict(type='AEKTLoss', explicit=dict(type='LogRatio'))),
    connector=dict(type='TaskSerializationFC'),
)
"""


def test_a_stock_config_of_mmpretrain_needs_one_prefix(tmp_path):
    path = tmp_path / 'stock.py'
    path.write_text(STOCK)
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        distiller = MMPRETRAIN_MODELS.build(cfg.model)
    assert isinstance(distiller, LogitDistiller)
    assert isinstance(distiller.losses['aekt'], AEKTLoss)
    assert type(distiller.student.backbone).__name__ == 'ResNet_CIFAR'


def test_an_unknown_name_is_named():
    with pytest.raises(KeyError, match='NoSuchLoss'):
        registry.build(registry.MODELS, dict(type='NoSuchLoss'))
