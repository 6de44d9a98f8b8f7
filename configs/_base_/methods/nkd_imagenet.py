_base_ = './nkd.py'

# as in NKD's ImageNet configs, which also clip MobileNet's gradients at 5
model = dict(losses=dict(nkd=dict(temperature=1.0, gamma=1.5)))
instead = {
    'datasets/imagenet.py': 'datasets/imagenet_bs32.py',
    'schedules/imagenet_100e.py': 'schedules/imagenet_100e_bs256.py',
}
