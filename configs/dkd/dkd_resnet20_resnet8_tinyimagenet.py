_base_ = [
    '../_base_/pairs/resnet20_resnet8_tinyimagenet.py',
    '../_base_/methods/dkd.py',
    '../_base_/datasets/tinyimagenet_32px.py',
    '../_base_/schedules/cifar_onecycle_8e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(dkd=dict(beta=_base_.beta)), **_base_.pair)
