_base_ = ['../networks/resnet34_imagenet.py', '../networks/resnet18_imagenet.py']

# the teacher of the literature's tables, 73.31 % top-1
pair = dict(
    student=_base_.resnet18,
    teacher=dict(type='OnlineTeacher', model=_base_.resnet34, checkpoint='torchvision://resnet34'),
)
beta = 0.5  # DKD's for this pair; AEKT takes the same (our choice)
