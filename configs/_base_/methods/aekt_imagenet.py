_base_ = './aekt.py'

# temperature and warm-up are those of DKD's ImageNet tables
model = dict(losses=dict(aekt=dict(temperature=1.0)))
custom_hooks = []  # a warm-up of one epoch, which is none
