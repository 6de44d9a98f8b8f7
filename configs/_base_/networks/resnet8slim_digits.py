# An eighth of resnet20's depth and width: small enough to have something to learn from it. Widths
# are multiples of 8, since torch 2.14's strided 1x1 convolutions corrupt memory in the backward
# pass on a CPU with others (channels-last, oneDNN).
resnet8slim = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, stage_channels=(8, 8, 8, 16)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16, init_cfg=None),
)
