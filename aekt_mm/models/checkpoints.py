"""Weights-only loading of checkpoints, with checks for damage; writing of weights."""

import argparse
import hashlib
import io
import pickle
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from rich.filesize import decimal
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from aekt_mm.files import replace_bytes

#: What MMEngine's checkpoints name by attribute: statistics of its log buffers, curves of its
#: one-cycle schedule.
ATTRIBUTES = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _attribute(owner: Any, name: str) -> Any:
    """Stand in for the ``getattr`` that MMEngine's checkpoints ask for, which could reach code."""
    if not isinstance(owner, type) or name not in ATTRIBUTES.get(owner, ()):
        raise pickle.UnpicklingError(f'it asks for attribute {name!r} of {owner!r}')
    return getattr(owner, name)


_core: Any = getattr(np, '_core' if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else 'core')

#: What checkpoints hold beside tensors, which is data alone. MMEngine's have logged numbers, as
#: numpy arrays (numpy 1 and 2 name their internals differently); torchdistill's, DeiT's and timm's
#: the options of their command line.
DATA_GLOBALS = [
    argparse.Namespace,
    *ATTRIBUTES,
    (_attribute, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *(
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (_core.multiarray._reconstruct, _core.multiarray.scalar)
        for core in ('core', '_core')
    ),
    *(type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'uint32', 'bool')),
]


#: PyTorch's and the field's hosts put the beginning of a file's sha256 into its name. Eight digits
#: may also be a date.
CHECKSUM = re.compile(r'-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.[^.]+$')

#: Under which name a safetensors file of ours keeps the digest of its weights.
DIGEST = 'blake2b'


def load_restricted(source: str | Path, map_location: Any = 'cpu') -> dict:
    """Load a checkpoint that holds tensors, numbers, strings and what is in ``DATA_GLOBALS``.

    Anything else in the file would be code of whoever wrote it, and is refused unread. So is a file
    of which a bit has changed since it was written: the archives that torch has written since 1.6
    have a checksum of each part, and safetensors files written by :func:`save_weights` a digest.

    Args:
        source: A path or an http(s) URL. What is downloaded and can be read is kept where
            torch.hub keeps it, in a folder of the URL's own unless the file's name has a checksum.
            A name that ends in ``.safetensors`` is read as such.
        map_location: As in ``torch.load``.

    Returns:
        What was saved; of a safetensors file its weights, as ``state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If it can't be downloaded.
        ValueError: If the file is no checkpoint, is truncated or damaged, or carries code.
    """
    path = _download(str(source)) if str(source).startswith(('http://', 'https://')) else source
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(absent(path))
    if path.suffix == '.safetensors':
        return {'state_dict': _load_safetensors(path, map_location)}
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(DATA_GLOBALS):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever it stumbles over
        refused = re.search(r'GLOBAL (\S+)|asks for (attribute .*)', str(error))
        if refused:
            raise ValueError(
                f'{path} was refused: it asks for {refused[1] or refused[2]}, and loading it would '
                'run code that came with the file. Nothing was run. Where you trust its author, '
                'save its state_dict alone'
            ) from error
        # torch's own message, which the cause has, advises to load it unrestricted
        raise ValueError(f'{path} is truncated, damaged or not a checkpoint of torch') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} holds {type(checkpoint).__name__} where a dict was expected')
    return checkpoint


def absent(path: str | Path) -> str:
    """Say that a checkpoint is not there, and what there is in its place."""
    path = Path(path).expanduser()
    if not path.is_dir():
        return f'there is no checkpoint {path}'
    files = [file for kind in ('*.pth', '*.safetensors') for file in path.glob(kind)]
    files = [file for file in files if file.is_file()]
    newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
    hint = f', and its newest checkpoint is {newest}' if newest else ' without one'
    return f'there is no checkpoint {path}: it is a folder{hint}'


