_base_ = './kd.py'

# as in DKD's ImageNet tables
model = dict(
    label_weight=0.5,
    losses=dict(kd=dict(temperature=1.0, alpha=0.5)),
)
