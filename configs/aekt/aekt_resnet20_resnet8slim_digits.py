_base_ = [
    '../_base_/pairs/resnet20_resnet8slim_digits.py',
    '../_base_/methods/aekt.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(aekt=dict(alpha=0.5, beta=_base_.beta)), **_base_.pair)
