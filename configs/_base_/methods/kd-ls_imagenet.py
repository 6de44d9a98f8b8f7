_base_ = './kd-ls.py'

# as in the authors' command and config for ImageNet
model = dict(label_weight=1.0)
