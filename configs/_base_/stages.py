# Where the literature taps a network (RepDistiller, feats[1:-1]): the outputs of its stages, by the
# name that pairs call it by.
stages = dict(
    **{
        network: [f'backbone.layer{k}' for k in (1, 2, 3)]
        for network in (
            *('resnet8', 'resnet20', 'resnet32', 'resnet56', 'resnet110', 'resnet8x4'),
            *('resnet32x4', 'shufflenet-v1', 'shufflenet-v2'),
        )
    },
    **{
        network: [f'backbone.block{k}' for k in (1, 2, 3)]
        for network in ('wrn-16-2', 'wrn-40-1', 'wrn-40-2')
    },
    **{network: [f'backbone.block{k}' for k in (1, 2, 3, 4)] for network in ('vgg8', 'vgg13')},
    **{
        network: [f'backbone.layer{k}' for k in (1, 2, 3, 4)]
        for network in ('resnet50', 'r34', 'r18', 'r50')
    },
    **{
        'mobilenet-v1': [f'backbone.model.{k}' for k in (3, 5, 11, 13)],
        'mobilenet-v2': [f'backbone.blocks.{k}' for k in (1, 2, 4, 6)],
    },
)
# the pairs of the literature, teacher and student, and one to try things out with
pairs = [
    ('resnet56', 'resnet20'),
    ('resnet110', 'resnet32'),
    ('resnet32x4', 'resnet8x4'),
    ('wrn-40-2', 'wrn-16-2'),
    ('wrn-40-2', 'wrn-40-1'),
    ('vgg13', 'vgg8'),
    ('resnet32x4', 'shufflenet-v1'),
    ('wrn-40-2', 'shufflenet-v1'),
    ('vgg13', 'mobilenet-v2'),
    ('resnet50', 'mobilenet-v2'),
    ('resnet32x4', 'shufflenet-v2'),
    ('resnet20', 'resnet8'),
]
imagenet_pairs = [('r34', 'r18'), ('r50', 'mobilenet-v1')]
