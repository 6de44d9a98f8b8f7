"""Reading checkpoints: what MMEngine writes, and nothing that runs code."""

import argparse
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from aekt_mm.models import checkpoints
from aekt_mm.models.checkpoints import load_restricted, save_weights

pytestmark = pytest.mark.stack


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
        'in options': argparse.Namespace(config=Call(os.system, command)),
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
    with pytest.raises(FileNotFoundError, match=r'it is a folder without one$'):
        load_restricted(tmp_path)
    torch.save({}, tmp_path / 'epoch_1.pth')
    with pytest.raises(FileNotFoundError, match=r'a folder, and its newest .* is .*epoch_1\.pth$'):
        load_restricted(tmp_path)
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


def equal(a, b):
    """Compare nested contents bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return a == b


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_no_flipped_bit_goes_unnoticed(suffix, tmp_path):
    """Each of 400 flips, anywhere in the file, is refused by name or changes nothing."""
    path = tmp_path / f'whole.{suffix}'
    state = {f'layer{i}.weight': torch.randn(7, 9).to(kind) for i, kind in enumerate(KINDS)}
    save_weights({**state, 'steps': torch.tensor(3)}, path)
    whole, content = path.read_bytes(), load_restricted(path)
    assert equal(content['state_dict'], {**state, 'steps': torch.tensor(3)})
    flipped = tmp_path / f'flipped.{suffix}'
    generator, refused = np.random.default_rng(0), 0
    for place in generator.integers(len(whole) * 8, size=400).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        flipped.write_bytes(damaged)
        try:
            found = load_restricted(flipped)
        except ValueError as error:
            assert f'{flipped} is ' in str(error)
            refused += 1
        else:
            assert equal(found, content), f'bit {place % 8} of byte {place // 8}'
    assert refused > 100


KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.int64)


def test_torch_alone_would_not_notice(tmp_path):
    path = tmp_path / 'flipped.pth'
    torch.save({'weight': torch.ones(1000)}, path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(torch.ones(9).numpy().tobytes()) + 3] ^= 1 << 6
    path.write_bytes(damaged)
    assert not torch.load(path)['weight'].equal(torch.ones(1000))
    with pytest.raises(ValueError, match=r'flipped\.pth is damaged: .*/data/0 in it has changed'):
        load_restricted(path)


def test_a_tensor_marked_as_a_folder(tmp_path):
    """By one bit of the archive's list of files; torch would not read it."""
    path = tmp_path / 'flipped.pth'
    save_weights({'weight': torch.ones(9)}, path)
    damaged = bytearray(path.read_bytes())
    entry = damaged.index(b'PK\x01\x02', damaged.rindex(b'data/0') - 60)
    damaged[entry + 38] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r'is damaged: .*/data/0 in it has changed'):
        load_restricted(path)


def test_safetensors_of_others(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(checkpoints, 'print_log', lambda text, *_, **__: said.append(text))
    state = {'fc.weight': torch.rand(3, 4)}
    safetensors.torch.save_file(state, tmp_path / 'other.safetensors')
    assert equal(load_restricted(tmp_path / 'other.safetensors'), {'state_dict': state})
    assert 'other.safetensors has no checksum' in said.pop()
    save_weights(state, tmp_path / 'ours.safetensors')
    load_restricted(tmp_path / 'ours.safetensors')
    assert not said
    assert equal(safetensors.torch.load_file(tmp_path / 'ours.safetensors'), state)
    (tmp_path / 'text.safetensors').write_text('not found, says the server')
    with pytest.raises(ValueError, match=r'text\.safetensors is truncated, damaged or not of'):
        load_restricted(tmp_path / 'text.safetensors')


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(ConnectionError) as error:
        load_restricted('http://127.0.0.1:9/teacher-01234567.pth')
    place = tmp_path / 'hub/checkpoints/teacher-01234567.pth'
    for part in ('http://127.0.0.1:9/teacher', f'put the file at {place}', 'model.teacher.check'):
        assert part in str(error.value)
    assert not list(place.parent.iterdir())


def served(folder, name, weight):
    folder.mkdir(exist_ok=True)
    torch.save({'weight': torch.full((9,), weight)}, folder / name)
    return (folder / name).as_uri()


@pytest.mark.parametrize('name', ['teacher-01234567.pth', 'teacher-20260101-0123456789ab.pth'])
def test_a_download_is_compared_with_the_sum_in_its_name(name, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    with pytest.raises(ValueError, match=rf'{name} did not arrive whole'):
        checkpoints._download(served(tmp_path / 'host', name, 1.0))


@pytest.mark.parametrize('name', ['resnet-50.pth', 'resnet-abc.pth', 'resnet-20260101.pth'])
def test_names_without_a_sum(name, tmp_path, monkeypatch):
    """Two files of one name are two files."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    urls = [served(tmp_path / host, name, value) for host, value in (('a', 1.0), ('b', 2.0))]
    for _ in range(2):
        kept = [checkpoints._download(url) for url in urls]
        assert [path.name for path in kept] == [name, name]
        assert [load_restricted(path)['weight'][0].item() for path in kept] == [1.0, 2.0]
        for host in ('a', 'b'):  # from now on from where they are kept
            (tmp_path / host / name).unlink(missing_ok=True)


def test_an_archive_that_is_larger_than_its_file(tmp_path):
    path = tmp_path / 'bomb.pth'
    torch.save({'weight': torch.zeros(2**18)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / 'packed.pth', 'w') as packed:
        for info in archive.infolist():
            packed.writestr(info.filename, archive.read(info), zipfile.ZIP_DEFLATED)
    message = r'packed\.pth is damaged, or compressed.*: its parts are 1\.0 MB and the file 2\.'
    with pytest.raises(ValueError, match=message):
        load_restricted(tmp_path / 'packed.pth')


@pytest.mark.parametrize('umask', [0o022, 0o077])
def test_files_have_the_mode_that_is_asked_for(umask, tmp_path):
    before = os.umask(umask)
    try:
        for suffix in ('pth', 'safetensors'):
            save_weights({'weight': torch.ones(1)}, tmp_path / f'weights.{suffix}')
            mode = (tmp_path / f'weights.{suffix}').stat().st_mode
            assert mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_what_arrives_cut_short_or_as_a_page_is_not_kept(suffix, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    place = tmp_path / f'model.{suffix}'
    url = f'{place.as_uri()}?download=true'
    save_weights({'weight': torch.ones(99)}, place)
    whole = place.read_bytes()
    for content in (whole[: len(whole) // 2], b'<html>Sign in</html>'):
        place.write_bytes(content)
        monkeypatch.setattr(
            torch.hub, 'download_url_to_file', lambda _, to, *__: shutil.copy(place, to)
        )
        with pytest.raises(ValueError, match=r'true is truncated, damaged .* was not kept'):
            checkpoints._download(url)
        assert not [path for path in (tmp_path / 'home').rglob('*') if path.is_file()]
    place.write_bytes(whole)
    assert load_restricted(checkpoints._download(url))['state_dict']['weight'].sum() == 99
