_base_ = ['../networks/micronet_cifar100.py', '../networks/resnet8_cifar100.py']

# 80.3 %; docs/en/teachers.md says where it comes from
pair = dict(
    student=_base_.resnet8,
    teacher=dict(
        type='OnlineTeacher', model=_base_.micronet, checkpoint='checkpoints/cifar100_micronet.pth'
    ),
)
# its logits beside the largest are an eighth of resnet20's: at temperature 4 they say next to nothing, so
# that recipes have less (docs/en/results.md)
beta = 8.0
