"""What only a GPU can show: the same values as on the CPU, and no step that waits."""

import copy
from pathlib import Path

import mmpretrain
import pytest
import torch
import torch.distributed
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from torch import Tensor

from aekt_mm.analysis.benchmarks import LOSSES
from aekt_mm.datasets import Digits
from aekt_mm.engine.captured_step import CapturedStep
from aekt_mm.engine.launching import build_runner
from aekt_mm.engine.mixed_precision import use_mixed_precision
from aekt_mm.models import BatchPreprocessor
from aekt_mm.models.data_preprocessors.batch_preprocessor import crop_and_flip
from aekt_mm.models.data_preprocessors.view_augmentation import ViewAugmentation
from aekt_mm.registry import MODELS, build
from aekt_mm.structures import draw, view_keys

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]


@pytest.mark.parametrize('method', LOSSES)
@pytest.mark.parametrize('shape', [(64, 100), (8, 1000)])
def test_losses_and_gradients_are_the_cpus_in_float64(method, shape):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(shape, generator=generator) * 4 for _ in range(2))
    target = torch.randint(shape[1], shape[:1], generator=generator)

    def run(device: str, dtype: torch.dtype) -> tuple[dict[str, float], Tensor]:
        logits = student.to(device, dtype).requires_grad_()
        loss = build(MODELS, copy.deepcopy(LOSSES[method])).to(device, dtype)
        parts = loss(logits, teacher.to(device, dtype), target.to(device))
        sum(value for name, value in parts.items() if 'loss' in name).backward()
        return {name: value.item() for name, value in parts.items()}, logits.grad.cpu().double()

    (expected, gradient), (found, ours) = run('cpu', torch.float64), run('cuda', torch.float32)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(ours, gradient, rtol=1e-3, atol=1e-5 * gradient.abs().max().item())


def test_views_are_the_cpus_to_the_bit():
    samples = torch.cat([torch.arange(1000), torch.tensor([2**31, 2**40])])
    keys = view_keys(7, 3, samples)
    assert torch.equal(view_keys(7, 3, samples.cuda()).cpu(), keys)
    assert torch.equal(draw(keys.cuda(), 15).cpu(), draw(keys, 15))


def test_crops_and_flips_are_the_cpus_to_the_bit():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 32, 32, 3), generator=generator, dtype=torch.uint8)
    keys = view_keys(1, 0, torch.arange(50))
    expected = crop_and_flip(images, keys, 4, True)
    assert torch.equal(crop_and_flip(images.cuda(), keys.cuda(), 4, True).cpu(), expected)
    inputs = []
    for device in ('cpu', 'cuda'):
        preprocessor = BatchPreprocessor([129.3, 124.1, 112.4], [68.2, 65.4, 70.4]).to(device)
        inputs.append(preprocessor._normalise(expected.to(device)).cpu())
    torch.testing.assert_close(inputs[1], inputs[0], rtol=1e-6, atol=1e-6)


def test_colours_and_erasing_are_the_cpus():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 48, 40), generator=generator, dtype=torch.uint8)
    keys = view_keys(1, 0, torch.arange(20))
    jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    for options in (dict(flip=True, erasing=dict(prob=0.5)), dict(color_jitter=jitter)):
        augment = ViewAugmentation(**options)
        expected, found = augment(images, keys), augment(images.cuda(), keys.cuda()).cpu()
        torch.testing.assert_close(found.float(), expected.float(), rtol=1e-4, atol=1e-2)


class NoWaiting(Hook):
    """Let whatever waits for the GPU raise, from the fifth step of the first epoch to its 25th."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4:
            torch.cuda.set_sync_debug_mode('error')
        elif runner.iter == 24:
            torch.cuda.set_sync_debug_mode('default')


@pytest.fixture(autouse=True)
def _no_debugging():
    yield
    torch.cuda.set_sync_debug_mode('default')


def train(cfg: Config, name: str, hook: Hook | None = None, **options) -> dict[str, Tensor]:
    """Train a copy of a config with options, and return the trained weights on the CPU."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.experiment_name = f'{cfg.work_dir}_{name}', f'{cfg.experiment_name}_{name}'
    cfg.merge_from_dict(options)
    runner = build_runner(cfg)
    if hook is not None:
        runner.register_hook(hook)
    runner.train()
    return {k: v.cpu() for k, v in runner.model.state_dict().items()}


@pytest.mark.parametrize('capture', [False, True])
@pytest.mark.parametrize('amp', [False, True])
def test_no_step_waits(digits_recipe, capture, amp):
    if amp:
        use_mixed_precision(digits_recipe)
    options = {'train_cfg.capture': capture, 'optim_wrapper.clip_grad': dict(max_norm=5.0)}
    train(digits_recipe, f'waits_{capture}', NoWaiting(), **options)
    norms = MessageHub.get_current_instance().get_scalar('train/grad_norm').data[0]
    assert len(norms) == 58  # of two epochs of 29
    assert (norms > 0).all()


