_base_ = [
    '../_base_/pairs/resnet18_mobilenet-v2_tinyimagenet.py',
    '../_base_/methods/dkd.py',
    '../_base_/datasets/tinyimagenet.py',
    '../_base_/schedules/tinyimagenet_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(dkd=dict(beta=_base_.beta)), **_base_.pair)
