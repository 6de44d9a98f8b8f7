_base_ = './cifar100.py'

data_preprocessor = dict(
    mean=[72.94, 72.94, 72.94],
    std=[90.02, 90.02, 90.02],
    crop_padding=2,
)

# data/fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz: 28x28 grey pixels
train_dataloader = dict(
    dataset=dict(type='FashionMNISTArrays', data_root='data/fashion-mnist'),
)
val_dataloader = dict(
    dataset=dict(type='FashionMNISTArrays', data_root='data/fashion-mnist'),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# how a published student reads an image
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(28, 28)),
    dict(type='PackInputs'),
]
