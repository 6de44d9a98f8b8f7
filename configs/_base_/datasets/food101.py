_base_ = './imagenet.py'

# data/food-101/{images,meta}, as the official archive unpacks; the images as those of ImageNet
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='Food101',
            data_root='data/food-101',
            split='train',
            pipeline=_base_.train_pipeline,
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Food101',
        data_root='data/food-101',
        split='test',
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
