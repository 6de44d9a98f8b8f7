_base_ = ['../networks/resnet56_cifar100.py', '../networks/resnet8_cifar100.py']

# the teacher of chenyaofo/pytorch-cifar-models (BSD-3-Clause), 72.6 %, under RepDistiller's names
pair = dict(
    student=_base_.resnet8,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet56,
        checkpoint='checkpoints/cifar100_resnet56_chenyaofo.pth',
    ),
)
beta = 8.0  # our choice: as resnet20_resnet8's
