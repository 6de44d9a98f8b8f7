_base_ = ['../networks/resnet50_cifar100.py', '../networks/mobilenet-v2_cifar100.py']

pair = dict(
    student=_base_.mobilenet_v2,
    teacher=dict(
        type='OnlineTeacher', model=_base_.resnet50, checkpoint='checkpoints/cifar100_resnet50.pth'
    ),
)
beta = 8.0  # DKD's for this pair; AEKT takes the same (our choice)
