_base_ = ['../networks/resnet18_tinyimagenet.py', '../networks/shufflenet-v2_tinyimagenet.py']

# what vanilla_resnet18_tinyimagenet.py leaves where tools/train.py puts it
pair = dict(
    student=_base_.shufflenet_v2,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet18,
        checkpoint='work_dirs/vanilla_resnet18_tinyimagenet/epoch_200.pth',
    ),
)
beta = 8.0  # DKD's where its code says nothing else
