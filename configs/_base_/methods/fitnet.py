# Romero et al., 2015, as in RepDistiller: a hint from the second stage, weight 100.
_base_ = '../stages.py'

model = dict(type='LogitDistiller')
per_pair = {
    f'{teacher}_{student}_cifar100': dict(
        features=dict(
            hint=dict(
                student=_base_.stages[student][1],
                teacher=_base_.stages[teacher][1],
                loss=dict(type='FitNetLoss', weight=100.0),
            )
        )
    )
    for teacher, student in _base_.pairs
}
