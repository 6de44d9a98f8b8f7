_base_ = [
    '../_base_/networks/shufflenet-v2_tinyimagenet.py',
    '../_base_/datasets/tinyimagenet.py',
    '../_base_/schedules/tinyimagenet_200e.py',
    '../_base_/default_runtime.py',
]

model = _base_.shufflenet_v2
