"""A student that learns from the teacher's features."""

import copy
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

from aekt_mm.engine.launching import _image_size
from aekt_mm.models import LogitDistiller
from aekt_mm.models.losses import ATLoss, CRDLoss, FitNetLoss
from aekt_mm.structures import BatchSample

pytestmark = pytest.mark.stack

HINT = dict(
    student='backbone.layer2', teacher='backbone.layer2', loss=dict(type='FitNetLoss', weight=2.0)
)
STAGES = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
CRD = dict(
    student='neck',
    teacher='neck',
    loss=dict(type='CRDLoss', num_samples=50, dimensions=4, negatives=8),
)


def network(depth=8, width=4):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='CIFARResNet', depth=depth, stage_channels=(4, width, width, width)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=width),
    )


def distiller(features, **options):
    torch.manual_seed(0)
    teacher = options.pop(
        'teacher', dict(type='OnlineTeacher', model=network(14, 6), checkpoint=None)
    )
    return LogitDistiller(network(), teacher, features=features, **options)


def batch(n=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, 32, 32, generator=generator)
    samples = BatchSample(gt_label=torch.randint(5, (n,), generator=generator))
    samples.set_metainfo(dict(sample_idx=(torch.randperm(50, generator=generator)[:n]).numpy()))
    return images, samples


def test_losses_are_those_of_the_features():
    model = distiller(
        dict(hint=HINT, attention=dict(student=STAGES, teacher=STAGES, loss=dict(type='ATLoss'))),
        losses=dict(kd=dict(type='KDLoss')),
    ).eval()
    images, samples = batch()
    losses = model(images, samples, mode='loss')

    def stages(classifier):
        backbone = classifier.backbone
        found = [backbone.relu(backbone.bn1(backbone.conv1(images)))]
        for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
            found.append(stage(found[-1]))
        return found[1:]

    student = stages(model.student)
    with torch.no_grad():
        teacher = stages(model.teacher.model)
    hint = model.features['hint']
    projected = hint.bn(hint.conv(student[1])).relu()
    torch.testing.assert_close(losses['hint.loss'], 2 * (projected - teacher[1]).square().mean())
    torch.testing.assert_close(losses['attention.loss'], ATLoss()(student, teacher)['loss'])
    assert {'kd.loss', 'loss_ce'} < set(losses)


def test_features_alone_are_enough_and_follow_the_warm_up():
    model = distiller(dict(hint=HINT)).eval()
    full = model(*batch(), mode='loss')
    model.distill_weight.fill_(0.25)
    quarter = model(*batch(), mode='loss')
    torch.testing.assert_close(quarter['hint.loss'], full['hint.loss'] / 4)
    assert set(full) == {'loss_ce', 'hint.loss', 'student_top1', 'teacher_top1', 'agreement'}


@pytest.mark.parametrize('losses', [None, dict(dkd=dict(type='DKDLoss'))])
def test_the_student_starts_as_without_features(losses):
    plain = distiller(None, losses=dict(kd=dict(type='KDLoss'))).student.state_dict()
    for name, value in distiller(dict(hint=HINT), losses=losses).student.state_dict().items():
        assert torch.equal(value, plain[name]), name


@pytest.mark.parametrize('features', [dict(hint=HINT), dict(crd=CRD)], ids=['hint', 'crd'])
def test_projections_train_with_the_student(features):
    model = distiller(features)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = {name: value.clone() for name, value in model.features.named_parameters()}
    for seed in range(2):
        model.train()
        images, samples = batch(seed=seed)
        model.train_step(dict(inputs=images, data_samples=samples), optimizer)
    assert before
    for name, value in model.features.named_parameters():
        assert not torch.equal(value, before[name]), name
    kinds = {name.split('.')[0] for name in model.state_dict()}
    assert kinds == {'student', 'features'}
    assert not {id(p) for p in model.parameters()} & {id(p) for p in model.teacher.parameters()}


def test_nothing_is_kept_after_a_step_or_in_prediction():
    model = distiller(dict(hint=HINT))
    model(*batch(), mode='loss')
    model(batch()[0])
    assert [tap.features for tap in model.features.taps] == [None, None]


def test_under_amp():
    model = distiller(dict(hint=HINT, crd=CRD))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(*batch(), mode='loss')
    assert {losses[name].dtype for name in ('hint.loss', 'crd.loss')} == {torch.float32}
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_under_compile():
    features = dict(
        hint=HINT,
        relu=dict(
            student='backbone.layer3.-1.relu:input',
            teacher='backbone.layer3.-1.relu:input',
            loss=dict(type='ATLoss'),
        ),
    )
    model = distiller(features).eval()
    expected = model(*batch(), mode='loss')
    compiled = torch.compile(model, backend='eager')
    for _ in range(2):
        losses = compiled(*batch(), mode='loss')
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value)
    assert [tap.features for tap in model.features.taps] == [None, None]


