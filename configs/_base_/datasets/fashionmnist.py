data_preprocessor = dict(
    type='BatchPreprocessor',
    mean=[72.94, 72.94, 72.94],
    std=[90.02, 90.02, 90.02],
    crop_padding=2,
    flip=True,
)

# data/fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz: 28x28 grey pixels
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # a batch is one indexing operation: a worker would only copy it
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='ViewSampler', shuffle=True),
    dataset=dict(type='FashionMNISTArrays', data_root='data/fashion-mnist', split='train'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='FashionMNISTArrays', data_root='data/fashion-mnist', split='test'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# how a published student reads an image
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(28, 28)),
    dict(type='PackInputs'),
]
