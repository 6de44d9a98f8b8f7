_base_ = './dkd.py'

# as in DKD's ImageNet tables
model = dict(losses=dict(dkd=dict(temperature=1.0)))
custom_hooks = []  # a warm-up of one epoch, which is none
