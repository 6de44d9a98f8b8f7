_base_ = './tinyimagenet.py'

# at the size of CIFAR's images, for networks that a CPU trains: a quarter of the pixels
data_preprocessor = dict(crop_padding=4)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32), interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(dataset=dict(pipeline=test_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader
