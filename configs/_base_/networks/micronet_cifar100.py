micronet = dict(
    type='ImageClassifier',
    backbone=dict(type='MicroNet'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=136, init_cfg=None),
)
