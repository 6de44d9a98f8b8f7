# The schedule of NKD's and ReviewKD's ImageNet figures: batch 256, 100 epochs.
_base_ = './imagenet_100e.py'

optim_wrapper = dict(optimizer=dict(lr=0.1))
# 8 GPUs with 32 images each
auto_scale_lr = dict(base_batch_size=256)
