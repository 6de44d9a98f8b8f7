data_preprocessor = dict(
    type='BatchPreprocessor',
    mean=[122.451, 114.2655, 101.3625],
    std=[58.701, 57.7575, 57.681],
    crop_padding=8,
    flip=True,
)

# how an image is read, here and by a published student
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs'),
]

# data/tiny-imagenet-200 as unpacked, and in it meta/ of tools/dataset_converters/tiny_imagenet.py;
# read once, into 1.3 GB that the processes of a machine share
train_dataloader = dict(
    batch_size=256,
    num_workers=0,  # a batch is one indexing operation: a worker would only copy it
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='ViewSampler', shuffle=True),
    dataset=dict(
        type='InMemory',
        dataset=dict(
            type='CustomDataset',
            data_root='data/tiny-imagenet-200',
            data_prefix='train',
            ann_file='meta/train.txt',
            classes='data/tiny-imagenet-200/meta/classes.txt',
            pipeline=test_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='InMemory',
        dataset=dict(
            type='CustomDataset',
            data_root='data/tiny-imagenet-200',
            data_prefix='val/images',
            ann_file='meta/val.txt',
            classes='data/tiny-imagenet-200/meta/classes.txt',
            pipeline=test_pipeline,
        ),
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
