# Tian et al., 2020: of the pooled features, with the constants of its code.
model = dict(
    type='LogitDistiller',
    features=dict(
        crd=dict(
            student='neck',
            teacher='neck',
            loss=dict(type='CRDLoss', weight=0.8, negatives=16384),
        )
    ),
)
