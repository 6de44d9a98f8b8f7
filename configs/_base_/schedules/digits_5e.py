_base_ = './digits_20e.py'

# too short for a small student alone: what it can't find by itself in the time, a teacher tells it.
# Clipped, since now and then the first batches of a small student throw it off for good.
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
param_scheduler = dict(total_steps=5)
train_cfg = dict(max_epochs=5, val_interval=5)
