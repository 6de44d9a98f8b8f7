# Park and Lee, 2024. Temperature, alpha, beta and warm-up are DKD's, for comparison; the explicit
# term, the order of the tasks and the start of the FC layer are our choice (docs/en/method.md).
model = dict(
    type='LogitDistiller',
    losses=dict(
        aekt=dict(
            type='AEKTLoss',
            temperature=4.0,
            alpha=1.0,
            beta=None,  # each pair has its own
            explicit=dict(type='RatioWeighted', base='kl', max_weight=2.0),
        )
    ),
    connector=dict(type='TaskSerializationFC', order='distill_then_classify', init='identity'),
)
custom_hooks = [dict(type='DistillWarmupHook', share=1 / 12)]  # 20 of 240 epochs
