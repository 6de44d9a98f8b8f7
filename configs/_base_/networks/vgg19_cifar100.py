vgg19 = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARVGG', depth=19),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=512),
)
