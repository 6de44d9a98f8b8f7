"""Atomic writes, and space reserved for memory-mapped files."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: What files are called until they are whole, behind their name and a number of their own.
PARTIAL = '.partial'

#: What the system says of a disk that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def replace_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it, so that a kill leaves the old one or the new.

    The other name is new with every call: of several that write at once one is last, and what is
    there is whole; a link is not followed. What was there stays untouched if writing fails, on a
    full disk for instance; nothing half written is left.

    Args:
        path: The file.
        write: Gets the path to write to, of an empty file.

    Raises:
        OSError: If it can't be written; the error names the file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'results.txt')
        >>> replace_file(path, lambda partial: partial.write_text('63.32'))
        >>> path.read_text()
        '63.32'
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{secrets.token_hex(4)}{PARTIAL}')
    with naming(path, instead_of=partial):
        # exclusively: were there a link by this name, it would not be followed
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            mode = os.fstat(handle).st_mode
            os.close(handle)
            write(partial)
            partial.chmod(mode)  # safetensors lets nobody else read its files
            with partial.open('rb') as file:
                os.fsync(file.fileno())  # or a power cut could leave the new name with no content
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def replace_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file's content as :func:`replace_file` does."""
    replace_file(path, lambda partial: partial.write_bytes(content))


def replace_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 as :func:`replace_file` does."""
    replace_file(path, lambda partial: partial.write_text(text, encoding='utf-8'))


def remove_partials(*folders: str | Path) -> None:
    """Remove what a kill left of files that :func:`replace_file` was writing.

    Args:
        *folders: In which nothing else writes now; those below them are not looked at.
    """
    for folder in folders:
        for partial in Path(folder).glob(f'.*{PARTIAL}'):
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path, instead_of: Path | None = None) -> Iterator[None]:
    """Add the file's name to an error of writing: that of a full disk has none.

    Args:
        path: The file.
        instead_of: Another name for it, which is not to be said.
    """
    try:
        yield
    except OSError as error:
        nameless = error.filename is None and error.errno in FULL
        if nameless or (instead_of is not None and error.filename == str(instead_of)):
            error.filename = str(path)
        raise


def with_checksum(content: dict) -> dict:
    """Return the content of a JSON file with a checksum.

    Examples:
        >>> with_checksum(dict(images=3))
        {'images': 3, 'checksum': 'dafa0025023b3947ceda3364722d59c4'}
    """
    return {**content, 'checksum': _checksum(content)}


def check_checksum(content: dict, path: str | Path) -> None:
    """Check a JSON file's content against its checksum; without one nothing is checked.

    Args:
        content: Of the file.
        path: Of the file.

    Raises:
        ValueError: If it has changed since it was written.
    """
    if 'checksum' in content and content['checksum'] != _checksum(content):
        raise ValueError(f'{path} is damaged: it has changed since it was written')


def _checksum(content: dict) -> str:
    content = json.loads(json.dumps({**content, 'checksum': None}))
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def reserve_space(file: BinaryIO, size: int) -> None:
    """Reserve a new file's disk space: without it a mapped write on a full disk ends in SIGBUS.

    Args:
        file: Open for writing, empty.
        size: In bytes.

    Raises:
        OSError: If there is no such space.
    """
    if hasattr(os, 'posix_fallocate'):
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    else:  # macOS
        for start in range(0, size, 2**20):
            file.write(bytes(min(2**20, size - start)))
        file.flush()
    file.truncate(size)
