"""Recipes by file or by name."""

from pathlib import Path

from mmengine.config import Config

from aekt_mm.recipes import CONFIGS, compose

from .config_check import explain


def load_recipe(spec: str | Path) -> Config:
    """Read a recipe.

    Args:
        spec: The path of a config file; or the name of a recipe,
            ``METHOD_TEACHER_STUDENT_DATASET`` (``nkd_resnet56_resnet20_cifar100``), with ``_8e``
            behind it for a short one. One that has no file is made of its parts, see
            :func:`aekt_mm.recipes.compose`.

    Raises:
        FileNotFoundError: If there is no such file or recipe; the message names what is near.
        ValueError: If the file can't be read or defines nothing, or the method says nothing for the
            pair.
    """
    path = Path(spec)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return _read(path)
    written = next(CONFIGS.glob(f'*/{path.name}.py'), None)
    return Config.fromfile(written) if written else compose(path.name)


def _read(path: Path) -> Config:
    """Read a config file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it can't be read, or defines nothing.
    """
    if not path.is_file():
        is_folder = ': it is a folder' if path.is_dir() else ''
        raise FileNotFoundError(f'there is no config {path}{is_folder}')
    _check_bases(path, ())
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code, which may raise anything
        if isinstance(error, AttributeError) and path.suffix != '.py':
            raise ValueError(f'the config {path} is no dict of settings') from error
        said = explain(error).removesuffix(' (--traceback shows where)')
        kind = type(error).__name__
        said = said if said.startswith(kind) or isinstance(error, OSError) else f'{kind}: {said}'
        raise ValueError(f'the config {path} can not be read: {said}') from error
    if not len(cfg):
        raise ValueError(f'the config {path} is empty')
    return cfg


def _check_bases(path: Path, heirs: tuple[Path, ...]) -> None:
    """Refuse a config that is its own base, which MMEngine follows until the stack is full."""
    chain = (*heirs, path.resolve())
    if path.resolve() in heirs:
        names = ' → '.join(file.name for file in chain)
        raise ValueError(f'the config {heirs[0].name} inherits from itself: {names}')
    try:
        bases = Config._get_base_files(str(path))
    except Exception:  # reading it says what is wrong
        return
    for base in bases:
        if '::' not in base:
            _check_bases(path.parent / base, chain)
