data_preprocessor = dict(
    type='BatchPreprocessor', mean=[77.9, 77.9, 77.9], std=[95.9, 95.9, 95.9], crop_padding=1
)

# scikit-learn's handwritten digits: 8x8 pixels, 898 images to train on, 899 to test on
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='ViewSampler', shuffle=True),
    dataset=dict(type='Digits', split='train'),
)
val_dataloader = dict(
    batch_size=899,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='Digits', split='test'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# how a published student reads an image
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(8, 8)),
    dict(type='PackInputs'),
]
