_base_ = './mlkd.py'

# as in MLKD's ImageNet configs; a temperature of 1 takes the place of 4
model = dict(
    label_weight=0.5,
    losses=dict(mlkd=dict(weight=0.5, temperatures=(1.0, 2.0, 3.0, 5.0, 6.0))),
)
