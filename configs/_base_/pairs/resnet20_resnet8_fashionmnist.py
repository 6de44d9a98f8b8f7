_base_ = ['../networks/resnet20_fashionmnist.py', '../networks/resnet8_fashionmnist.py']

# what vanilla_resnet20_fashionmnist.py leaves where tools/train.py puts it
pair = dict(
    student=_base_.resnet8,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet20,
        checkpoint='work_dirs/vanilla_resnet20_fashionmnist/epoch_8.pth',
    ),
)
beta = 2.0
