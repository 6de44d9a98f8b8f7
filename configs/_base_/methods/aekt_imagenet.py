_base_ = './aekt.py'

# temperature, beta and warm-up are those of DKD's ImageNet tables
model = dict(losses=dict(aekt=dict(temperature=1.0, beta=0.5)))
custom_hooks = [dict(type='DistillWarmupHook', epochs=1)]
