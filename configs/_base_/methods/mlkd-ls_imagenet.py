# as in the authors' command with MLKD's config for ImageNet, at half the schedule's learning rate
_base_ = './mlkd-ls.py'

model = dict(student=dict(head=dict(loss=dict(loss_weight=0.5))))
