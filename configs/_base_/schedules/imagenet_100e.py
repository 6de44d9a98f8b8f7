# The schedule of the ImageNet tables of DKD (Zhao et al., 2022): batch 512, 100 epochs.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# 8 GPUs with 64 images each; with another number of them: tools/train.py --auto-scale-lr
auto_scale_lr = dict(base_batch_size=512, enable=False)