def rank_trains(rank, store, queue):
    os.environ['OMP_NUM_THREADS'] = '1'
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    crd = dict(CRD, loss=dict(type='CRDLoss', dimensions=4, negatives=8))
    model = distiller(dict(hint=HINT, crd=crd))
    model = MMDistributedDataParallel(model, broadcast_buffers=False)
    torch.manual_seed(rank)
    model.module.features['crd'].set_num_samples(50)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(2):
        images, samples = batch(seed=10 * rank + step)
        model.train_step(dict(inputs=images, data_samples=samples), optimizer)
    state = {
        name: value
        for name, value in model.module.state_dict().items()
        if 'running' not in name and 'tracked' not in name
    }
    queue.put({name: value.double().sum().item() for name, value in state.items()})
    dist.barrier()
    dist.destroy_process_group()


def test_ranks_stay_the_same(tmp_path):
    """Projections by gradient exchange, CRD's memory since all remember the samples of all."""
    context = torch.multiprocessing.get_context('fork')
    queue = context.Queue()
    ranks = [
        context.Process(target=rank_trains, args=(rank, tmp_path / 'store', queue))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    first, second = queue.get(timeout=60), queue.get(timeout=60)
    for rank in ranks:
        rank.join(timeout=60)
    assert any('student_memory' in name for name in first)
    for name, value in first.items():
        assert second[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_without_a_teacher_it_predicts():
    model = distiller(dict(hint=HINT), teacher=None)
    assert model.features is None
    assert model(batch()[0]).shape == (6, 5)


def test_networks_of_other_origins():
    """A student of timm, a teacher of torchvision."""
    pytest.importorskip('timm', reason='timm is not installed')
    hint = dict(student='model.layer2', teacher='layer2', loss=dict(type='FitNetLoss'))
    review = dict(
        student=['model.layer4.-1.act2:input', 'model.global_pool'],
        teacher=['layer4.-1.relu:input', 'avgpool'],
        loss=dict(type='ReviewKDLoss'),
    )
    model = LogitDistiller(
        dict(type='TimmClassifier', model_name='resnet18', num_classes=5),
        teacher=dict(
            type='OnlineTeacher',
            model=dict(type='torchvision.models.resnet18', num_classes=5),
            checkpoint=None,
        ),
        features=dict(hint=hint, review=review),
    )
    losses = model(*batch(n=2), mode='loss')
    assert losses['hint.loss'].isfinite() and losses['review.loss'].isfinite()


AT = dict(type='ATLoss')
LAYERS = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
VIT = dict(
    type='ImageClassifier',
    backbone=dict(type='VisionTransformer', arch=LAYERS, img_size=32, patch_size=8),
    head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=16),
)
SWIN = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=8, depths=[1, 1], num_heads=[2, 2]),
        window_size=2,
        img_size=64,
        patch_size=4,
        out_indices=(1,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=16),
)


@pytest.mark.parametrize(
    ('student', 'path', 'size', 'shape'),
    [
        (VIT, 'backbone.layers.1', 32, (16, 4, 4)),
        (VIT, 'backbone.ln1:input', 32, (16, 4, 4)),
        (SWIN, 'backbone.stages.0', 64, (8, 16, 16)),
        (SWIN, 'backbone.stages.1:input', 64, (16, 8, 8)),
    ],
)
def test_tokens_are_laid_out_on_their_grid(student, path, size, shape):
    pair = dict(student=path, teacher='backbone.layer3', loss=AT)
    teacher = dict(type='OnlineTeacher', model=network(14), checkpoint=None)
    model = LogitDistiller(student, teacher, features=dict(at=pair), image_size=size).eval()
    assert model.features.shapes['at'][0] == shape
    tap = model.features.taps[0]
    channels, height, width = shape
    tokens = torch.arange(1 + height * width).float()[None, :, None].expand(2, -1, channels)
    tokens = tokens[:, 1 - (student is VIT) :]  # which has one of the class
    laid_out = tap.as_map(path, tokens)
    assert laid_out.shape == (2, *shape)
    assert laid_out[0, 0, 1, 0] - laid_out[0, 0, 0, 0] == width
    assert laid_out[0, 0, -1, -1] == height * width
    # where activations are large is what counts: with tokens in another order it is elsewhere
    other = torch.rand(2, 4, 8, 8)
    shuffled = tap.as_map(path, torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], dim=1))
    values = [ATLoss()(each, other)['loss'] for each in (laid_out, shuffled)]
    assert not torch.isclose(*values)


