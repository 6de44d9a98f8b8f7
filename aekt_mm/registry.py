"""Registries of scope ``aekt_mm``, children of mmpretrain's.

With ``custom_imports = dict(imports=['aekt_mm'])`` any MMEngine config reaches the components as
``type='aekt_mm.NAME'``. With ``default_scope = 'aekt_mm'`` the prefix is not needed, and whatever
is not found here is looked up in mmpretrain and then in MMEngine.
"""

from typing import Any

from mmengine.registry import Registry
from mmpretrain import registry as mmpretrain

SCOPE = 'aekt_mm'


def _child(parent: Registry, package: str, ours: bool = True) -> Registry:
    """Make the child of ``parent`` whose components live in ``package``.

    A lookup imports the packages of the registry it starts from, not those of its parents, so a
    child names mmpretrain's package beside its own.
    """
    roots = ('mmpretrain', SCOPE) if ours else ('mmpretrain',)
    locations = [f'{root}.{package}' for root in roots]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(mmpretrain.MODELS, 'models')
MODEL_WRAPPERS = _child(mmpretrain.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(mmpretrain.WEIGHT_INITIALIZERS, 'models')
BATCH_AUGMENTS = _child(mmpretrain.BATCH_AUGMENTS, 'models')
TASK_UTILS = _child(mmpretrain.TASK_UTILS, 'models')

DATASETS = _child(mmpretrain.DATASETS, 'datasets')
DATA_SAMPLERS = _child(mmpretrain.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(mmpretrain.TRANSFORMS, 'datasets')

METRICS = _child(mmpretrain.METRICS, 'evaluation')
EVALUATORS = _child(mmpretrain.EVALUATORS, 'evaluation')

HOOKS = _child(mmpretrain.HOOKS, 'engine')
LOOPS = _child(mmpretrain.LOOPS, 'engine')
RUNNERS = _child(mmpretrain.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(mmpretrain.RUNNER_CONSTRUCTORS, 'engine')
LOG_PROCESSORS = _child(mmpretrain.LOG_PROCESSORS, 'engine')
OPTIMIZERS = _child(mmpretrain.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child(mmpretrain.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmpretrain.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = _child(mmpretrain.PARAM_SCHEDULERS, 'engine')

VISUALIZERS = _child(mmpretrain.VISUALIZERS, 'visualization', ours=False)
VISBACKENDS = _child(mmpretrain.VISBACKENDS, 'visualization', ours=False)

#: Explicit terms of the AEKT loss: functions of the student's and the teacher's target margins.
EXPLICIT_TERMS = Registry('explicit term', scope=SCOPE, locations=['aekt_mm.models.losses'])


def build(registry: Registry, cfg: dict) -> Any:
    """Build a component so that names without a prefix are looked up in this scope first.

    A config's default scope may be mmpretrain's. Parts of our own components are then found all
    the same, and so is everything of mmpretrain and MMEngine, which are this scope's parents.
    """
    return registry.build({'_scope_': SCOPE, **cfg})


def type_name(cfg: dict) -> str:
    """Return what a config calls the type of a part, without its scope or module; '' without one.

    In a config in pure Python it is the class itself.

    Examples:
        >>> type_name(dict(type='aekt_mm.KDLoss')), type_name(dict(type=int)), type_name({})
        ('KDLoss', 'int', '')
    """
    kind = cfg.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]
