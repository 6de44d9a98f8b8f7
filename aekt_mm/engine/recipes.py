"""Recipes by name: METHOD_TEACHER_STUDENT_DATASET is made of its parts."""

import difflib
import re
from pathlib import Path

from mmengine.config import Config

from aekt_mm.recipes import CONFIGS

from .config_check import explain

#: The method that every pair has a recipe of, which says what the pair is trained with.
REFERENCE = 'kd'


def load_recipe(spec: str | Path) -> Config:
    """Read a recipe.

    Args:
        spec: The path of a config file; or the name of a recipe,
            ``METHOD_TEACHER_STUDENT_DATASET`` (``nkd_resnet56_resnet20_cifar100``), with ``_8e``
            behind it for a short one. One that has no file is KD's recipe of the pair with another
            method: ``_base_/methods/METHOD.py`` (or ``METHOD_imagenet.py``), and of the model what
            is said there in ``per_pair`` for this one.

    Raises:
        FileNotFoundError: If there is no such file or recipe; the message names what is near.
        ValueError: If the file can't be read or defines nothing, or the method says nothing for the
            pair.
    """
    path = Path(spec)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return _read(path)
    written = next(CONFIGS.glob(f'*/{path.name}.py'), None)
    return Config.fromfile(written) if written else _compose(path.name)


def methods() -> list[str]:
    """Return the methods that a recipe's name can begin with."""
    files = (CONFIGS / '_base_' / 'methods').glob('*.py')
    return sorted({path.stem.removesuffix('_imagenet') for path in files})


def _compose(name: str) -> Config:
    method, _, pair = name.partition('_')
    reference = CONFIGS / REFERENCE / f'{REFERENCE}_{pair}.py'
    if method not in methods():
        raise FileNotFoundError(
            f'there is no config {name}: it is no file, and a recipe begins with one of '
            f'{", ".join(methods())}'
        )
    if not reference.is_file():
        pairs = [p.stem.partition('_')[2] for p in reference.parent.glob('*.py')]
        close = difflib.get_close_matches(pair, pairs, n=3) or sorted(pairs)
        raise FileNotFoundError(
            f'there is no recipe {name}: no pair is called {pair!r}; near it are {", ".join(close)}'
        )
    text = reference.read_text(encoding='utf-8').replace('../_base_', f'{CONFIGS}/_base_')
    text = text.replace(f'methods/{REFERENCE}', f'methods/{method}')
    method_file = Path(re.search(r"'(.*/methods/.*)'", text)[1])
    if not method_file.is_file():
        raise ValueError(f'there is no recipe {name}: {method} has no constants for ImageNet')
    cfg = Config.fromstring(text, '.py')

    short = pair.removesuffix('_8e')
    cfg.merge_from_dict(dict(model=cfg.get('per_pair', {}).get(short, {})))
    if not (cfg.model.get('losses') or cfg.model.get('features')):
        raise ValueError(
            f'there is no recipe {name}: configs/_base_/methods/{method_file.name} says nothing '
            f'for {short} in per_pair'
        )
    # what else a method's file says, it says for itself
    own = set(Config.fromfile(method_file)) - {'model', 'custom_hooks'}
    content = {key: value for key, value in cfg.to_dict().items() if key not in own}
    # where it would be, for what is looked for beside it and for the copy that a run keeps
    return Config(content, cfg_text=text, filename=CONFIGS / method / f'{name}.py')


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
