mobilenet_v1 = dict(
    type='ImageClassifier',
    backbone=dict(type='MobileNetV1'),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None: the literature's, which is torch's own
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=1024, init_cfg=None),
)
