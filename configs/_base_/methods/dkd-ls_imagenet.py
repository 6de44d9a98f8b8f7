_base_ = './dkd-ls.py'

# as in the authors' command, which multiplies alpha and beta of their configs for ImageNet by 9
model = dict(losses=dict(dkd=dict(beta=4.5)))
per_pair = {'r50_mobilenet-v1_imagenet': dict(losses=dict(dkd=dict(beta=18.0)))}
custom_hooks = []  # a warm-up of one epoch, which is none
