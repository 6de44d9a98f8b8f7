vgg16 = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARVGG', depth=16),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=512),
)
