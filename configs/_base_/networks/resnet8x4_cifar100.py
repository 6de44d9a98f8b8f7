resnet8x4 = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(32, 64, 128, 256)),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None: the literature's, which is torch's own
    head=dict(type='LinearClsHead', num_classes=100, in_channels=256, init_cfg=None),
)
