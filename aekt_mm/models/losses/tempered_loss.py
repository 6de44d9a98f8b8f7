"""The base of losses at one temperature for both networks, which may learn."""

from collections.abc import Callable

from torch import Tensor

from .logit_loss import LogitLoss, built, check_range


class TemperedLoss(LogitLoss):
    """Base of the losses that divide both networks' logits by one temperature.

    A subclass defines :meth:`at_temperature`. Where the temperature learns, it is logged.

    Args:
        temperature: What both networks' logits are divided by, above 0; or a config or module that
            is called for it and returns a tensor of no dimensions, such as
            :class:`~aekt_mm.models.losses.CurriculumTemperature`, which learns.
        transform: See :class:`~aekt_mm.models.losses.LogitLoss`.

    Raises:
        ValueError: If the temperature is not a finite number above 0.
    """

    def __init__(
        self,
        temperature: float | dict | Callable[[], Tensor] = 4.0,
        transform: dict | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(transform)
        made = built(temperature)
        if not callable(made):
            made = check_range('temperature', made, 0, inclusive=False)
        self.temperature: float | Callable[[], Tensor] = made

    def at_temperature(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor,
        temperature: float | Tensor,
    ) -> dict[str, Tensor]:
        """Return what :meth:`LogitLoss.of_samples` does, from logits not yet divided.

        Args:
            student_logits: (N, C), float32 or wider, transformed.
            teacher_logits: (N, C), as the student's.
            target: (N,) int64.
            temperature: A number, or a tensor of no dimensions, which gets its gradient.
        """
        raise NotImplementedError

    def of_samples(
        self, student_logits: Tensor, teacher_logits: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`LogitLoss.of_samples`."""
        temperature = self.temperature() if callable(self.temperature) else self.temperature
        losses = self.at_temperature(student_logits, teacher_logits, target, temperature)
        if isinstance(temperature, Tensor):
            losses['temperature'] = temperature.detach().expand(len(target))
        return losses
