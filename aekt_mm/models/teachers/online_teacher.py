"""A teacher that runs beside the student."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from aekt_mm.registry import MODELS
from aekt_mm.structures import numbered_otherwise

from ..classifiers import (
    build_classifier,
    class_logits,
    num_classes,
    read_classifier,
    run,
    trial_images,
)
from ..taps import FeatureTaps
from ..weights import load_weights
from .folding import fold_batch_norms
from .identity import content_of, plain
from .input_adapter import InputAdapter, trained_order
from .teacher import Teacher, described


@MODELS.register_module()
class OnlineTeacher(Teacher):
    """A frozen network that maps the student's images to logits.

    Its parameters want no gradient, and no graph is recorded. A network that it builds itself runs
    with batch norms folded into convolutions, to the same logits up to rounding.

    Args:
        model: A model config, the path of a config file (``mmpretrain::resnet/...py``), or any
            callable from images (N, 3, H, W) to logits (N, C). In a config, models of torchvision
            are ``type='torchvision.models.resnet34'``, those of timm mmpretrain's
            ``type='TimmClassifier'``.
        checkpoint: Path, URL or ``torchvision://NAME`` of the weights, see
            :func:`~aekt_mm.models.weights.load_weights`. None says that ``model`` already has its
            weights (a trained module, ``pretrained=True``).
        data_preprocessor: What the teacher was trained with where it differs from the student's:
            ``mean`` and ``std`` of pixels in [0, 255], channels in the teacher's order. By default
            those of the model's own config, or else the student's.
        channel_order: 'RGB' or 'BGR', what the teacher was trained on. By default as its own config
            file says, or else RGB. What the student's images are is known from its data.
        classes: Of a teacher that tells more classes apart than the student: which of its own each
            of the student's is, by their numbers. Several are one class whose probability is their
            sum, ``[3, [0, 7], 5]``. The teacher's other classes are left out, as if it had been
            told that the image shows none of them.

    A teacher whose checkpoint has the names of its classes is compared with the data when it is
    shown them, unless ``classes`` says how they are numbered.

    Raises:
        FileNotFoundError: If the config file or the checkpoint is not there.
        ValueError: If the checkpoint does not fit the model, or can't be read, or an option is not
            one of these, or a class is not the model's or named twice.

    Examples:
        >>> from torch import nn
        >>> teacher = OnlineTeacher(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), checkpoint=None)
        >>> teacher(torch.rand(4, 3, 2, 2)).shape
        torch.Size([4, 5])
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> OnlineTeacher(network, checkpoint=None, classes=[4, [0, 2]]).num_classes
        2
    """

    def __init__(
        self,
        model: Any,
        checkpoint: str | Path | None,
        data_preprocessor: dict | None = None,
        channel_order: str | None = None,
        classes: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.model, own_preprocessor = build_classifier(model)
        self.num_classes = num_classes(self.model)
        self.register_buffer('groups', None)
        if classes is not None:
            self.groups = _class_groups(classes, self.num_classes)
            self.num_classes = len(self.groups)
        self.adapter = InputAdapter(
            data_preprocessor, channel_order or trained_order(model), own_preprocessor
        )
        # of mmpretrain.get_model, or in the checkpoint
        self.class_names = tuple((getattr(model, '_dataset_meta', None) or {}).get('classes', ()))
        if checkpoint is not None:
            self.class_names = load_weights(self.model, str(checkpoint)) or ()
        elif isinstance(model, dict | str | Path):
            print_log(
                'The teacher is built from a config with checkpoint=None: unless its config loads '
                'weights, it is untrained.',
                logger='current',
                level=30,
            )
            getattr(self.model, 'init_weights', lambda: None)()
        self.folded: dict[str, str] = {}
        self.tapped = False
        self.requires_grad_(False)
        self.eval()
        if self.model is not model:  # it is ours to change
            self._fold()

    def _fold(self) -> None:
        """Fold batch norms into convolutions, where the network can be tried out."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        try:
            images = trial_images(self.model)
        except ValueError:
            return
        self.folded = fold_batch_norms(self.model, images)
        self.requires_grad_(False)

    @classmethod
    def identity_of(cls, config: dict) -> dict:
        """Describe a teacher by its config, its weights and what it takes images for."""
        return _identity(config) if cls is OnlineTeacher else super().identity_of(config)

    def identity(self) -> dict:
        """Return the same as :meth:`identity_of`; of a model that is no config, its weights too."""
        if type(self) is OnlineTeacher:
            return _identity(self._options)
        return {**super().identity(), 'input': self.adapter.identity()}

    @property
    def unsure(self) -> bool:
        """Whether the order of the images' channels is supposed."""
        return self.adapter.unsure

    def attach(
        self, loader: DataLoader | None, preprocessor: Any, epochs: int | None = None
    ) -> None:
        """Learn how the student's images are normalised, and from the data their channels' order.

        Raises:
            ValueError: If the teacher knows its classes by name, and numbers them otherwise than
                the data.
        """
        if loader is not None:
            self._check_names((getattr(loader.dataset, 'metainfo', None) or {}).get('classes'))
        self.adapter.attach(loader, preprocessor)

    def _check_names(self, names: Sequence[str] | None) -> None:
        """Compare the teacher's classes with those of the data, where both sides have names."""
        theirs = self.class_names
        if self.groups is not None or not names or not theirs:
            return
        number = numbered_otherwise(theirs, names)
        if number is not None:
            known = set(names) <= set(theirs) and len(set(theirs)) == len(theirs)
            numbers = [theirs.index(name) for name in names] if known else '...'
            raise ValueError(
                'the teacher numbers its classes otherwise than the data: '
                f'{number} is its {theirs[number]!r}, but {names[number]!r} in the data. Say in '
                f'classes of the teacher which of its own each of them is: classes={numbers}'
            )
        if theirs[: len(names)] != tuple(names):
            print_log(
                f'The teacher calls its classes otherwise than the data ({theirs[0]!r}, ... and '
                f'{names[0]!r}, ...): whether their numbers stand for the same can not be known',
                'current',
                level=30,
            )

    def tap(self, paths: Sequence[str]) -> FeatureTaps:
        """Let modules of the network be seen, see :class:`~aekt_mm.models.taps.FeatureTaps`.

        Args:
            paths: In ``model``.

        Raises:
            ValueError: If there is no such module, or a convolution's output is asked for that is
                not computed any more, since the batch norm after it is folded into it.
        """
        for path in paths:
            if path in self.folded:
                raise ValueError(
                    f"the teacher's {path!r} has the batch norm {self.folded[path]!r} folded into "
                    f'it: name {self.folded[path]!r}, whose output is what it was'
                )
        self.tapped = True
        return FeatureTaps(self.model, paths, 'teacher')

    def forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """Compute the logits of a batch.

        Args:
            inputs: Images as the student sees them, (N, 3, H, W), floating point.
            data_samples: Not looked at: this teacher sees the images.

        Returns:
            Logits (N, C) without a graph.

        Raises:
            TypeError: If the model returns anything else.
        """
        # dynamo's guards fail on what it makes of plain numbers in inference mode (torch 2.14), and
        # features made in it could not be saved for backward
        plain = self.tapped or torch.compiler.is_compiling()
        with torch.no_grad() if plain else torch.inference_mode():
            images = self.adapter(inputs)
            logits = class_logits(self.model, run(self.model, images, 'teacher'))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(f'a teacher must map images to logits (N, C), but returned {got}')
        if self.groups is not None:
            logits = pad(logits, (0, 1), value=-torch.inf)[:, self.groups].logsumexp(2)
        return logits.clone()  # a tensor made in inference mode could not be saved for backward


