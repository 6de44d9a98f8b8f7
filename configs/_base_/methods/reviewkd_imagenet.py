# as in ReviewKD's commands for ImageNet: both networks before the last ReLU of a stage
_base_ = '../stages.py'

model = dict(type='LogitDistiller')
taps = {
    network: [
        *(
            f'{stage}.-1:input' if network == 'mobilenet-v1' else f'{stage}.-1.relu:input'
            for stage in _base_.stages[network]
        ),
        'neck',
    ]
    for network in ('r34', 'r18', 'r50', 'mobilenet-v1')
}
per_pair = {
    f'{teacher}_{student}_imagenet': dict(
        features=dict(
            review=dict(
                student=taps[student],
                teacher=taps[teacher],
                loss=dict(type='ReviewKDLoss', weight=weight, max_channels=channels),
            )
        )
    )
    for teacher, student, weight, channels in (
        ('r34', 'r18', 1.0, 512),
        ('r50', 'mobilenet-v1', 8.0, 256),
    )
}
# a batch of 256 and its learning rate, as there
instead = {
    'datasets/imagenet.py': 'datasets/imagenet_bs32.py',
    'schedules/imagenet_100e.py': 'schedules/imagenet_100e_bs256.py',
}
