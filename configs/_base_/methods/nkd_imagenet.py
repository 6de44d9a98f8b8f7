_base_ = './nkd.py'

# as in NKD's ImageNet configs
model = dict(losses=dict(nkd=dict(temperature=1.0, gamma=1.5)))
