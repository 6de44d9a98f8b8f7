_base_ = [
    '../_base_/networks/resnet8slim_digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_5e.py',
    '../_base_/default_runtime.py',
]

model = _base_.resnet8slim
