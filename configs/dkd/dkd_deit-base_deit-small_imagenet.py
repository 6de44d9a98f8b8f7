_base_ = [
    '../_base_/pairs/deit-base_deit-small_imagenet.py',
    '../_base_/methods/dkd_imagenet.py',
    '../_base_/datasets/imagenet_deit.py',
    '../_base_/schedules/imagenet_300e_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(losses=dict(dkd=dict(beta=_base_.beta)), **_base_.pair)
