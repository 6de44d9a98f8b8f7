"""What of the student's and the teacher's features is compared, and by which loss."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from aekt_mm.registry import MODELS, build

from ..classifiers import trial_images
from ..taps import FeatureTaps

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
        teacher: One that has ``tap``, which says what of it can be seen.

    Raises:
        ValueError: If a pair is of another form, a path is wrong, or the teacher has no features.
    """

    def __init__(
        self, pairs: dict[str, dict], student: nn.Module, teacher: Callable[..., Tensor]
    ) -> None:
        super().__init__()
        for name, pair in pairs.items():
            _check_pair(name, pair)
            loss = pair['loss']
            self[name] = build(MODELS, loss) if isinstance(loss, dict) else loss
        if not hasattr(teacher, 'tap'):
            raise ValueError(
                f'the teacher {type(teacher).__name__} has no features: it needs a method '
                'tap(paths), as OnlineTeacher has it'
            )
        self.paths = {name: (pair['student'], pair['teacher']) for name, pair in pairs.items()}
        ours, theirs = (
            [path for pair in self.paths.values() for path in _listed(pair[side])]
            for side in (0, 1)
        )
        self.taps = FeatureTaps(student, ours, 'student'), teacher.tap(theirs)
        training = student.training
        student.eval()
        images = trial_images(student)
        student.train(training)
        measured = [tap.measure(net, images) for tap, net in zip(self.taps, (student, teacher))]
        for name, pair in self.paths.items():
            if hasattr(self[name], 'build_projection'):
                self[name].build_projection(
                    *(_pick(path, found, _shape) for path, found in zip(pair, measured))
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
        return {
            name: self[name](_pick(ours, student), _pick(theirs, teacher), target, sample_idx)
            for name, (ours, theirs) in self.paths.items()
        }


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


def _pick(
    paths: str | Sequence[str],
    features: dict[str, Tensor],
    of: Callable[[Tensor], Any] = lambda feature: feature,
) -> Any:
    """Return one feature for a path, a list for a list, or what ``of`` makes of them."""
    if isinstance(paths, str):
        return of(features[paths])
    return [of(features[path]) for path in paths]


def _shape(feature: Tensor) -> tuple[int, ...]:
    return tuple(feature.shape[1:])
