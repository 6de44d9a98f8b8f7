# KD with standardised logits (Sun et al., 2024). Temperature and weight are those in the names of the
# authors' logs (sunshangquan/logit-standardization-KD), 2 and 9 but for these pairs.
_base_ = './kd.py'

transform = dict(type='LogitStandardization')
model = dict(losses=dict(kd=dict(temperature=2.0, alpha=9.0, transform=transform)))
per_pair = {
    'vgg13_vgg8_cifar100': dict(losses=dict(kd=dict(temperature=3.0))),
    'vgg13_mobilenet-v2_cifar100': dict(losses=dict(kd=dict(temperature=3.0))),
    'resnet50_mobilenet-v2_cifar100': dict(losses=dict(kd=dict(temperature=3.0, alpha=1.0))),
}
