data_preprocessor = dict(
    type='BatchPreprocessor',
    mean=[129.3105, 124.1085, 112.404],
    std=[68.2125, 65.4075, 70.4055],
    crop_padding=4,
    flip=True,
)

# data/cifar100/cifar-100-python/{train,test,meta}
train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # a batch is one indexing operation: a worker would only copy it
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='ViewSampler', shuffle=True),
    dataset=dict(type='CIFAR100Arrays', data_root='data/cifar100', split='train'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CIFAR100Arrays', data_root='data/cifar100', split='test'),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# how a published student reads an image
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32)),
    dict(type='PackInputs'),
]
