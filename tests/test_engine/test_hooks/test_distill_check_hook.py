"""Runs that can't be right stop, and say why."""

import copy
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmpretrain.evaluation import Accuracy, ConfusionMatrix
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader

from aekt_mm.datasets import ArrayDataset, ViewDataset, ViewSampler, whole_batch
from aekt_mm.engine.hooks import DistillCheckHook, distill_check_hook
from aekt_mm.engine.hooks.distill_check_hook import (
    check_labels,
    check_last_batch,
    check_topk,
    count_samples,
)
from aekt_mm.engine.launching import build_runner, hold_out
from aekt_mm.models.data_preprocessors import BatchPreprocessor

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Formatting the config for every checkpoint would take longer than these epochs."""
    monkeypatch.setattr(Config, 'pretty_text', 'for brevity')


class Poison(Hook):
    """Put one NaN into student or teacher before an iteration, counted from 1."""

    priority = 'LOWEST'

    def __init__(self, sides, iteration):
        self.sides, self.iteration = sides, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            models = {'student': runner.model.student, 'teacher': runner.model.teacher.model}
            for side in self.sides:
                with torch.no_grad():
                    next(models[side].head.parameters())[0, 0] = float('nan')


@pytest.mark.parametrize(
    ('sides', 'message'),
    [
        (('student',), "the student's logits are NaN .* training diverged"),
        (('teacher',), "the teacher's logits are NaN .* look at its checkpoint"),
        (('student', 'teacher'), "both the student's and the teacher's logits are NaN"),
    ],
)
def test_nan_is_named_with_side_and_iteration(sides, message, digits_recipe):
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 300  # 3 iterations an epoch
    runner = build_runner(cfg)
    runner.register_hook(Poison(sides, iteration=5))
    with pytest.raises(FloatingPointError, match=message) as error:
        runner.train()
    assert 'in iteration 5 (epoch 2)' in str(error.value)
    saved = {path.name for path in Path(cfg.work_dir).glob('*.pth')}
    assert saved == {'epoch_1.pth'}  # none with NaN in it


def test_the_first_loss_is_named_not_the_logits_that_it_spoiled():
    model = SimpleNamespace(finite=torch.tensor([False, True]), losses={})
    runner, nan = SimpleNamespace(epoch=1), float('nan')
    figures = {'iter': 5, 'loss': nan, 'loss_ce': nan, 'kd.loss': 0.5}
    message = distill_check_hook._not_finite(figures, model, runner)
    assert message.startswith('loss_ce is NaN or infinite in iteration 5 (epoch 2)')
    message = distill_check_hook._not_finite({**figures, 'kd.loss': nan}, model, runner)
    assert message.startswith("the student's logits are NaN")


def test_a_config_that_does_not_have_it_is_guarded(digits_recipe):
    cfg = digits_recipe
    cfg.model, cfg.custom_hooks = cfg.model.student, []
    del cfg.default_hooks['check']
    cfg.train_dataloader.batch_size = 449
    runner = build_runner(cfg)
    with torch.no_grad():
        runner.model.head.fc.bias[0] = float('nan')
    with pytest.raises(FloatingPointError, match=r'in iteration 1 .* a lower learning rate may'):
        runner.train()
    assert not list(Path(cfg.work_dir).glob('*.pth'))


def test_infinite_logits_are_found_too(digits_recipe):
    cfg = digits_recipe
    runner = build_runner(cfg)
    with torch.no_grad():
        runner.model.student.head.fc.bias[0] = float('inf')
    with pytest.raises(FloatingPointError, match="student's logits are NaN or infinite in iter"):
        runner.train()


@pytest.mark.parametrize('distills', [True, False])
def test_more_classes_than_the_model_has(distills, digits_recipe):
    cfg = digits_recipe
    cfg.model.student.head.num_classes = cfg.model.teacher.model.head.num_classes = 9
    cfg.model.teacher.checkpoint = None
    if not distills:
        cfg.model = cfg.model.student
    with pytest.raises(ValueError, match='Digits has 10 classes, but the model tells only 9 apart'):
        build_runner(cfg).train()
    assert not list(Path(cfg.work_dir).glob('*.pth'))


def test_plain_classifiers_pass(digits_recipe):
    cfg = digits_recipe
    cfg.model, cfg.custom_hooks = cfg.model.student, []
    cfg.train_dataloader.batch_size = 898
    build_runner(cfg).train()
    assert Path(cfg.work_dir, 'epoch_2.pth').exists()


def test_a_curriculum_that_nothing_tells_the_epoch(digits_recipe):
    cfg = digits_recipe
    cfg.model.losses.aekt.temperature = dict(type='CurriculumTemperature', epochs=4)
    cfg.custom_hooks = []
    with pytest.raises(ValueError, match=r'CurriculumTemperature follows .*LossEpochHook'):
        build_runner(cfg).train()

    cfg.custom_hooks = [dict(type='LossEpochHook')]
    cfg.experiment_name += '_told'
    cfg.train_dataloader.batch_size = 898
    runner = build_runner(cfg)
    runner.train()
    assert runner.model.losses.aekt.temperature.strength.item() == pytest.approx(0.5)
    assert runner.message_hub.get_scalar('train/aekt.temperature').current() > 1


def test_a_teacher_near_chance_is_warned_of(digits_recipe):
    """The fixture's teacher is untrained."""
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 300
    build_runner(cfg).train()
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    said = re.search(r'The teacher is right on (.*) % of the images of the first 6 batches', log)
    assert float(said[1]) < 19
    assert 'chance is 10.0 %' in log
    for place in ('model.teacher.checkpoint', 'model.teacher.data_preprocessor'):
        assert place in log
    assert 'student_top1: ' in log
    assert 'teacher_top1: ' in log


