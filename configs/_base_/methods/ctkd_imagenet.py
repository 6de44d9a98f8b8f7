# as in CTKD's ImageNet script, which trains for 120 epochs
_base_ = './ctkd.py'

model = dict(
    label_weight=1.0,
    losses=dict(kd=dict(alpha=1.0, temperature=dict(share=5 / 120))),
)
