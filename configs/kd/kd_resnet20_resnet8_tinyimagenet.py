_base_ = [
    '../_base_/pairs/resnet20_resnet8_tinyimagenet.py',
    '../_base_/methods/kd.py',
    '../_base_/datasets/tinyimagenet_32px.py',
    '../_base_/schedules/cifar_onecycle_8e.py',
    '../_base_/default_runtime.py',
]

model = _base_.pair
