# A first look in minutes instead of hours: 8 epochs of one cycle (Smith and Topin, 2018).
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(
    type='OneCycleLR', by_epoch=True, convert_to_iter_based=True, eta_max=0.1, total_steps=8
)
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64, enable=False)
