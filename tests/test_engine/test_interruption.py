"""Runs that are ended from outside go on where they were, in the middle of an epoch too."""

import copy
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch.distributed import HashStore, distributed_c10d

from aekt_mm.engine import interruption
from aekt_mm.engine.checkpoints import latest_whole_checkpoint
from aekt_mm.engine.hooks.resume_hook import GRADIENTS
from aekt_mm.engine.interruption import StopHook, locked, resume_command
from aekt_mm.engine.launching import build_runner, resume_point
from aekt_mm.models.checkpoints import load_restricted

pytestmark = pytest.mark.stack


def equal(a, b, place=''):
    """Compare nested states bit for bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict | list | tuple):
        items = a.items() if isinstance(a, dict) else enumerate(a)
        assert len(a) == len(b), place
        for key, value in items:
            equal(value, b[key], f'{place}.{key}')
    else:
        assert a == b, place


def measured(folder):
    """The step and accuracy of each validation of a run."""
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(line['step'], line['accuracy/top1']) for line in lines if 'accuracy/top1' in line]


class Send(Hook):
    """Send this process a signal in the middle of an iteration, counted from 1."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)

    def before_val(self, runner):
        if self.iteration == 'val':
            os.kill(os.getpid(), self.number)


@pytest.fixture
def train(digits_recipe, tmp_path, monkeypatch):
    """Train the digits recipe by batches of 100, 9 an epoch, with dropout in the student."""
    # formatting the config anew for every checkpoint takes longer than these epochs
    monkeypatch.setattr(Config, 'pretty_text', 'for brevity')
    digits_recipe.train_dataloader.batch_size = 100
    head = digits_recipe.model.student.head
    head.update(type='StackedLinearClsHead', mid_channels=[12], dropout_rate=0.5)
    runs = itertools.count()  # runs of a name in a second would share their message hub

    def train(name, send=None, resume=False, **options):
        cfg = digits_recipe.copy()
        cfg.merge_from_dict(options)
        cfg.work_dir = str(tmp_path / name)
        cfg.experiment_name = f'{tmp_path.name}_{name}_{resume}_{next(runs)}'
        resume_point(cfg, 'auto' if resume else None)
        stop = StopHook('python tools/train.py CONFIG --resume')
        with stop.listening():
            runner = build_runner(cfg)
            runner.register_hook(stop)
            if send is not None:
                runner.register_hook(Send(*send))
            runner.train()
        return load_restricted(tmp_path / name / 'epoch_2.pth')

    return train


@pytest.mark.parametrize('workers', [0, 2])
def test_a_signal_in_an_epoch_costs_nothing(workers, train, tmp_path, capsys):
    """Stopped in the middle of the first epoch, at its end and in the second: as undisturbed."""
    options = {
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': workers > 0,
    }
    whole = train('whole', **options)
    for number, iteration in (
        (signal.SIGTERM, 4),
        (signal.SIGINT, 9),
        (signal.SIGHUP, 12),
    )[: 3 if workers == 0 else 1]:
        with pytest.raises(SystemExit) as leaving:
            train('stopped', (number, iteration), resume=iteration > 4, **options)
        assert leaving.value.code == 128 + number
        said = capsys.readouterr().out
        path = tmp_path / 'stopped/interrupted.pth'
        assert (
            f'train: stopped by {number.name} after iteration {iteration}, saved in {path}. '
            'To go on: python tools/train.py CONFIG --resume' in said
        )
        assert latest_whole_checkpoint(tmp_path / 'stopped') == str(path)
    resumed = train('stopped', resume=True, **options)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        equal(whole[part], resumed[part], part)
    assert resumed['meta']['iter'] == 18
    logged = [saved['message_hub']['log_scalars']['train/loss'] for saved in (whole, resumed)]
    assert logged[0]._log_history.tolist() == logged[1]._log_history.tolist()


