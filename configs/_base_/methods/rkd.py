# Park et al., 2019, as in RepDistiller: of the pooled features.
model = dict(
    type='LogitDistiller',
    features=dict(
        rkd=dict(
            student='neck',
            teacher='neck',
            loss=dict(type='RKDLoss', distance_weight=25.0, angle_weight=50.0),
        )
    ),
)
