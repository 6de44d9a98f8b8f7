# Jin et al., 2023, on one view, with the weights of its code for CIFAR-100. The published figures are
# of two views, 480 epochs and half the learning rate.
model = dict(
    type='LogitDistiller',
    label_weight=0.1,
    losses=dict(mlkd=dict(type='MLKDLoss', weight=0.9)),
)
