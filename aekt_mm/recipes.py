"""The recipes: files, those that are made of their parts, and how a config inherits from them.

    _base_ = 'aekt_mm::aekt/aekt_resnet56_resnet20_cifar100.py'
    _base_ = 'aekt_mm::aekt/aekt_resnet56_resnet20_cifar100.py?dataset=./data.py&pair=./pair.py'
    _base_ = 'aekt_mm::nkd/nkd_resnet56_resnet20_cifar100.py'

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
from types import MappingProxyType

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

PREFIX = f'{__package__}::'

_PLACES = Path(__file__).parent / '.mim' / 'configs', Path(__file__).parents[1] / 'configs'

#: The recipes as installed, or else those of the checkout that the package is imported from.
CONFIGS = next((folder.resolve() for folder in _PLACES if folder.is_dir()), _PLACES[-1])

#: What a recipe is put together from beside its method, each from a folder of ``configs/_base_``.
PARTS = ('pair', 'dataset', 'schedule')


def find_recipe(reference: str, folder: str | Path = '.') -> Path:
    """Return the file of a recipe; one that has none of its own is made and written.

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
    if not CONFIGS.is_dir():
        raise FileNotFoundError(f'{reference}: {__package__} is here without its recipes')
    parts = {}
    for swap in filter(None, swaps.split('&')):
        part, _, file = swap.partition('=')
        if part not in PARTS or not file:
            raise ValueError(
                f'{reference}: {swap!r} must be one of {", ".join(PARTS)}, = and a file'
            )
        place = find_recipe(file) if file.startswith(PREFIX) else Path(folder, file).resolve()
        if not place.is_file():
            raise FileNotFoundError(f'{reference}: there is no {part} {place}')
        parts[part] = place
    recipe = CONFIGS / name
    if recipe.is_file() and not parts:
        return recipe
    if recipe.is_file():
        text = _with_parts(recipe.name, recipe.read_text(encoding='utf-8'), parts)
    elif recipe.parent.name in methods() and recipe.stem in _composable(recipe.parent.name):
        text = compose(recipe.stem, parts).pretty_text
    else:
        known = [path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py')]
        known += [f'{method}/{made}.py' for method in methods() for made in _composable(method)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f', did you mean {PREFIX}{near[0]}?' if near else ''
        raise FileNotFoundError(f'there is no recipe {PREFIX}{name}{hint}')
    written = Path(tempfile.mkdtemp(dir=_scratch().name)) / recipe.name
    written.write_text(text, encoding='utf-8')
    return written


def methods() -> list[str]:
    """Return the methods that a recipe's name can begin with."""
    files = (CONFIGS / '_base_' / 'methods').glob('*.py')
    return sorted({path.stem.removesuffix('_imagenet') for path in files})


def compose(name: str, parts: Mapping[str, Path] = MappingProxyType({})) -> Config:
    """Make a recipe that has no file, of its pair and its method.

    The pair is ``_base_/pairs/TEACHER_STUDENT_DATASET.py``. Data set and schedule are those that
    its student has alone, in ``vanilla/vanilla_STUDENT_DATASET.py``. The method is
    ``_base_/methods/METHOD.py`` (or ``METHOD_imagenet.py``), which may say more: in ``per_pair``
    what the model has for this pair, and in ``instead`` which bases take the place of the shared
    ones. A loss whose ``beta`` is None has the pair's.

    Args:
        name: ``METHOD_TEACHER_STUDENT_DATASET``, with ``_8e`` behind it for a short one.
        parts: Files that take the place of the recipe's own, as of :func:`find_recipe`.

    Raises:
        FileNotFoundError: If there is no such method or pair; the message names what is near.
        ValueError: If the method says nothing for the pair.
    """
    method, _, pair = name.partition('_')
    if method not in methods():
        raise FileNotFoundError(
            f'there is no config {name}: it is no file, and a recipe begins with one of '
            f'{", ".join(methods())}'
        )
    short = pair.removesuffix('_8e')
    pairs = [made.partition('_')[2] for made in _composable(method)]
    if pair not in pairs:
        if (CONFIGS / '_base_' / 'pairs' / f'{short}.py').is_file():
            raise FileNotFoundError(
                f'there is no recipe {name}: data set and schedule are those that its student has '
                f'alone, and there is no configs/vanilla/{_alone(pair).name}'
            )
        close = difflib.get_close_matches(pair, pairs, n=3) or sorted(pairs)
        raise FileNotFoundError(
            f'there is no recipe {name}: no pair is called {pair!r}; near it are {", ".join(close)}'
        )
    suffix = '_imagenet' if short.endswith('_imagenet') else ''
    method_file = CONFIGS / '_base_' / 'methods' / f'{method}{suffix}.py'
    if not method_file.is_file():
        raise ValueError(f'there is no recipe {name}: {method} has no constants for ImageNet')
    said = Config.fromfile(method_file)
    alone = _alone(pair).read_text(encoding='utf-8')
    bases = [
        f'pairs/{short}.py',
        f'methods/{method_file.name}',
        *(
            said.get('instead', {}).get(base, base)
            for base in re.findall(r"'\.\./_base_/((?!networks/).*)'", alone)
        ),
    ]
    lines = ''.join(f"    '../_base_/{base}',\n" for base in bases)
    text = _with_parts(name, f'_base_ = [\n{lines}]\n\nmodel = _base_.pair\n', parts)
    cfg = Config.fromstring(text, '.py')

    cfg.merge_from_dict(dict(model=cfg.get('per_pair', {}).get(short, {})))
    if not (cfg.model.get('losses') or cfg.model.get('features')):
        raise ValueError(
            f'there is no recipe {name}: configs/_base_/methods/{method_file.name} says nothing '
            f'for {short} in per_pair'
        )
    for loss in (cfg.model.get('losses') or {}).values():
        if loss.get('beta', 0) is None:
            loss.beta = cfg.get('beta')
    # what else a method's file says, it says for itself
    own = set(said) - {'model', 'custom_hooks'}
    content = {key: value for key, value in cfg.to_dict().items() if key not in own}
    # where it would be, for what is looked for beside it and for the copy that a run keeps
    return Config(content, cfg_text=text, filename=CONFIGS / method / f'{name}.py')


def _composable(method: str) -> list[str]:
    """Return the names of the recipes that a method has, or would have."""
    pairs = (path.stem for path in (CONFIGS / '_base_' / 'pairs').glob('*.py'))
    return [
        f'{method}_{pair}{short}'
        for pair in pairs
        for short in ('', '_8e')
        if _alone(pair + short).is_file()
    ]


def _alone(pair: str) -> Path:
    """Return the recipe of a pair's student alone; a pair is ``TEACHER_STUDENT_DATASET``."""
    return CONFIGS / 'vanilla' / f'vanilla_{pair.partition("_")[2]}.py'


def _with_parts(name: str, text: str, parts: Mapping[str, Path]) -> str:
    """Return a recipe's text with other files as its parts."""
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
            raise ValueError(f'{name} has no {part} that {file} could take the place of')
        text = text[: own.start()] + file.as_posix() + text[own.end() :]
    return text.replace('../_base_/', f'{CONFIGS.as_posix()}/_base_/')


@cache
def _scratch() -> tempfile.TemporaryDirectory:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix=f'{__package__}_')


def _config_path(reference: str, filename: str) -> tuple[str, str | None]:
    """Stand in for MMEngine's function: return the file of a base, and no scope to mark it with."""
    if not reference.startswith(PREFIX):
        return _mmengine_config_path(reference, filename)
    return str(find_recipe(reference, Path(filename).parent)), None


_mmengine_config_path = Config._get_cfg_path
Config._get_cfg_path = staticmethod(_config_path)
MODULE2PACKAGE[__package__] = __package__  # for mmengine.hub
