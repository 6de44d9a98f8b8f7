_base_ = './kd-ls.py'

# as in the authors' command and config for ImageNet
model = dict(student=dict(head=dict(loss=dict(loss_weight=1.0))))
