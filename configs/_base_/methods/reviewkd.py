# Chen et al., 2021, with the weights of its CIFAR-100 script: the stages and the pooled features, the
# teacher's before the last ReLU of a stage.
_base_ = '../stages.py'

model = dict(type='LogitDistiller')
custom_hooks = [dict(type='DistillWarmupHook', share=1 / 12)]  # 20 of 240 epochs
wrn = ['backbone.block2.layer.0.bn1', 'backbone.block3.layer.0.bn1', 'backbone.bn1', 'neck']
per_pair = {
    f'{teacher}_{student}_cifar100': dict(
        features=dict(
            review=dict(
                student=[*_base_.stages[student], 'neck'],
                teacher=wrn
                if teacher == 'wrn-40-2'
                else [*(f'{stage}.-1.relu:input' for stage in _base_.stages[teacher]), 'neck'],
                loss=dict(type='ReviewKDLoss', weight=weight),
            )
        )
    )
    for teacher, student, weight in (
        ('wrn-40-2', 'wrn-16-2', 5.0),
        ('wrn-40-2', 'wrn-40-1', 5.0),
        ('wrn-40-2', 'shufflenet-v1', 5.0),
        ('resnet32x4', 'resnet8x4', 5.0),
        ('resnet32x4', 'shufflenet-v1', 5.0),
        ('resnet32x4', 'shufflenet-v2', 8.0),
        ('resnet56', 'resnet20', 0.6),
        ('resnet110', 'resnet32', 1.0),
        ('resnet20', 'resnet8', 0.6),  # our choice: as resnet56 -> resnet20
    )
}
