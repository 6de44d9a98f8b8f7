_base_ = ['../networks/resnet56_cifar100.py', '../networks/resnet20_cifar100.py']

pair = dict(
    student=_base_.resnet20,
    teacher=dict(
        type='OnlineTeacher', model=_base_.resnet56, checkpoint='checkpoints/cifar100_resnet56.pth'
    ),
)
beta = 2.0  # DKD's for this pair; AEKT takes the same (our choice)
