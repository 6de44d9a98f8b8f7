_base_ = [
    '../_base_/networks/mobilenet-v2_cifar100.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_light.py',
    '../_base_/default_runtime.py',
]

model = _base_.mobilenet_v2
