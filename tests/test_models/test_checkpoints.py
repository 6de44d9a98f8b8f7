"""Reading checkpoints: what MMEngine writes, and nothing that runs code."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from aekt_mm.models.checkpoints import load_restricted


class Call:
    """Pickled, it asks the reader for a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def trap(marker):
    """Return what would make the file ``marker``, in ways that a pickle may try."""
    command = f'touch {marker}'
    method = Call(getattr, HistoryBuffer, 'mean')
    return {
        'a call': Call(os.system, command),
        'eval': Call(eval, f'open({str(marker)!r}, "w")'),
        # the stand-in for getattr, on the way from an allowed method to the builtins
        'globals': Call(getattr, method, '__globals__'),
        'constructor': Call(getattr, HistoryBuffer, '__init__'),
        'base': Call(getattr, HistoryBuffer, '__base__'),
        'method of a string': Call(getattr, 'text', 'format'),
        'module': torch.nn.Linear(2, 2),
    }


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('how', trap('x'))
def test_code_is_refused_and_not_run(how, zipped, tmp_path):
    marker, path = tmp_path / 'marker', tmp_path / 'stranger.pth'
    state = OrderedDict(weight=torch.zeros(2))
    contents = {'state_dict': state, 'meta': trap(marker)[how]}
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r'was refused: it asks for .*Nothing was run') as error:
        load_restricted(path)
    assert 'weights_only' not in str(error.value)  # no advice to load it unrestricted
    assert not marker.exists()


def test_the_trap_would_work(tmp_path):
    path = tmp_path / 'stranger.pth'
    torch.save({'meta': trap(tmp_path / 'marker')['a call']}, path)
    torch.load(path, weights_only=False)
    assert (tmp_path / 'marker').exists()


def checkpoint(path):
    torch.save({'state_dict': {'weight': torch.arange(100.0)}}, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    'damage',
    [
        pytest.param(lambda whole: whole[: len(whole) // 2], id='truncated'),
        pytest.param(lambda whole: b'', id='empty'),
        pytest.param(lambda whole: b'not found, says the server', id='text'),
        pytest.param(lambda whole: pickle.dumps({'a': 1}, protocol=4), id='pickle'),
        pytest.param(lambda whole: b'\x80\x02' + bytes(range(64)), id='noise'),
    ],
)
def test_what_is_no_checkpoint_is_refused(damage, tmp_path):
    path = tmp_path / 'broken.pth'
    path.write_bytes(damage(checkpoint(path)))
    with pytest.raises(ValueError, match=r'broken\.pth is truncated, damaged or not a checkpoint'):
        load_restricted(path)


def test_missing_and_not_a_dict(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint .*absent\.pth'):
        load_restricted(tmp_path / 'absent.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds list where a dict was expected'):
        load_restricted(tmp_path / 'list.pth')


WARMUP = dict(type='LinearLR', start_factor=0.1, end=1)


@pytest.mark.parametrize(
    ('optimizer', 'schedule'),
    [
        ('SGD', dict(type='OneCycleLR', eta_max=0.1, total_steps=2)),
        ('AdamW', [WARMUP, dict(type='CosineAnnealingLR', T_max=2, begin=1, end=3)]),
        ('Lamb', [dict(type='MultiStepLR', milestones=[1]), dict(type='PolyLR', end=2)]),
    ],
    ids=['one-cycle', 'cosine', 'steps'],
)
def test_what_a_runner_saves_is_read(optimizer, schedule, digits_recipe):
    cfg = digits_recipe
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    cfg.train_dataloader.batch_size = 300
    cfg.optim_wrapper = dict(optimizer=dict(type=optimizer, lr=0.1))
    cfg.default_hooks.checkpoint.save_best = 'auto'
    cfg.custom_hooks = [dict(type='EMAHook')]
    cfg = Config({**cfg, 'param_scheduler': schedule})
    runner = Runner.from_cfg(cfg)
    runner.train()

    saved = load_restricted(f'{cfg.work_dir}/epoch_1.pth')
    for name, value in runner.model.state_dict().items():
        # the moving average is saved in its place, and the other way round
        assert saved['ema_state_dict'][f'module.{name}'].equal(value)
    history = saved['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert np.isfinite(history.mean())
    state = runner.optim_wrapper.state_dict()['param_groups']
    assert saved['optimizer']['param_groups'] == state
    assert saved['meta']['epoch'] == 1
