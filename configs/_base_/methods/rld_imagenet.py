_base_ = './rld.py'

# as in RLD's ImageNet configs
model = dict(losses=dict(rld=dict(temperature=1.0, beta=0.5)))
custom_hooks = []  # a warm-up of one epoch, which is none
per_pair = {'r50_mobilenet-v1_imagenet': dict(losses=dict(rld=dict(beta=2.0)))}
