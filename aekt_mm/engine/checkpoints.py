"""MMEngine's reading and writing of checkpoints, safe against code and against a kill."""

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, checkpoint, find_latest_checkpoint

from aekt_mm.models.checkpoints import load_restricted


def use_restricted_loading() -> None:
    """Make MMEngine load checkpoints of this process without running code from them.

    onedl-mmengine falls back to unrestricted unpickling where the restricted load fails, and
    mmengine 0.10.7 fails on its own checkpoints under PyTorch 2.6 and later. Registering the
    restricted loader mends both, for resuming, ``load_from`` and ``init_cfg``.
    """

    def load_from_restricted(filename: str, map_location: Any = None, **kwargs) -> dict:
        return load_restricted(filename, map_location)

    for prefix in ('', 'http://', 'https://'):
        CheckpointLoader.register_scheme(prefix, load_from_restricted, force=True)
    # torchvision://, open-mmlab:// and mmcls:// call this function by name, with a URL
    checkpoint.load_from_http = load_from_restricted


class WholeFileBackend(LocalBackend):
    """MMEngine's access to local files, with writing that a kill leaves undone or complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file under another name, then rename it."""
        partial = f'{filepath}.partial'
        super().put(obj, partial)
        Path(partial).replace(filepath)


def write_whole_files() -> None:
    """Make MMEngine write each checkpoint of this process whole or not at all.

    Recipes keep two: with ``max_keep_ckpts=1`` MMEngine removes the old one before it writes.
    """
    register_backend('local', WholeFileBackend, force=True, prefixes='')


def latest_whole_checkpoint(work_dir: str | Path) -> str | None:
    """Return the newest checkpoint of a run that can be read.

    A kill in the middle of a save leaves half a file. It is passed over, with a warning, for the
    one before it. So are files without the optimizer's state, which MMEngine's best_*.pth are.

    Args:
        work_dir: Where the run saves.

    Returns:
        The path, or None where there is nothing to resume from.
    """
    latest = find_latest_checkpoint(str(work_dir))
    candidates = sorted(
        Path(work_dir).glob('*.pth'), key=lambda path: path.stat().st_mtime, reverse=True
    )
    if latest is not None and Path(latest) in candidates:
        candidates.remove(Path(latest))
        candidates.insert(0, Path(latest))
    for path in candidates:
        try:
            if {'message_hub', 'optimizer'} <= load_restricted(path).keys():
                return str(path)
        except ValueError as error:
            print_log(f'Passed over as a point to resume from: {error}', 'current', level=30)
    return None