def test_a_checkpoint_by_iteration_goes_on_where_it_was_saved(train, tmp_path):
    by_iteration = {'default_hooks.checkpoint': dict(by_epoch=False, interval=6, max_keep_ckpts=9)}
    with pytest.raises(FileNotFoundError):
        train('iterations', **by_iteration)  # which saves no epoch
    folder = tmp_path / 'again'
    folder.mkdir()
    (tmp_path / 'iterations/iter_6.pth').rename(folder / 'iter_6.pth')
    with pytest.raises(FileNotFoundError):
        train('again', resume=True, **by_iteration)
    whole, again = (
        load_restricted(tmp_path / name / 'iter_18.pth') for name in ('iterations', 'again')
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        equal(whole[part], again[part], part)

    # with another batch size there is no such place to go on at
    (folder / 'iter_18.pth').unlink()
    (folder / 'last_checkpoint').write_text('iter_12.pth')
    with pytest.raises(ValueError, match=r'saved in the middle of epoch 2 \(after 3 of 9 batches'):
        train('again', resume=True, **{'train_dataloader.batch_size': 50})


def test_a_validation_that_is_due_is_made_up_for(train, tmp_path):
    """A run killed in a validation, which leaves the epoch's checkpoint and no figure."""

    options = {'train_cfg.val_interval': 1}
    train('whole', **options)
    with pytest.raises(SystemExit):
        train('stopped', (signal.SIGTERM, 'val'), **options)
    assert not measured(tmp_path / 'stopped')
    train('stopped', resume=True, **options)
    assert measured(tmp_path / 'stopped') == measured(tmp_path / 'whole')
    # that of the last epoch too, where nothing is left to train
    (tmp_path / 'whole/epoch_2.pth').rename(tmp_path / 'ended.pth')
    (tmp_path / 'ended').mkdir()
    (tmp_path / 'ended.pth').rename(tmp_path / 'ended/epoch_2.pth')
    train('ended', resume=True, **options)
    assert measured(tmp_path / 'ended') == measured(tmp_path / 'whole')[-1:]


def test_by_iterations_a_network_that_draws_goes_on_as_it_would_have(train, tmp_path):
    options = {
        'custom_hooks': [],  # a warm-up counts epochs
        'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=6, val_interval=6),
        'param_scheduler.by_epoch': False,
        'param_scheduler.convert_to_iter_based': False,
        'param_scheduler.total_steps': 6,
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'data_preprocessor.crop_padding': 0,
        'data_preprocessor.flip': False,
        'default_hooks.checkpoint': dict(by_epoch=False, interval=2, max_keep_ckpts=9),
    }
    for name in ('whole', 'again'):
        if name == 'again':
            (tmp_path / name).mkdir()
            (tmp_path / 'whole/iter_2.pth').rename(tmp_path / name / 'iter_2.pth')
        with pytest.raises(FileNotFoundError):
            train(name, resume=name == 'again', **copy.deepcopy(options))
    whole, again = (load_restricted(tmp_path / n / 'iter_6.pth') for n in ('whole', 'again'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        equal(whole[part], again[part], part)
    assert len(measured(tmp_path / 'whole')) == 1
    # a run killed before it came to the validation that followed a checkpoint
    (tmp_path / 'ended').mkdir()
    (tmp_path / 'whole/iter_6.pth').rename(tmp_path / 'ended/iter_6.pth')
    with pytest.raises(FileNotFoundError):
        train('ended', resume=True, **copy.deepcopy(options))
    assert measured(tmp_path / 'ended') == measured(tmp_path / 'whole')


@pytest.mark.parametrize('by_epoch', [True, False])
def test_gradients_that_add_up_are_kept(by_epoch, train, tmp_path):
    """A checkpoint after 9 batches, or 10, of four a step; with a moving average."""
    options = {
        'optim_wrapper.accumulative_counts': 4,
        'custom_hooks': [dict(type='EMAHook')],
        'default_hooks.checkpoint': dict(
            by_epoch=by_epoch, interval=1 if by_epoch else 10, max_keep_ckpts=9
        ),
    }
    first, last = ('epoch_1.pth', 'epoch_2.pth') if by_epoch else ('iter_10.pth', 'iter_18.pth')
    for name in ('whole', 'again'):
        if name == 'again':
            (tmp_path / name).mkdir()
            (tmp_path / 'whole' / first).rename(tmp_path / name / first)
        with nullcontext() if by_epoch else pytest.raises(FileNotFoundError):
            train(name, resume=name == 'again', **copy.deepcopy(options))
    whole, again = (load_restricted(tmp_path / n / last) for n in ('whole', 'again'))
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        equal(whole[part], again[part], part)
    assert GRADIENTS not in whole  # the last step is of what there is
    log = next(tmp_path.glob('again/*/*.log')).read_text()
    assert 'gradient of some iterations is lost' not in log


def test_early_stopping_remembers(train, tmp_path):
    """Whose best score was that of an epoch before the resume."""
    stopping = dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=2, min_delta=200.0)
    options = {
        'custom_hooks': [stopping],
        'train_cfg.max_epochs': 4,
        'param_scheduler.total_steps': 4,
        'train_cfg.val_interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': 9,
        'train_dataloader.batch_size': 898,
        'val_dataloader.batch_size': 899,
    }
    train('whole', **options)
    assert not (tmp_path / 'whole/epoch_4.pth').exists()  # the first is the best, two are no better
    (tmp_path / 'again').mkdir()
    (tmp_path / 'whole/epoch_2.pth').rename(tmp_path / 'again/epoch_2.pth')
    train('again', resume=True, **options)
    assert {path.name for path in (tmp_path / 'again').glob('epoch*')} == {
        'epoch_2.pth',
        'epoch_3.pth',
    }


def test_a_stock_sampler_goes_on_and_says_what_differs(train, tmp_path):
    options = {
        'train_dataloader.sampler.type': 'DefaultSampler',
        'data_preprocessor.crop_padding': 0,
    }
    whole = train('whole', **options)
    with pytest.raises(SystemExit):
        train('stopped', (signal.SIGTERM, 5), **options)
    resumed = train('stopped', resume=True, **options)
    for part in ('state_dict', 'optimizer'):  # nothing is augmented here
        equal(whole[part], resumed[part], part)
    logs = ''.join(file.read_text() for file in tmp_path.glob('stopped/*/*.log'))
    assert 'what augmentation draws at random is drawn anew' in logs


def test_a_signal_in_validation_names_the_checkpoint_that_stands(train, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        train('run', (signal.SIGTERM, 'val'))
    assert leaving.value.code == 143
    assert f'during validation: {tmp_path}/run/epoch_2.pth stands' in capsys.readouterr().out


def test_a_signal_before_the_first_step_leaves_at_once(capsys):
    stop = StopHook('again')
    with stop.listening(), pytest.raises(SystemExit) as leaving:
        os.kill(os.getpid(), signal.SIGTERM)
    assert leaving.value.code == 143
    assert 'before the first step: there is nothing to save. To go on: again' in (
        capsys.readouterr().out
    )
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_all_ranks_leave_where_one_got_a_signal(monkeypatch, tmp_path, capsys):
    store = HashStore()
    optimizer = OptimWrapper(torch.optim.SGD([torch.zeros(1)], lr=1))
    monkeypatch.setattr(interruption, 'is_distributed', lambda: True)
    monkeypatch.setattr(distributed_c10d, '_get_default_store', lambda: store)
    run = SimpleNamespace(iter=4, work_dir=tmp_path, train_loop=None, optim_wrapper=optimizer)
    first, second = StopHook('again'), StopHook('again')
    second.signal = signal.SIGHUP
    for hook in (first, second):
        hook.after_train_iter(run)
    run.iter = 5
    for hook in (first, second):
        with pytest.raises(SystemExit) as leaving:
            hook.after_train_iter(run)
        assert leaving.value.code == 129
    said = (
        'train: stopped by SIGHUP after iteration 6: no checkpoint was saved yet. To go on: again'
    )
    assert capsys.readouterr().out.count(said) == 2


def test_a_hangup_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopHook('again').listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_leaving_is_not_taken_for_an_error():
    stop = StopHook('again')
    with pytest.raises(SystemExit) as leaving, stop.listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:  # as the formatter that MMEngine writes configs with
            raise SyntaxError('can not be formatted') from error
    assert leaving.value.code == 143


@pytest.mark.parametrize(
    ('arguments', 'launcher', 'environment', 'expected'),
    [
        (['c.py'], 'none', {}, 'python tools/train.py c.py --resume'),
        (['c.py', '--resume', '--seed', '3'], 'none', {}, '... c.py --seed 3 --resume'),
        (['c.py', '--resume', 'a b.pth'], 'none', {}, 'python tools/train.py c.py --resume'),
        (
            ['c d.py', '--launcher', 'pytorch', '--amp'],
            'pytorch',
            {'GROUP_WORLD_SIZE': '1', 'LOCAL_WORLD_SIZE': '4'},
            "bash tools/dist_train.sh 'c d.py' 4 --amp --resume",
        ),
        (['c.py', '--launcher', 'slurm'], 'slurm', {}, 'the same command with --resume'),
    ],
)
def test_the_command_that_goes_on(arguments, launcher, environment, expected, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', *arguments])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = expected.replace('...', 'python tools/train.py')
    assert resume_command(launcher) == expected


@pytest.mark.parametrize('link', [Path.symlink_to, Path.hardlink_to])
def test_a_planted_lock_is_refused(link, tmp_path):
    other = tmp_path / 'other'
    other.write_text('untouched')
    (tmp_path / 'run').mkdir()
    link(tmp_path / 'run/.lock', other)
    with pytest.raises(OSError, match=r'run/\.lock is a .*link'), locked(tmp_path / 'run', 'none'):
        pass
    assert other.read_text() == 'untouched'


def test_a_start_removes_what_is_half_written_and_planted(tmp_path):
    other = tmp_path / 'other'
    other.write_text('untouched')
    (tmp_path / 'run/20260101_000000').mkdir(parents=True)
    half = [tmp_path / 'run' / name for name in ('.a.1.partial', '20260101_000000/.a.2.partial')]
    planted = [tmp_path / 'run' / name for name in ('last_checkpoint', 'recipe.py')]
    for path in half:
        path.touch()
    for path in planted:
        path.symlink_to(other)
    with locked(tmp_path / 'run', 'none'):
        assert not any(path.is_symlink() or path.exists() for path in half + planted)
    assert other.read_text() == 'untouched'


def hold(folder, held):
    """Have a run in a work directory until it is killed."""
    with locked(folder, 'none'):
        held.set()
        time.sleep(600)


def test_a_work_directory_has_one_run(tmp_path):
    context = multiprocessing.get_context('fork')
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path, held))
    other.start()
    assert held.wait(60)
    in_use = pytest.raises(BlockingIOError, match=f'in use by process {other.pid} on .*--work-dir')
    with in_use, locked(tmp_path, 'none'):
        pass
    other.kill()
    other.join()
    with locked(tmp_path, 'none'):  # the lock went with it
        pass
