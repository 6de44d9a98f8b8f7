_base_ = [
    '../_base_/networks/resnet20_digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_20e.py',
    '../_base_/default_runtime.py',
]

model = _base_.resnet20
