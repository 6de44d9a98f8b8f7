resnet20 = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=20),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None: the literature's, which is torch's own
    head=dict(type='LinearClsHead', num_classes=200, in_channels=64, init_cfg=None),
)
