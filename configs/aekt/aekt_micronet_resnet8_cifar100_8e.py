_base_ = [
    '../_base_/pairs/micronet_resnet8_cifar100.py',
    '../_base_/methods/aekt.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_onecycle_8e.py',
    '../_base_/default_runtime.py',
]

# chosen on a held-out part of the training set (docs/en/results.md)
found = dict(temperature=0.25, explicit_temperature=1.0, alpha=4.0, beta=_base_.beta)
model = dict(losses=dict(aekt=found), connector=None, **_base_.pair)
