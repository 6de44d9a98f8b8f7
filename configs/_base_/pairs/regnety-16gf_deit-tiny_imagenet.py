_base_ = ['../networks/deit-tiny_imagenet.py']

# DeiT's kind of pair: a convolutional teacher, RegNetY-16GF, here torchvision's of 80.42 % top-1.
# Its bias comes to the student through the logits alone: there is no distillation token.
pair = dict(
    student=_base_.deit_tiny,
    teacher=dict(
        type='OnlineTeacher',
        model=dict(type='torchvision.models.regnet_y_16gf'),
        checkpoint='torchvision://regnet_y_16gf',
    ),
)
beta = 0.5  # as for the literature's pair on ImageNet, r34 and r18
