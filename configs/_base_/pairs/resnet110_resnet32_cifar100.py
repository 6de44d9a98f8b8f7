_base_ = ['../networks/resnet110_cifar100.py', '../networks/resnet32_cifar100.py']

pair = dict(
    student=_base_.resnet32,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet110,
        checkpoint='checkpoints/cifar100_resnet110.pth',
    ),
)
beta = 2.0  # DKD's for this pair; AEKT takes the same (our choice)
