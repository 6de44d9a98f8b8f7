_base_ = ['../networks/micronet_cifar100.py', '../networks/resnet8_cifar100.py']

# 80.3 %; docs/en/teachers.md says where it comes from
pair = dict(
    student=_base_.resnet8,
    teacher=dict(
        type='OnlineTeacher', model=_base_.micronet, checkpoint='checkpoints/cifar100_micronet.pth'
    ),
)
beta = 2.0  # as for resnet20 -> resnet8
# its logits are a fifth as large as resnet20's: at temperature 4 they say next to nothing, so that recipes
# have 1 (docs/en/results.md)
