"""From a command line to a config that is known to be right."""

import argparse
import copy
import json
import runpy
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch._dynamo.utils import counters

from aekt_mm.engine import launching
from aekt_mm.engine.checkpoints import RUN_STATE
from aekt_mm.engine.config_check import check_config
from aekt_mm.engine.launching import (
    add_shared_arguments,
    build_runner,
    check_effects,
    check_files,
    check_option,
    load_config,
    override,
    resume_point,
)
from aekt_mm.engine.prepared_sets import image_sets, origin

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
AEKT = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
TEACHER = ROOT / 'configs/vanilla/vanilla_resnet20_digits.py'


def parse(config, *options):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_shared_arguments(parser)
    return load_config(parser.parse_args([str(config), *options]))


#: What an option may be.
A_DICT = dict(type='A', b=[1])


@pytest.mark.parametrize(
    ('option', 'place', 'value'),
    [
        ('model.losses.aekt.beta=3.5', lambda cfg: cfg.model.losses.aekt.beta, 3.5),
        # at its default in the config
        (
            'model.losses.aekt.explicit.base=log',
            lambda cfg: cfg.model.losses.aekt.explicit.base,
            'log',
        ),
        ('work_dir=my runs', lambda cfg: cfg.work_dir, 'my runs'),
        ("model.connector=dict(type='A', b=[1])", lambda cfg: cfg.model.connector, A_DICT),
        ('test_pipeline.1.scale=(9,9)', lambda cfg: cfg.test_pipeline[1].scale, (9, 9)),
        (
            'train_dataloader.sampler.num_views=4',
            lambda cfg: cfg.train_dataloader.sampler.num_views,
            4,
        ),
        ('model.connector=None', lambda cfg: cfg.model.connector, None),
        (
            'optim_wrapper.optimizer.nesterov=True',
            lambda cfg: cfg.optim_wrapper.optimizer.nesterov,
            True,
        ),
    ],
)
def test_options_override(option, place, value):
    assert place(parse(AEKT, '--cfg-options', option)) == value


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.losses.aekt.beta', "the config has no 'modle'; did you mean model?"),
        ('model.loses.aekt.beta', "model has no 'loses'; did you mean losses?"),
        ('model.losses.dkd.beta', "model.losses has no 'dkd'; it has aekt"),
        ('optim_wraper', "the config has no 'optim_wraper'; did you mean optim_wrapper?"),
        ('test_pipeline.7.scale', "test_pipeline has no '7'; it has 0, 1, 2"),
        ('model.losses.aekt.beta.value', 'model.losses.aekt.beta is 0.5, without parts'),
    ],
)
def test_misspelt_options_are_refused(option, message):
    with pytest.raises(ValueError) as error:
        check_option(Config.fromfile(AEKT), option)
    assert str(error.value) == f'--cfg-options {option}: {message}'


def test_a_part_that_is_none_is_filled_by_its_parts():
    cfg = Config(dict(model=dict(connector=None, losses=[dict(alpha=None)])))
    override(
        cfg,
        {
            'model.connector.type': 'TaskSerializationFC',
            'model.connector.order': 'classify_then_distill',
            'model.losses.0.alpha': 4.0,
        },
    )
    assert cfg.model.connector == dict(type='TaskSerializationFC', order='classify_then_distill')
    assert cfg.model.losses == [dict(alpha=4.0)]


@pytest.mark.parametrize('before', [dict(type='RatioWeighted', max_weight=2.0), None, 'a word'])
def test_a_mapping_takes_the_place_of_what_is_there(before):
    cfg = Config(dict(model=dict(explicit=before)))
    override(cfg, {'model.explicit': dict(type='TargetKL'), 'model.other': dict(type='New')})
    assert cfg.to_dict() == dict(model=dict(explicit=dict(type='TargetKL'), other=dict(type='New')))


def test_options_are_set_one_after_the_other():
    cfg = Config(dict(model=dict(head=dict(type='LinearClsHead'))))
    loss, weight = 'model.head.loss', 'model.head.loss.loss_weight'
    with pytest.raises(ValueError, match="has no 'loss'"):
        override(cfg, {weight: 5.0, loss: dict(type='CrossEntropyLoss')})
    override(cfg, {loss: dict(type='CrossEntropyLoss'), weight: 5.0})
    assert cfg.model.head.loss == dict(type='CrossEntropyLoss', loss_weight=5.0)


