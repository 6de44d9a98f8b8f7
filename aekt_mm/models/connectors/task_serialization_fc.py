"""The fully connected layer that puts classification and distillation in series."""

import torch
from torch import Tensor, nn

ORDERS = ('distill_then_classify', 'classify_then_distill')
INITS = ('identity', 'default')


class TaskSerializationFC(nn.Module):
    """Let the two tasks read different logits, one behind a fully connected layer (C to C).

    Task serialization is the second half of AEKT (Park and Lee, 2024); which task comes first is
    an option here:

    - ``distill_then_classify``: distillation reads the student's logits; cross-entropy and
      prediction read FC(logits). Published, the layer folds into the student's last linear layer.
    - ``classify_then_distill``: cross-entropy and prediction read the student's logits;
      distillation reads FC(logits). Published, the layer is dropped.

    Either way nothing is added at inference.

    Args:
        num_classes: C. The distiller fills it in from the student where a config leaves it out.
        order: One of the two above.
        init: 'identity' (weight the identity, bias 0: training starts as if the layer were not
            there) or 'default' (``torch.nn.Linear``'s).

    Raises:
        ValueError: If an option is not one of these.

    Examples:
        >>> connector = TaskSerializationFC(num_classes=3)
        >>> classification, distillation = connector(torch.tensor([[1., 2., 3.]]))
        >>> distillation
        tensor([[1., 2., 3.]])
    """

    def __init__(
        self, num_classes: int, order: str = 'distill_then_classify', init: str = 'identity'
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f'order must be one of {ORDERS}, but is {order!r}')
        if init not in INITS:
            raise ValueError(f'init must be one of {INITS}, but is {init!r}')
        self.num_classes = num_classes
        self.order = order
        self.fc = nn.Linear(num_classes, num_classes)
        if init == 'identity':
            nn.init.eye_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of classification and those of distillation.

        Args:
            logits: The student's, (N, C).

        Returns:
            Two tensors (N, C).
        """
        if self.order == 'distill_then_classify':
            return self.fc(logits), logits
        return logits, self.fc(logits)

    @torch.no_grad()
    def fold_into(self, classifier: nn.Linear) -> None:
        """Make a linear classifier give the logits of classification by itself, in place.

        Two linear maps in a row are one: W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2). It is
        computed in float64 and rounded once.

        Args:
            classifier: The student's last layer, with C output features; a bias is added where it
                has none.
        """
        if self.order == 'classify_then_distill':
            return
        weight, bias = self.fc.weight.double(), self.fc.bias.double()
        if classifier.bias is None:
            classifier.bias = nn.Parameter(classifier.weight.new_zeros(self.num_classes))
        classifier.bias.copy_(weight @ classifier.bias.double() + bias)
        classifier.weight.copy_(weight @ classifier.weight.double())
