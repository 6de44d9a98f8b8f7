# as in mdistiller's configs for ImageNet: all stages, weight 1000
_base_ = '../stages.py'

model = dict(type='LogitDistiller')
per_pair = {
    f'{teacher}_{student}_imagenet': dict(
        features=dict(
            at=dict(
                student=_base_.stages[student],
                teacher=_base_.stages[teacher],
                loss=dict(type='ATLoss', weight=1000.0),
            )
        )
    )
    for teacher, student in _base_.imagenet_pairs
}
