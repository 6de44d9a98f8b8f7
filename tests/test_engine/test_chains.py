"""A student that was published teaches the next: from its files, as a model, and as a cache."""

import mmpretrain
import pytest
import torch
from mmengine.config import Config

from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.publishing import publish_student
from aekt_mm.engine.teacher_caching import cache_teacher
from aekt_mm.models import CachedTeacher, LogitDistiller, OnlineTeacher
from aekt_mm.models.teachers import teacher_identity

pytestmark = pytest.mark.stack


def train(cfg, name, teacher):
    """Train the recipe with a teacher for an epoch of one step; return its model."""
    cfg = cfg.copy()
    cfg.model.teacher = teacher
    cfg.work_dir, cfg.experiment_name = f'{cfg.work_dir}/{name}', f'{cfg.experiment_name}_{name}'
    runner = build_runner(cfg)
    runner.train()
    return runner.model.eval()


@pytest.mark.slow
@pytest.mark.usefixtures('loading_alone_is_tested_elsewhere')
def test_teacher_assistant_student(digits_recipe, tmp_path):
    cfg = digits_recipe
    cfg.train_dataloader.batch_size = 898
    cfg.train_cfg.max_epochs = 1
    for part in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[part] = None
    # as no other channel is: what is swapped is seen
    cfg.data_preprocessor.update(mean=[10.0, 80.0, 150.0], std=[50.0, 100.0, 200.0])
    cfg.dump(tmp_path / 'recipe.py')

    distiller = train(cfg, 'assistant', cfg.model.teacher)
    publish_student(tmp_path / 'recipe.py', f'{cfg.work_dir}/assistant/epoch_1.pth', tmp_path / 'a')
    files = [str(tmp_path / 'a' / name) for name in ('student.py', 'student.pth')]
    assistant = mmpretrain.get_model(files[0], pretrained=files[1])

    rgb = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    images = (rgb - distiller.data_preprocessor.mean) / distiller.data_preprocessor.std
    with torch.no_grad():
        expected = distiller(images)
        bgr = assistant.data_preprocessor(dict(inputs=rgb.flip(1)))['inputs']  # as from a file
        torch.testing.assert_close(assistant(bgr), expected, rtol=1e-4, atol=1e-4)

    from_files = dict(type='OnlineTeacher', model=files[0], checkpoint=files[1])
    online = train(cfg, 'online', from_files)
    in_memory = LogitDistiller(
        **{key: value for key, value in cfg.model.items() if key not in ('type', 'teacher')},
        teacher=OnlineTeacher(assistant, checkpoint=None),
        data_preprocessor=cfg.data_preprocessor,
    )
    for student in (online, in_memory):
        assert not student.teacher.adapter.swap_channels
        torch.testing.assert_close(student.teacher(images), expected, rtol=1e-4, atol=1e-4)

    run = cfg.copy()
    run.model.teacher = from_files
    run.work_dir, run.experiment_name = str(tmp_path / 'c'), f'{cfg.experiment_name}_cache'
    cache_teacher(run, tmp_path / 'cache', views=1, form='float32', k=1)
    cached = train(cfg, 'cached', dict(type='CachedTeacher', cache=str(tmp_path / 'cache')))
    for name, value in online.state_dict().items():
        torch.testing.assert_close(cached.state_dict()[name], value, msg=name)

    # the same files elsewhere are the same teacher; another normalisation is another
    (tmp_path / 'b').mkdir()
    moved = [str(tmp_path / 'b' / name) for name in ('student.py', 'student.pth')]
    for source, target in zip(files, moved):
        (tmp_path / target).write_bytes((tmp_path / source).read_bytes())
    definition = (tmp_path / 'a/cifar_resnet.py').read_text()
    (tmp_path / 'b/cifar_resnet.py').write_text(definition)
    elsewhere = dict(from_files, model=moved[0], checkpoint=moved[1])
    assert teacher_identity(elsewhere) == teacher_identity(from_files)
    CachedTeacher(tmp_path / 'cache', online=elsewhere)
    text = (tmp_path / 'b/student.py').read_text()
    (tmp_path / 'b/student.py').write_text(text.replace('150.0', '151.0'))
    with pytest.raises(ValueError, match=r'mean\.2: the cache has 150\.0, the run has 151\.0'):
        CachedTeacher(tmp_path / 'cache', online=elsewhere)
    (tmp_path / 'b/student.py').write_text(text.replace('to_rgb=True', 'to_rgb=False'))
    with pytest.raises(ValueError, match=r"channel_order: the cache has 'RGB', the run has 'BGR'"):
        CachedTeacher(tmp_path / 'cache', online=elsewhere)


def test_what_a_cache_is_of_says_what_the_teacher_takes_images_for():
    network = dict(type='torchvision.models.resnet18')
    plain = teacher_identity(dict(type='OnlineTeacher', model=network))
    assert plain['channel_order'] is None  # as caches from before have it
    assert teacher_identity(dict(model=network, channel_order='RGB'))['channel_order'] is None
    assert teacher_identity(dict(model=network, channel_order='BGR'))['channel_order'] == 'BGR'
    # these may have been swapped without need once: such a cache is not taken for one of today
    own = dict(mean=[1.0] * 3, std=[2.0] * 3)
    for options in (
        dict(data_preprocessor=own),
        dict(model=Config(dict(m=dict(network, data_preprocessor=own))).m),
    ):
        assert teacher_identity({'model': network, **options})['channel_order'] == 'RGB'
