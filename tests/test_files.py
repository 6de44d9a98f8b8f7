"""Files are written whole or not at all."""

import os

import pytest

from aekt_mm.files import replace_file, replace_text, reserve_space


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
