# DeiT (Touvron et al., 2021) without the distillation token, as mmpretrain defines and trains it
deit_base = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', arch='deit-base', img_size=224, patch_size=16, drop_path_rate=0.1
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
