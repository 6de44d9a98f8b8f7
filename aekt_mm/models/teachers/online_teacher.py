"""A teacher that runs beside the student."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from aekt_mm.registry import MODELS
from aekt_mm.structures import SWAPPED, data_order, input_order, numbered_otherwise

from ..classifiers import (
    build_classifier,
    class_logits,
    num_classes,
    run,
    trained_order,
    trial_images,
)
from ..data_preprocessors import BatchPreprocessor
from ..taps import FeatureTaps
from ..weights import load_weights
from .folding import fold_batch_norms


@MODELS.register_module()
class OnlineTeacher(nn.Module):
    """A frozen network that maps the student's images to logits.

    Frozen in every sense: it stays in evaluation mode whatever its owner does, its parameters want
    no gradient, no graph is recorded, and a copy of it is itself, so that copies of a distiller
    (a moving average, say) share it. A network that it builds itself runs with batch norms folded
    into convolutions, to the same logits up to rounding.

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
        if 'to_rgb' in (data_preprocessor or {}):
            raise ValueError(
                'data_preprocessor of a teacher takes no to_rgb, which is what is done to the '
                "student's images: leave it out where the teacher was trained on RGB, or set "
                "channel_order='BGR'"
            )
        if channel_order not in (None, *SWAPPED):
            raise ValueError(f"channel_order must be 'RGB' or 'BGR', but is {channel_order!r}")
        self.model, own_preprocessor = build_classifier(model)
        self.num_classes = num_classes(self.model)
        self.register_buffer('groups', None)
        if classes is not None:
            self.groups = _class_groups(classes, self.num_classes)
            self.num_classes = len(self.groups)
        self.channel_order = channel_order or trained_order(model)
        if _option(own_preprocessor, 'mean') is None:
            own_preprocessor = None  # it has no normalisation of its own
        self.data_preprocessor = data_preprocessor or own_preprocessor
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
        self.register_buffer('scale', None)
        self.register_buffer('shift', None)
        self.swap_channels = False
        self.unsure = False
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

    def adapt_to(self, student_preprocessor: Any, student_order: str = 'RGB') -> None:
        """Undo the student's normalisation and apply the teacher's, from now on, in one affine map.

        Args:
            student_preprocessor: What prepares the images the teacher will get, with mean and std
                (3, 1, 1) as mmpretrain's ``ClsDataPreprocessor``.
            student_order: The order of their channels, 'RGB' or 'BGR'.
        """
        self.swap_channels = self.channel_order != student_order
        # a student that swaps nothing sees RGB, as of arrays, or else files as they are
        self.unsure = getattr(student_preprocessor, 'to_rgb', None) is False and not isinstance(
            student_preprocessor, BatchPreprocessor
        )
        self.scale = self.shift = None
        if self.data_preprocessor is None:
            return
        student_mean, student_std = _normalisation(student_preprocessor)
        mean, std = _normalisation(self.data_preprocessor)
        if self.swap_channels:
            student_mean, student_std = student_mean.flip(0), student_std.flip(0)
        scale, shift = student_std / std, (student_mean - mean) / std
        if not (scale.equal(torch.ones_like(scale)) and shift.equal(torch.zeros_like(shift))):
            device = getattr(student_preprocessor, 'device', None)
            self.scale, self.shift = (t.to(device, torch.float32) for t in (scale, shift))

    def attach(self, loader: DataLoader, preprocessor: Any, epochs: int | None = None) -> None:
        """Learn from a run's data in which order the channels of the student's images are.

        Args:
            loader: Of the data.
            preprocessor: The student's.
            epochs: Not looked at.

        Raises:
            ValueError: If the teacher knows its classes by name, and numbers them otherwise than
                the data.
        """
        self._check_names((getattr(loader.dataset, 'metainfo', None) or {}).get('classes'))
        self.adapt_to(preprocessor, input_order(data_order(loader.dataset), preprocessor))
        self.unsure = False

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

    @torch.compiler.disable
    def _say_what_is_supposed(self) -> None:
        """Warn, once, of what would be known if the data had been shown."""
        self.unsure = False
        print_log(
            f"The teacher, trained on {self.channel_order}, takes the student's images for RGB, "
            "but has not been shown the data: add dict(type='aekt_mm.DistillCheckHook') to "
            'custom_hooks',
            logger='current',
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

    def train(self, mode: bool = True) -> 'OnlineTeacher':
        """Stay in evaluation mode."""
        return super().train(False)

    def __deepcopy__(self, memo: dict) -> 'OnlineTeacher':
        return self

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
        if self.unsure:
            self._say_what_is_supposed()
        # dynamo's guards fail on what it makes of plain numbers in inference mode (torch 2.14), and
        # features made in it could not be saved for backward
        plain = self.tapped or torch.compiler.is_compiling()
        with torch.no_grad() if plain else torch.inference_mode():
            images = inputs.flip(1) if self.swap_channels else inputs
            if self.scale is not None:
                images = torch.addcmul(self.shift, images, self.scale)
            logits = class_logits(self.model, run(self.model, images, 'teacher'))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(f'a teacher must map images to logits (N, C), but returned {got}')
        if self.groups is not None:
            logits = pad(logits, (0, 1), value=-torch.inf)[:, self.groups].logsumexp(2)
        return logits.clone()  # a tensor made in inference mode could not be saved for backward


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


def _normalisation(preprocessor: Any) -> tuple[Tensor, Tensor]:
    """Return mean and std, (3, 1, 1) float64, on the CPU."""
    mean, std = (
        torch.as_tensor(default if value is None else value, dtype=torch.float64).cpu()
        for value, default in (
            (_option(preprocessor, 'mean'), [0.0]),
            (_option(preprocessor, 'std'), [1.0]),
        )
    )
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)


def _option(preprocessor: Any, name: str) -> Any:
    if isinstance(preprocessor, dict):
        return preprocessor.get(name)
    return getattr(preprocessor, name, None)
