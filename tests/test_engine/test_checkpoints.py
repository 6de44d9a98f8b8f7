"""Which checkpoint a run continues at, and how MMEngine reads it."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend, put
from mmengine.runner import CheckpointLoader, checkpoint, load_checkpoint

from aekt_mm.engine.checkpoints import (
    latest_whole_checkpoint,
    use_restricted_loading,
    write_whole_files,
)


@pytest.fixture
def work_dir(tmp_path):
    """A folder as a run leaves it: three checkpoints and the best one, which can't be resumed."""
    for number in (1, 2, 3):
        save(tmp_path / f'epoch_{number}.pth', number, optimizer={}, message_hub={})
    save(tmp_path / 'best_accuracy_epoch_3.pth', 4, message_hub={})
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return tmp_path


def save(path, seconds, **content):
    torch.save({'state_dict': {'weight': torch.zeros(1000)}, **content}, path)
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


def test_mmengine_runs_no_code_of_a_checkpoint(restricted, tmp_path):
    torch.save({'state_dict': {}, 'meta': Touch(tmp_path / 'marker')}, tmp_path / 'stranger.pth')
    with pytest.raises(ValueError, match='was refused'):
        load_checkpoint(torch.nn.Linear(1, 1), str(tmp_path / 'stranger.pth'))
    assert not (tmp_path / 'marker').exists()


def test_mmengine_still_loads(restricted, tmp_path):
    saved, loaded = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save({'state_dict': saved.state_dict()}, tmp_path / 'own.pth')
    load_checkpoint(loaded, str(tmp_path / 'own.pth'))
    assert loaded.weight.equal(saved.weight)


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    write_whole_files()
    path = tmp_path / 'epoch_1.pth'
    put(b'whole', str(path))

    def killed(self, obj, filepath):
        Path(filepath).write_bytes(obj[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, 'put', killed)
    with pytest.raises(KeyboardInterrupt):
        put(b'another', str(path))
    assert path.read_bytes() == b'whole'
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_1.pth']
