_base_ = [
    '../_base_/pairs/resnet20_resnet8slim_digits.py',
    '../_base_/methods/kd.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_5e.py',
    '../_base_/default_runtime.py',
]

model = _base_.pair
