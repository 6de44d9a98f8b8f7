# An eighth of resnet20's depth and width: small enough to have something to learn from it.
resnet8slim = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 16)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16, init_cfg=None),
)