def test_a_weight_of_the_heads_loss_is_the_labels():
    """Committed studies say it so, beside methods that have a weight of their own."""
    head = 'model.student.head.loss'
    kd = dict(label_weight=0.1, student=dict(head=dict(type='LinearClsHead')))
    for options, weight, loss in (
        ({head: dict(type='LabelSmoothLoss', loss_weight=5.0)}, 5.0, dict(type='LabelSmoothLoss')),
        ({f'{head}.loss_weight': 1.0}, 1.0, None),
        ({head: dict(type='LabelSmoothLoss')}, 0.1, dict(type='LabelSmoothLoss')),
        ({'model.label_weight': 2.0, head: dict(loss_weight=1.0)}, 2.0, dict(loss_weight=1.0)),
    ):
        cfg = Config(dict(model=copy.deepcopy(kd)))
        override(cfg, options)
        assert (cfg.model.label_weight, cfg.model.student.head.get('loss')) == (weight, loss)
    dkd = Config(dict(model=dict(student=dict(head=dict(type='LinearClsHead')))))
    override(dkd, {head: dict(type='CrossEntropyLoss', loss_weight=5.0)})
    assert dkd.model.student.head.loss.loss_weight == 5.0
    assert 'label_weight' not in dkd.model


def test_schedules_that_ended_with_the_run_end_with_it_still():
    warm_up = dict(type='LinearLR', begin=0, end=2)
    schedule = [warm_up, dict(type='CosineAnnealingLR', T_max=8, begin=2, end=8)]
    cfg = Config(dict(train_cfg=dict(max_epochs=8), param_scheduler=schedule))
    override(cfg, {'train_cfg.max_epochs': 20})
    assert cfg.param_scheduler == [
        warm_up,
        dict(type='CosineAnnealingLR', T_max=20, begin=2, end=20),
    ]
    override(cfg, {'train_cfg.max_epochs': 30, 'param_scheduler.1.end': 25})
    assert cfg.param_scheduler[1] == dict(type='CosineAnnealingLR', T_max=30, begin=2, end=25)


def test_the_rate_and_the_peak_of_one_cycle_stay_one():
    lr, peak = 'optim_wrapper.optimizer.lr', 'param_scheduler.eta_max'
    optimizer = dict(type='AdamW', lr=0.01)
    for options, expected in (
        ({lr: 0.01}, (0.01, 0.01)),
        ({peak: 0.01}, (0.01, 0.01)),
        ({'optim_wrapper.optimizer': optimizer}, (0.01, 0.01)),
        ({'optim_wrapper.optimizer.momentum': 0.8}, (0.05, 0.05)),
        ({'param_scheduler': dict(type='StepLR', step_size=3), lr: 0.01}, (0.01, None)),
    ):
        cfg = Config.fromfile(AEKT)
        override(cfg, options)
        assert (cfg.optim_wrapper.optimizer.lr, cfg.param_scheduler.get('eta_max')) == expected
    override(cfg := Config.fromfile(AEKT), {lr: 0.05, peak: 0.01})
    with pytest.raises(ValueError) as refused:
        check_config(cfg)
    assert str(refused.value) == (
        'optim_wrapper.optimizer.lr is 0.05, but the rate under OneCycleLR is that of '
        'param_scheduler.eta_max, which is 0.01: set both to the same'
    )


@pytest.mark.parametrize(
    ('option', 'flags', 'beside'),
    [
        ('randomness.seed=3', ['--seed', '4'], 'beside --seed: leave one of them out'),
        ('randomness.deterministic=False', ['--deterministic'], 'beside --deterministic'),
        ('val_dataloader.batch_size=8', ['--no-validate'], 'beside --no-validate'),
        ('train_cfg.val_interval=2', ['--no-validate'], 'without validation, which is off'),
        ('work_dir=here', ['--work-dir', 'there'], 'beside --work-dir'),
        ('optim_wrapper.type=OptimWrapper', ['--amp'], 'beside --amp'),
        ('auto_scale_lr.base_batch_size=8', [], 'without --auto-scale-lr'),
        ('auto_scale_lr.enable=False', ['--auto-scale-lr'], 'beside --auto-scale-lr'),
        ('val_dataloader.dataset.split=train', ['--hold-out', '0.1'], 'beside --hold-out'),
        ('model.student.data_preprocessor=None', [], 'beside data_preprocessor'),
        # what stays as it was asked for
        ('randomness.seed=4', ['--seed', '4'], None),
        ('train_dataloader.dataset.split=train', ['--hold-out', '0.1'], None),
        ('model.teacher.type=OnlineTeacher', ['--cached-teacher', 'here'], None),
        ('train_cfg.val_interval=2', [], None),
    ],
)
def test_an_option_that_something_else_overrides_is_refused(option, flags, beside, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    train = runpy.run_path(str(ROOT / 'tools/train.py'), run_name='tool')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(AEKT), *flags, '--cfg-options', option])

    def ready():
        args = train['parse_args']()
        cfg = load_config(args)
        train['configure'](cfg, args)
        check_effects(cfg, args.cfg_options)

    if beside is None:
        ready()
        return
    with pytest.raises(ValueError) as refused:
        ready()
    assert f'--cfg-options {option.partition("=")[0]} has no effect {beside}' in str(refused.value)


