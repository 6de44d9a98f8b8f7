_base_ = [
    '../_base_/networks/resnet18_tinyimagenet.py',
    '../_base_/datasets/tinyimagenet.py',
    '../_base_/schedules/tinyimagenet_200e.py',
    '../_base_/default_runtime.py',
]

model = _base_.resnet18