def _identity(options: dict) -> dict:
    """Describe a teacher by its options, its weights and what it takes images for."""
    model, own = options.get('model'), options.get('data_preprocessor')
    order = options.get('channel_order') or trained_order(model)
    if isinstance(model, str | Path):
        model = read_classifier(model)  # what the file says, wherever it is
    normalised = own or (isinstance(model, dict) and model.get('data_preprocessor'))
    checkpoint, classes = options.get('checkpoint'), options.get('classes')
    return {
        'type': 'OnlineTeacher',
        'model': described(model),
        'data_preprocessor': plain(own),
        # None is what caches have that are older than the option
        'channel_order': order if normalised or order == 'BGR' else None,
        'checkpoint': None if checkpoint is None else content_of(str(checkpoint)),
        **({} if classes is None else {'classes': plain(classes)}),
    }


def _class_groups(classes: Sequence[int | Sequence[int]], count: int | None) -> Tensor:
    """Return the teacher's classes of each of the student's, filled up with -1."""
    groups = [[entry] if isinstance(entry, int) else list(entry) for entry in classes]
    for group in groups:
        if not group or not all(type(label) is int and label >= 0 for label in group):
            raise ValueError(
                "classes must have a number of the teacher's classes, or a list of some, for each "
                f"of the student's, but has {group!r}"
            )
    named = sorted(label for group in groups for label in group)
    if count is not None and named[-1] >= count:
        raise ValueError(f'classes has {named[-1]}, but those of the teacher are 0 to {count - 1}')
    twice = sorted({a for a, b in pairwise(named) if a == b})
    if twice:
        raise ValueError(f'classes must name a class of the teacher once, but has {twice} twice')
    return pad_sequence(list(map(torch.tensor, groups)), batch_first=True, padding_value=-1)
