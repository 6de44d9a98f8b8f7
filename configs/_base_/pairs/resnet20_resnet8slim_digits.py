_base_ = ['../networks/resnet20_digits.py', '../networks/resnet8slim_digits.py']

# what vanilla_resnet20_digits.py leaves where tools/train.py puts it
pair = dict(
    student=_base_.resnet8slim,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet20,
        checkpoint='work_dirs/vanilla_resnet20_digits/epoch_20.pth',
    ),
)
beta = 0.5  # and alpha as much, chosen on a part of the training half (docs/en/results.md)
