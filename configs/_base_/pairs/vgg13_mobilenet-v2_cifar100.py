_base_ = ['../networks/vgg13_cifar100.py', '../networks/mobilenet-v2_cifar100.py']

pair = dict(
    student=_base_.mobilenet_v2,
    teacher=dict(
        type='OnlineTeacher', model=_base_.vgg13, checkpoint='checkpoints/cifar100_vgg13.pth'
    ),
)
beta = 6.0  # DKD's for this pair; AEKT takes the same (our choice)
