"""Reading studies.

A study is data, a YAML file::

    hold_out: 0.2          # train without a fifth of the training set, and be measured on it
    measured_on: test      # or on the test set, once, when all is chosen
    baseline: dkd          # what the others are compared with
    seeds: [0, 1, 2]
    threads: 1             # of a trial, and how much of a GPU it has: 0.25 for four on one
    gpus: 0
    cached_teacher: {folder: work_dirs/teachers/resnet20, views: 8, format: float32}
    options:               # of every trial, as in --cfg-options
      train_cfg.max_epochs: 8
    arms:
      alone: {recipe: ../vanilla/vanilla_resnet8_cifar100_8e.py}
      dkd: {recipe: ../dkd/dkd_resnet20_resnet8_cifar100_8e.py}
      aekt:
        recipe: ../aekt/aekt_resnet20_resnet8_cifar100_8e.py
        options: {model.connector: null}
        grid: {model.losses.aekt.alpha: [1.0, 2.0]}       # an arm for each combination
      found:
        recipe: ../aekt/aekt_resnet20_resnet8_cifar100_8e.py
        search: {model.losses.aekt.beta: {loguniform: [1.0, 16.0]}}
        samples: 8                                         # as many arms, drawn at random
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .study import Study, Trial

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Some = Annotated[list[Any], Field(min_length=1)]


class _Part(BaseModel):
    """A mapping in the file. What is empty in it is as if it were not there."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode='before')
    @classmethod
    def _known(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        for key in content:
            if key not in cls.model_fields:
                raise ValueError(f'has {key!r}, but knows only {", ".join(cls.model_fields)}')
        return {key: value for key, value in content.items() if value is not None}


class _Domain(_Part):
    uniform: Range | None = None
    loguniform: Range | None = None
    choice: Some | None = None

    @model_validator(mode='after')
    def _one(self) -> '_Domain':
        if len(self.model_fields_set) != 1:
            raise ValueError(
                'must be one of uniform: [low, high], loguniform: [low, high], choice: [...]'
            )
        low, high = self.uniform or self.loguniform or (0, 1)
        if not (low < high and math.isfinite(high - low)) or (self.loguniform and low <= 0):
            raise ValueError('must go from low to high, and loguniform from above 0')
        return self


class _Arm(_Part):
    recipe: str
    options: dict[str, Any] = {}
    grid: dict[str, Some] = {}
    search: dict[str, _Domain] = {}
    samples: int = Field(1, ge=1)


class SharedCache(_Part):
    """The cache of the teacher that the trials of a study share.

    Attributes:
        folder: Where it is, or is made.
        views: How many of each image, as many as trials have epochs.
        format: Of its logits, see ``tools/cache_teacher.py``.
        k: How many non-target logits the format ``topk`` keeps.
    """

    folder: str
    views: int = Field(ge=1)
    format: Literal['float32', 'float16', 'topk'] = 'float32'
    k: int = Field(50, ge=1)


class _StudyFile(_Part):
    baseline: str
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    arms: dict[str, _Arm] = Field(min_length=1)
    options: dict[str, Any] = {}
    hold_out: float | None = Field(None, gt=0, lt=1)
    measured_on: Literal['held-out', 'test'] | None = None
    cached_teacher: SharedCache | None = None
    threads: int = Field(1, ge=1)
    gpus: float = Field(0, ge=0)


def read_study(path: str | Path) -> Study:
    """Read a study's file.

    Raises:
        FileNotFoundError: If the file or a recipe in it is not there.
        ValueError: If it is no study; the message names the field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no study {path}')
    try:
        content = _StudyFile.model_validate(yaml.safe_load(path.read_text(encoding='utf-8')))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not YAML: {error}') from error
    except ValidationError as error:
        raise ValueError(f'{path}: {_first_mistake(error)}') from error
    found: dict[str, tuple[Path | str, dict[str, Any]]] = {}
    for name, arm in content.arms.items():
        recipe: Path | str = arm.recipe
        if Path(recipe).suffix:  # else it is a recipe's name
            recipe = path.parent / recipe
            if not recipe.is_file():
                raise FileNotFoundError(f'{path}: arms.{name}.recipe: there is no {recipe}')
        for suffix, varied in _variants(arm):
            found[f'{name}{suffix}'] = (recipe, {**content.options, **arm.options, **varied})
    _check_whole(path, content, found)
    return Study(
        path,
        content.baseline,
        tuple(
            Trial(name, seed, recipe, options)
            for seed in content.seeds
            for name, (recipe, options) in found.items()
        ),
        content.hold_out,
        content.measured_on or ('test' if content.hold_out is None else 'held-out'),
        content.cached_teacher,
        content.threads,
        content.gpus,
    )


def _first_mistake(error: ValidationError) -> str:
    """Say in a line what is wrong first, and where."""
    mistake = error.errors(include_url=False)[0]
    place = '.'.join(map(str, mistake['loc']))
    if mistake['type'] == 'missing':
        return f'{place} is missing'
    if mistake['type'] == 'value_error':  # our own words
        return f'{place} {mistake["ctx"]["error"]}'.strip()
    if mistake['type'] == 'model_type':
        return f'{place or "a study"} must have settings, but is {mistake["input"]!r}'
    wanted = mistake['msg'].removeprefix('Input ').replace('should', 'must')
    return f'{place}: {wanted}, but is {mistake["input"]!r}'


def _check_whole(path: Path, content: _StudyFile, arms: dict[str, Any]) -> None:
    """Check fields against each other."""
    if len(set(content.seeds)) < len(content.seeds):
        raise ValueError(f'{path}: seeds must differ, but are {content.seeds}')
    for arm in arms:
        parts = Path(arm).parts
        if not parts or Path(arm).is_absolute() or '..' in parts or '\0' in arm:
            raise ValueError(
                f'{path}: an arm must be the name of a folder in the work directory, but is {arm!r}'
            )
    if content.baseline not in arms:
        raise ValueError(
            f'{path}: baseline must be one of the arms, {", ".join(arms)}, but is '
            f'{content.baseline!r}'
        )
    if content.measured_on == 'held-out' and content.hold_out is None:
        raise ValueError(f'{path}: measured_on is held-out, but hold_out, the share, is missing')


def _variants(arm: _Arm) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the settings of an arm's grid and search, by the name of each."""
    for combination in itertools.product(*arm.grid.values()):
        chosen = dict(zip(arm.grid, combination))
        for number in range(arm.samples if arm.search else 1):
            settings = {**chosen, **_draw(arm.search, number)}
            yield _suffix(settings), settings


def _draw(search: dict[str, _Domain], number: int) -> dict[str, Any]:
    """Draw the settings of a search, the same ones every time."""
    if not search:
        return {}
    from ray import tune

    drawn = {}
    for place, (option, domain) in enumerate(search.items()):
        (kind,) = domain.model_fields_set
        values = getattr(domain, kind)
        sampler = tune.choice(values) if kind == 'choice' else getattr(tune, kind)(*values)
        value = sampler.sample(random_state=np.random.RandomState([number, place]))
        drawn[option] = float(f'{value:.4g}') if isinstance(value, float) else value
    return drawn


def _suffix(settings: dict[str, Any]) -> str:
    if not settings:
        return ''
    return ' ' + ' '.join(f'{key.rpartition(".")[2]}={value}' for key, value in settings.items())
