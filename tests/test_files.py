"""Files are written whole or not at all."""

import errno
import os

import pytest

from aekt_mm import files
from aekt_mm.files import remove_partials, replace_file, replace_text, reserve_space


def test_replaces(tmp_path):
    path = tmp_path / 'results.txt'
    for text in ('one', 'zwölf'):
        replace_text(path, text)
        assert path.read_text(encoding='utf-8') == text
    assert [file.name for file in tmp_path.iterdir()] == ['results.txt']


@pytest.mark.parametrize('error', [OSError('No space left on device'), KeyboardInterrupt()])
def test_what_breaks_off_leaves_what_was_there(error, tmp_path):
    path = tmp_path / 'results.txt'
    path.write_text('whole')

    def write(partial):
        partial.write_text('half')
        raise error

    with pytest.raises(type(error)):
        replace_file(path, write)
    assert path.read_text() == 'whole'
    assert [file.name for file in tmp_path.iterdir()] == ['results.txt']


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Two that write it at the same time: one is last, and both are content."""
    path = tmp_path / 'results.txt'

    def first(partial):
        partial.write_text('first')
        replace_text(path, 'second')
        assert path.read_text() == 'second'

    replace_file(path, first)
    assert path.read_text() == 'first'
    assert [file.name for file in tmp_path.iterdir()] == ['results.txt']


def test_links_are_not_followed(tmp_path, monkeypatch):
    path, other = tmp_path / 'results.txt', tmp_path / 'other'
    other.write_text('untouched')
    for name in ('.results.txt.partial', '.results.txt.00000000.partial', 'results.txt'):
        (tmp_path / name).symlink_to(other)
    replace_text(path, 'mine')
    assert path.read_text() == 'mine'
    assert not path.is_symlink()
    monkeypatch.setattr(files.secrets, 'token_hex', lambda size: '0' * 8)
    with pytest.raises(FileExistsError):
        replace_text(path, 'again')
    assert path.read_text() == 'mine'
    assert other.read_text() == 'untouched'


def test_what_a_kill_left_is_removed(tmp_path):
    for name in ('.a.pth.0123abcd.partial', '.a.pth.partial', 'a.partial', '.lock'):
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {'a.partial', '.lock'}


def test_a_file_that_can_not_be_written_is_named(tmp_path):
    def full(partial):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.raises(OSError, match=r'No space left on device: .*results\.txt.$'):
        replace_file(tmp_path / 'results.txt', full)
    with pytest.raises(FileNotFoundError, match=r'/none/results\.txt.$'):
        replace_text(tmp_path / 'none/results.txt', 'x')


def test_everyone_reads_what_is_written(tmp_path):
    """As far as the user's mask says, whatever mode a writer gives its file."""
    replace_file(tmp_path / 'a', lambda partial: partial.chmod(0o600))
    (tmp_path / 'b').touch()
    assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode


@pytest.mark.parametrize('size', [0, 1, 2**20, 2**20 + 7])
@pytest.mark.parametrize('system', ['linux', 'macos'])
def test_space_is_there_before_it_is_written_to(system, size, tmp_path, monkeypatch):
    if system == 'macos':
        monkeypatch.delattr(os, 'posix_fallocate', raising=False)
    with (tmp_path / 'mapped').open('xb') as file:
        reserve_space(file, size)
    found = (tmp_path / 'mapped').stat()
    assert found.st_size == size
    assert found.st_blocks * 512 >= size  # not sparse
