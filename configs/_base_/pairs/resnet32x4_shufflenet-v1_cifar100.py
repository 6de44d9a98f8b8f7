_base_ = ['../networks/resnet32x4_cifar100.py', '../networks/shufflenet-v1_cifar100.py']

pair = dict(
    student=_base_.shufflenet_v1,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet32x4,
        checkpoint='checkpoints/cifar100_resnet32x4.pth',
    ),
)
beta = 8.0  # DKD's for this pair; AEKT takes the same (our choice)
