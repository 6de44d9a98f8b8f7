"""Writing a cache with a real recipe, and training with it as without."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from aekt_mm.engine import teacher_caching
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.models.teachers import CachedTeacher, LogitCache

pytestmark = pytest.mark.stack

RECIPE = Path(__file__).parents[2] / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'


@pytest.fixture
def recipe(tmp_path):
    """The digits recipe for two epochs, with a small teacher that is the same at every start."""
    cfg = Config.fromfile(RECIPE)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.launcher = 'none'
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 2
    cfg.param_scheduler.total_steps = 2
    cfg.default_hooks.checkpoint.interval = 2
    cfg.model.teacher.model.backbone.depth = 8
    runner = build_runner(cfg_without_teacher(cfg))
    torch.save(runner.model.student.state_dict(), tmp_path / 'teacher.pth')
    cfg.model.teacher.checkpoint = str(tmp_path / 'teacher.pth')
    return cfg


def cfg_without_teacher(cfg):
    cfg = cfg.copy()
    cfg.model = dict(cfg.model, student=cfg.model.teacher.model, teacher=None)
    return cfg


def content(folder):
    return (folder / 'logits.bin').read_bytes()


@pytest.mark.parametrize('precision', ['OptimWrapper', 'BFloat16OptimWrapper'])
def test_training_with_the_cache_is_training_with_the_teacher(recipe, tmp_path, precision):
    recipe.optim_wrapper.type = precision
    cache_teacher(recipe.copy(), tmp_path / 'cache', views=2, form='float32', k=1)
    states = []
    for teacher in (
        recipe.model.teacher,
        dict(type='CachedTeacher', cache=str(tmp_path / 'cache'), online=recipe.model.teacher),
    ):
        cfg = recipe.copy()
        cfg.model = dict(cfg.model, teacher=teacher)
        states.append(build_runner(cfg).train().state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_cache_is_of_the_classes_that_were_asked_for(recipe, tmp_path):
    recipe.model.teacher.classes = [9, 0, [3, 4]]
    recipe.model.student.head.num_classes = 3
    cache = cache_teacher(recipe.copy(), tmp_path / 'cache', views=1, form='float32', k=1)
    assert cache.classes == 3
    CachedTeacher(tmp_path / 'cache', online=recipe.model.teacher)
    with pytest.raises(ValueError, match=r'teacher\.classes\.0: the cache has 9, the run has 8'):
        other = dict(recipe.model.teacher, classes=[8, 0, [3, 4]])
        CachedTeacher(tmp_path / 'cache', online=other)
    recipe.model.teacher.pop('classes')
    with pytest.raises(ValueError, match=r'teacher\.classes: the cache has .*, the run has None'):
        CachedTeacher(tmp_path / 'cache', online=recipe.model.teacher)


def test_goes_on_after_a_kill(recipe, tmp_path, monkeypatch):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    cache_teacher(recipe.copy(), whole, views=2, form='float32', k=1)

    monkeypatch.setattr(teacher_caching, 'FLUSH_INTERVAL', 4)
    write, calls = LogitCache.write, []

    def killed(self, *batch):
        calls.append(batch)
        if len(calls) == 41:
            raise KeyboardInterrupt
        write(self, *batch)

    monkeypatch.setattr(LogitCache, 'write', killed)
    with pytest.raises(KeyboardInterrupt):
        cache_teacher(recipe.copy(), broken, views=2, form='float32', k=1)
    assert not LogitCache(broken).complete
    done = len(calls) - 1
    cache_teacher(recipe.copy(), broken, views=2, form='float32', k=1)
    batches = 2 * 29
    assert batches <= len(calls) - 1 <= batches + 4, f'{done} of {batches} before the kill'
    assert content(broken) == content(whole)


def test_a_folder_of_something_else_is_refused(recipe, tmp_path, capsys):
    cache_teacher(recipe.copy(), tmp_path / 'cache', views=1, form='float16', k=1)
    assert '1 views of 898 samples: 18.0 kB in' in capsys.readouterr().out  # 898 x 10 x 2 bytes
    with pytest.raises(ValueError, match='views: the cache has 1, the run has 2'):
        cache_teacher(recipe.copy(), tmp_path / 'cache', views=2, form='float16', k=1)


def test_dense_logits_serve_every_temperature(recipe, tmp_path):
    hotter = copy.deepcopy(recipe)
    hotter.model.losses.aekt.temperature = 2.0
    for form in ('float16', 'topk'):
        cache_teacher(recipe.copy(), tmp_path / form, views=1, form=form, k=2)
    before = content(tmp_path / 'float16')
    cache_teacher(hotter.copy(), tmp_path / 'float16', views=1, form='float16', k=2)
    assert content(tmp_path / 'float16') == before
    with pytest.raises(ValueError, match=r'temperature: the cache has 4\.0, the run has 2\.0'):
        cache_teacher(hotter, tmp_path / 'topk', views=1, form='topk', k=2)


@pytest.mark.parametrize(
    ('options', 'views', 'message'),
    [
        ({'model.teacher': None}, 1, 'no teacher of its own to cache'),
        ({}, 0, 'views must be a whole number of at least 1, but is 0'),
        ({'train_dataloader.sampler.type': 'DefaultSampler'}, 1, 'kept by views'),
    ],
)
def test_bad_input(recipe, tmp_path, options, views, message):
    recipe.merge_from_dict(options)
    with pytest.raises(ValueError, match=message):
        cache_teacher(recipe, tmp_path / 'cache', views=views, form='float16', k=1)
    assert not (tmp_path / 'cache').exists()