def test_a_captured_step_is_the_eager_one(digits_recipe, monkeypatch):
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(
        torch.cuda.CUDAGraph, 'replay', lambda graph: replays.append(1) or replay(graph)
    )
    torch.backends.cudnn.allow_tf32 = False
    digits_recipe.randomness = dict(seed=0, deterministic=True)
    eager = train(digits_recipe, 'eager')
    losses = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    captured = train(digits_recipe, 'captured', **{'train_cfg.capture': True})
    torch.backends.cudnn.allow_tf32 = True
    found = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    assert len(replays) == 2 * 28 - 3  # the last batch of an epoch is smaller
    assert found[:10] == pytest.approx(losses[:10], rel=1e-3)
    # steps of two images end an epoch, of which rounding makes something else
    assert found[29:57].mean() == pytest.approx(losses[29:57].mean(), rel=0.05)
    for name, value in eager.items():
        if 'num_batches' in name:
            assert torch.equal(captured[name], value)


def test_a_captured_run_resumes_to_the_bit(digits_recipe):
    digits_recipe.randomness = dict(seed=0, deterministic=True)
    options = {'train_cfg.capture': True, 'default_hooks.checkpoint.max_keep_ckpts': 5}
    whole = train(digits_recipe, 'whole', **options)
    point = f'{digits_recipe.work_dir}_whole/epoch_1.pth'
    resumed = train(digits_recipe, 'rest', resume=True, load_from=point, **options)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_capture_refuses_what_it_can_not_do(digits_recipe):
    for options, message in (
        ({'optim_wrapper.accumulative_counts': 2}, 'accumulative_counts is not 1'),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, 'is of float32 or bfloat16'),
        ({'optim_wrapper.optimizer': dict(type='RMSprop', lr=0.1, _delete_=True)}, 'RMSprop'),
    ):
        with pytest.raises(ValueError, match=message):
            train(digits_recipe, 'refused', **{'train_cfg.capture': True}, **options)


@pytest.mark.parametrize('form', ['float32', 'topk'])
def test_a_cache_made_on_a_gpu_serves_both(digits_recipe, tmp_path, form, run):
    config = tmp_path / 'config.py'
    digits_recipe.dump(config)
    cache = tmp_path / 'cache'
    run('python', 'tools/cache_teacher.py', config, cache, '--views', 2, '--format', form)
    teacher = dict(type='CachedTeacher', cache=str(cache))
    online = MessageHub.get_current_instance
    train(digits_recipe, f'online_{form}')
    expected = online().get_scalar('train/loss').data[0]
    digits_recipe.model.teacher = Config(dict(teacher=teacher)).teacher
    for capture in (False, True):
        train(digits_recipe, f'{form}_{capture}', **{'train_cfg.capture': capture})
        found = online().get_scalar('train/loss').data[0]
        assert found[:5] == pytest.approx(expected[:5], rel=2e-2)
    said = run(
        *('python', 'tools/train.py', config, '--cached-teacher', cache),
        *('--work-dir', tmp_path / 'on_cpu'),
        CUDA_VISIBLE_DEVICES='',
    )
    assert 'accuracy/top1' in said


def test_float16_with_a_loss_scale(digits_recipe):
    options = dict(type='AmpOptimWrapper', loss_scale='dynamic')
    train(digits_recipe, 'fp16', optim_wrapper=options)
    losses = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    assert losses[29:57].mean() < losses[:28].mean()  # without the last steps, of two images


def test_a_distributed_run_of_one_process(digits_recipe, tmp_path, run):
    config = tmp_path / 'config.py'
    digits_recipe.dump(config)
    said = run('bash', 'tools/dist_train.sh', config, 1, '--work-dir', tmp_path / 'run')
    assert 'accuracy/top1' in said
    assert "backend='nccl'" in said or 'nccl' in Path(config).read_text()


def test_a_published_student_predicts_the_same_on_both(digits_recipe, tmp_path, run):
    config = tmp_path / 'config.py'
    digits_recipe.dump(config)
    train(digits_recipe, 'published')
    checkpoint = f'{digits_recipe.work_dir}_published/epoch_2.pth'
    run('python', 'tools/publish_student.py', config, checkpoint, tmp_path / 'student')
    images = Digits(split='test').images[:64].permute(0, 3, 1, 2).float()
    student = str(tmp_path / 'student/student.py'), str(tmp_path / 'student/student.pth')
    logits = []
    for device in ('cpu', 'cuda'):
        model = mmpretrain.get_model(student[0], pretrained=student[1], device=device).eval()
        logits.append(model(images.to(device) / 255, mode='tensor').detach().cpu())
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-2, atol=1e-2)


def test_a_step_is_captured_only_on_a_gpu(digits_recipe):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match='a captured step needs a GPU'):
        CapturedStep(model, None)
