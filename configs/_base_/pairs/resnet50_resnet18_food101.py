_base_ = ['../networks/resnet50_food101.py', '../networks/resnet18_food101.py']

# what vanilla_resnet50_food101.py leaves where tools/train.py puts it
pair = dict(
    student=_base_.resnet18,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.resnet50,
        checkpoint='work_dirs/vanilla_resnet50_food101/epoch_100.pth',
    ),
)
beta = 8.0  # DKD's where its code says nothing else