@pytest.mark.parametrize('randomness', ['None', 'dict(_delete_=True)'])
def test_a_config_without_randomness(randomness, tmp_path):
    (tmp_path / 'a.py').write_text(f'_base_ = {str(AEKT)!r}\nrandomness = {randomness}\n')
    assert parse(tmp_path / 'a.py').randomness == dict(seed=None)


def test_a_missing_config():
    with pytest.raises(FileNotFoundError, match=r'there is no config nowhere\.py'):
        parse('nowhere.py')


def test_work_dir_and_loaders(monkeypatch):
    assert parse(AEKT).work_dir == f'./work_dirs/{AEKT.stem}'
    with pytest.raises(ValueError, match='--launcher slurm: SLURM_PROCID is not in the environ'):
        parse(AEKT, '--launcher', 'slurm')
    monkeypatch.setenv('RANK', '0')
    cfg = parse(AEKT, '--work-dir', 'elsewhere', '--launcher', 'pytorch')
    assert (cfg.work_dir, cfg.launcher) == ('elsewhere', 'pytorch')
    assert cfg.train_dataloader.collate_fn.type == 'whole_batch'
    assert cfg.train_dataloader.pin_memory == torch.cuda.is_available()
    assert not parse(AEKT, '--no-pin-memory').train_dataloader.pin_memory


def test_missing_data_is_named_with_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaders = ('train_dataloader', 'val_dataloader')
    for name, kind, folder, source, place in (
        ('r18_imagenet', 'ImageNet', 'imagenet', 'image-net.org', 'dataset.dataset'),
        ('resnet8_cifar100', 'CIFAR100Arrays', 'cifar100', 'cifar-100-python.tar.gz', 'dataset'),
    ):
        cfg = parse(ROOT / f'configs/vanilla/vanilla_{name}.py')
        folder = f'data/{folder}'
        with pytest.raises(FileNotFoundError) as error:
            check_files(cfg, *loaders)
        place = f'train_dataloader.{place}.data_root'
        for part in (f'{kind} was looked for in {folder}, which', source, f'set {place}'):
            assert part in str(error.value)
        Path(folder).mkdir(parents=True)
        check_files(cfg, *loaders)


def test_a_missing_teacher_is_named_with_what_trains_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = parse(AEKT)
    checkpoint = Path(cfg.model.teacher.checkpoint)
    with pytest.raises(FileNotFoundError) as error:
        check_files(cfg)
    assert f'looked for in {checkpoint}' in str(error.value)
    assert f'train it with tools/train.py {TEACHER}' in str(error.value)

    for absent in ('mine/teacher.pth', Path('mine/teacher.pth')):
        cfg.model.teacher.checkpoint = absent
        with pytest.raises(FileNotFoundError) as error:
            check_files(cfg)
        assert 'looked for in mine/teacher.pth' in str(error.value)
        assert 'train it' not in str(error.value)

    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    for there in (
        checkpoint,
        str(checkpoint),
        'torchvision://resnet34',
        'https://host/teacher.pth',
        None,
    ):
        cfg.model.teacher.checkpoint = there
        check_files(cfg)
    cfg.model.teacher = None
    check_files(cfg)


def test_where_a_run_continues(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), resume=False, load_from='start.pth', model={}))
    resume_point(cfg, None)
    resume_point(cfg, 'auto')  # nothing there
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')

    torch.save(dict.fromkeys(RUN_STATE), tmp_path / 'epoch_1.pth')
    resume_point(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'epoch_1.pth'))

    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint absent\.pth'):
        resume_point(cfg, 'absent.pth')


class OtherRunner(Runner):
    """Registered by the test below."""


def test_a_runner_of_the_users_own(digits_recipe):
    from mmengine.registry import RUNNERS

    assert type(build_runner(digits_recipe.copy())) is Runner
    RUNNERS.register_module(module=OtherRunner, force=True)
    try:
        digits_recipe.runner_type = 'OtherRunner'
        assert type(build_runner(digits_recipe)) is OtherRunner
    finally:
        RUNNERS.module_dict.pop('OtherRunner')


