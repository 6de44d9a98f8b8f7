_base_ = [
    '../_base_/pairs/vgg13_mobilenet-v2_cifar100.py',
    '../_base_/methods/kd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e_light.py',
    '../_base_/default_runtime.py',
]

model = _base_.pair
