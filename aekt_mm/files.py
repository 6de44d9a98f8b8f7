"""Writing files whole or not at all, and those that are mapped with all their space."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it, so that a kill leaves the old one or the new.

    What was there stays untouched if writing fails, on a full disk for instance; nothing half
    written is left.

    Args:
        path: The file.
        write: Gets the path to write to.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'results.txt')
        >>> replace_file(path, lambda partial: partial.write_text('63.32'))
        >>> path.read_text()
        '63.32'
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        write(partial)
        with partial.open('rb') as file:
            os.fsync(file.fileno())  # or a power cut could leave the new name with no content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 as :func:`replace_file` does."""
    replace_file(path, lambda partial: partial.write_text(text, encoding='utf-8'))


def with_checksum(content: dict) -> dict:
    """Return what a JSON file is to hold, with a checksum of it.

    Examples:
        >>> with_checksum(dict(images=3))
        {'images': 3, 'checksum': 'dafa0025023b3947ceda3364722d59c4'}
    """
    return {**content, 'checksum': _checksum(content)}


def check_checksum(content: dict, path: str | Path) -> None:
    """Check what a JSON file holds; one that was written without a checksum is taken as it is.

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
    """Give a new file all its disk space: writing to a map of one without would end in SIGBUS.

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
