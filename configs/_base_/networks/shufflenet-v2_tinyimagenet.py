shufflenet_v2 = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARShuffleNetV2'),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None: the literature's, which is torch's own
    head=dict(type='LinearClsHead', num_classes=200, in_channels=1024, init_cfg=None),
)
