_base_ = ['../networks/resnet50_imagenet.py', '../networks/mobilenet-v1_imagenet.py']

# the teacher of the literature's tables, 76.13 % top-1
pair = dict(
    student=_base_.mobilenet_v1,
    teacher=dict(type='OnlineTeacher', model=_base_.resnet50, checkpoint='torchvision://resnet50'),
)
beta = 2.0  # DKD's for this pair; AEKT takes the same (our choice)
