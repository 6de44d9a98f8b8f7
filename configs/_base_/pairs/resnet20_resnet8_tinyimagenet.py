_base_ = ['../networks/resnet20_tinyimagenet.py', '../networks/resnet8_tinyimagenet.py']

# what vanilla_resnet20_tinyimagenet.py leaves where tools/train.py puts it
pair = dict(
    student=_base_.resnet8,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet20,
        checkpoint='work_dirs/vanilla_resnet20_tinyimagenet/epoch_8.pth',
    ),
)
beta = 8.0  # as on CIFAR-100, where it was chosen (docs/en/results.md)