def test_a_copy_has_no_teacher_of_its_own():
    """A moving average, say, is of the student alone."""
    model = distiller(dict(hint=HINT))
    copied = copy.deepcopy(model)
    assert copied.teacher is model.teacher
    for tap in copied.features.taps:
        assert not any(isinstance(value, nn.Module) for value in vars(tap).values())


def test_tokens_of_an_unknown_grid_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), nn.Flatten(), nn.Linear(256, 5))
    teacher = dict(type='OnlineTeacher', model=model, checkpoint=None)
    pair = dict(student='backbone.layer3', teacher='1', loss=AT)
    with pytest.raises(ValueError, match=r"but '1' of the teacher gives tokens \(16, 16\), and"):
        distiller(dict(at=pair), teacher=teacher)
    with pytest.raises(ValueError, match=r'ATLoss compares maps \(C, H, W\), not \(4,\)'):
        distiller(dict(at=dict(student='neck', teacher='neck', loss=AT)))


def test_channels_that_come_last():
    torchvision = pytest.importorskip('torchvision')
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5)
    teacher = dict(type='OnlineTeacher', model=swin, checkpoint=None)
    pair = dict(student='backbone.layer2', teacher='features.1', loss=AT)
    model = distiller(dict(at=pair), teacher=teacher)
    assert model.features.shapes['at'] == [(4, 16, 16), (8, 8, 8)]


def test_pairs_are_made_for_the_size_of_the_images():
    """At 32 pixels a map is as large as the other, at 64 half as large, or the other way round."""
    narrow = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.AdaptiveAvgPool2d(8), nn.Flatten())
    narrow = nn.Sequential(*narrow, nn.Linear(256, 5))
    teacher = dict(type='OnlineTeacher', model=narrow, checkpoint=None)
    pair = dict(student='backbone.layer3', teacher='1', loss=dict(type='FitNetLoss'))
    images, samples = torch.rand(6, 3, 64, 64), batch()[1]
    assert distiller(dict(hint=pair), teacher=teacher, image_size=64)(images, samples, mode='loss')
    said = r'hint was made for images of 32 pixels.* set model\.image_size'
    with pytest.raises(ValueError, match=said):
        distiller(dict(hint=pair), teacher=teacher)(images, samples, mode='loss')
    with pytest.raises(ValueError, match=r'hint, of images of 8 pixels: FitNetLoss can.t bring'):
        distiller(dict(hint=pair), teacher=teacher, image_size=8)


@pytest.mark.parametrize(
    ('dataset', 'size'),
    [
        (dict(type='Digits', split='train'), 8),
        (dict(type='HeldOut', part='fit', dataset=dict(type='Digits', split='train')), 8),
        (dict(type='CIFAR100Arrays', data_root='absent', split='train'), None),
        (dict(type='CropDataset', scale=96, dataset=dict(type='ImageNet')), 96),
        (dict(type='ViewDataset', dataset=dict(pipeline=[dict(type='X', scale=(64, 64))])), 64),
        (dict(type='CustomDataset', pipeline=[dict(type='LoadImageFromFile')]), None),
    ],
)
def test_the_tools_take_the_size_from_the_data(dataset, size):
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), default_scope='aekt_mm'))
    assert _image_size(cfg) == size


def test_modules_as_losses():
    losses = FitNetLoss(), CRDLoss(num_samples=50, dimensions=4, negatives=8)
    pairs = dict(hint=dict(HINT, loss=losses[0]), crd=dict(CRD, loss=losses[1]))
    model = distiller(pairs)
    assert model.features['hint'] is losses[0]
    assert isinstance(losses[0].conv, nn.Conv2d)


@pytest.mark.parametrize(
    ('features', 'options', 'message'),
    [
        (dict(hint=dict(HINT, student='layer2')), {}, "student has no module 'layer2': near it"),
        (dict(hint=dict(HINT, teacher='neck.x')), {}, "teacher has no module 'neck.x'"),
        (dict(hint=dict(student='neck')), {}, 'features.hint must say student, teacher and loss'),
        (dict(at=dict(HINT, student=STAGES)), {}, 'features.at must tap the student as often'),
        (
            dict(hint=HINT),
            dict(teacher=lambda inputs, data_samples: torch.zeros(len(inputs), 5)),
            'the teacher function has no features',
        ),
        (
            dict(kd=HINT),
            dict(losses=dict(kd=dict(type='KDLoss'))),
            "losses and features must differ in their names, but share {'kd'}",
        ),
    ],
)
def test_bad_input(features, options, message):
    with pytest.raises(ValueError, match=message):
        distiller(features, **options)


def test_a_checkpoint_resumes_with_its_projections(tmp_path):
    model = distiller(dict(hint=HINT, crd=CRD))
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    twin = distiller(dict(hint=HINT, crd=CRD))
    nn.init.zeros_(twin.features['hint'].conv.weight)
    twin.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True))
    for name, value in twin.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
