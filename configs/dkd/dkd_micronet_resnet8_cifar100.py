_base_ = [
    '../_base_/pairs/micronet_resnet8_cifar100.py',
    '../_base_/methods/dkd.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(dkd=dict(temperature=0.25, beta=_base_.beta)), **_base_.pair)
