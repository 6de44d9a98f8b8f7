_base_ = [
    '../_base_/networks/wrn-16-2_cifar100.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_240e.py',
    '../_base_/default_runtime.py',
]

model = _base_.wrn_16_2
