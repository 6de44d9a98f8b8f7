# Zagoruyko and Komodakis, 2017, as in RepDistiller: all stages, weight 1000.
_base_ = '../stages.py'

model = dict(type='LogitDistiller')
per_pair = {
    f'{teacher}_{student}_cifar100': dict(
        features=dict(
            at=dict(
                student=_base_.stages[student],
                teacher=_base_.stages[teacher],
                loss=dict(type='ATLoss', weight=1000.0),
            )
        )
    )
    for teacher, student in _base_.pairs
}
