_base_ = './dist.py'

# as in DIST's ImageNet strategy
model = dict(losses=dict(dist=dict(temperature=1.0)))