def test_a_good_teacher_is_not():
    hook = DistillCheckHook()
    hook.teacher_top1 = [torch.tensor(19.5)]
    messages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill_check_hook, 'print_log', lambda message, *_, **__: messages.append(1))
        hook._judge(10)
        assert not messages
        hook.teacher_top1 = [torch.tensor(18.5)]
        hook._judge(10)
        assert messages


def test_load_from_another_network(digits_recipe, tmp_path):
    cfg = digits_recipe
    cfg.load_from = str(tmp_path / 'other.pth')
    torch.save({'state_dict': {'fc.weight': torch.ones(3)}}, cfg.load_from)
    with pytest.raises(ValueError) as error:
        build_runner(cfg).train()
    assert f'load_from={cfg.load_from}: none of it fits the model:' in str(error.value)
    assert len(str(error.value).splitlines()) == 3


def test_load_from_part_of_a_network_is_said(digits_recipe, tmp_path):
    cfg = digits_recipe
    cfg.load_from = str(tmp_path / 'part.pth')
    runner = build_runner(cfg)
    state = runner.model.state_dict()
    del state['student.head.fc.weight']
    torch.save(state, cfg.load_from)
    runner.train()
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    assert f'{len(state)} of {len(state) + 1} of the model' in log
    assert 'missing: student.head.fc.weight' in log


@pytest.mark.parametrize(('label', 'metainfo'), [(12, {}), (-1, dict(classes=list('ab')))])
def test_labels_of_no_class(label, metainfo):
    labels = [0, 1, label, 3]
    plain = SimpleNamespace(labels=torch.tensor(labels), metainfo=metainfo)
    listed = SimpleNamespace(get_gt_labels=lambda: labels, metainfo=metainfo)
    for dataset in (plain, SimpleNamespace(dataset=listed, metainfo=metainfo)):
        message = f'1 of 4 labels of SimpleNamespace are of no class.*sample 2 has label {label}'
        with pytest.raises(ValueError, match=message):
            check_labels(dataset, 10)
        check_labels(dataset, None)


def test_a_batch_larger_than_the_data(digits_recipe):
    digits_recipe.train_dataloader.update(batch_size=1000, drop_last=True)
    digits_recipe.param_scheduler = None
    with pytest.raises(ValueError, match='898 training images give no batch of 1000: lower'):
        build_runner(digits_recipe).train()


def test_a_memory_has_a_place_for_each_image(digits_recipe):
    cfg = digits_recipe
    hold_out(cfg, 0.2)
    crd = dict(type='CRDLoss', dimensions=4, negatives=8)
    cfg.model.features = dict(crd=dict(student='neck', teacher='neck', loss=crd))
    cfg.train_dataloader.batch_size = 300
    runner = build_runner(cfg.copy())
    runner.train()
    loss = runner.model.features.crd
    assert len(runner.train_dataloader.dataset) == len(loss.labels) < 898
    assert loss.labels.min() >= 0  # all were seen
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/epoch_1.pth'
    resumed = build_runner(cfg.copy())
    resumed.train()
    assert torch.equal(resumed.model.features.crd.labels, loss.labels)

    cfg.resume, cfg.load_from = False, None
    cfg.model.features.crd.loss.num_samples = 898
    with pytest.raises(ValueError, match='num_samples of CRDLoss is 898, but'):
        build_runner(cfg).train()


def test_indices_of_data_sets_within_others():
    images = ArrayDataset(np.zeros((3, 4, 4, 3), np.uint8), [0, 1, 0], 'ab')
    both = ConcatDataset([images, images])
    with pytest.raises(ValueError, match='sample_idx, but those of ConcatDataset are of the data'):
        count_samples(both)
    assert count_samples(ViewDataset(both)) == 6


