# Yang et al., 2023, with the constants of its CIFAR-100 config (yzd-v/cls_KD, ResNet-34 -> ResNet-18).
model = dict(
    type='LogitDistiller', losses=dict(nkd=dict(type='NKDLoss', temperature=3.0, gamma=3.5))
)
