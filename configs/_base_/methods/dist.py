# Huang et al., 2022, with the constants of its CIFAR-100 strategy (hunto/image_classification_sota).
model = dict(
    type='LogitDistiller',
    losses=dict(dist=dict(type='DISTLoss', temperature=4.0, beta=2.0, gamma=2.0)),
)
