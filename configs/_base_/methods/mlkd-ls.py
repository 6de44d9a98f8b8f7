# MLKD with standardised logits (Sun et al., 2024), on one view. Base temperature and weight are those
# in the names of the authors' logs: 2, which takes the place of 4 and is there twice, and 9 or 6.
_base_ = './mlkd.py'

transform = dict(type='LogitStandardization')
temperatures = (2.0, 2.0, 3.0, 5.0, 6.0)
model = dict(
    losses=dict(mlkd=dict(weight=9.0, temperatures=temperatures, transform=transform)),
)
per_pair = {
    pair: dict(losses=dict(mlkd=dict(weight=6.0)))
    for pair in (
        'vgg13_vgg8_cifar100',
        'vgg13_mobilenet-v2_cifar100',
        'resnet32x4_shufflenet-v2_cifar100',
    )
}
