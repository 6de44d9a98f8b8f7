_base_ = [
    '../_base_/pairs/micronet_resnet8_cifar100.py',
    '../_base_/methods/kd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(kd=dict(temperature=1.0)), **_base_.pair)