def test_accumulated_gradients_are_minded():
    """MMEngine counts batches, where a step is of four."""
    said = []
    runner = SimpleNamespace(
        auto_scale_lr=dict(enable=True, base_batch_size=64),
        hooks=[EMAHook(), EMAHook(interval=4)],
        logger=SimpleNamespace(info=lambda text: None, warning=said.append),
        param_schedulers=None,
        world_size=1,
        _train_dataloader=dict(batch_size=32),
    )
    launching._count_steps(runner, 4)
    optimizer = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1))
    Runner.scale_lr(runner, optimizer, runner.auto_scale_lr)
    assert optimizer.get_lr() == {'lr': [pytest.approx(0.1 * 4 * 32 / 64)]}
    assert said == [
        'EMAHook averages after every batch, 4 times a step (accumulative_counts): with interval=4 '
        'it would once'
    ]


@pytest.mark.parametrize(
    'option', ['load_from', 'find_unused_parameters', 'compile.mode', 'sync_bn', 'experiment_name']
)
def test_what_the_runner_asks_for_may_be_new(option):
    check_option(Config(dict(model={})), option)


def test_a_compiled_run_learns_the_same(digits_recipe):
    digits_recipe.train_dataloader.batch_size = 256  # six steps round no further apart
    weights = []
    for compiled in (False, dict(backend='aot_eager')):
        cfg = digits_recipe.copy()
        cfg.compile = compiled
        cfg.experiment_name += f'_{bool(compiled)}'
        cfg.work_dir += f'_{bool(compiled)}'
        torch.compiler.reset()
        counters.clear()
        weights.append(build_runner(cfg).train().state_dict())
    # nothing was compiled anew when the learning rate changed
    assert 1 <= counters['stats']['unique_graphs'] <= 12, counters['stats']  # else 17
    for (name, expected), value in zip(weights[0].items(), weights[1].values()):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5, msg=name)


def test_images_from_prepared_sets(tmp_path):
    recipe = ROOT / 'configs/vanilla/vanilla_r18_imagenet.py'
    with pytest.raises(FileNotFoundError, match='the prepared set train was looked for in'):
        parse(recipe, '--prepared', str(tmp_path))
    for name, images in image_sets(parse(recipe)).items():
        (tmp_path / name).mkdir()
        manifest = json.dumps(dict(version=1, origin=origin(images)))
        (tmp_path / name / 'manifest.json').write_text(manifest)
    cfg = parse(recipe, '--prepared', str(tmp_path))
    assert cfg.train_dataloader.dataset.dataset.type == 'aekt_mm.PreparedImages'
    assert cfg.val_dataloader.dataset.data_root == str(tmp_path / 'val')
    check_files(cfg, 'train_dataloader', 'val_dataloader')
    assert parse(recipe).val_dataloader.dataset.type == 'ImageNet'


@pytest.mark.parametrize(
    ('launcher', 'variable', 'script'),
    [
        ('slurm', 'SLURM_PROCID', 'tools/slurm_train.sh'),
        ('pytorch', 'RANK', 'tools/dist_train.sh'),
        ('mpi', 'OMPI_COMM_WORLD_RANK', 'mpirun'),
    ],
)
def test_a_launcher_that_has_not_launched(launcher, variable, script, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    message = f'--launcher {launcher}: .*{variable} is not set in its environment: use {script}'
    with pytest.raises(ValueError, match=message):
        build_runner(Config(dict(launcher=launcher)))


def test_timm_without_a_network_looks_into_its_cache_alone(monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')

    def unknown(*_):
        raise socket.gaierror(-2, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    monkeypatch.setattr(launching, 'getproxies', dict)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    said = []
    monkeypatch.setattr(launching, 'print_log', lambda text, *_, **__: said.append(text))
    student = dict(type='TimmClassifier', model_name='resnet18', pretrained=False)
    check_files(Config(dict(model=dict(student=student))))
    assert not constants.HF_HUB_OFFLINE
    student['pretrained'] = True
    monkeypatch.setattr(launching, 'getproxies', lambda: dict(https='proxy'))
    check_files(Config(dict(model=dict(student=student))))
    assert not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(launching, 'getproxies', dict)
    check_files(Config(dict(model=dict(student=student))))
    assert constants.HF_HUB_OFFLINE
    assert "is not known here: timm's weights (pretrained=True)" in said[0]
