"""MMEngine's checkpoints, with weights-only loading and atomic writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, checkpoint

from aekt_mm.files import replace_bytes
from aekt_mm.models.checkpoints import load_restricted


def use_restricted_loading() -> None:
    """Make weights-only loading MMEngine's default in this process.

    onedl-mmengine falls back to unrestricted unpickling where the restricted load fails, and
    mmengine 0.10.7 fails on its own checkpoints under PyTorch 2.6 and later. Registering the
    restricted loader mends both, for resuming, ``load_from`` and ``init_cfg``.
    """

    def load_from_restricted(filename: str, map_location: Any = None, **kwargs) -> dict:
        content = load_restricted(filename, map_location)
        if isinstance(content.get('meta'), dict):
            content['meta'].pop('config', None)  # which a runner that resumes would run as code
        return content

    for prefix in ('', 'http://', 'https://'):
        CheckpointLoader.register_scheme(prefix, load_from_restricted, force=True)
    # torchvision://, open-mmlab:// and mmcls:// call this function by name, with a URL
    checkpoint.load_from_http = load_from_restricted


class WholeFileBackend(LocalBackend):
    """MMEngine's backend for local files, with atomic writes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file under another name, then rename it."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text as :meth:`put` does."""
        self.put(obj.encode(encoding), filepath)


def write_whole_files() -> None:
    """Make MMEngine's checkpoints atomic writes in this process.

    Recipes keep two: with ``max_keep_ckpts=1`` MMEngine removes the old one before it writes.
    """
    register_backend('local', WholeFileBackend, force=True, prefixes='')


def render_configs_once() -> None:
    """Let MMEngine format a config once, and not for every checkpoint: 48 ms each."""
    Config.pretty_text = property(_pretty_text)


def _pretty_text(cfg: Config) -> str:
    content = repr(cfg._cfg_dict)
    if content not in _texts:
        _texts.clear()  # a process has one config at a time
        _texts[content] = _format(cfg)
    return _texts[content]


_format: Callable[[Config], str] = Config.pretty_text.fget
_texts: dict[str, str] = {}


#: What a checkpoint must have for a run to continue at it; MMEngine's best_*.pth have less.
RUN_STATE = frozenset({'message_hub', 'meta', 'optimizer', 'state_dict'})


def latest_whole_checkpoint(work_dir: str | Path) -> str | None:
    """Return the newest checkpoint of a run that can be read.

    A kill in the middle of a save, a bit that flipped on the disk or a folder by the name of a
    checkpoint are passed over, with a warning, for the file before. So are files without the
    optimizer's state, which MMEngine's best_*.pth are.

    Args:
        work_dir: Where the run saves.

    Returns:
        The path, or None where there is nothing to resume from.
    """
    candidates = sorted(
        Path(work_dir).glob('*.pth'), key=lambda path: path.stat().st_mtime, reverse=True
    )
    # what the run itself noted comes first
    noted = noted_checkpoint(work_dir)
    candidates.sort(key=lambda path: path != noted)
    for path in candidates:
        try:
            if load_restricted(path).keys() >= RUN_STATE:
                return str(path)
        except (OSError, ValueError) as error:
            print_log(f'Passed over as a point to resume from: {error}', 'current', level=30)
    return None


def noted_checkpoint(work_dir: str | Path) -> Path | None:
    """Return the checkpoint that a run noted as its last, in the folder where the run is now."""
    try:
        noted = (Path(work_dir) / 'last_checkpoint').read_text(encoding='utf-8')
    except (OSError, ValueError):
        return None  # a kill may leave anything
    return Path(work_dir) / Path(noted.strip()).name


def check_resumable(path: str | Path) -> dict:
    """Check that a run can continue at a checkpoint, and return the checkpoint's ``meta``.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it can't be read, or is not the checkpoint of a run.
    """
    checkpoint = load_restricted(path)
    missing = RUN_STATE - checkpoint.keys()
    if missing:
        raise ValueError(
            f'{path} is not the checkpoint of a run: it has no {", ".join(sorted(missing))}. To '
            f'start from its weights: --cfg-options load_from={path}'
        )
    return checkpoint['meta'] or {}
