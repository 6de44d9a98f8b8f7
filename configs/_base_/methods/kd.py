# Hinton et al., 2015, with the constants of CRD's and DKD's CIFAR-100 tables.
model = dict(
    type='LogitDistiller',
    label_weight=0.1,
    losses=dict(kd=dict(type='KDLoss', temperature=4.0, alpha=0.9)),
)