def save_weights(state: dict[str, Tensor], path: str | Path, **content: Any) -> None:
    """Write a network's weights, whole or not at all, with checksums that reading them checks.

    Args:
        state: The weights by name.
        path: The file; in the format safetensors if its name ends so, which keeps the weights
            alone, or else in torch's.
        **content: What else a file of torch's is to hold beside ``state_dict``.
    """
    if Path(path).suffix != '.safetensors':
        save_content({**content, 'state_dict': state}, path)
        return
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    metadata = {'format': 'pt', DIGEST: _digest(state)}
    replace_bytes(path, save(state, metadata))


def save_content(content: dict, path: str | Path) -> None:
    """Write a checkpoint of any layout in torch's format, whole or not at all."""
    buffer = io.BytesIO()  # on a full disk torch says nothing of the disk
    torch.save(content, buffer)
    replace_bytes(path, buffer.getbuffer())


def _check_archive(path: Path) -> None:
    """Compare what an archive holds with its checksums, which torch.load does not."""
    with path.open('rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return  # of torch before 1.6, which kept no checksums
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            # what is marked as a folder torch does not read, and fills tensors with anything
            folders = (info.filename for info in archive.infolist() if info.external_attr & 0x10)
            damaged = None
            if size <= path.stat().st_size:
                damaged = archive.testzip() or next(folders, None)
    except Exception as error:
        raise ValueError(f'{path} is truncated, damaged or not a checkpoint of torch') from error
    if size > path.stat().st_size:
        raise ValueError(
            f"{path} is damaged, or compressed, which torch's files are not: its parts are "
            f'{decimal(size)} and the file {decimal(path.stat().st_size)}. Nothing was read'
        )
    if damaged is not None:
        raise ValueError(
            f'{path} is damaged: {damaged} in it has changed since it was written (its checksum is '
            'another). Nothing was loaded'
        )


def _load_safetensors(path: Path, map_location: Any) -> dict[str, Tensor]:
    try:
        state = load_file(path)
        with safe_open(path, 'pt') as file:
            digest = (file.metadata() or {}).get(DIGEST)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f'{path} is truncated, damaged or not of safetensors: {error}') from error
    if digest is None:
        print_log(
            f'{path} has no checksum of its weights: whether they are as they were written can not '
            'be told',
            'current',
            level=30,
        )
    elif digest != _digest(state):
        raise ValueError(
            f'{path} is damaged: its weights have changed since they were written (their digest is '
            'another). Nothing was loaded'
        )
    return {name: value.to(map_location) for name, value in state.items()}


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _download(url: str) -> Path:
    """Fetch a file once on every machine: first rank 0, then whoever does not find it."""
    folder, name = Path(torch.hub.get_dir()) / 'checkpoints', Path(urlsplit(url).path).name
    checksum = CHECKSUM.search(name)
    if checksum is None:  # many hosts have a model.safetensors
        folder /= hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    path = folder / (name or 'weights')
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_main_process() and not path.exists():
        _fetch(url, path, checksum and checksum[1])
    barrier()
    if not path.exists():
        _fetch(url, path, checksum and checksum[1])
    return path


def _fetch(url: str, path: Path, checksum: str | None) -> None:
    """Download a checkpoint, which is kept only if it can be read."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder, path.name)
        try:
            torch.hub.download_url_to_file(url, str(partial), checksum)
            load_restricted(partial)
        except RuntimeError as error:
            raise ValueError(f'{url} did not arrive whole: {error}') from error
        except ValueError as error:  # it was cut short, or a page that says why there is no file
            message = str(error).replace(str(partial), url)
            raise ValueError(f'{message}. What arrived was not kept') from error
        except OSError as error:
            raise ConnectionError(
                f'{url} can not be downloaded ({error}): put the file at {path}, or give the path '
                'of weights that are here as checkpoint (model.teacher.checkpoint for a teacher)'
            ) from error
        partial.replace(path)
