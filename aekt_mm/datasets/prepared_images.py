"""Image sets prepared for training: a few Arrow files, read by index.

A prepared set is a folder that ``tools/dataset_converters/prepare_images.py`` writes:

- ``00000.arrow``, ``00001.arrow``, ...: Arrow IPC files, memory-mapped, with a row an image:
  ``image`` (``bytes``, most often a JPEG, and ``path``, its name), ``label`` and ``crc32`` of the
  bytes. Hugging Face's ``datasets`` reads them too, by ``load_dataset('arrow', data_files=...)``.
- ``index.arrow``: names and labels of all images, which is all that a run reads at its start.
- ``manifest.json``: what was made of what, the size of each file, digests, and a checksum of the
  manifest itself. It is sealed last.
"""

import hashlib
import json
import re
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.dataset import force_full_init
from mmengine.fileio import BaseStorageBackend, register_backend
from mmpretrain.datasets import BaseDataset

from aekt_mm.files import check_checksum
from aekt_mm.registry import DATASETS

VERSION = 1

#: Rows of a record batch, all but the last of a file: row r is row r % ROWS of batch r // ROWS.
ROWS = 256

_ADDRESS = re.compile(r'arrow://(.+?\.arrow)/(\d+)/(.*)', re.DOTALL)


def import_arrow() -> ModuleType:
    """Return pyarrow.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            'prepared image sets are Arrow files, which pyarrow reads; it is not installed: '
            'pip install pyarrow simplejpeg'
        ) from error
    return pyarrow


@register_backend('arrow', prefixes='arrow', force=True)
class ArrowBackend(BaseStorageBackend):
    """MMEngine's file backend for the images of prepared sets.

    Whatever reads a file through MMEngine reads ``arrow://FOLDER/00012.arrow/345/NAME``, which is
    row 345 of that file: ``LoadImageFromFile`` and every pipeline that starts with it.
    """

    def get(self, filepath: str) -> bytes:
        """Return the bytes of an image.

        Raises:
            ValueError: If this is no address of an image, or its bytes are not those that were
                written.
        """
        address = _ADDRESS.fullmatch(str(filepath))
        if address is None:
            raise ValueError(
                f'an image in an Arrow file is arrow://FILE.arrow/ROW/NAME, but got {filepath}'
            )
        path, row = address[1], int(address[2])
        images, checksums = _record_batch(path, row // ROWS)
        data = images[row % ROWS].as_buffer()
        if zlib.crc32(data) != checksums[row % ROWS]:
            raise ValueError(
                f'{address[3]}, image {row} of {path}, is damaged: its checksum is not the one it '
                'was written with'
            )
        return data.to_pybytes()

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Return the bytes as text, which images are not; MMEngine asks for this method."""
        return self.get(filepath).decode(encoding)


@cache
def _open_file(path: str) -> Any:
    arrow = import_arrow()
    return arrow.ipc.open_file(arrow.memory_map(path))


@cache
def _record_batch(path: str, number: int) -> tuple[Any, np.ndarray]:
    """Return the images of a record batch and their checksums, both mapped, not read."""
    batch = _open_file(path).get_batch(number)
    return batch.column('image').field('bytes'), batch.column('crc32').to_numpy()


def read_manifest(folder: str | Path) -> dict:
    """Return the manifest of a prepared set, complete or not.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read, is of another version, or has changed.
    """
    path = Path(folder) / 'manifest.json'
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no prepared image set in {folder}: '
            'tools/dataset_converters/prepare_images.py writes one'
        )
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
        version = manifest['version']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no manifest of a prepared image set: {error}') from error
    if version != VERSION:
        raise ValueError(f'{path} has version {version}, but this release reads {VERSION}')
    check_checksum(manifest, path)
    return manifest


