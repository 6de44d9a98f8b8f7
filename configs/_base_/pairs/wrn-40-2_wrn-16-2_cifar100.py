_base_ = ['../networks/wrn-40-2_cifar100.py', '../networks/wrn-16-2_cifar100.py']

pair = dict(
    student=_base_.wrn_16_2,
    teacher=dict(
        type='OnlineTeacher', model=_base_.wrn_40_2, checkpoint='checkpoints/cifar100_wrn-40-2.pth'
    ),
)
beta = 6.0  # DKD's for this pair; AEKT takes the same (our choice)
