# Zhao et al., 2022, with the constants of its CIFAR-100 tables; beta is set per pair.
model = dict(
    type='LogitDistiller',
    losses=dict(dkd=dict(type='DKDLoss', temperature=4.0, alpha=1.0, beta=8.0)),
)
custom_hooks = [dict(type='DistillWarmupHook', epochs=20)]
