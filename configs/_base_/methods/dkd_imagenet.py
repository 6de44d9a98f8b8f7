_base_ = './dkd.py'

# as in DKD's ImageNet tables
model = dict(losses=dict(dkd=dict(temperature=1.0, beta=0.5)))
custom_hooks = [dict(type='DistillWarmupHook', epochs=1)]
