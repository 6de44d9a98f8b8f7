"""Which checkpoint a run continues at, and how MMEngine reads it."""

import os
import resource
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader, checkpoint, load_checkpoint, save_checkpoint

from aekt_mm.engine.checkpoints import (
    check_resumable,
    latest_whole_checkpoint,
    use_restricted_loading,
    write_whole_files,
)

pytestmark = pytest.mark.stack


@pytest.fixture
def work_dir(tmp_path):
    """A folder as a run leaves it: three checkpoints and the best one, which can't be resumed."""
    for number in (1, 2, 3):
        save(tmp_path / f'epoch_{number}.pth', number, optimizer={}, message_hub={})
    save(tmp_path / 'best_accuracy_epoch_3.pth', 4, message_hub={})
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return tmp_path


def save(path, seconds, **content):
    torch.save({'state_dict': {'weight': torch.zeros(1000)}, 'meta': {}, **content}, path)
    os.utime(path, (seconds, seconds))


def truncate(path):
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(path, (status.st_atime, status.st_mtime))


def latest(folder):
    path = latest_whole_checkpoint(folder)
    return path and Path(path).name


def test_the_newest(work_dir):
    assert latest(work_dir) == 'epoch_3.pth'


def test_half_a_file_is_passed_over(work_dir):
    truncate(work_dir / 'epoch_3.pth')
    assert latest(work_dir) == 'epoch_2.pth'
    (work_dir / 'epoch_2.pth').write_bytes(b'')
    assert latest(work_dir) == 'epoch_1.pth'


def test_the_newest_that_was_not_noted_before_the_kill(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    assert latest(work_dir) == 'epoch_3.pth'


def test_a_noted_one_that_was_removed(work_dir):
    (work_dir / 'epoch_3.pth').unlink()
    assert latest(work_dir) == 'epoch_2.pth'


def test_nothing_to_resume_from(work_dir, tmp_path):
    for path in work_dir.glob('epoch_*.pth'):
        truncate(path)
    assert latest(work_dir) is None
    assert latest(tmp_path / 'absent') is None


@pytest.mark.parametrize('note', [b'\xff\x00\xfe', b'', b'elsewhere/epoch_9.pth', None])
def test_debris_is_passed_over(note, work_dir):
    """A note of garbage or a folder in its place, and a folder by the name of a checkpoint."""
    (work_dir / 'last_checkpoint').unlink()
    if note is None:
        (work_dir / 'last_checkpoint').mkdir()
    else:
        (work_dir / 'last_checkpoint').write_bytes(note)
    (work_dir / 'epoch_21.pth').mkdir()
    assert latest(work_dir) == 'epoch_3.pth'


def test_a_flipped_bit_is_passed_over(work_dir):
    path = work_dir / 'epoch_3.pth'
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(bytes(1000)) + 500] ^= 8  # in the weights, which are zeros
    path.write_bytes(damaged)
    os.utime(path, (3, 3))
    assert latest(work_dir) == 'epoch_2.pth'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'weight': torch.ones(1)}, 'has no message_hub, meta, optimizer, state_dict. To start'),
        ({'state_dict': {}, 'meta': {}, 'message_hub': {}}, 'has no optimizer'),
    ],
)
def test_what_is_not_of_a_run_is_said(content, message, tmp_path):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=message):
        check_resumable(tmp_path / 'other.pth')


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


@pytest.fixture
def restricted(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setattr(checkpoint, 'load_from_http', checkpoint.load_from_http)
    use_restricted_loading()


def test_a_config_in_a_checkpoint_is_not_run(tmp_path):
    """MMEngine's runner would, when it resumes."""
    use_restricted_loading()
    save(tmp_path / 'planted.pth', 1, meta={'config': 'import os', 'epoch': 3})
    found = CheckpointLoader.load_checkpoint(str(tmp_path / 'planted.pth'))
    assert found['meta'] == {'epoch': 3}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder, as the hosts of pretrained weights do."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'downloads'))
    http = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=folder))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{http.server_port}'
    monkeypatch.setattr(
        checkpoint,
        'get_torchvision_models',
        lambda: {name: f'{url}/{name}.pth' for name in ('own', 'stranger')},
    )
    yield folder, url
    http.shutdown()
    http.server_close()


@pytest.mark.parametrize('how', ['{folder}/{name}.pth', '{url}/{name}.pth', 'torchvision://{name}'])
def test_mmengine_loads_weights_and_runs_no_code(how, restricted, server, tmp_path):
    folder, url = server
    saved, loaded = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save({'state_dict': saved.state_dict()}, folder / 'own.pth')
    load_checkpoint(loaded, how.format(folder=folder, url=url, name='own'))
    assert loaded.weight.equal(saved.weight)

    torch.save({'state_dict': {}, 'meta': Touch(tmp_path / 'marker')}, folder / 'stranger.pth')
    with pytest.raises(ValueError, match='was refused'):
        load_checkpoint(loaded, how.format(folder=folder, url=url, name='stranger'))
    assert not (tmp_path / 'marker').exists()


@pytest.fixture
def small_disk():
    """Let no file grow beyond 20 kB, so that a larger one is broken off in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_save_that_is_broken_off_leaves_the_old_checkpoint(small_disk, tmp_path):
    write_whole_files()
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint({'state_dict': {'weight': torch.ones(10)}}, str(path))
    whole = path.read_bytes()
    small_disk()
    with pytest.raises(OSError, match='too large'):
        save_checkpoint({'state_dict': {'weight': torch.ones(100_000)}}, str(path))
    assert path.read_bytes() == whole