class PreparedIndex(Sequence):
    """The annotations of a prepared set, as MMEngine's ``BaseDataset`` asks for them.

    Names and labels stay in the mapped file; an image's annotation is made when it is asked for.
    A million images so cost neither time at the start of a run nor memory in each of its workers.

    Args:
        folder: Of the set.
        rows: Which of its images, (N,) integers. None: all.

    Attributes:
        manifest (dict): The set's.
        labels (np.ndarray): Of the images, (N,) int64.

    Raises:
        FileNotFoundError: If there is no prepared set.
        ValueError: If it is incomplete, torn or damaged.
    """

    def __init__(self, folder: str | Path, rows: np.ndarray | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        if self.manifest['files'] is None:
            raise ValueError(
                f'the prepared image set {folder} is incomplete: the same call of '
                'tools/dataset_converters/prepare_images.py completes it'
            )
        for file in self.manifest['files']:
            path = self.folder / file['name']
            size = path.stat().st_size if path.is_file() else None
            if size != file['bytes']:
                raise ValueError(
                    f'{path} should have {file["bytes"]} bytes, but '
                    + ('is not there' if size is None else f'has {size}: it is torn or foreign')
                )
        path = self.folder / 'index.arrow'
        if not path.is_file() or digest_file(path) != self.manifest['index']:
            raise ValueError(f'{path} is not there, torn or damaged')
        batch = _open_file(str(path)).get_batch(0)
        self._names, self._labels = batch.column('path'), batch.column('label').to_numpy()
        self._files = [str(self.folder / file['name']) for file in self.manifest['files']]
        self._starts = [0, *accumulate(file['images'] for file in self.manifest['files'])]
        self._choose(np.arange(len(self._labels)) if rows is None else rows)

    def _choose(self, rows: np.ndarray) -> None:
        self.rows, self.labels = rows, self._labels[rows]

    def subset(self, indices: Sequence[int] | slice) -> 'PreparedIndex':
        """Return the index of some of the images, in their order."""
        part = PreparedIndex.__new__(PreparedIndex)
        part.__dict__.update(self.__dict__)
        part._choose(self.rows[indices])
        return part

    def names(self) -> list[str]:
        """Return the images' names: their paths below the folder of the set they were made of."""
        names = self._names.to_pylist()
        return [names[row] for row in self.rows]

    @property
    def digest(self) -> str:
        """A digest of images and labels, whatever their folder."""
        digest = self.manifest['digest']
        if len(self) == self.manifest['images'] and (np.diff(self.rows) == 1).all():
            return digest
        return hashlib.blake2b(digest.encode() + self.rows.tobytes(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple:
        return PreparedIndex, (self.folder, self.rows)  # what is mapped is mapped anew

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.subset(index) if isinstance(index, slice) else self.image(index)

    def image(self, index: int) -> dict:
        """Return the path and the label of one image."""
        image = int(self.rows[index])
        number = bisect_right(self._starts, image) - 1
        row = image - self._starts[number]
        return dict(
            img_path=f'arrow://{self._files[number]}/{row}/{self._names[image].as_py()}',
            gt_label=int(self._labels[image]),
        )


@DATASETS.register_module()
class PreparedImages(BaseDataset):
    """The images of a prepared set, for any pipeline that starts by loading an image from a file.

    It stands where the dataset stood from which the set was made: with the same pipeline, under
    ``ViewDataset``, ``InMemory`` and MMEngine's own wrappers.

    Args:
        data_root: The folder.
        pipeline: Of mmpretrain's transforms.
        **kwargs: ``indices``, ``test_mode``, ``lazy_init`` and ``max_refetch`` of MMEngine's
            ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no prepared set.
        ValueError: If it is incomplete, torn or damaged; the message says what is wrong.
    """

    def __init__(self, data_root: str | Path, pipeline: Sequence = (), **kwargs) -> None:
        super().__init__(
            ann_file='index.arrow',
            data_root=str(Path(data_root).expanduser()),
            pipeline=pipeline,
            serialize_data=False,  # the annotations are in a mapped file, which processes share
            **kwargs,
        )

    def load_data_list(self) -> Sequence[dict]:
        """Open the set's index."""
        index = PreparedIndex(self.data_root)
        self._metainfo.setdefault('classes', tuple(index.manifest['classes']))
        return index

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return an image's annotation: ``img_path``, ``gt_label`` and ``sample_idx``."""
        return dict(self.data_list[idx], sample_idx=range(len(self))[idx])

    def _get_unserialized_subset(self, indices: Sequence[int] | int) -> PreparedIndex:
        """Choose images, for MMEngine's ``indices`` and ``get_subset``."""
        if isinstance(indices, int):
            return super()._get_unserialized_subset(indices)
        return self.data_list.subset(np.asarray(indices, np.int64))

    @property
    @force_full_init
    def digest(self) -> str:
        """A digest of the set's images and labels, whatever their folder."""
        return self.data_list.digest

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Return all labels, (N,) int64."""
        return self.data_list.labels


def digest_file(path: Path) -> str:
    """Return blake2b of a file's bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
