"""Contrastive representation distillation."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_loss import FeatureLoss
from .logit_loss import check_range
from .precision import no_autocast, widened

#: Keeps a logarithm finite, as in the authors' code.
EPS = 1e-7


class CRDLoss(FeatureLoss):
    r"""Tell samples apart across the networks (CRD, Tian et al., ICLR 2020).

    `arXiv 1910.10699 <https://arxiv.org/abs/1910.10699>`_

    Both features are embedded (a linear layer and norm 1), and by noise-contrastive estimation
    each embedding is to recognise the other network's of its own sample among those of
    ``negatives`` samples of other classes, out of a memory of the whole dataset's embeddings that
    follows by a moving average.

    Against the authors' code: negatives are drawn with replacement. A sample's class is known to
    the memory once the sample was seen; a vector not yet seen is a random one and may count as a
    negative whatever its class. Under several ranks all update their memory with the samples of
    all, so that it stays the same. The memory is in the checkpoint (CIFAR-100: 51 MB). Negatives
    are drawn from torch's generator, so that a resumed run goes on with others.

    Args:
        num_samples: How many the training set has; by default what
            :class:`~aekt_mm.engine.hooks.DistillCheckHook` says before a run.
        weight: Weight of the loss, at least 0.
        dimensions: Of the embeddings.
        negatives: How many each sample is compared with.
        temperature: What the cosines are divided by, above 0.
        momentum: Share of the old embedding in the new one, from 0 to 1.

    Raises:
        ValueError: If an option is out of its range.

    Examples:
        >>> loss = CRDLoss(num_samples=50, negatives=8)
        >>> loss.build_projection((16,), (32,))
        >>> target, sample_idx = torch.tensor([0, 1]), torch.tensor([7, 49])
        >>> list(loss(torch.rand(2, 16), torch.rand(2, 32), target, sample_idx))
        ['loss']
    """

    student_memory: Tensor
    teacher_memory: Tensor
    student_normaliser: Tensor
    teacher_normaliser: Tensor
    labels: Tensor

    def __init__(
        self,
        num_samples: int | None = None,
        weight: float = 0.8,
        dimensions: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__(weight)
        self.num_samples: int | None = None
        self.dimensions = dimensions
        self.negatives = negatives
        self.temperature = check_range('temperature', temperature, 0, inclusive=False)
        self.momentum = check_range('momentum', momentum, 0)
        for network in ('student', 'teacher'):
            self.register_buffer(f'{network}_memory', torch.empty(0, dimensions))
            # the mean exponential of the first batch times num_samples; below 0: not known yet
            self.register_buffer(f'{network}_normaliser', torch.tensor(-1.0))
        self._calibrated = False  # in this process: on a GPU, to look at the buffers would wait
        self.register_buffer('labels', torch.empty(0, dtype=torch.int64))
        if num_samples is not None:
            self.set_num_samples(num_samples)

    @torch.no_grad()
    def set_num_samples(self, count: int) -> None:
        """Make the memory of a training set, before it is loaded from a checkpoint.

        Args:
            count: How many samples the set has; they carry the indices below it.

        Raises:
            ValueError: If the loss has a memory of another size.
        """
        if self.num_samples is not None:
            if self.num_samples != count:
                raise ValueError(
                    f'num_samples of CRDLoss is {self.num_samples}, but the training set has '
                    f'{count} images: leave it out, it is taken from the data set'
                )
            return
        self.num_samples = count
        # a generator of its own: what else is drawn is the same with and without this loss
        generator = torch.Generator().manual_seed(torch.initial_seed())
        bound = (3 / self.dimensions) ** 0.5
        for memory in (self.student_memory, self.teacher_memory):
            start = torch.empty(count, self.dimensions)
            memory.resize_(start.shape).copy_(start.uniform_(-bound, bound, generator=generator))
            _share_of_first_rank(memory)
        self.labels.resize_(count).fill_(-1)

    def build_projection(
        self, student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]
    ) -> None:
        """See :meth:`FeatureLoss.build_projection`."""
        sizes = [torch.Size(shape).numel() for shape in (student_shape, teacher_shape)]
        self.student_embedding, self.teacher_embedding = (
            nn.Linear(size, self.dimensions) for size in sizes
        )

    def project(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FeatureLoss.project`."""
        return self.student_embedding(student.flatten(1)), self.teacher_embedding(
            teacher.flatten(1)
        )

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        target: Tensor | None = None,
        sample_idx: Tensor | None = None,
        contrast_idx: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """See :meth:`FeatureLoss.forward`.

        Args:
            student: (N, ...).
            teacher: (N, ...).
            target: (N,), or class shares (N, C), of which the largest counts.
            sample_idx: (N,) int64.
            contrast_idx: What to compare with, (N, 1 + negatives) int64, its first column
                ``sample_idx``; drawn here by default.

        Raises:
            ValueError: If the samples do not know their indices, or the loss their number.
        """
        if self.num_samples is None:
            raise ValueError(
                'CRDLoss does not know how many training images there are: set num_samples, or '
                "add check=dict(type='DistillCheckHook') to default_hooks"
            )
        if sample_idx is None:
            raise ValueError('CRDLoss needs the samples to have a sample_idx, but they have none')
        if target is None:
            raise ValueError('CRDLoss needs the labels of the samples as its target, but has none')
        target = target.argmax(1) if target.ndim == 2 else target
        student, teacher = self.project(student, teacher)
        with no_autocast(student):
            student, teacher = (F.normalize(widened(x), eps=0) for x in (student, teacher))
            if contrast_idx is None:
                contrast_idx = self._draw(target, sample_idx)
            loss = self._contrast(
                student, self.teacher_memory, self.student_normaliser, contrast_idx
            ) + self._contrast(teacher, self.student_memory, self.teacher_normaliser, contrast_idx)
            self._calibrated = True
            self._remember(student.detach(), teacher.detach(), target, sample_idx)
        return {'loss': self.weight * loss}

    def _contrast(
        self, anchors: Tensor, memory: Tensor, normaliser: Tensor, contrast_idx: Tensor
    ) -> Tensor:
        """Compare one network's embeddings with the other's memory (eq. 18 of the paper)."""
        # all products and then those asked for: far less to move than N · K embeddings. Of a copy,
        # which the gradient needs: the memory changes before it is computed
        products = (anchors @ memory.to(anchors.dtype, copy=True).T).gather(1, contrast_idx)
        scores = (products / self.temperature).exp()
        if not self._calibrated:
            with torch.no_grad():
                first = _mean_of_ranks(scores.mean() * len(memory))
                normaliser.copy_(torch.where(normaliser < 0, first, normaliser))
        scores = scores / normaliser
        noise = (contrast_idx.shape[1] - 1) / len(memory)
        log_odds = (scores + noise + EPS).log()
        positive = scores[:, 0].log() - log_odds[:, 0]
        negative = math.log(noise) - log_odds[:, 1:]
        return -(positive.sum() + negative.sum()) / len(anchors)

    @torch.no_grad()
    def _draw(self, target: Tensor, sample_idx: Tensor) -> Tensor:
        """Draw negatives of other classes behind each sample's own index."""
        size = (len(target), self.negatives)
        drawn = torch.randint(len(self.labels), size, device=target.device)
        for _ in range(3):  # without waiting for the device to say whether it is needed
            again = torch.randint(len(self.labels), size, device=target.device)
            drawn = torch.where(self.labels[drawn] == target.unsqueeze(1), again, drawn)
        return torch.cat([sample_idx.unsqueeze(1), drawn], dim=1)

    @torch.no_grad()
    def _remember(
        self, student: Tensor, teacher: Tensor, target: Tensor, sample_idx: Tensor
    ) -> None:
        sample_idx = _of_all_ranks(sample_idx)
        for memory, embeddings in (
            (self.student_memory, student),
            (self.teacher_memory, teacher),
        ):
            embeddings = _of_all_ranks(embeddings).to(memory.dtype)
            mixed = self.momentum * memory[sample_idx] + (1 - self.momentum) * embeddings
            memory[sample_idx] = F.normalize(mixed, eps=0)
        self.labels[sample_idx] = _of_all_ranks(target)


def _of_all_ranks(tensor: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.cat(gathered)


def _share_of_first_rank(tensor: Tensor) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, 0)


def _mean_of_ranks(value: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value
