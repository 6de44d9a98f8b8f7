_base_ = [
    '../_base_/networks/resnet20_tinyimagenet.py',
    '../_base_/datasets/tinyimagenet_32px.py',
    '../_base_/schedules/cifar_onecycle_8e.py',
    '../_base_/default_runtime.py',
]

model = _base_.resnet20
