"""What ``aekt_mm::METHOD/RECIPE.py`` is in a config: our recipe, or one with parts of one's own.

    _base_ = 'aekt_mm::aekt/aekt_resnet56_resnet20_cifar100.py'
    _base_ = 'aekt_mm::aekt/aekt_resnet56_resnet20_cifar100.py?dataset=./data.py&pair=./pair.py'

Once ``import aekt_mm`` has run, every config of the process may inherit so, in Python or YAML, from
the recipes of an installed package or of a checkout. MMEngine would find installed ones too, but it
marks their parts with the scope that they come from, also where nothing takes such a mark (a
``collate_fn``, a data loader that stands for another). A recipe says its own scope: inherited by
name it is what it is inherited by path.
"""

import difflib
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

PREFIX = f'{__package__}::'

_PLACES = Path(__file__).parent / '.mim' / 'configs', Path(__file__).parents[1] / 'configs'

#: The recipes as installed, or else those of the checkout that the package is imported from.
CONFIGS = next((folder.resolve() for folder in _PLACES if folder.is_dir()), None)

#: What a recipe is put together from beside its method, each from a folder of ``configs/_base_``.
PARTS = ('pair', 'dataset', 'schedule')


def find_recipe(reference: str, folder: str | Path = '.') -> Path:
    """Return the file of a recipe.

    Args:
        reference: ``aekt_mm::METHOD/RECIPE.py``, or a base, ``aekt_mm::_base_/...py``. After ``?``
            may follow files that take the place of the recipe's own parts, joined by ``&``:
            ``pair=``, ``dataset=`` or ``schedule=`` and a path, or a reference to one of our bases.
            What the recipe makes of its parts, it makes of these.
        folder: What relative paths are relative to: that of the config with the reference in it.

    Raises:
        FileNotFoundError: If there is no such recipe, or no such file.
        ValueError: If the recipe has no such part, or the file does not define what the part does.
    """
    name, _, swaps = reference.removeprefix(PREFIX).partition('?')
    if CONFIGS is None:
        raise FileNotFoundError(f'{reference}: {__package__} is here without its recipes')
    recipe = CONFIGS / name
    if not recipe.is_file():
        known = [path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py')]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f', did you mean {PREFIX}{near[0]}?' if near else ''
        raise FileNotFoundError(f'there is no recipe {PREFIX}{name}{hint}')
    if not swaps:
        return recipe
    parts = {}
    for swap in swaps.split('&'):
        part, _, file = swap.partition('=')
        if part not in PARTS or not file:
            raise ValueError(
                f'{reference}: {swap!r} must be one of {", ".join(PARTS)}, = and a file'
            )
        place = find_recipe(file) if file.startswith(PREFIX) else Path(folder, file).resolve()
        if not place.is_file():
            raise FileNotFoundError(f'{reference}: there is no {part} {place}')
        parts[part] = place
    return _with_parts(recipe, parts)


def _with_parts(recipe: Path, parts: Mapping[str, Path]) -> Path:
    """Write a recipe that differs from another in the files that it is put together from."""
    text = recipe.read_text(encoding='utf-8')
    if 'pair' in parts:
        taken = set(re.findall(r'_base_\.(pair|beta)\b', text))
        defined = Config.fromfile(parts['pair'], import_custom_modules=False).keys()
        if taken - defined:
            raise ValueError(
                f'{parts["pair"]} takes the place of a pair, and must define what a pair does: it '
                f'has no {" and no ".join(sorted(taken - defined))}'
            )
    for part, file in parts.items():
        own = re.search(rf'\.\./_base_/{part}s/[\w.-]+', text)
        if own is None:
            raise ValueError(f'{recipe.name} has no {part} that {file} could take the place of')
        text = text[: own.start()] + file.as_posix() + text[own.end() :]
    text = text.replace('../_base_/', f'{CONFIGS.as_posix()}/_base_/')
    written = Path(tempfile.mkdtemp(dir=_scratch().name)) / recipe.name
    written.write_text(text, encoding='utf-8')
    return written


@cache
def _scratch() -> tempfile.TemporaryDirectory:
    """Return a folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix=f'{__package__}_')


def _config_path(reference: str, filename: str) -> tuple[str, str | None]:
    """Stand in for MMEngine's function: return the file of a base, and no scope to mark it with."""
    if not reference.startswith(PREFIX):
        return _mmengine_config_path(reference, filename)
    return str(find_recipe(reference, Path(filename).parent)), None


_mmengine_config_path = Config._get_cfg_path
Config._get_cfg_path = staticmethod(_config_path)
MODULE2PACKAGE[__package__] = __package__  # for mmengine.hub
