"""The examples of docs/en/extending are complete: they are written to files and run."""

import re
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from aekt_mm import recipes
from aekt_mm.analysis.predictions import predict
from aekt_mm.analysis.running import keep_teachers
from aekt_mm.analysis.runs import read_runs
from aekt_mm.engine import prepared_sets
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.prepared_sets import use_prepared
from aekt_mm.engine.publishing import publish_student
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.models.checkpoints import load_restricted
from aekt_mm.models.teachers import CachedTeacher
from aekt_mm.registry import DATASETS, EXPLICIT_TERMS, MODELS, build

ROOT = Path(__file__).parents[1]
PAGES = ROOT / 'docs' / 'en' / 'extending'
BLOCK = re.compile(r'^```(?:python|yaml)\n# (\S+)\n(.*?)^```', re.MULTILINE | re.DOTALL)


def examples(page):
    """The files of a page by path."""
    return dict(BLOCK.findall((PAGES / f'{page}.md').read_text(encoding='utf-8')))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the recipes with digits teachers (untrained) where they are looked for."""
    (tmp_path / 'configs').mkdir()
    for folder in ('vanilla', 'kd', 'dkd', 'aekt', '_base_'):
        for file in (ROOT / 'configs' / folder).rglob('*.py'):
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(file)
    network = Config.fromfile(ROOT / 'configs/vanilla/vanilla_resnet20_digits.py').model
    for run in ('vanilla_resnet20_digits', 'vanilla_resnet20_digits_1'):
        path = tmp_path / 'work_dirs' / run / 'epoch_20.pth'
        path.parent.mkdir(parents=True)
        torch.save({'state_dict': build(MODELS, network).state_dict()}, path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split('.')[0] == 'my_project']:
        del sys.modules[name]
    for registry in (MODELS, EXPLICIT_TERMS):
        for name, component in list(registry.module_dict.items()):
            if component.__module__.startswith('my_project.'):
                del registry.module_dict[name]


def write(checkout, files):
    for name, text in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def train(recipe, tmp_path):
    """Train a recipe for an epoch; return the runner and its checkpoint."""
    cfg = Config.fromfile(recipe)
    cfg.launcher, cfg.work_dir = 'none', str(tmp_path / 'run')
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    runner = build_runner(cfg)
    runner.train()
    return runner, tmp_path / 'run' / 'epoch_1.pth'


def scalar(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}').current()


def test_every_page_is_tried():
    pages = {path.stem for path in PAGES.glob('add_*.md')}
    assert pages == {
        'add_a_pair',
        'add_a_loss',
        'add_a_feature_loss',
        'add_a_transform',
        'add_a_connector',
        'add_an_explicit_term',
        'add_a_teacher',
    }
    for page in pages:
        text = (PAGES / f'{page}.md').read_text(encoding='utf-8')
        assert len(re.findall(r'^```(?:python|yaml)$', text, re.MULTILINE)) == len(examples(page))


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_a_pair(checkout, monkeypatch):
    files = examples('add_a_pair')
    write(checkout, files)
    recipe = 'my_project/aekt_resnet20_wrn-10-1_digits.py'
    assert len(files[recipe].splitlines()) <= 5
    runner, checkpoint = train(recipe, checkout)
    assert type(runner.model.student.backbone).__name__ == 'CIFARWideResNet'
    assert publish_student(recipe, checkpoint, checkout / 'out')

    assert len(files['configs/_base_/pairs/resnet110_vgg8_cifar100.py'].splitlines()) <= 5
    cfg = Config.fromfile(checkout / 'configs/dkd/dkd_resnet110_vgg8_cifar100.py')
    cfg.model.teacher.checkpoint = None
    init_default_scope(cfg.default_scope)
    distiller = build(MODELS, cfg.model)
    assert distiller.student.backbone.__class__.__name__ == 'CIFARVGG'
    assert distiller.losses.dkd.beta == 6.0

    # the pair's file alone is enough for every method by name
    (checkout / 'configs/dkd/dkd_resnet110_vgg8_cifar100.py').unlink()
    monkeypatch.setattr(recipes, 'CONFIGS', checkout / 'configs')
    composed = recipes.compose('dkd_resnet110_vgg8_cifar100')
    composed.model.teacher.checkpoint = None
    assert composed.model == cfg.model
    assert composed.param_scheduler == cfg.param_scheduler
    name = 'aekt_mm::nkd/nkd_resnet110_vgg8_cifar100.py'
    composed = Config.fromfile(recipes.find_recipe(name))
    assert (composed.model.losses.nkd.type, composed.train_cfg.max_epochs) == ('NKDLoss', 240)

    cfg = Config.fromfile(checkout / 'my_project/kd_short.yaml')
    assert cfg.train_cfg.max_epochs == 10
    assert cfg.model.losses.kd.type == 'KDLoss'


def test_a_loss(checkout):
    write(checkout, examples('add_a_loss'))
    runner, _ = train('my_project/margin_digits.py', checkout)
    assert type(runner.model.losses.margin).__name__ == 'MarginLoss'
    assert scalar(runner, 'margin.loss_margin') > 0
    loss = runner.model.losses.margin
    terms = loss.terms(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([0.5]))
    assert terms['loss_margin'].item() == pytest.approx(0.4)


def test_a_loss_on_whole_logits(checkout):
    write(checkout, examples('add_a_loss'))
    runner, _ = train('my_project/top_digits.py', checkout)
    loss = runner.model.losses.top
    assert type(loss).__name__ == 'TopLoss'
    assert scalar(runner, 'top.loss_top') > 0
    student, teacher = torch.tensor([[1.0, 0.0, 9.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    loss.k = 2
    assert loss(student, teacher, torch.tensor([0]))['loss_top'].item() == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_a_feature_loss(checkout):
    write(checkout, examples('add_a_feature_loss'))
    recipe = 'my_project/channel_digits.py'
    runner, checkpoint = train(recipe, checkout)
    assert type(runner.model.features['channels']).__name__ == 'ChannelLoss'
    assert scalar(runner, 'channels.loss') > 0
    assert any('features.channels.linear' in k for k in load_restricted(checkpoint)['state_dict'])
    config, weights = publish_student(recipe, checkpoint, checkout / 'out')[1::-1]
    published = torch.load(weights, weights_only=True)['state_dict']
    assert {name.split('.')[0] for name in published} == {'backbone', 'head'}
    assert 'my_project' not in config.read_text()


def test_a_transform(checkout):
    write(checkout, examples('add_a_transform'))
    runner, _ = train('my_project/unit_range_digits.py', checkout)
    transform = runner.model.losses.dkd.transform
    assert type(transform).__name__ == 'UnitRange'
    logits = torch.tensor([[1.0, 2.0, 6.0]])
    torch.testing.assert_close(transform(logits), torch.tensor([[-2 / 3, -1 / 3, 1.0]]))
    torch.testing.assert_close(transform(5 * logits), transform(logits))


def test_a_method_is_a_page_of_code():
    """What is new with its recipe, under forty lines."""
    for page, first in (
        ('add_a_loss', 'my_project/margin'),
        ('add_a_loss', 'my_project/top'),
        ('add_a_feature_loss', 'my_project/channel'),
        ('add_a_transform', 'my_project/unit_range'),
    ):
        files = [text for name, text in examples(page).items() if name.startswith(first)]
        assert len(files) == 2
        assert sum(len(text.splitlines()) + 1 for text in files) < 40


@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_a_connector(checkout):
    write(checkout, examples('add_a_connector'))
    recipe = 'my_project/class_scale_digits.py'
    runner, checkpoint = train(recipe, checkout)
    scale = runner.model.connector.scale
    assert not torch.equal(scale, torch.ones_like(scale))
    config, weights = publish_student(recipe, checkpoint, checkout / 'out')[1::-1]
    published = torch.load(weights, weights_only=True)['state_dict']['head.fc.weight']
    expected = scale[:, None] * runner.model.student.head.fc.weight
    torch.testing.assert_close(published, expected.detach().cpu())
    assert 'my_project' not in config.read_text()


def test_an_explicit_term(checkout):
    write(checkout, examples('add_an_explicit_term'))
    runner, _ = train('my_project/catch_up_digits.py', checkout)
    term = runner.model.losses.aekt.explicit
    assert type(term).__name__ == 'CatchUp'
    student, teacher = torch.tensor([0.0, 2.0, -9.0]), torch.tensor([1.0, 1.0, 1.0])
    torch.testing.assert_close(term(student, teacher), torch.tensor([0.5, 0.0, 4.5]))


def test_a_teacher(checkout):
    write(checkout, examples('add_a_teacher'))
    runner, checkpoint = train('my_project/ensemble_digits.py', checkout)
    teacher = runner.model.teacher
    assert len(teacher.teachers) == 2
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(member.training for member in teacher.teachers)
    assert not any('teacher' in name for name in load_restricted(checkpoint)['state_dict'])
    images = torch.rand(3, 3, 8, 8)
    expected = torch.stack([member(images) for member in teacher.teachers]).mean(0)
    torch.testing.assert_close(teacher(images), expected)

    # in a report, and in a study: its logits of the test set, and a cache
    run = read_runs([str(checkout / 'run')])[0]
    found = predict([run]).teachers['run']
    arms = {'ensemble': run.cfg}
    kept = keep_teachers(arms, ['ensemble'], checkout)['ensemble']
    torch.testing.assert_close(torch.from_numpy(np.load(kept)['logits']), found)
    assert found.std() > 0
    online = run.cfg.model.teacher
    cache_teacher(run.cfg.copy(), checkout / 'cache', views=1, form='float16', k=1)
    CachedTeacher(checkout / 'cache', online=online)
    other = online.copy()
    other.teachers = online.teachers[:1]
    with pytest.raises(ValueError, match=r'does not belong to this run: make it anew'):
        CachedTeacher(checkout / 'cache', online=other)


def test_images_prepared_and_decoded_to_size(checkout, monkeypatch):
    for package in ('pyarrow', 'simplejpeg'):
        pytest.importorskip(package)
    write(checkout, examples('../images'))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 300, 400, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        mmcv.imwrite(image, str(checkout / f'data/flowers/kind_{index % 3}/{index}.jpg'))
    cfg = Config.fromfile(checkout / 'my_project/aekt_r34_r18_imagenet_fast.py')
    init_default_scope(cfg.default_scope)
    flowers = dict(type='CustomDataset', data_root='data/flowers')
    for name in ('train', 'val'):
        prepare_images(build(DATASETS, flowers), checkout / 'sets' / name, workers=0)
    # flowers stand for ImageNet here
    monkeypatch.setattr(prepared_sets, 'check_source', lambda *_: None)
    use_prepared(cfg, 'sets')
    cfg.train_dataloader.update(batch_size=6, num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batch = next(iter(loader))
    assert batch['inputs'].shape == (6, 224, 224, 3)
    prepared = build(MODELS, cfg.data_preprocessor)(batch, training=True)
    assert prepared['inputs'].shape == (6, 3, 224, 224)
    assert build(DATASETS, cfg.val_dataloader.dataset)[0]['inputs'].shape == (3, 224, 224)


@pytest.mark.parametrize('recipe', ['flowers', 'flowers_in_memory'])
def test_views_of_the_users_own(checkout, recipe):
    write(checkout, examples('../views'))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 40, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        mmcv.imwrite(image, str(checkout / f'data/flowers/kind_{index % 3}/{index}.jpg'))
    cfg = Config.fromfile(checkout / f'my_project/{recipe}.py')
    torch.save(MODELS.build(dict(cfg.classifier)).state_dict(), 'flowers_teacher.pth')
    cfg.train_dataloader.persistent_workers = False

    def trained(name):
        run = cfg.copy()
        run.work_dir, run.launcher, run.experiment_name = str(checkout / name), 'none', name
        run.custom_imports = None  # as it is here; a registry takes no name twice
        return run

    cache = cache_teacher(trained('cache'), checkout / 'logits', views=2, form='float32', k=1)
    assert cache.complete
    online = Runner.from_cfg(trained('online')).train()
    cached = trained('cached')
    cached.model.teacher = dict(type='CachedTeacher', cache=str(checkout / 'logits'))
    cached = Runner.from_cfg(cached).train()
    for (name, expected), value in zip(online.state_dict().items(), cached.state_dict().values()):
        assert torch.equal(value, expected), name
