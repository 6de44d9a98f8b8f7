# Sun et al., 2024, with the defaults of its code for CIFAR-100 (zju-SWJ/RLD).
model = dict(
    type='LogitDistiller',
    losses=dict(
        rld=dict(type='RLDLoss', temperature=4.0, alpha=1.0, beta=8.0, alpha_temperature=1.0)
    ),
)
custom_hooks = [dict(type='DistillWarmupHook', share=1 / 12)]  # 20 of 240 epochs
