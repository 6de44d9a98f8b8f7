# as in the authors' script for ImageNet, which trains for 120 epochs
_base_ = './ctkd-ls.py'

model = dict(
    student=dict(head=dict(loss=dict(loss_weight=1.0))),
    losses=dict(kd=dict(alpha=2.0, temperature=dict(epochs=5))),
)
