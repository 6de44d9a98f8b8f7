_base_ = [
    '../_base_/pairs/resnet50_resnet18_food101.py',
    '../_base_/methods/aekt.py',
    '../_base_/datasets/food101.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(aekt=dict(beta=_base_.beta)), **_base_.pair)
