"""Logits of a teacher on disk, for K views of each of N samples."""

import errno
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from aekt_mm.files import check_checksum, replace_text, reserve_space, with_checksum

FORMATS = ('float32', 'float16', 'topk')
VERSION = 1


class LogitCache:
    """A folder with a teacher's logits and a manifest that says whose, of what, and whether whole.

    One record a view and sample, in a memory-mapped file:

    - ``float32``, ``float16``: the C logits.
    - ``topk``: the logit of the labelled class, the k largest others, and the mass of the rest,
      which is spread evenly over its classes. The mass is that of the logits divided by
      ``temperature``, at which the explicit part of a loss then is exact up to rounding.

    Files: ``logits.bin`` (records, views by samples), ``written.bin`` (a byte each, whether the
    record is there) and ``manifest.json``.

    Args:
        folder: Of an existing cache; see :meth:`create` for a new one.
        writable: Whether records will be written.

    Raises:
        FileNotFoundError: If there is no cache.
        ValueError: If its manifest can't be read, or a file has another size than it says.
    """

    def __init__(self, folder: str | Path, writable: bool = False) -> None:
        self.folder = Path(folder)
        path = self.folder / 'manifest.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'there is no teacher cache in {folder}: tools/cache_teacher.py makes one'
            )
        try:
            self.manifest = json.loads(path.read_text(encoding='utf-8'))
            shape = (self.manifest['views'], self.manifest['samples'])
            version = self.manifest['version']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is no manifest of a teacher cache: {error}') from error
        if version != VERSION:
            raise ValueError(f'{path} has version {version}, but this release reads {VERSION}')
        check_checksum(self.manifest, path)
        self.views, self.samples = shape
        self.classes = self.manifest['classes']
        self.record = record_type(self.manifest['format'], self.classes, self.manifest['k'])
        mode = 'r+' if writable else 'r'
        self.records = self._map('logits.bin', self.record, mode)
        self.written = self._map('written.bin', np.dtype('u1'), mode)
        self._checked: set[int] = set()

    @classmethod
    def create(cls, folder: str | Path, manifest: dict) -> 'LogitCache':
        """Make an empty cache.

        Args:
            folder: Where; it is made.
            manifest: ``views``, ``samples``, ``classes``, ``format``, ``k``, ``temperature`` and
                whatever identifies teacher, data and pipeline.

        Raises:
            OSError: If the disk has no room for it; the message says what is needed and free.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = record_type(manifest['format'], manifest['classes'], manifest['k'])
        count = manifest['views'] * manifest['samples']
        for name, size in (('logits.bin', record.itemsize), ('written.bin', 1)):
            (folder / name).unlink(missing_ok=True)  # or what it links to would be overwritten
            _reserve(folder / name, count * size)
        content = {'version': VERSION, 'checksums': None, **manifest}
        _write_json(folder / 'manifest.json', with_checksum(content))
        return cls(folder, writable=True)

    @property
    def complete(self) -> bool:
        """Whether all records are there and sealed with a checksum."""
        return self.manifest['checksums'] is not None

    def write(self, view: int, samples: np.ndarray, labels: Tensor, logits: Tensor) -> None:
        """Store the logits of a batch; :meth:`flush` makes them count as written.

        Args:
            view: Which view of the samples.
            samples: Their indices, (N,).
            labels: (N,) int64; looked at by the format ``topk``.
            logits: (N, C), finite.
        """
        logits = logits.float().cpu()
        if not logits.isfinite().all():
            raise ValueError("the teacher's logits are NaN or infinite; nothing of them was kept")
        if self.manifest['format'] == 'topk':
            records = self._compress(logits, labels.cpu())
        else:
            records = logits.numpy().astype(self.record.base)
        self.records[view, samples] = records

    def flush(self, batches: list[tuple[int, np.ndarray]]) -> None:
        """Put to disk what was written, then note that it is there.

        Args:
            batches: View and samples of each batch written since the last call.
        """
        self.records.flush()
        for view, samples in batches:
            self.written[view, samples] = 1
        self.written.flush()

    def seal(self) -> None:
        """Note checksums, one a view: the cache is complete.

        Raises:
            ValueError: If records are missing.
        """
        missing = int((self.written == 0).sum())
        if missing:
            raise ValueError(f'{missing} records of {self.folder} were never written')
        self.manifest['checksums'] = [self._checksum(view) for view in range(self.views)]
        _write_json(self.folder / 'manifest.json', with_checksum(self.manifest))

    def require_complete(self) -> None:
        """Check that all records were written, whose checksums are looked at as they are read.

        Raises:
            ValueError: If they were not.
        """
        if not self.complete:
            done = int(self.written.sum()) / max(self.written.size, 1)
            raise ValueError(
                f'the teacher cache {self.folder} is {done:.0%} written: the same call of '
                'tools/cache_teacher.py completes it'
            )
        checksums = self.manifest['checksums']
        if not isinstance(checksums, list) or len(checksums) != self.views:
            raise ValueError(
                f'{self.folder}/manifest.json is damaged: it must have a checksum for each of '
                f'{self.views} views'
            )

    def read(self, view: int, samples: np.ndarray, labels: Tensor) -> Tensor:
        """Return the logits of a batch, (N, C) float32 on the device of the labels.

        The first read of a view of a complete cache reads all of it, and checks that not a byte has
        changed: a view is what an epoch reads, and of ImageNet a hundred of them are more than a
        start of training should wait for.

        Args:
            view: Which view of the samples.
            samples: Their indices, (N,).
            labels: (N,) int64; looked at by the format ``topk``.

        Raises:
            ValueError: If the view is damaged.
        """
        if self.complete and view not in self._checked:
            self._check(view)
        records = self.records[view, samples]
        if self.manifest['format'] != 'topk':
            return _on_device(records, labels.device).float()
        return self._expand(records, labels)

    def _compress(self, logits: Tensor, labels: Tensor) -> np.ndarray:
        index, temperature = labels[:, None], self.manifest['temperature']
        records = np.empty(len(logits), self.record)
        records['target'] = logits.gather(1, index).squeeze(1).numpy()
        others = logits.scatter(1, index, -torch.inf)
        values, classes = others.topk(self.manifest['k'], dim=1)
        records['values'], records['classes'] = values.numpy(), classes.numpy()
        rest = others.scatter(1, classes, -torch.inf) / temperature
        count = max(self.classes - 1 - self.manifest['k'], 1)
        level = (rest.logsumexp(1) - math.log(count)) * temperature
        records['rest'] = level.nan_to_num(neginf=-1e4).numpy()
        return records

    def _expand(self, records: np.ndarray, labels: Tensor) -> Tensor:
        def tensor(name: str, dtype: type) -> Tensor:
            return _on_device(records[name].astype(dtype), labels.device)

        logits = tensor('rest', np.float32)[:, None].repeat(1, self.classes)
        logits.scatter_(1, tensor('classes', np.int64), tensor('values', np.float32))
        return logits.scatter_(1, labels[:, None], tensor('target', np.float32)[:, None])

    def _check(self, view: int) -> None:
        if self._checksum(view) != self.manifest['checksums'][view]:
            raise ValueError(
                f'view {view} of the teacher cache {self.folder} is damaged: its checksum is not '
                'the one it was written with. Remove the folder and let tools/cache_teacher.py '
                'write it anew; the run goes on with --resume'
            )
        self._checked.add(view)

    def _checksum(self, view: int) -> str:
        return hashlib.blake2b(self.records[view], digest_size=16).hexdigest()

    def _map(self, name: str, dtype: np.dtype, mode: str) -> np.memmap:
        path = self.folder / name
        expected = self.views * self.samples * dtype.itemsize
        size = path.stat().st_size if path.is_file() else None
        if size != expected:
            raise ValueError(
                f'{path} should have {expected} bytes, but '
                + ('is not there' if size is None else f'has {size}: it is truncated or foreign')
            )
        if mode == 'r+' and path.is_symlink():
            raise ValueError(f'{path} is a symbolic link: what it leads to is not written to')
        return np.memmap(path, dtype, mode, shape=(self.views, self.samples))


def _on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array without waiting for the device, which takes memory that stays in its place."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == 'cuda' else tensor


def _reserve(path: Path, size: int) -> None:
    """Make a file with all its disk space."""
    try:
        with path.open('xb') as file:
            reserve_space(file, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            f'a teacher cache of {decimal(size)} does not fit into {path.parent}, where '
            f'{decimal(free)} are free: take another folder, fewer views, or the format float16 or '
            'topk'
        ) from error


def record_type(form: str, classes: int, k: int) -> np.dtype:
    """Return the numpy type of a record.

    Raises:
        ValueError: If there is no such format, or k is not in [1, classes - 1].
    """
    if form not in FORMATS:
        raise ValueError(f'format must be one of {FORMATS}, but is {form!r}')
    if form != 'topk':
        return np.dtype((form, (classes,)))
    if not 1 <= k < classes:
        raise ValueError(f'k must be from 1 to {classes - 1} with {classes} classes, but is {k}')
    index = np.min_scalar_type(classes - 1)
    return np.dtype(
        [('target', 'f4'), ('rest', 'f4'), ('values', 'f2', (k,)), ('classes', index, (k,))]
    )


def _write_json(path: Path, content: Any) -> None:
    replace_text(path, json.dumps(content, indent=2) + '\n')
