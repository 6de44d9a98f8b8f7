_base_ = ['../networks/efficientnet-b3_imagenet.py', '../networks/efficientnet-b0_imagenet.py']

# mmpretrain's teacher, 81.01 % top-1 at its own 300x300; here it sees the student's 224x224
pair = dict(
    student=_base_.efficientnet_b0,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.efficientnet_b3,
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/efficientnet/efficientnet-b3_3rdparty_8xb32_in1k_20220119-4b4d7487.pth',
    ),
)
beta = 0.5  # as for the literature's pair on ImageNet, r34 and r18
