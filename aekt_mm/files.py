"""Writing files whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


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
