_base_ = [
    '../_base_/networks/resnet50_food101.py',
    '../_base_/datasets/food101.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = _base_.resnet50