def test_a_folder_with_too_few_classes():
    dataset = SimpleNamespace(
        metainfo=dict(classes=list('abcd')), folder_to_idx={'n01': 0}, img_prefix='data/imagenet'
    )
    with pytest.raises(ValueError, match='4 classes, but data/imagenet has a folder for only 1'):
        check_labels(dataset, 4)


def test_a_class_folder_without_images():
    dataset = SimpleNamespace(metainfo=dict(classes=('.cache', 'a', 'b')), labels=[1, 2, 2])
    with pytest.raises(
        ValueError, match=r"or remove the folders that have no image \('\.cache'\)$"
    ):
        check_labels(dataset, 2)
    check_labels(dataset, 3)


def test_fewer_classes_than_are_asked_for():
    metrics = [Accuracy(topk=(1, 5)), ConfusionMatrix()]
    check_topk(metrics, 5)
    check_topk(metrics, None)
    with pytest.raises(ValueError, match=r'topk=\(1, 5\) of Accuracy .* than the 3 that there are'):
        check_topk(metrics, 3)


def test_it_is_asked_before_the_first_step(digits_recipe):
    digits_recipe.val_evaluator.topk = (1, 11)
    with pytest.raises(ValueError, match='asks for more classes than the 10 that there are'):
        build_runner(digits_recipe).train()


@pytest.mark.parametrize('count', [4, 5, 9])
def test_a_last_batch_of_one_image(count):
    images = np.zeros((count, 8, 8, 3), np.uint8)
    dataset = ArrayDataset(images, [0] * count, 'ab')
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())
    prepare = BatchPreprocessor([0.0] * 3, [1.0] * 3, flip=True)
    model = SimpleNamespace(student=pooled, data_preprocessor=prepare)
    before = copy.deepcopy(pooled.state_dict())
    for options, sampler in itertools.product(
        (dict(batch_size=4), dict(batch_size=4, drop_last=True), dict(batch_size=1)),
        (ViewSampler(dataset), DefaultSampler(dataset)),
    ):
        loader = DataLoader(dataset, sampler=sampler, collate_fn=whole_batch, **options)
        last = count % options['batch_size'] or options['batch_size']
        if last == 1 and 'drop_last' not in options:
            said = f'^{count} images in batches of .* leave a last batch of one .*drop_last=True'
            with pytest.raises(ValueError, match=said):
                check_last_batch(loader, model)
        else:
            check_last_batch(loader, model)
    # what it tries out leaves no trace
    assert all(value.equal(before[name]) for name, value in pooled.state_dict().items())
    model.student = nn.BatchNorm2d(3)  # which has 64 numbers a channel
    check_last_batch(loader, model)


def test_a_distiller_without_a_teacher(digits_recipe):
    digits_recipe.model.teacher = None
    with pytest.raises(ValueError, match=r'model\.teacher is None: .* only predicts'):
        build_runner(digits_recipe).train()


def timm_student(cfg):
    pytest.importorskip('timm')
    cfg.model.student = dict(type='TimmClassifier', model_name='test_resnet', num_classes=10)
    cfg.train_dataloader.batch_size = 898
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    return cfg


def test_a_student_of_timm_is_validated_and_resumed(digits_recipe):
    """Its hooks put a second prefix before the names of its weights, which MMEngine passed over."""
    cfg = timm_student(digits_recipe)
    first = build_runner(cfg)
    first.train()
    assert first.message_hub.get_scalar('val/accuracy/top1').current() > 0
    cfg.load_from, cfg.resume = str(Path(cfg.work_dir, 'epoch_1.pth')), True
    cfg.experiment_name += '_resumed'
    resumed = build_runner(cfg)
    resumed.load_or_resume()
    resumed.call_hook('before_train')
    saved = first.model.state_dict()
    assert all(value.equal(saved[name]) for name, value in resumed.model.state_dict().items())


@pytest.mark.parametrize('resume', [True, False])
def test_what_was_not_loaded_is_said(resume):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    runner = SimpleNamespace(model=model, _load_from='epoch_1.pth', _resume=resume)
    state = {f'module.{name}': value.clone() for name, value in model.state_dict().items()}
    hook = DistillCheckHook()
    hook.after_load_checkpoint(runner, dict(state_dict=state))
    state['module.0.bias'] = torch.full((2,), 5.0)  # as a moving average's hook may do
    message = r'epoch_1\.pth was not loaded: 1 of \d weights .* the first of them 0\.bias'
    with pytest.raises(ValueError, match=message):
        hook._check_loaded(runner, model)
