"""Pairs of student and teacher features, each with its loss."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from aekt_mm.registry import MODELS, build

from ..classifiers import TRIAL_SIZES, trial_images
from ..taps import FeatureTaps
from ..teachers import Teacher

#: What a pair says.
KEYS = {'student', 'teacher', 'loss'}


class FeaturePairs(nn.ModuleDict):
    """The losses on features by name, with the taps that feed them.

    Both networks run once on a few random images, so that projections can be made, and so that a
    tap that gives nothing is known before the first step.

    Args:
        pairs: By name, ``student`` and ``teacher``: a path or a list of paths, as many in both,
            see :class:`~aekt_mm.models.taps.FeatureTaps`; and ``loss``: a config or module, see
            :class:`~aekt_mm.models.losses.FeatureLoss`.
        student: The network.
        teacher: Its ``tap`` says what of it can be seen.
        image_size: Height and width of the images in pixels; the first that the student takes of
            ``TRIAL_SIZES`` where it is not known.

    Raises:
        ValueError: If a pair is of another form, a path is wrong, or the teacher has no features.
    """

    def __init__(
        self,
        pairs: dict[str, dict],
        student: nn.Module,
        teacher: Teacher,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, pair in pairs.items():
            _check_pair(name, pair)
            loss = pair['loss']
            self[name] = build(MODELS, loss) if isinstance(loss, dict) else loss
        self.paths = {name: (pair['student'], pair['teacher']) for name, pair in pairs.items()}
        ours, theirs = (
            [path for pair in self.paths.values() for path in _listed(pair[side])]
            for side in (0, 1)
        )
        self.taps = FeatureTaps(student, ours, 'student'), teacher.tap(theirs)
        training = student.training
        student.eval()
        images = trial_images(student, TRIAL_SIZES if image_size is None else [image_size])
        student.train(training)
        self.image_size = images.shape[-1]
        measured = [tap.measure(net, images) for tap, net in zip(self.taps, (student, teacher))]
        #: Of each pair, as it was measured.
        self.shapes = {}
        for name in self.paths:
            self.shapes[name] = [_of(feature, _shape) for feature in self._pair(name, measured)]
            if getattr(self[name], 'maps', False):
                self._check_maps(name)
            part: Any = self[name]
            if hasattr(part, 'build_projection'):
                try:
                    part.build_projection(*self.shapes[name])
                except ValueError as error:
                    raise ValueError(
                        f'features.{name}, of images of {self.image_size} pixels: {error}'
                    ) from error

    def _pair(self, name: str, features: Sequence[dict[str, Tensor]]) -> list[Tensor | list]:
        """Return the student's and the teacher's features of a pair as its loss takes them."""
        maps = getattr(self[name], 'maps', False)
        return [
            _of(paths, lambda path: tap.as_map(path, found[path]) if maps else found[path])  # noqa: B023
            for paths, tap, found in zip(self.paths[name], self.taps, features)
        ]

    def _check_maps(self, name: str) -> None:
        for side, paths, shapes in zip(('student', 'teacher'), self.paths[name], self.shapes[name]):
            for path, shape in zip(_listed(paths), [shapes] if isinstance(paths, str) else shapes):
                if len(shape) == 2:
                    raise ValueError(
                        f'features.{name} compares maps (C, H, W), but {path!r} of the {side} '
                        f'gives tokens {shape}, and where they lie in the image is not known: tap '
                        'a module that gives a map'
                    )

    def watch(self) -> None:
        """See what the networks compute from now on."""
        for tap in self.taps:
            tap.watch()

    def forward(self, target: Tensor, sample_idx: Tensor | None) -> dict[str, dict[str, Tensor]]:
        """Compare what was seen since :meth:`watch`, and forget it.

        Args:
            target: (N,) int64, or class shares (N, C).
            sample_idx: (N,) int64, where known.

        Returns:
            What each loss returns, by name.
        """
        student, teacher = (tap.take() for tap in self.taps)
        losses = {}
        for name in self.paths:
            pair = self._pair(name, (student, teacher))
            try:
                losses[name] = self[name](*pair, target, sample_idx)
            except (RuntimeError, ValueError) as error:
                shapes = [_of(feature, _shape) for feature in pair]
                if shapes == self.shapes[name]:
                    raise
                raise ValueError(
                    f'features.{name} was made for images of {self.image_size} pixels, where '
                    f'student and teacher give {self.shapes[name]}, but they give {shapes}: set '
                    'model.image_size to the size of the images'
                ) from error
        return losses


def _check_pair(name: str, pair: Any) -> None:
    if not isinstance(pair, dict) or set(pair) != KEYS:
        raise ValueError(
            f'features.{name} must say student, teacher and loss, as in dict('
            "student='backbone.layer3', teacher='backbone.layer3', loss=dict(type='FitNetLoss')), "
            f'but is {pair!r}'
        )
    counts = [
        None if isinstance(pair[side], str) else len(pair[side]) for side in ('student', 'teacher')
    ]
    if counts[0] != counts[1]:
        raise ValueError(
            f'features.{name} must tap the student as often as the teacher, but taps '
            f'{pair["student"]!r} and {pair["teacher"]!r}'
        )


def _listed(paths: str | Sequence[str]) -> Sequence[str]:
    return [paths] if isinstance(paths, str) else paths


def _of(parts: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to one path or feature, or to each of a list."""
    return list(map(function, parts)) if isinstance(parts, list | tuple) else function(parts)


def _shape(feature: Tensor) -> tuple[int, ...]:
    return tuple(feature.shape[1:])
