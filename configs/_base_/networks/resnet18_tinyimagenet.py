resnet18 = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None: the literature's, which is torch's own
    head=dict(type='LinearClsHead', num_classes=200, in_channels=512, init_cfg=None),
)
