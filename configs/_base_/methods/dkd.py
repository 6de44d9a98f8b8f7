# Zhao et al., 2022, with the constants of its CIFAR-100 tables; each pair has a beta of its own.
model = dict(
    type='LogitDistiller',
    losses=dict(dkd=dict(type='DKDLoss', temperature=4.0, alpha=1.0, beta=None)),
)
custom_hooks = [dict(type='DistillWarmupHook', share=1 / 12)]  # 20 of 240 epochs
