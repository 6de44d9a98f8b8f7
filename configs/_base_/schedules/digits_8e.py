_base_ = './digits_20e.py'

# too short for a small student alone: what it can't find by itself in the time, a teacher tells it
param_scheduler = dict(total_steps=8)
train_cfg = dict(max_epochs=8, val_interval=8)
