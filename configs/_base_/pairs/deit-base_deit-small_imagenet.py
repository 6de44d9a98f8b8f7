_base_ = ['../networks/deit-base_imagenet.py', '../networks/deit-small_imagenet.py']

# mmpretrain's teacher, 81.76 % top-1
pair = dict(
    student=_base_.deit_small,
    teacher=dict(
        type='OnlineTeacher',
        model=_base_.deit_base,
        checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit/deit-base_pt-16xb64_in1k_20220216-db63c16c.pth',
    ),
)
beta = 0.5  # as for the literature's pair on ImageNet, r34 and r18
