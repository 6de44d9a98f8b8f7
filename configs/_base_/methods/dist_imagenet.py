_base_ = './dist.py'

# as in DIST's ImageNet strategy
model = dict(losses=dict(dist=dict(temperature=1.0)))
instead = {
    'datasets/imagenet.py': 'datasets/imagenet_bs32.py',
    'schedules/imagenet_100e.py': 'schedules/imagenet_100e_dist.py',
}
