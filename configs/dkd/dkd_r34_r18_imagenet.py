_base_ = [
    '../_base_/pairs/r34_r18_imagenet.py',
    '../_base_/methods/dkd_imagenet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(dkd=dict(beta=_base_.beta)), **_base_.pair)
