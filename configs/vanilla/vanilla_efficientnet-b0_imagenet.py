_base_ = [
    '../_base_/networks/efficientnet-b0_imagenet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = _base_.efficientnet_b0
