# Seconds on a CPU: 20 epochs of one cycle (Smith and Topin, 2018) over 898 small images.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(
    type='OneCycleLR', by_epoch=True, convert_to_iter_based=True, eta_max=0.05, total_steps=20
)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32, enable=False)
