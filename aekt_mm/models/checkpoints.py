"""Reading checkpoints without running code from them."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

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


_core = np._core if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else np.core

#: What MMEngine's checkpoints hold beside tensors; the logged numbers are numpy arrays, and numpy 1
#: and 2 name their internals differently.
MMENGINE_GLOBALS = [
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


def load_restricted(source: str | Path, map_location: Any = 'cpu') -> dict:
    """Load a checkpoint that holds tensors, numbers, strings and MMEngine's log buffers.

    Anything else in the file would be code of whoever wrote it, and is refused unread.

    Args:
        source: A path or an http(s) URL; what is downloaded is kept where torch.hub keeps it.
        map_location: As in ``torch.load``.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint, is truncated, or carries code.
    """
    path = _download(str(source)) if str(source).startswith(('http://', 'https://')) else source
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    try:
        with torch.serialization.safe_globals(MMENGINE_GLOBALS):
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


def _download(url: str) -> Path:
    """Fetch a file once on every machine: first rank 0, then whoever does not find it."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / url.rsplit('/', 1)[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_main_process() and not path.exists():
        torch.hub.download_url_to_file(url, str(path))
    barrier()
    if not path.exists():
        torch.hub.download_url_to_file(url, str(path))
    return path
